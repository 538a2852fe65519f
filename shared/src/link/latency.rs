//! How long packets stayed with us, in buckets of fixed bounds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bounds are 16 us times powers of the square root of two, up to 92 ms: each bucket is 41 % wide,
/// fine enough to read a percentile from, and a record costs a few comparisons.
pub const LATENCY_BOUNDS: [Duration; BOUNDS] = bounds();

const BOUNDS: usize = 26;

const fn bounds() -> [Duration; BOUNDS] {
    let mut bounds = [Duration::ZERO; BOUNDS];
    let mut index = 0;
    let mut even_ns = 16_000;
    while index < BOUNDS {
        bounds[index] = Duration::from_nanos(even_ns);
        // 1.4142 without floating point.
        bounds[index + 1] = Duration::from_nanos(even_ns * 14_142 / 10_000);
        even_ns *= 2;
        index += 2;
    }
    bounds
}

/// Counts by latency. The last bucket is for all above the last bound.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Latencies {
    counts: [u64; BOUNDS + 1],
    sum_ns: u64,
}

impl Latencies {
    pub fn record(&mut self, latency: Duration) {
        let bucket = LATENCY_BOUNDS.partition_point(|bound| *bound < latency);
        self.counts[bucket] += 1;
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    /// Each bucket's upper bound, none for the last, and its count.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> + '_ {
        let bounds = LATENCY_BOUNDS.iter().copied().map(Some).chain([None]);
        bounds.zip(self.counts.iter().copied())
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns)
    }

    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_falls_into_the_bucket_that_ends_at_or_above_it() {
        let mut latencies = Latencies::default();
        for us in [0, 16, 17, 100, 1_000_000] {
            latencies.record(Duration::from_micros(us));
        }
        let filled: Vec<_> = latencies
            .buckets()
            .filter(|(_, count)| *count > 0)
            .collect();
        let below_us = |us: f64| Some(Duration::from_nanos((us * 1e3) as u64));
        let expected = [
            (below_us(16.0), 2),
            (below_us(22.627), 1),
            (below_us(128.0), 1),
            (None, 1),
        ];
        assert_eq!(filled, expected);
        assert_eq!(latencies.count(), 5);
        assert_eq!(latencies.sum(), Duration::from_micros(1_000_133));
    }

    #[test]
    fn bounds_rise_by_half_powers_of_two() {
        assert_eq!(LATENCY_BOUNDS[0], Duration::from_micros(16));
        assert_eq!(LATENCY_BOUNDS[24], Duration::from_micros(65_536));
        for pair in LATENCY_BOUNDS.windows(2) {
            let ratio = pair[1].as_secs_f64() / pair[0].as_secs_f64();
            assert!((1.41..1.42).contains(&ratio), "{ratio}");
        }
    }
}
