//! Data plane to control plane.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::command::Fingerprint;
use super::latency::Latencies;
use super::snapshot::Snapshot;
use crate::drop::DropCounts;
use crate::ids::{DownTrackId, GroupId, Pt, ShardId, Ssrc, TrackId, TransportId};

/// An address on which a shard receives media.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct LocalAddress {
    pub ip: IpAddr,
    pub port: u16,
}

/// First event of each shard.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    pub shard: ShardId,
    /// UDP addresses, best first, loopback last.
    pub addresses: Vec<LocalAddress>,
    /// Of the node's certificate: one for all shards.
    pub fingerprint: Fingerprint,
    /// How packets reach the kernel, and why not otherwise.
    pub backend: String,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CandidatePair {
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CloseReason {
    /// The peer closed DTLS.
    PeerClosed,
    /// The peer's certificate is not the one its description named.
    FingerprintMismatch,
    /// DTLS failed more often than we rebuild it.
    DtlsFailed,
    /// No authenticated Binding Request for the consent timeout (RFC 7675 §5.1: 30 s).
    ConsentExpired,
    /// The shard has [`crate::limits::TRANSPORTS_PER_SHARD_MAX`] transports.
    ShardFull,
}

/// Audio level of one track over the last interval.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SpeakerLevel {
    pub track: TrackId,
    /// 0.0 silent ..= 1.0 loudest, smoothed as LiveKit does.
    pub level: f32,
    pub active: bool,
}

/// What a published track or a subscriber's copy went through since the last report.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct TrackReport {
    pub packets: u64,
    pub bytes: u64,
    /// Up: missing after NACK. Down: by the subscriber's receiver reports.
    pub lost: u64,
    pub jitter_us: u32,
    /// Down: by LSR and DLSR. 0 = unknown.
    pub rtt_us: u32,
    /// Bit n: encoding of spatial layer n was received in the interval. Up only.
    pub live_layers: u8,
    /// Spatial layer being sent. Down only.
    pub current_spatial: Option<u8>,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TransportReport {
    pub transport: TransportId,
    /// Sequence of the last reliable data packet accepted from it.
    pub reliable_sequence: u32,
    /// What the subscriber's REMB says. 0 = none yet.
    pub remb_bps: u64,
}

/// Counters of one shard since it started.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ShardMetrics {
    pub drops: DropCounts,
    pub datagrams_received: u64,
    pub bytes_received: u64,
    pub datagrams_sent: u64,
    pub bytes_sent: u64,
    /// Messages they left in: trains, and datagrams sent singly.
    pub trains: u64,
    /// System calls or submissions that sent them.
    pub sends: u64,
    pub rtp_received: u64,
    pub rtp_forwarded: u64,
    pub rtx_received: u64,
    pub rtx_sent: u64,
    pub nacks_sent: u64,
    pub nacks_received: u64,
    pub plis_sent: u64,
    pub plis_received: u64,
    pub data_received: u64,
    pub data_sent: u64,
    pub transports: u64,
    pub up_tracks: u64,
    pub down_tracks: u64,
    /// Tracks of other shards with subscribers here.
    pub mirrors: u64,
    /// Packets to other shards, from them, and those that a full lane lost.
    pub lane_packets_sent: u64,
    pub lane_packets_received: u64,
    pub lane_packets_lost: u64,
    /// Messages to other shards, from them, and those that a full lane held back or lost.
    pub lane_messages_sent: u64,
    pub lane_messages_received: u64,
    pub lane_messages_delayed: u64,
    pub lane_messages_lost: u64,
    /// Transports that this shard took over from the one they were placed on.
    pub transports_adopted: u64,
    /// Datagrams that arrived here and are another shard's, and checks among them.
    pub datagrams_passed: u64,
    pub checks_passed: u64,
    /// Packets of unknown tuples, and answers to our checks of such, that went to all other shards.
    pub strays_passed: u64,
    pub answers_passed: u64,
    /// Times the kernel found no free receive buffer and left datagrams in the socket.
    pub receive_starved: u64,
    pub receive_errors: u64,
    /// Trains that segmentation offload refused and that were sent singly.
    pub gso_refused: u64,
    /// Datagrams the kernel refused: buffer full, too long for the path, no way there, forbidden by
    /// the firewall, other.
    pub send_full: u64,
    pub send_too_long: u64,
    pub send_unreachable: u64,
    pub send_denied: u64,
    pub send_other: u64,
    pub ticks: u64,
    /// System calls of the network, and returns from a wait among them.
    pub syscalls: u64,
    pub wakes: u64,
    /// CPU time of the shard's thread, kernel included.
    pub cpu: Duration,
    /// Of each media packet of a publisher here: from the kernel's receipt until the last copy was
    /// handed to the kernel.
    pub forwarding: Latencies,
    /// Events that found the control plane too far behind: those that are said again in a moment, and
    /// those that were said once.
    pub events_skipped: u64,
    pub events_lost: u64,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Event {
    Hello(Box<Hello>),
    /// The peer is reachable; media may flow as soon as DTLS is done. Also sent when the pair
    /// changes.
    PairSelected {
        transport: TransportId,
        pair: CandidatePair,
    },
    /// ICE and DTLS are complete.
    Connected {
        transport: TransportId,
    },
    /// Nothing authenticated heard for the time that LiveKit calls disconnected (10 s); either
    /// `PairSelected` or `Closed` follows.
    Disconnected {
        transport: TransportId,
    },
    /// The transport is finished; the control plane removes it.
    Closed {
        transport: TransportId,
        reason: CloseReason,
    },

    /// The kernel delivers the transport's packets to `shard`, which has taken it over. Commands may
    /// go on to the shard it was placed on, which passes them on in order.
    TransportMoved {
        transport: TransportId,
        shard: ShardId,
    },

    /// The first packet of an encoding of a published track.
    UpTrackStarted {
        transport: TransportId,
        track: TrackId,
        spatial: u8,
        ssrc: Ssrc,
        pt: Pt,
    },
    /// The first packet was sent to a subscriber.
    DownTrackStarted {
        transport: TransportId,
        down: DownTrackId,
    },

    /// Tracks whose level or activity changed, at most every 400 ms.
    Speakers {
        group: GroupId,
        levels: Vec<SpeakerLevel>,
    },
    /// About once in 5 s.
    Reports {
        shard: ShardId,
        up: Vec<(TrackId, TrackReport)>,
        down: Vec<(DownTrackId, TrackReport)>,
        transports: Vec<TransportReport>,
    },
    /// About once a second.
    Metrics {
        shard: ShardId,
        metrics: Box<ShardMetrics>,
    },
    /// A part of the answer to [`super::Command::Snapshot`].
    Snapshot(Box<Snapshot>),
}
