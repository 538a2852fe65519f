//! Gaps in a picture, by the rule of WebRTC's `freezeCount`.

use std::time::Duration;

use millrace_shared::time::{RtpTime, Timestamp};

/// <https://w3c.github.io/webrtc-stats/#dom-rtcinboundrtpstreamstats-freezecount>: an interval
/// between frames longer than three times the average, or than the average and 150 ms, whichever is
/// more.
const EXCESS_MIN: Duration = Duration::from_millis(150);
/// Weight of one interval in the average, of the last 30 or so frames.
const SMOOTHING: u32 = 30;

#[derive(Debug, Default)]
pub(super) struct FreezeDetector {
    last_frame: Option<(RtpTime, Timestamp)>,
    average: Option<Duration>,
}

impl FreezeDetector {
    /// A packet of the frame with this media time; the length of the freeze that it ends.
    pub(super) fn packet(&mut self, now: Timestamp, frame: RtpTime) -> Option<Duration> {
        let Some((last, at)) = self.last_frame else {
            self.last_frame = Some((frame, now));
            return None;
        };
        if frame.distance(last) <= 0 {
            return None;
        }
        self.last_frame = Some((frame, now));
        let interval = now.since(at);
        let Some(average) = self.average else {
            self.average = Some(interval);
            return None;
        };
        let limit = (average * 3).max(average + EXCESS_MIN);
        if interval > limit {
            return Some(interval);
        }
        self.average = Some((average * (SMOOTHING - 1) + interval) / SMOOTHING);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_long_interval_is_a_freeze() {
        let mut detector = FreezeDetector::default();
        let mut at = |ms: u64| detector.packet(Timestamp::from_millis(ms), RtpTime(ms as u32 * 90));
        for frame in 0..60 {
            assert_eq!(at(frame * 33), None);
        }
        assert_eq!(at(60 * 33 + 150), None, "183 ms are no freeze");
        assert_eq!(at(60 * 33 + 450), Some(Duration::from_millis(300)));
        assert_eq!(at(60 * 33 + 483), None);
    }
}
