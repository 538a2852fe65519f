//! What a shard knows of transports and tuples of others, see [`super::adoption`].

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashMap;
use millrace_shared::ice::Tuple;
use millrace_shared::ids::{ShardId, TransportId};
use millrace_shared::limits::TRANSPORTS_PER_SHARD_MAX;
use millrace_shared::link::{Command, TransportState};
use millrace_shared::time::Timestamp;

/// Ufrags of a transport that was handed over: the one it began with, and those of two restarts.
const UFRAGS_MOVED_MAX: usize = 3;
/// What was handed over is taken in the next ticks, or waits for room in the lane for as long.
const LEAVING: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Berths {
    /// Transports that nobody has reached, and how to make them anew.
    pub(super) unplaced: HashMap<TransportId, Vec<Command>>,
    /// Transports that were handed over.
    pub(super) moved: HashMap<TransportId, Moved>,
    pub(super) moved_ufrags: HashMap<String, ShardId>,
    /// What was handed over last, as it was then, and when.
    leaving: VecDeque<(Timestamp, TransportState)>,
    /// Tuples whose datagrams arrive here, and whose transport lives elsewhere.
    pub(super) foreign: HashMap<Tuple, ShardId>,
    /// Our transports' tuples whose datagrams arrive elsewhere.
    pub(super) arrive_at: HashMap<Tuple, ShardId>,
    pub(super) checks_passed: usize,
}

#[derive(Debug)]
pub(super) struct Moved {
    pub(super) to: ShardId,
    pub(super) ufrags: VecDeque<String>,
}

impl Berths {
    pub(super) fn len(&self) -> usize {
        self.unplaced.len()
            + self.moved.len()
            + self.moved_ufrags.len()
            + self.foreign.len()
            + self.arrive_at.len()
    }

    /// Transports that the shards they were handed over to may not have yet.
    pub(super) fn leaving(&self) -> impl Iterator<Item = &TransportState> {
        let leaving = self.leaving.iter().map(|(_, state)| state);
        leaving.filter(|state| self.moved.contains_key(&state.transport))
    }

    pub(super) fn note_leaving(&mut self, now: Timestamp, state: TransportState) {
        if self.leaving.len() == TRANSPORTS_PER_SHARD_MAX {
            self.leaving.pop_front();
        }
        self.leaving.push_back((now, state));
    }

    pub(super) fn begin_tick(&mut self, now: Timestamp) {
        self.checks_passed = 0;
        while let Some((at, _)) = self.leaving.front()
            && now.since(*at) >= LEAVING
        {
            self.leaving.pop_front();
        }
    }

    pub(super) fn remove_moved(&mut self, transport: TransportId) {
        if let Some(moved) = self.moved.remove(&transport) {
            for ufrag in moved.ufrags {
                self.moved_ufrags.remove(&ufrag);
            }
        }
    }

    pub(super) fn add_moved_ufrag(&mut self, transport: TransportId, ufrag: &str) {
        let Some(moved) = self.moved.get_mut(&transport) else {
            return;
        };
        if moved.ufrags.len() == UFRAGS_MOVED_MAX
            && let Some(oldest) = moved.ufrags.pop_front()
        {
            self.moved_ufrags.remove(&oldest);
        }
        moved.ufrags.push_back(ufrag.to_owned());
        self.moved_ufrags.insert(ufrag.to_owned(), moved.to);
    }
}
