//! Bitrate over about the last second.

use std::time::Duration;

use millrace_shared::time::Timestamp;

const SPAN: Duration = Duration::from_millis(500);

/// Counts bytes in spans of half a second and answers with the last full span and the running one.
#[derive(Clone, Debug, Default)]
pub struct RateMeter {
    span_start: Timestamp,
    bytes: u64,
    bytes_before: u64,
}

impl RateMeter {
    pub fn add(&mut self, now: Timestamp, len: usize) {
        self.roll(now);
        self.bytes += len as u64;
    }

    pub fn bitrate_bps(&mut self, now: Timestamp) -> u64 {
        self.roll(now);
        let span = SPAN + now.since(self.span_start);
        (self.bytes + self.bytes_before) * 8_000_000 / span.as_micros() as u64
    }

    fn roll(&mut self, now: Timestamp) {
        let passed = now.since(self.span_start);
        if passed < SPAN {
            return;
        }
        if passed < SPAN * 2 {
            self.bytes_before = self.bytes;
            self.span_start += SPAN;
        } else {
            self.bytes_before = 0;
            self.span_start = now;
        }
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_a_constant_rate_and_its_end() {
        let mut meter = RateMeter::default();
        let start = Timestamp::from_millis(777_000);
        for i in 0..300 {
            meter.add(start + Duration::from_millis(i * 10), 1250);
        }
        let end = start + Duration::from_secs(3);
        let bitrate_bps = meter.bitrate_bps(end);
        assert!(
            (950_000..=1_050_000).contains(&bitrate_bps),
            "{bitrate_bps}"
        );
        assert_eq!(meter.bitrate_bps(end + Duration::from_secs(2)), 0);
    }
}
