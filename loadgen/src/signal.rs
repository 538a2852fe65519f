//! The signaling socket: protobuf messages over a WebSocket, as LiveKit's clients speak them.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use livekit_protocol as proto;
use prost::Message as _;
use proto::{signal_request, signal_response};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message, http};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// What we say of ourselves; the newest protocol without negotiated data channels.
const PROTOCOL: u32 = 17;
/// LiveKit's clients wait as long for the socket and for the first message together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignalError {
    #[error("the URL is not usable: {0}")]
    Url(String),
    #[error("the server refused with HTTP {status}: {body}")]
    Refused { status: u16, body: String },
    #[error("the server did not answer within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    #[error("the WebSocket failed: {0}")]
    Socket(Box<tungstenite::Error>),
    #[error("a message that is no SignalResponse: {0}")]
    Decode(#[from] prost::DecodeError),
    #[error("the server said {0} instead of join")]
    NoJoin(&'static str),
    #[error("the socket was closed")]
    Closed,
}

impl From<tungstenite::Error> for SignalError {
    fn from(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Http(response) => {
                let body = response.body().as_deref().unwrap_or_default();
                Self::Refused {
                    status: response.status().as_u16(),
                    body: String::from_utf8_lossy(body).trim().to_owned(),
                }
            }
            tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
                Self::Closed
            }
            error => Self::Socket(Box::new(error)),
        }
    }
}

/// A signaling session after its `join`.
#[derive(Debug)]
pub struct Signal {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Signal {
    /// Joins with two peer connections: signaling path `/rtc`, which every server has. `url` is the
    /// server's, `http`, `ws` or without a path.
    pub async fn join(
        url: &str,
        token: &str,
        auto_subscribe: bool,
    ) -> Result<(Self, proto::JoinResponse), SignalError> {
        let target = join_url(url, auto_subscribe)?;
        let mut request = target
            .into_client_request()
            .map_err(|error| SignalError::Url(error.to_string()))?;
        let bearer = http::HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|error| SignalError::Url(error.to_string()))?;
        request
            .headers_mut()
            .insert(http::header::AUTHORIZATION, bearer);
        let joined = timeout(CONNECT_TIMEOUT, async {
            let (socket, _) = tokio_tungstenite::connect_async(request).await?;
            let mut signal = Self { socket };
            match signal.receive().await? {
                signal_response::Message::Join(join) => Ok((signal, join)),
                signal_response::Message::Leave(_) => Err(SignalError::NoJoin("leave")),
                _ => Err(SignalError::NoJoin("something else")),
            }
        });
        joined.await.map_err(|_| SignalError::Timeout)?
    }

    pub async fn send(&mut self, message: signal_request::Message) -> Result<(), SignalError> {
        let request = proto::SignalRequest {
            message: Some(message),
        };
        let encoded = Message::Binary(request.encode_to_vec().into());
        Ok(self.socket.send(encoded).await?)
    }

    /// The next message. May be dropped and called again without losing one.
    pub async fn receive(&mut self) -> Result<signal_response::Message, SignalError> {
        loop {
            let frame = self.socket.next().await.ok_or(SignalError::Closed)??;
            let Message::Binary(encoded) = frame else {
                continue;
            };
            if let Some(message) = proto::SignalResponse::decode(encoded)?.message {
                return Ok(message);
            }
        }
    }

    /// Says goodbye, so that the server need not find out.
    pub async fn leave(&mut self) -> Result<(), SignalError> {
        let leave = proto::LeaveRequest {
            reason: proto::DisconnectReason::ClientInitiated.into(),
            ..proto::LeaveRequest::default()
        };
        self.send(signal_request::Message::Leave(leave)).await?;
        Ok(self.socket.close(None).await?)
    }
}

fn join_url(url: &str, auto_subscribe: bool) -> Result<String, SignalError> {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("ws://"))
        .ok_or_else(|| SignalError::Url(format!("{url} begins neither with ws:// nor http://")))?;
    let host = rest.trim_end_matches('/');
    let subscribe = u8::from(auto_subscribe);
    let version = env!("CARGO_PKG_VERSION");
    Ok(format!(
        "ws://{host}/rtc?protocol={PROTOCOL}&sdk=rust&version={version}\
         &auto_subscribe={subscribe}&adaptive_stream=0"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn join_url_takes_http_and_ws() {
        for url in ["http://h:7880", "ws://h:7880/"] {
            let joined = join_url(url, true).unwrap();
            assert!(
                joined.starts_with("ws://h:7880/rtc?protocol=17&"),
                "{joined}"
            );
            assert!(joined.contains("auto_subscribe=1"));
        }
        assert!(matches!(join_url("h:7880", true), Err(SignalError::Url(_))));
    }
}
