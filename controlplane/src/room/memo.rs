//! Memos: what the data plane keeps of rooms and participants, so that a control plane that starts
//! anew can take them back.
//!
//! There is one for the room and one for each participant. Whoever changed is written anew at the
//! end of the batch that changed it, behind the commands of that batch.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::SystemTime;

use bytes::Bytes;
use millrace_shared::ids::{MemoKey, ShardId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::actor::Room;
use super::routing;
use super::timer::Timer;
use crate::participant::{Participant, ParticipantId};

/// Version of what memos say. Any change of [`RoomMemo`] or of what serde takes of
/// [`Participant`] raises it; memos of another version are not read. `tests/memos.rs` notices what
/// changes the bytes.
const MEMO_VERSION: u8 = 1;

/// A room may spend a twentieth of its time on memos: in one of hundreds, where a new track changes
/// everybody, they are written for several changes at once.
const SHARE: u32 = 19;

/// The room's own memo.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct RoomMemo {
    pub(super) sid: String,
    pub(super) name: String,
    pub(super) shard: ShardId,
    pub(super) empty_timeout_s: u32,
    pub(super) departure_timeout_s: u32,
    pub(super) max_participants: u32,
    pub(super) metadata: String,
    pub(super) created_at: SystemTime,
    pub(super) trailer: Vec<u8>,
}

/// What of a room the data plane was told, and when it may be told again.
#[derive(Debug, Default)]
pub(super) struct MemoBook {
    /// The room's own memo is to be written.
    pub(super) room_changed: bool,
    /// Hashes of participants' memos as they were last told.
    told: HashMap<ParticipantId, u64>,
    not_before: Option<Instant>,
    timer_set: bool,
}

/// The number 0 stands for the room itself: participants count from 1.
pub(super) const fn key(index: u32, participant: ParticipantId) -> MemoKey {
    MemoKey(routing::id(index, participant.0))
}

pub(super) const ROOM: ParticipantId = ParticipantId(0);

pub(super) fn encode<T: Serialize>(value: &T) -> Option<Bytes> {
    match postcard::to_extend(value, vec![MEMO_VERSION]) {
        Ok(memo) => Some(memo.into()),
        Err(error) => {
            tracing::error!(%error, "a memo could not be written");
            None
        }
    }
}

/// None for a memo of another version, or a damaged one.
pub(super) fn decode<T: DeserializeOwned>(memo: &[u8]) -> Option<T> {
    let (version, rest) = memo.split_first()?;
    if *version != MEMO_VERSION {
        return None;
    }
    match postcard::take_from_bytes(rest) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
}

impl Room {
    /// Writes the memos of whoever changed, unless their turn comes later.
    pub(super) fn write_memos(&mut self) {
        if !self.shared.dataplane.remembers() {
            self.participants.take_changed();
            return;
        }
        if !self.memos.room_changed && !self.participants.any_changed() {
            return;
        }
        match self.memos.not_before {
            Some(at) if Instant::now() < at => {
                if !std::mem::replace(&mut self.memos.timer_set, true) {
                    self.timers.set(at, Timer::Memos);
                }
            }
            _ => self.write_memos_now(),
        }
    }

    pub(super) fn write_memos_now(&mut self) {
        self.memos.timer_set = false;
        let started = Instant::now();
        if std::mem::take(&mut self.memos.room_changed)
            && let Some(memo) = encode(&self.memo())
        {
            self.shared.dataplane.remember(key(self.index, ROOM), memo);
        }
        for id in self.participants.take_changed() {
            match self.participants.get(&id) {
                Some(participant) => self.write_memo(id, encode(participant)),
                None => self.forget_memo(id),
            }
        }
        self.memos.not_before = Some(Instant::now() + started.elapsed() * SHARE);
    }

    fn write_memo(&mut self, id: ParticipantId, memo: Option<Bytes>) {
        let Some(memo) = memo else {
            return;
        };
        let mut hasher = DefaultHasher::new();
        memo.hash(&mut hasher);
        let hash = hasher.finish();
        if self.memos.told.insert(id, hash) != Some(hash) {
            self.shared.dataplane.remember(key(self.index, id), memo);
        }
    }

    fn forget_memo(&mut self, id: ParticipantId) {
        if self.memos.told.remove(&id).is_some() {
            self.shared.dataplane.forget(key(self.index, id));
        }
    }

    /// The room ends, and everybody with it.
    pub(super) fn forget_memos(&mut self) {
        if self.shared.dataplane.remembers() {
            self.memos.room_changed = false;
            self.write_memos_now();
            self.shared.dataplane.forget(key(self.index, ROOM));
        }
    }

    fn memo(&self) -> RoomMemo {
        RoomMemo {
            sid: self.sid.clone(),
            name: self.name.clone(),
            shard: self.shard,
            empty_timeout_s: self.empty_timeout_s,
            departure_timeout_s: self.departure_timeout_s,
            max_participants: self.max_participants,
            metadata: self.metadata.clone(),
            created_at: self.created_at,
            trailer: self.trailer.clone(),
        }
    }
}

/// A participant as its memo says, without socket and without what only its transports know.
pub(super) fn participant(memo: &[u8]) -> Option<Participant> {
    decode(memo)
}
