//! What a shard holds, for a control plane that starts anew.

use serde::{Deserialize, Serialize};

use super::event::CandidatePair;
use crate::ids::{DownTrackId, GroupId, Pt, ShardId, TrackId, TransportId};

/// A part of what one shard holds. Events that the shard sent before the last part are contained
/// in it, later ones are news.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// Of the command that asked.
    pub token: u64,
    pub shard: ShardId,
    /// At most [`crate::limits::SNAPSHOT_TRANSPORTS_MAX`].
    pub transports: Vec<TransportState>,
    /// No part of this shard follows.
    pub last: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TransportState {
    pub transport: TransportId,
    pub group: GroupId,
    pub progress: Progress,
    pub pair: Option<CandidatePair>,
    /// Sequence of the last reliable data packet accepted from it.
    pub reliable_sequence: u32,
    pub up: Vec<UpTrackState>,
    pub down: Vec<DownTrackId>,
}

/// How far a transport got.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Progress {
    New,
    Connected,
    /// It was connected, and nothing authenticated was heard for 10 s.
    Silent,
    Closed,
    /// Handed over to another shard a moment ago. If that has it by now it says so itself.
    Moving,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UpTrackState {
    pub track: TrackId,
    /// Payload type of the first packet of the encoding that started last.
    pub started: Option<Pt>,
}
