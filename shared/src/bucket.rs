//! A token bucket: how much somebody may have of something, and how much of it at once.

use std::time::Duration;

use crate::time::Timestamp;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// An allowance. What it counts (packets, bytes) is said where it is used.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Rate {
    pub per_second: u32,
    /// Allowed at once to who has been quiet. More than this is never allowed in one piece.
    pub burst: u32,
}

impl Rate {
    /// Time in which the rate makes up for `amount`, in nanoseconds.
    const fn cost_ns(self, amount: u32) -> u64 {
        amount as u64 * NANOS_PER_SECOND / self.per_second as u64
    }
}

/// What was taken of one [`Rate`]. A single number, by virtual scheduling: the time at which all of
/// it is made up for (ITU-T I.371 annex A calls it the theoretical arrival time).
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Bucket {
    full_at: Timestamp,
}

impl Bucket {
    /// Takes `amount` if it is there, else nothing.
    pub fn take(&mut self, now: Timestamp, rate: Rate, amount: u32) -> bool {
        let allowed = self.ready_at(rate, amount) <= now;
        if allowed {
            self.force(now, rate, amount);
        }
        allowed
    }

    /// Takes `amount` though it may not be there: what comes next has to wait for it.
    pub fn force(&mut self, now: Timestamp, rate: Rate, amount: u32) {
        let cost = Duration::from_nanos(rate.cost_ns(amount));
        self.full_at = self.full_at.max(now) + cost;
    }

    /// From when on `amount` can be taken.
    pub fn ready_at(&self, rate: Rate, amount: u32) -> Timestamp {
        let depth = rate.cost_ns(rate.burst);
        let cost = rate.cost_ns(amount);
        match depth.checked_sub(cost) {
            Some(spare) => self.full_at - Duration::from_nanos(spare),
            None => Timestamp::NEVER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_second: 100,
        burst: 10,
    };

    fn ms(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut bucket = Bucket::default();
        let at_once = (0..50).filter(|_| bucket.take(ms(5_000), RATE, 1)).count();
        assert_eq!(at_once, 10);
        let later = (5_000..6_000)
            .filter(|at| bucket.take(ms(*at), RATE, 1))
            .count();
        assert_eq!(later, 99, "the first is made up for after 10 ms");
        // A minute of quiet is worth no more than the burst.
        let at_once = (0..50).filter(|_| bucket.take(ms(66_000), RATE, 1)).count();
        assert_eq!(at_once, 10);
    }

    #[test]
    fn what_is_refused_costs_nothing_and_what_exceeds_the_burst_never_passes() {
        let mut bucket = Bucket::default();
        assert!(!bucket.take(ms(1_000), RATE, 11));
        assert!(bucket.take(ms(1_000), RATE, 10));
        assert!(!bucket.take(ms(1_049), RATE, 5));
        assert!(bucket.take(ms(1_050), RATE, 5));
    }

    #[test]
    fn a_debt_is_waited_for() {
        let mut bucket = Bucket::default();
        bucket.force(ms(1_000), RATE, 110);
        assert_eq!(bucket.ready_at(RATE, 1), ms(1_000 + 1_000 + 10));
        assert!(!bucket.take(ms(2_000), RATE, 1));
        assert!(bucket.take(ms(2_010), RATE, 1));
    }
}
