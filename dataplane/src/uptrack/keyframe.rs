//! How often a publisher is asked for a key frame (RFC 4585 §6.3.1). Each one costs many times
//! what a frame costs otherwise, and everyone who joins or switches wants one.

use std::time::Duration;

use millrace_shared::time::{ExtSeq, Timestamp};

/// What a key frame is wanted for.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Want {
    /// Those who watch will not get what lies before: a key frame that begins here or later lets them
    /// go on, a late one as well.
    Repair(ExtSeq),
    /// Someone starts, which nobody does at a late packet.
    Start,
}

#[derive(Clone, Debug, Default)]
pub struct KeyframeThrottle {
    interval: Duration,
    sent_at: Option<Timestamp>,
    wanted: Option<Want>,
}

impl KeyframeThrottle {
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            ..Self::default()
        }
    }

    pub fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }

    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Someone needs a key frame to start. It is asked for when [`Self::take_due`] says so.
    pub fn want(&mut self) {
        self.wanted = Some(Want::Start);
    }

    /// The same because packets before `seq` will not come.
    pub fn want_from(&mut self, seq: ExtSeq) {
        self.wanted = self.wanted.max(Some(Want::Repair(seq)));
    }

    /// A key frame that begins with `seq` arrived, `late` if newer packets did before. Whoever waited
    /// for such a one has it.
    pub fn note_keyframe(&mut self, seq: ExtSeq, late: bool) {
        let serves = match self.wanted {
            Some(Want::Repair(from)) => seq >= from,
            Some(Want::Start) => !late,
            None => return,
        };
        if serves {
            self.wanted = None;
        }
    }

    /// Whether a request is to be sent now; it then counts as sent.
    pub fn take_due(&mut self, now: Timestamp) -> bool {
        let due = self.next_timeout() <= now;
        if due {
            self.wanted = None;
            self.sent_at = Some(now);
        }
        due
    }

    pub fn next_timeout(&self) -> Timestamp {
        match (self.wanted, self.sent_at) {
            (None, _) => Timestamp::NEVER,
            (Some(_), None) => Timestamp::ZERO,
            (Some(_), Some(sent_at)) => sent_at + self.interval,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn throttle() -> KeyframeThrottle {
        KeyframeThrottle::new(Duration::from_millis(500))
    }

    #[test]
    fn many_requests_make_one_each_interval() {
        let mut throttle = throttle();
        let mut sent_at = Vec::new();
        for at in (0..1_300).step_by(10) {
            throttle.want();
            if throttle.take_due(ms(at)) {
                sent_at.push(at);
            }
        }
        assert_eq!(sent_at, [0, 500, 1_000]);
    }

    #[test]
    fn a_throttled_request_is_sent_later_unless_a_key_frame_comes() {
        let mut throttle = throttle();
        throttle.want();
        assert!(throttle.take_due(ms(0)));
        assert_eq!(throttle.next_timeout(), Timestamp::NEVER);
        throttle.want();
        assert!(!throttle.take_due(ms(499)));
        assert_eq!(throttle.next_timeout(), ms(500));
        throttle.note_keyframe(ExtSeq(1), false);
        assert!(!throttle.take_due(ms(500)));
        throttle.want();
        assert!(throttle.take_due(ms(501)));
    }

    fn is_wanted_after(keyframe: u64, late: bool, want: impl Fn(&mut KeyframeThrottle)) -> bool {
        let mut throttle = throttle();
        want(&mut throttle);
        throttle.note_keyframe(ExtSeq(keyframe), late);
        throttle.take_due(ms(0))
    }

    #[test]
    fn a_late_key_frame_lets_nobody_start() {
        let start = KeyframeThrottle::want;
        assert!(is_wanted_after(9, true, start));
        assert!(!is_wanted_after(9, false, start));
        let both = |throttle: &mut KeyframeThrottle| {
            throttle.want();
            throttle.want_from(ExtSeq(5));
        };
        assert!(is_wanted_after(9, true, both));
        assert!(!is_wanted_after(9, false, both));
    }

    #[test]
    fn a_late_key_frame_mends_what_broke_before_it() {
        let broken = |throttle: &mut KeyframeThrottle| {
            throttle.want_from(ExtSeq(5));
            throttle.want_from(ExtSeq(3));
        };
        assert!(is_wanted_after(4, true, broken));
        assert!(!is_wanted_after(5, true, broken));
        assert!(!is_wanted_after(5, false, broken));
    }
}
