//! One queue of deadlines per shard; each entry says what for.
//!
//! An owner has at most one entry that counts: asking for an earlier time adds one and makes the
//! other stale, asking for a later time changes nothing until the entry fires and its owner asks
//! again. So re-arming costs nothing on the packet path.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use millrace_shared::time::Timestamp;

use crate::slots::Slot;

/// Who wanted to be woken.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reason {
    /// ICE expiry, DTLS and SCTP retransmission, transport-cc feedback, receiver reports.
    Transport(Slot),
    /// NACKs and delayed key-frame requests.
    UpTrack(Slot),
    /// Sender reports and repeated key-frame requests.
    DownTrack(Slot),
    /// Speaker levels.
    Group(Slot),
    /// Reports to the control plane.
    Reports,
    Metrics,
}

/// When an owner's next entry fires; kept beside the owner.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Armed(Timestamp);

impl Default for Armed {
    fn default() -> Self {
        Self(Timestamp::NEVER)
    }
}

#[derive(Debug)]
pub struct Timers {
    queue: BinaryHeap<Reverse<(Timestamp, Reason)>>,
}

/// Places from the start, so that the queue of a small shard never grows while packets wait.
const ENTRIES_START: usize = 1024;

impl Default for Timers {
    fn default() -> Self {
        Self {
            queue: BinaryHeap::with_capacity(ENTRIES_START),
        }
    }
}

impl Timers {
    /// Wakes `reason` at `at` or earlier.
    pub fn arm(&mut self, armed: &mut Armed, at: Timestamp, reason: Reason) {
        if at < armed.0 {
            armed.0 = at;
            self.queue.push(Reverse((at, reason)));
        }
    }

    /// Entries, stale ones included.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn next(&self) -> Timestamp {
        self.queue
            .peek()
            .map_or(Timestamp::NEVER, |Reverse((at, _))| *at)
    }

    /// The next entry that is due. Its owner calls [`Timers::fired`] to learn whether it counts.
    pub fn pop_due(&mut self, now: Timestamp) -> Option<(Timestamp, Reason)> {
        let Reverse((at, _)) = self.queue.peek()?;
        if *at > now {
            return None;
        }
        self.queue.pop().map(|Reverse(entry)| entry)
    }

    /// Whether the entry of time `at` is the one that counts; disarms the owner if so.
    pub fn fired(armed: &mut Armed, at: Timestamp) -> bool {
        let counts = armed.0 == at;
        if counts {
            *armed = Armed::default();
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_request_makes_the_later_one_stale() {
        let mut timers = Timers::default();
        let mut armed = Armed::default();
        let (early, late) = (Timestamp::from_millis(1), Timestamp::from_millis(2));
        timers.arm(&mut armed, late, Reason::Metrics);
        timers.arm(&mut armed, early, Reason::Metrics);
        timers.arm(&mut armed, late, Reason::Metrics);

        let now = Timestamp::from_millis(3);
        let (at, _) = timers.pop_due(now).unwrap();
        assert!(Timers::fired(&mut armed, at));
        let (at, _) = timers.pop_due(now).unwrap();
        assert!(!Timers::fired(&mut armed, at));
        assert_eq!(timers.pop_due(now), None);
    }
}
