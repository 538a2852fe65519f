//! What the two planes say to each other: plain values, no handles, so that the same messages pass
//! an in-process queue and a socket.
//!
//! The control plane chooses every id and repeats itself safely: a command about something that is
//! gone is ignored, one that states what already holds changes nothing.

mod command;
mod event;
mod media;
mod overflow;

pub use command::{
    AddTransport, Command, DataPublish, Fingerprint, IceCredentials, SendData, SetRemote,
};
pub use event::{
    CandidatePair, CloseReason, Event, Hello, LocalAddress, ShardMetrics, SpeakerLevel,
    TrackReport, TransportReport,
};
pub use media::{
    Codec, DownTrackConfig, Encoding, ExtIds, ExtKind, Layer, MediaKind, PtMapping, RedMapping,
    UpCodec, UpTrackConfig,
};

pub use overflow::{EventOverflow, is_repeated};

use crate::ids::ShardId;

/// Where the control plane puts its commands. Never blocks; order per shard is kept.
pub trait CommandSink: Send + Sync {
    fn send(&self, shard: ShardId, command: Command);
}

/// Where a shard puts its events. Never blocks; order per shard is kept.
pub trait EventSink: Send {
    fn send(&self, event: Event);
}
