//! The signaling socket, which never blocks for reading.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use livekit_protocol as proto;
use prost::Message as _;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket, client::client};

use crate::outcome::{Outcome, Said as _};

/// Between two looks at a socket that has nothing to read, or no room to write.
const PAUSE: Duration = Duration::from_millis(1);
/// How long a client waits for an answer that must come.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Why a join got no session.
#[derive(Debug)]
pub(crate) enum Refused {
    /// By HTTP.
    Status(u16),
    Broken(String),
}

#[derive(Debug)]
pub(crate) struct Signal {
    socket: WebSocket<TcpStream>,
    /// The server closed it, and with which code.
    pub(crate) closed: Option<Option<u16>>,
}

impl Signal {
    /// Opens `/rtc` with a token.
    pub(crate) fn open(http: SocketAddr, token: &str) -> Result<Self, Refused> {
        let query = "protocol=16&sdk=rust&auto_subscribe=1";
        Self::open_target(http, &format!("/rtc?access_token={token}&{query}"))
    }

    pub(crate) fn open_target(http: SocketAddr, target: &str) -> Result<Self, Refused> {
        let broken = |error: &dyn std::fmt::Display| Refused::Broken(error.to_string());
        let stream = TcpStream::connect(http).map_err(|error| broken(&error))?;
        stream
            .set_read_timeout(Some(ANSWER_TIMEOUT))
            .and_then(|()| stream.set_nodelay(true))
            .map_err(|error| broken(&error))?;
        let url = format!("ws://{http}{target}");
        let (socket, _) = client(url, stream).map_err(|error| match error {
            tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response)) => {
                Refused::Status(response.status().as_u16())
            }
            error => broken(&error),
        })?;
        socket
            .get_ref()
            .set_nonblocking(true)
            .map_err(|error| broken(&error))?;
        Ok(Self {
            socket,
            closed: None,
        })
    }

    pub(crate) fn send(&mut self, request: Request) -> Outcome<()> {
        let request = proto::SignalRequest {
            message: Some(request),
        };
        self.send_raw(Message::Binary(request.encode_to_vec().into()))
    }

    pub(crate) fn send_raw(&mut self, message: Message) -> Outcome<()> {
        let begin = Instant::now();
        let mut sent = self.socket.send(message);
        while let Err(tungstenite::Error::Io(error)) = &sent
            && error.kind() == ErrorKind::WouldBlock
            && begin.elapsed() < ANSWER_TIMEOUT
        {
            std::thread::sleep(PAUSE);
            sent = self.socket.flush();
        }
        sent.said("signal socket")
    }

    /// The next response, if one is there. Answers pings by the way.
    pub(crate) fn poll(&mut self) -> Option<Response> {
        while self.closed.is_none() {
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => {
                    let response = proto::SignalResponse::decode(bytes).ok()?;
                    if response.message.is_some() {
                        return response.message;
                    }
                }
                Ok(Message::Close(frame)) => {
                    self.closed = Some(frame.map(|frame| frame.code.into()));
                    // So that the server need not wait for our half.
                    let _ = self.socket.flush();
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(error))
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return None;
                }
                Err(_) => self.closed = Some(None),
            }
        }
        None
    }

    /// Reads on until `pick` finds what it looks for.
    pub(crate) fn wait<T>(
        &mut self,
        what: &str,
        mut pick: impl FnMut(Response) -> Option<T>,
    ) -> Outcome<T> {
        let begin = Instant::now();
        while begin.elapsed() < ANSWER_TIMEOUT {
            if let Some(found) = self.poll().and_then(&mut pick) {
                return Ok(found);
            }
            if self.closed.is_some() {
                return Err(format!("the signal socket closed before {what}"));
            }
            std::thread::sleep(PAUSE);
        }
        Err(format!("no {what} in time"))
    }

    /// Waits until the server closes the socket; gives the code, if there was a close frame.
    pub(crate) fn wait_closed(&mut self, patience: Duration) -> Option<Option<u16>> {
        let begin = Instant::now();
        while self.closed.is_none() && begin.elapsed() < patience {
            self.poll();
            std::thread::sleep(PAUSE);
        }
        self.closed
    }

    pub(crate) fn leave(&mut self) {
        // It may be closed already.
        let _ = self.send(Request::Leave(proto::LeaveRequest {
            reason: proto::DisconnectReason::ClientInitiated.into(),
            ..proto::LeaveRequest::default()
        }));
        let _ = self.socket.close(None);
        let _ = self.socket.flush();
    }
}
