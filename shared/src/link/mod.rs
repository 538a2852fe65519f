//! What the two planes say to each other: plain values, no handles, so that the same messages pass
//! an in-process queue and a socket.
//!
//! The control plane chooses every id and repeats itself safely: a command about something that is
//! gone is ignored, one that states what already holds changes nothing.
//!
//! Over a socket the planes first say who they are ([`Opening`]), then exchange [`ToDataplane`] and
//! [`ToControlplane`] in frames ([`codec`]).

pub mod codec;
mod command;
mod event;
mod latency;
mod media;
mod opening;
mod overflow;
#[cfg(any(test, feature = "sim"))]
pub mod samples;
mod snapshot;

pub use command::{
    AddTransport, Command, DataPublish, Fingerprint, IceCredentials, SendData, SetRemote,
};
pub use event::{
    CandidatePair, CloseReason, Event, Hello, LocalAddress, ShardMetrics, SpeakerLevel,
    TrackReport, TransportReport,
};
pub use latency::{LATENCY_BOUNDS, Latencies};
pub use media::{
    Codec, DownTrackConfig, Encoding, ExtIdOutOfRange, ExtIds, ExtKind, Layer, MediaKind,
    PtMapping, RedMapping, UpCodec, UpTrackConfig,
};
pub use opening::{Greeting, LINK_VERSION, Opening, OpeningError};
pub use snapshot::{Progress, Snapshot, TransportState, UpTrackState};

pub use overflow::{EventOverflow, is_repeated};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::{MemoKey, ShardId};

/// Frames from the control plane.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ToDataplane {
    Command {
        shard: ShardId,
        command: Command,
    },
    /// Keeps `memo`, in place of an older one of this key, for the control plane that comes after
    /// this one. It is not read.
    Remember {
        key: MemoKey,
        memo: Bytes,
    },
    Forget {
        key: MemoKey,
    },
}

/// Frames from the data plane: first all memos, then the shards' events. Each shard begins with
/// its Hello and its snapshot.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum ToControlplane {
    Memo { key: MemoKey, memo: Bytes },
    Event(Event),
}

/// Where the control plane puts its commands. Never blocks; order per shard is kept.
pub trait CommandSink: Send + Sync {
    fn send(&self, shard: ShardId, command: Command);

    /// Whether memos outlive this process, so that it is worth while to make them.
    fn remembers(&self) -> bool {
        false
    }

    /// Keeps a memo for the control plane that comes after this one. In order with the commands.
    fn remember(&self, _key: MemoKey, _memo: Bytes) {}

    fn forget(&self, _key: MemoKey) {}
}

/// Where a shard puts its events. Never blocks; order per shard is kept.
pub trait EventSink: Send {
    fn send(&self, event: Event);

    /// What found no place so far.
    fn losses(&self) -> EventLosses {
        EventLosses::default()
    }
}

/// Events of a shard that a control plane which was too far behind never got.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct EventLosses {
    /// Those that the shard says again in a moment.
    pub repeated: u64,
    pub told_once: u64,
}
