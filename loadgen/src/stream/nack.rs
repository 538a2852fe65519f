//! Asking for packets that are missing (RFC 4585 §6.2.1).

use std::collections::VecDeque;
use std::time::Duration;

use millrace_shared::time::{ExtSeq, SeqNo, Timestamp};

/// As libwebrtc: reordered packets get a moment, then requests repeat a round trip apart.
const FIRST_DELAY: Duration = Duration::from_millis(5);
const REPEAT: Duration = Duration::from_millis(80);
const TRIES_MAX: u8 = 10;
/// libwebrtc keeps 1000 and asks for a key frame beyond.
const MISSING_MAX: usize = 1000;

#[derive(Copy, Clone, Debug)]
struct Missing {
    seq: ExtSeq,
    next_at: Timestamp,
    tries: u8,
}

#[derive(Debug, Default)]
pub(super) struct NackList {
    missing: VecDeque<Missing>,
}

/// What a round of requests found.
#[derive(Debug, Default)]
pub(super) struct Due {
    pub(super) seqs: Vec<SeqNo>,
    /// Some packet was given up: only a key frame helps.
    pub(super) given_up: bool,
}

impl NackList {
    /// `count` numbers before `seq` are missing. False when there are too many to ask for.
    pub(super) fn add_gap(&mut self, now: Timestamp, seq: ExtSeq, count: u64) -> bool {
        if self.missing.len() as u64 + count > MISSING_MAX as u64 {
            self.missing.clear();
            return false;
        }
        self.missing
            .extend((seq.0 - count..seq.0).map(|number| Missing {
                seq: ExtSeq(number),
                next_at: now + FIRST_DELAY,
                tries: 0,
            }));
        true
    }

    pub(super) fn remove(&mut self, seq: ExtSeq) {
        self.missing.retain(|missing| missing.seq != seq);
    }

    pub(super) fn clear(&mut self) {
        self.missing.clear();
    }

    pub(super) fn next_timeout(&self) -> Timestamp {
        let due = self.missing.iter().map(|missing| missing.next_at);
        due.min().unwrap_or(Timestamp::NEVER)
    }

    pub(super) fn due(&mut self, now: Timestamp) -> Due {
        let mut due = Due::default();
        self.missing.retain_mut(|missing| {
            if missing.next_at > now {
                return true;
            }
            if missing.tries == TRIES_MAX {
                due.given_up = true;
                return false;
            }
            missing.tries += 1;
            missing.next_at = now + REPEAT;
            due.seqs.push(missing.seq.seq());
            true
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_packet_is_asked_for_until_it_comes() {
        let mut list = NackList::default();
        assert!(list.add_gap(Timestamp::ZERO, ExtSeq(0x1_0005), 2));
        assert!(list.due(Timestamp::ZERO).seqs.is_empty());
        let first = Timestamp::ZERO + FIRST_DELAY;
        assert_eq!(list.next_timeout(), first);
        assert_eq!(list.due(first).seqs, [SeqNo(3), SeqNo(4)]);
        list.remove(ExtSeq(0x1_0003));
        assert!(list.due(first).seqs.is_empty());
        assert_eq!(list.due(first + REPEAT).seqs, [SeqNo(4)]);
    }

    #[test]
    fn it_is_given_up_in_the_end() {
        let mut list = NackList::default();
        list.add_gap(Timestamp::ZERO, ExtSeq(0x1_0005), 1);
        let mut now = Timestamp::ZERO + FIRST_DELAY;
        for _ in 0..TRIES_MAX {
            assert!(!list.due(now).given_up);
            now += REPEAT;
        }
        assert!(list.due(now).given_up);
        assert_eq!(list.next_timeout(), Timestamp::NEVER);
    }
}
