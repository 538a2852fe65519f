use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A duration as Go writes it: `500ms`, `1m30s`; a bare number counts nanoseconds.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct GoDuration(pub Duration);

impl GoDuration {
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// Whole milliseconds, at most what fits.
    pub fn as_millis_u32(self) -> u32 {
        u32::try_from(self.0.as_millis()).unwrap_or(u32::MAX)
    }
}

/// Reads what Go's `time.ParseDuration` reads, less the sign: no duration here may be negative.
fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, tail) = rest.split_at_checked(number_len)?;
        let unit_len = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, after) = tail.split_at_checked(unit_len)?;
        let unit_secs = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let secs = number.parse::<f64>().ok()? * unit_secs;
        total = total.checked_add(Duration::try_from_secs_f64(secs).ok()?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = GoDuration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as 500ms, 1s or 1m30s")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<GoDuration, E> {
        parse(text)
            .map(GoDuration)
            .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }

    fn visit_u64<E: Error>(self, nanos: u64) -> Result<GoDuration, E> {
        Ok(GoDuration(Duration::from_nanos(nanos)))
    }

    fn visit_i64<E: Error>(self, nanos: i64) -> Result<GoDuration, E> {
        u64::try_from(nanos)
            .map(|nanos| GoDuration(Duration::from_nanos(nanos)))
            .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(nanos), &self))
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DurationVisitor)
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}ns", self.0.as_nanos()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_read() {
        for (text, millis) in [
            ("500ms", 500),
            ("1s", 1_000),
            ("1.5s", 1_500),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
            ("0", 0),
            ("1000000ns", 1),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "5", "-1s", "1 s", "1.2.3s", "5 minutes", "1e3s"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
