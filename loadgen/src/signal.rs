//! The signaling socket: protobuf messages over a WebSocket, as LiveKit's clients speak them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use futures_util::{SinkExt as _, StreamExt as _};
use livekit_protocol as proto;
use prost::Message as _;
use proto::{signal_request, signal_response};
use thiserror::Error;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message, http};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::dial::{Address, DialError, Stream, Tls, dial};

/// What we say of ourselves; the newest protocol without negotiated data channels.
const PROTOCOL: u32 = 17;
/// LiveKit's clients wait as long for the socket and for the first message together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignalError {
    #[error("the URL is not usable: {0}")]
    Url(String),
    #[error(transparent)]
    Dial(#[from] DialError),
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
    socket: WebSocketStream<Box<dyn Stream>>,
}

impl Signal {
    /// Joins with two peer connections: signaling path `/rtc`, which every server has. `url` is the
    /// server's, as clients are given it.
    pub async fn join(
        url: &str,
        tls: &Tls,
        token: &str,
        auto_subscribe: bool,
    ) -> Result<(Self, proto::JoinResponse), SignalError> {
        let address = Address::parse(url)?;
        let target = join_url(&address, auto_subscribe);
        Self::open(&address, tls, token, target).await
    }

    /// Joins with a single peer connection: signaling path `/rtc/v1`, on which the request carries
    /// tracks and offer.
    pub async fn join_single(
        url: &str,
        tls: &Tls,
        token: &str,
        mut request: proto::JoinRequest,
    ) -> Result<(Self, proto::JoinResponse), SignalError> {
        let address = Address::parse(url)?;
        request.client_info = Some(proto::ClientInfo {
            sdk: proto::client_info::Sdk::Rust.into(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: i32::try_from(PROTOCOL).unwrap_or(i32::MAX),
            ..proto::ClientInfo::default()
        });
        let wrapped = proto::WrappedJoinRequest {
            compression: proto::wrapped_join_request::Compression::None.into(),
            join_request: request.encode_to_vec(),
        };
        // LiveKit's server insists on the padding, which a query must not hold as it is.
        let encoded = URL_SAFE.encode(wrapped.encode_to_vec()).replace('=', "%3D");
        let target = format!("{}/v1?join_request={encoded}", signal_url(&address));
        Self::open(&address, tls, token, target).await
    }

    async fn open(
        address: &Address,
        tls: &Tls,
        token: &str,
        target: String,
    ) -> Result<(Self, proto::JoinResponse), SignalError> {
        let mut request = target
            .into_client_request()
            .map_err(|error| SignalError::Url(error.to_string()))?;
        let bearer = http::HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|error| SignalError::Url(error.to_string()))?;
        request
            .headers_mut()
            .insert(http::header::AUTHORIZATION, bearer);
        let joined = timeout(CONNECT_TIMEOUT, async {
            let stream = dial(address, tls).await?;
            let (socket, _) = client_async(request, stream).await?;
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

fn signal_url(address: &Address) -> String {
    let scheme = if address.secure { "wss" } else { "ws" };
    format!("{scheme}://{}{}/rtc", address.authority(), address.path)
}

fn join_url(address: &Address, auto_subscribe: bool) -> String {
    let subscribe = u8::from(auto_subscribe);
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "{}?protocol={PROTOCOL}&sdk=rust&version={version}\
         &auto_subscribe={subscribe}&adaptive_stream=0",
        signal_url(address)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn join_url_takes_http_and_ws() {
        for (url, begin) in [
            ("http://h:7880", "ws://h:7880/rtc?protocol=17&"),
            ("ws://h:7880/", "ws://h:7880/rtc?protocol=17&"),
            ("https://h/sfu", "wss://h:443/sfu/rtc?protocol=17&"),
        ] {
            let joined = join_url(&Address::parse(url).unwrap(), true);
            assert!(joined.starts_with(begin), "{joined}");
            assert!(joined.contains("auto_subscribe=1"));
        }
    }
}
