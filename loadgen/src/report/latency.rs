//! A distribution of durations that keeps its tail and travels in JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::de::Error as _;
use serde::ser::{Error as _, SerializeStruct as _};
use std::fmt;

/// Two digits keep every percentile within 1 % of its value, and a histogram of a minute at
/// 20 kB in memory and under 1 kB in the file.
const DIGITS: u8 = 2;

/// The longest duration that is told from longer ones: two minutes.
const LONGEST_NS: u64 = 120_000_000_000;

/// An HDR histogram of durations in nanoseconds.
///
/// In JSON it has its usual percentiles for people, and the histogram itself in the base64 of
/// HdrHistogram's V2 format with deflate, which other tools of that family read. Only the latter
/// is read back.
#[derive(Clone, PartialEq)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        Latency::new()
    }
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latency")
            .field("count", &self.count())
            .field("p50_ns", &self.percentile_ns(50.0))
            .field("p99_ns", &self.percentile_ns(99.0))
            .finish_non_exhaustive()
    }
}

impl Latency {
    pub fn new() -> Latency {
        let mut histogram = empty();
        histogram.auto(true);
        Latency(histogram)
    }

    /// Counts one duration; longer ones than two minutes count as two minutes.
    pub fn record_ns(&mut self, duration_ns: u64) {
        self.record_many_ns(duration_ns, 1);
    }

    pub fn record_many_ns(&mut self, duration_ns: u64, count: u64) {
        let bounded = duration_ns.clamp(1, LONGEST_NS);
        // It resizes itself, and no value is beyond what it can hold.
        let recorded = self.0.record_n(bounded, count);
        debug_assert!(recorded.is_ok(), "{recorded:?}");
    }

    /// Adds what another counted.
    pub fn add(&mut self, other: &Latency) {
        let added = self.0.add(&other.0);
        debug_assert!(added.is_ok(), "{added:?}");
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The duration that `percentile` of 100 durations do not exceed; none when nothing was
    /// counted.
    pub fn percentile_ns(&self, percentile: f64) -> Option<u64> {
        (!self.is_empty()).then(|| self.0.value_at_percentile(percentile))
    }

    pub fn max_ns(&self) -> Option<u64> {
        (!self.is_empty()).then(|| self.0.max())
    }

    pub fn mean_ns(&self) -> Option<f64> {
        (!self.is_empty()).then(|| self.0.mean())
    }

    /// How many durations lie between the two, the lower one included.
    pub fn count_between_ns(&self, low_ns: u64, high_ns: u64) -> u64 {
        // Beyond its longest value the histogram would count that value again.
        if high_ns <= low_ns || self.max_ns().is_none_or(|max_ns| low_ns > max_ns) {
            return 0;
        }
        self.0.count_between(low_ns, high_ns - 1)
    }

    /// Each distinct duration with its count, ascending.
    pub fn counts_ns(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0
            .iter_recorded()
            .map(|step| (step.value_iterated_to(), step.count_since_last_iteration()))
    }
}

fn empty() -> Histogram<u64> {
    match Histogram::new(DIGITS) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("two digits are within bounds: {error:?}"),
    }
}

impl serde::Serialize for Latency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.0, &mut bytes)
            .map_err(|error| S::Error::custom(format!("histogram: {error:?}")))?;
        let mut out = serializer.serialize_struct("Latency", 8)?;
        out.serialize_field("count", &self.count())?;
        out.serialize_field("mean_ns", &self.mean_ns())?;
        for (name, percentile) in [
            ("p50_ns", 50.0),
            ("p90_ns", 90.0),
            ("p99_ns", 99.0),
            ("p999_ns", 99.9),
        ] {
            out.serialize_field(name, &self.percentile_ns(percentile))?;
        }
        out.serialize_field("max_ns", &self.max_ns())?;
        out.serialize_field("hdr", &STANDARD.encode(bytes))?;
        out.end()
    }
}

impl<'de> serde::Deserialize<'de> for Latency {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Stored {
            hdr: String,
        }
        let stored = Stored::deserialize(deserializer)?;
        let bytes = STANDARD.decode(stored.hdr).map_err(D::Error::custom)?;
        let mut histogram: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| D::Error::custom(format!("histogram: {error:?}")))?;
        histogram.auto(true);
        Ok(Latency(histogram))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_keep_two_digits() {
        let mut latency = Latency::new();
        for n in 1..=100_000 {
            latency.record_ns(n * 1_000);
        }
        let p99 = latency.percentile_ns(99.0).unwrap();
        assert!((98_500_000..=100_000_000).contains(&p99), "{p99}");
        assert_eq!(latency.count(), 100_000);
    }

    #[test]
    fn nothing_counted_has_no_percentile() {
        let latency = Latency::new();
        assert_eq!(
            (latency.percentile_ns(50.0), latency.max_ns()),
            (None, None)
        );
    }

    #[test]
    fn a_duration_beyond_bounds_counts_as_the_longest() {
        let mut latency = Latency::new();
        latency.record_ns(u64::MAX);
        latency.record_ns(0);
        assert_eq!(latency.count(), 2);
        assert!(latency.max_ns().unwrap() <= LONGEST_NS + LONGEST_NS / 100);
    }

    #[test]
    fn json_gives_back_every_count() {
        let mut latency = Latency::new();
        for n in [3_000, 120_000, 120_500, 5_000_000, 90_000_000_000] {
            latency.record_many_ns(n, n % 7 + 1);
        }
        let text = serde_json::to_string(&latency).unwrap();
        let back: Latency = serde_json::from_str(&text).unwrap();
        assert_eq!(back, latency);
        assert!(text.contains("\"hdr\":\"HISTFAAA"), "{text}");
        assert!(text.len() < 1_000);
    }

    #[test]
    fn a_broken_histogram_is_an_error() {
        for text in [r#"{"hdr":"!"}"#, r#"{"hdr":"AAAA"}"#, "{}"] {
            assert!(serde_json::from_str::<Latency>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn counts_between_add_up() {
        let mut latency = Latency::new();
        for n in 1..1_000 {
            latency.record_ns(n * 1_000);
        }
        let parts = [0, 1_024, 65_536, 524_288, 2_000_000];
        let sum: u64 = parts
            .windows(2)
            .map(|pair| latency.count_between_ns(pair[0], pair[1]))
            .sum();
        assert_eq!(sum, latency.count());
        for duration_ns in (1..2_000).map(|n| n * n * 500) {
            let mut single = Latency::new();
            single.record_ns(duration_ns);
            let beyond = single.max_ns().unwrap() + 1;
            assert_eq!(
                single.count_between_ns(beyond, 2 * beyond),
                0,
                "{duration_ns}"
            );
        }
    }
}
