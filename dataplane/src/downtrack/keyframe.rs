//! When to ask the publisher for the key frame that a switch waits for.

use std::time::Duration;

use millrace_shared::time::Timestamp;

/// Bounds of the time between two requests, as LiveKit's server has them.
const INTERVAL_MIN: Duration = Duration::from_millis(200);
const INTERVAL_MAX: Duration = Duration::from_millis(1_000);

/// Repeats a request until it is met. How often a publisher is really asked is throttled where the
/// requests of all subscribers meet.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct KeyframeRequest {
    /// The encoding that was asked.
    asked: Option<u8>,
    next_at: Timestamp,
}

impl KeyframeRequest {
    /// The encoding to ask now; another one than before is asked at once.
    pub(super) fn due(&mut self, now: Timestamp, wanted: Option<u8>, rtt: Duration) -> Option<u8> {
        if self.next_timeout(wanted) > now {
            return None;
        }
        self.asked = wanted;
        self.next_at = now + (rtt * 2).clamp(INTERVAL_MIN, INTERVAL_MAX);
        wanted
    }

    /// A met request is forgotten, so that the next one is made at once.
    pub(super) fn met(&mut self) {
        self.asked = None;
    }

    pub(super) fn next_timeout(&self, wanted: Option<u8>) -> Timestamp {
        match wanted {
            None => Timestamp::NEVER,
            Some(_) if wanted != self.asked => Timestamp::ZERO,
            Some(_) => self.next_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Timestamp = Timestamp::from_millis;

    #[test]
    fn a_request_is_repeated_by_round_trip_within_bounds() {
        for (rtt_ms, interval_ms) in [(0, 200), (300, 600), (5_000, 1_000)] {
            let rtt = Duration::from_millis(rtt_ms);
            let mut request = KeyframeRequest::default();
            assert_eq!(request.due(AT(50), Some(1), rtt), Some(1));
            assert_eq!(request.next_timeout(Some(1)), AT(50 + interval_ms));
            assert_eq!(request.due(AT(49 + interval_ms), Some(1), rtt), None);
            assert_eq!(request.due(AT(50 + interval_ms), Some(1), rtt), Some(1));
        }
    }

    #[test]
    fn another_encoding_is_asked_at_once_and_none_never() {
        let mut request = KeyframeRequest::default();
        assert_eq!(request.due(AT(50), Some(1), Duration::ZERO), Some(1));
        assert_eq!(request.due(AT(51), Some(2), Duration::ZERO), Some(2));
        assert_eq!(request.due(AT(900), None, Duration::ZERO), None);
        assert_eq!(request.next_timeout(None), Timestamp::NEVER);
        request.met();
        assert_eq!(request.due(AT(901), Some(2), Duration::ZERO), Some(2));
    }
}
