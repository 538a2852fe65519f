//! What transports of one group share: data packets and the ranking of speakers.

mod replay;

use millrace_shared::ids::GroupId;

use crate::shard::timers::Armed;
use crate::slots::Slot;
use crate::speakers::{SpeakerConfig, SpeakerGroup};
pub use replay::{REPLAY_AGE_MAX, ReplayWindow, StoredPacket};

/// Transports that exchange data packets and are ranked together as speakers. It exists while it
/// has members.
#[derive(Debug)]
pub struct Group {
    pub id: GroupId,
    /// In order of joining.
    pub members: Vec<Slot>,
    pub speakers: SpeakerGroup,
    pub replay: ReplayWindow,
    pub armed: Armed,
}

impl Group {
    pub fn new(id: GroupId, speakers: SpeakerConfig) -> Self {
        Self {
            id,
            members: Vec::new(),
            speakers: SpeakerGroup::new(speakers),
            replay: ReplayWindow::default(),
            armed: Armed::default(),
        }
    }
}
