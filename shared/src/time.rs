//! The three times of a media server: arrival ([`Timestamp`]), media time ([`RtpTime`]) and
//! wallclock ([`NtpTime`]). They never mix without a named conversion.

use std::ops::{Add, AddAssign, Sub};
use std::time::{Duration, Instant};

/// Monotonic time of this node in nanoseconds since its [`Epoch`].
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    pub const ZERO: Self = Self(0);
    /// Later than any time that occurs: "no deadline".
    pub const NEVER: Self = Self(u64::MAX);

    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }

    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The first multiple of `step` that is not earlier: deadlines that need not be exact fall due
    /// together. [`Self::NEVER`] stays so.
    pub fn round_up(self, step: Duration) -> Self {
        let step = u64::try_from(step.as_nanos()).unwrap_or(u64::MAX).max(1);
        Self(self.0.checked_next_multiple_of(step).unwrap_or(u64::MAX))
    }

    /// Time passed since `earlier`; zero when `earlier` is in the future.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl AddAssign<Duration> for Timestamp {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// RTP media time in units of the stream's clock rate, modulo 2^32 (RFC 3550 §5.1).
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct RtpTime(pub u32);

impl RtpTime {
    pub const fn wrapping_add(self, ticks: u32) -> Self {
        Self(self.0.wrapping_add(ticks))
    }

    /// Signed distance `self - earlier` in ticks, right while the two are less than 2^31 apart.
    pub const fn distance(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }
}

/// Wallclock as NTP 32.32 fixed point seconds since 1900 (RFC 5905 §6).
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// The middle 32 bits, as LSR and DLSR use them (RFC 3550 §6.4.1), in 1/65536 s.
    pub const fn middle_32(self) -> u32 {
        (self.0 >> 16) as u32
    }

    pub const fn from_duration(since_1900: Duration) -> Self {
        let fraction = ((since_1900.subsec_nanos() as u64) << 32) / 1_000_000_000;
        Self((since_1900.as_secs() << 32) | fraction)
    }
}

/// RTP sequence number, modulo 2^16 (RFC 3550 §5.1, RFC 1982 comparison).
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct SeqNo(pub u16);

impl SeqNo {
    pub const fn wrapping_add(self, n: u16) -> Self {
        Self(self.0.wrapping_add(n))
    }

    /// Signed distance `self - earlier`, right while the two are less than 2^15 apart.
    pub const fn distance(self, earlier: Self) -> i16 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }
}

/// A sequence number with its roll-over count above the low 16 bits. Streams start in cycle 1, so
/// that a reordered first packet does not underflow.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ExtSeq(pub u64);

impl ExtSeq {
    pub const fn first(seq: SeqNo) -> Self {
        Self(0x1_0000 | seq.0 as u64)
    }

    pub const fn seq(self) -> SeqNo {
        SeqNo((self.0 & 0xffff) as u16)
    }

    /// The extended number of `seq`, taken as the one nearest to `self`.
    pub const fn extend(self, seq: SeqNo) -> Self {
        let delta = seq.distance(self.seq()) as i64;
        Self(self.0.wrapping_add_signed(delta))
    }
}

/// From the NTP era to the Unix epoch (RFC 5905 §6): 70 years with 17 leap days.
pub const UNIX_EPOCH_SINCE_1900: Duration = Duration::from_secs(2_208_988_800);

/// Ties [`Timestamp`] zero to the host's monotonic clock and to wallclock. Made once by the host;
/// protocol code only converts with it.
#[derive(Copy, Clone, Debug)]
pub struct Epoch {
    pub instant: Instant,
    /// Wallclock since 1900-01-01 at [`Timestamp::ZERO`].
    pub since_1900: Duration,
}

impl Epoch {
    /// For libraries that take [`Instant`] (DTLS, SCTP).
    pub fn instant(&self, at: Timestamp) -> Instant {
        self.instant + Duration::from_nanos(at.as_nanos())
    }

    pub fn timestamp(&self, at: Instant) -> Timestamp {
        Timestamp::ZERO + at.saturating_duration_since(self.instant)
    }

    pub fn ntp(&self, at: Timestamp) -> NtpTime {
        NtpTime::from_duration(self.since_1900 + Duration::from_nanos(at.as_nanos()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ext_seq_follows_the_nearest_cycle() {
        let mut seq = ExtSeq::first(SeqNo(65_534));
        for next in [65_535, 0, 1] {
            seq = seq.extend(SeqNo(next));
        }
        assert_eq!(seq, ExtSeq(0x2_0001));
        assert_eq!(seq.extend(SeqNo(65_535)), ExtSeq(0x1_ffff));
    }

    #[test]
    fn deadlines_that_need_not_be_exact_fall_due_together() {
        let step = Duration::from_millis(250);
        for (at_ms, due_ms) in [(0, 0), (1, 250), (249, 250), (250, 250), (251, 500)] {
            let due = Timestamp::from_millis(at_ms).round_up(step);
            assert_eq!(due, Timestamp::from_millis(due_ms));
        }
        assert_eq!(Timestamp::NEVER.round_up(step), Timestamp::NEVER);
    }

    #[test]
    fn ntp_middle_counts_65536ths() {
        let at = NtpTime::from_duration(Duration::from_millis(1_500));
        assert_eq!(at.middle_32(), 0x0001_8000);
    }
}
