//! One client: a participant with its signaling session and its two peer connections.

mod connection;
mod negotiation;
mod publish;
mod session;
mod subscribe;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use livekit_protocol as proto;
use millrace_shared::link::IceCredentials;
use rand::Rng as _;
use rand::distr::Alphanumeric;
use thiserror::Error;

use crate::dial::Tls;
use crate::impair::Impairment;
use crate::pump::PeerId;
use crate::sdp::SdpError;
use crate::signal::SignalError;
use crate::stream::publisher::{Audience, TrackSource};
use crate::token::ApiKey;
use crate::transport::Keys;

pub use session::Client;

/// A server and how to reach it.
#[derive(Clone, Debug)]
pub struct Server {
    pub url: String,
    pub key: ApiKey,
    pub tls: Tls,
    /// Clients use one peer connection for both directions.
    pub single: bool,
    /// Where to send media instead of to the server's candidates: a relay, or a mapped port.
    pub media_address: Option<SocketAddr>,
}

/// What a participant publishes.
#[derive(Clone, PartialEq, Debug)]
pub struct TrackSpec {
    /// Unique in the run.
    pub number: u32,
    pub source: TrackSource,
    pub screen: bool,
    pub audience: Audience,
}

/// How large a participant shows the others' pictures, and so which layers it asks for.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Layout {
    /// No wish: servers send the largest.
    #[default]
    Full,
    /// One large, the others as thumbnails.
    Speaker,
    /// All of one middling size.
    Grid,
}

/// One participant.
#[derive(Clone, Debug)]
pub struct ClientSpec {
    pub room: String,
    pub identity: String,
    pub tracks: Vec<TrackSpec>,
    pub subscribe: bool,
    /// Connects its publishing side even with no tracks.
    pub may_publish: bool,
    pub layout: Layout,
    /// See [`crate::pump::NewPeer::sample_rank`].
    pub sample_rank: Option<u32>,
    pub impairment: Option<Impairment>,
}

#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    #[error("signaling: {0}")]
    Signal(#[from] SignalError),
    #[error("the server's description: {0}")]
    Description(#[from] SdpError),
    #[error("the {0} transport: {1}")]
    Transport(&'static str, &'static str),
    #[error("the server closed the {0} transport")]
    TransportClosed(&'static str),
    #[error("the server asked to leave: {0}")]
    AskedToLeave(String),
    #[error("the server refused a track: {0}")]
    Refused(String),
    #[error("no local address is left for another transport")]
    NoAddress,
    #[error("not connected within {} s", .0.as_secs())]
    Timeout(Duration),
}

/// How long the parts of a join took, from the first byte to the server.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct JoinTimes {
    /// The server's first message.
    pub signaled: Option<Duration>,
    /// Every transport that this participant needs.
    pub connected: Option<Duration>,
    /// The first packet of media from the server.
    pub media: Option<Duration>,
}

/// One of a client's transports, for who wants to send on its behalf.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Path {
    pub peer: PeerId,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub keys: Box<Keys>,
}

fn next_peer_id() -> PeerId {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    PeerId(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// RFC 8839 §5.4: at least 4 and 22 characters.
fn ice_credentials() -> IceCredentials {
    let text = |len| {
        let letters = rand::rng().sample_iter(Alphanumeric).take(len);
        letters.map(char::from).collect()
    };
    IceCredentials {
        ufrag: text(8),
        pwd: text(24),
    }
}

/// Candidates of a trickle message, as browsers write them in JSON.
fn trickled(trickle: &proto::TrickleRequest) -> Option<SocketAddr> {
    let init: serde_json::Value = serde_json::from_str(&trickle.candidate_init).ok()?;
    let line = init.get("candidate")?.as_str()?;
    crate::sdp::Candidate::parse(line).map(|candidate| candidate.addr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_come_as_json() {
        let trickle = |candidate: &str| proto::TrickleRequest {
            candidate_init: format!(r#"{{"candidate":"{candidate}","sdpMid":"0"}}"#),
            ..proto::TrickleRequest::default()
        };
        let udp = trickle("candidate:1 1 udp 2130706431 192.0.2.2 7882 typ host ufrag x");
        assert_eq!(trickled(&udp), Some(([192, 0, 2, 2], 7882).into()));
        assert_eq!(trickled(&trickle("")), None);
    }

    #[test]
    fn credentials_are_long_enough_and_unlike() {
        let (a, b) = (ice_credentials(), ice_credentials());
        assert!(a.ufrag.len() >= 4 && a.pwd.len() >= 22);
        assert_ne!(a.pwd, b.pwd);
    }
}
