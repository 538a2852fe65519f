//! A WebSocket (RFC 6455) that holds no buffers while it is silent: of ten thousand signaling sockets
//! nearly all are, and a library's buffers were most of a viewer's memory. It never fragments and
//! negotiates no extension.

mod frame;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::mem::{self, MaybeUninit};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Buf as _, Bytes};
use hyper::upgrade::OnUpgrade;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use frame::Reader;
pub(super) use frame::{Message, Opcode, ReadError};

/// Bytes read at a time, on the stack.
const READ_LEN: usize = 8 * 1024;

/// RFC 6455 §7.4.1
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum CloseCode {
    Normal = 1000,
    Protocol = 1002,
    Text = 1007,
    TooLong = 1009,
}

/// A request to switch to this protocol that cannot be met.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal(StatusCode);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        // RFC 6455 §4.4: whoever asks for another version is told which one we have.
        (self.0, [(header::SEC_WEBSOCKET_VERSION, "13")]).into_response()
    }
}

/// Answers a request to switch to this protocol (RFC 6455 §4.2).
pub(super) fn accept(parts: &mut Parts) -> Result<(Response, OnUpgrade), Refusal> {
    if parts.method != Method::GET {
        return Err(Refusal(StatusCode::METHOD_NOT_ALLOWED));
    }
    let headers = &parts.headers;
    if headers.get(header::SEC_WEBSOCKET_VERSION) != Some(&HeaderValue::from_static("13")) {
        return Err(Refusal(StatusCode::UPGRADE_REQUIRED));
    }
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
        return Err(Refusal(StatusCode::BAD_REQUEST));
    };
    let accept = derive_accept_key(key.as_bytes());
    let Some(upgrade) = parts.extensions.remove::<OnUpgrade>() else {
        return Err(Refusal(StatusCode::UPGRADE_REQUIRED));
    };
    let headers = [
        (header::CONNECTION, "upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_ACCEPT, accept.as_str()),
    ];
    let response = (StatusCode::SWITCHING_PROTOCOLS, headers).into_response();
    Ok((response, upgrade))
}

#[derive(Debug)]
pub(super) struct WebSocket<S> {
    stream: S,
    reader: Reader,
    /// Frames that wait for the next write.
    gathered: Vec<u8>,
    /// Bytes of the longest message that is read.
    len_max: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    pub(super) fn new(stream: S, len_max: usize) -> Self {
        Self {
            stream,
            reader: Reader::default(),
            gathered: Vec::new(),
            len_max,
        }
    }

    /// The next message. Nothing is lost when the future is dropped. Pings and the peer's close are
    /// the caller's to answer.
    pub(super) async fn next(&mut self) -> Result<Message, ReadError> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next message, if all of it was read together with the one before.
    pub(super) fn next_read(&mut self) -> Result<Option<Message>, ReadError> {
        self.reader.next(self.len_max)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, ReadError>> {
        loop {
            if let Some(message) = self.reader.next(self.len_max)? {
                return Poll::Ready(Ok(message));
            }
            let mut space = [MaybeUninit::uninit(); READ_LEN];
            let mut space = ReadBuf::uninit(&mut space);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut space));
            if read.is_err() || space.filled().is_empty() {
                return Poll::Ready(Err(ReadError::Ended));
            }
            self.reader.extend(space.filled());
        }
    }

    /// Reads and forgets until the peer ends the connection: for when what it sends is no longer
    /// understood.
    pub(super) async fn discard(&mut self) {
        poll_fn(|cx| {
            loop {
                let mut space = [MaybeUninit::uninit(); READ_LEN];
                let mut space = ReadBuf::uninit(&mut space);
                let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut space));
                if read.is_err() || space.filled().is_empty() {
                    return Poll::Ready(());
                }
            }
        })
        .await;
    }

    /// Keeps a frame, which is a whole message, until the next [`Self::send`] or [`Self::flush`]: both
    /// leave with one write. The payload is copied, so a long one is better sent.
    pub(super) fn gather(&mut self, opcode: Opcode, payload: &[u8]) {
        frame::put_header(&mut self.gathered, opcode, payload.len());
        self.gathered.extend_from_slice(payload);
    }

    pub(super) fn has_gathered(&self) -> bool {
        !self.gathered.is_empty()
    }

    /// Sends one frame, and what was gathered before it. After a failure, or a future that was
    /// dropped, the socket is of no use.
    pub(super) async fn send(&mut self, opcode: Opcode, payload: Bytes) -> io::Result<()> {
        frame::put_header(&mut self.gathered, opcode, payload.len());
        let frames = Bytes::from(mem::take(&mut self.gathered));
        self.stream
            .write_all_buf(&mut frames.chain(payload))
            .await?;
        self.stream.flush().await
    }

    /// Sends what was gathered.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        let gathered = mem::take(&mut self.gathered);
        self.stream.write_all(&gathered).await?;
        self.stream.flush().await
    }

    pub(super) async fn send_close(&mut self, code: CloseCode) -> io::Result<()> {
        let code = (code as u16).to_be_bytes();
        self.send(Opcode::Close, Bytes::copy_from_slice(&code))
            .await
    }
}
