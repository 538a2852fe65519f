//! How often a publisher is asked for a key frame (RFC 4585 §6.3.1). Each one costs many times
//! what a frame costs otherwise, and everyone who joins or switches wants one.

use std::time::Duration;

use millrace_shared::time::Timestamp;

#[derive(Clone, Debug, Default)]
pub struct KeyframeThrottle {
    interval: Duration,
    sent_at: Option<Timestamp>,
    wanted: bool,
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

    /// Someone needs a key frame. It is asked for when [`Self::take_due`] says so.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// A key frame arrived: whoever waited has it.
    pub fn note_keyframe(&mut self) {
        self.wanted = false;
    }

    /// Whether a request is to be sent now; it then counts as sent.
    pub fn take_due(&mut self, now: Timestamp) -> bool {
        let due = self.next_timeout() <= now;
        if due {
            self.wanted = false;
            self.sent_at = Some(now);
        }
        due
    }

    pub fn next_timeout(&self) -> Timestamp {
        match (self.wanted, self.sent_at) {
            (false, _) => Timestamp::NEVER,
            (true, None) => Timestamp::ZERO,
            (true, Some(sent_at)) => sent_at + self.interval,
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
        throttle.note_keyframe();
        assert!(!throttle.take_due(ms(500)));
        throttle.want();
        assert!(throttle.take_due(ms(501)));
    }
}
