//! How long a busy shard lets packets gather before it looks again.
//!
//! A train is what one drain delivers for one subscriber, and longer trains cost less. An idle
//! shard sends at once. From half its thread on, it pauses a little before it drains, so that the
//! packets of several speakers to one listener leave as one train; near saturation the queue in the
//! socket does the same by itself, and a pause would only waste the thread. The curve is in
//! `docs/performance.md`.

use std::time::Duration;

use millrace_shared::time::Timestamp;

/// How often the load is looked at.
const WINDOW: Duration = Duration::from_millis(50);
/// Below, nothing is held back; from [`BUSY_FULL`] on, the whole budget.
const BUSY_FROM: f64 = 0.5;
const BUSY_FULL: f64 = 0.75;
/// A drain that delivered so much has left more behind.
const DRAIN_FULL: u64 = 64;

#[derive(Debug)]
pub(crate) struct Coalescing {
    max: Duration,
    window_began: Timestamp,
    busy: Duration,
    /// Share of the thread's time that ticks took, smoothed over some windows.
    utilization: f64,
}

impl Coalescing {
    /// Holds packets back for at most `max`; zero switches it off.
    pub(crate) fn new(max: Duration, now: Timestamp) -> Self {
        Self {
            max,
            window_began: now,
            busy: Duration::ZERO,
            utilization: 0.0,
        }
    }

    /// A tick ran from `began` to `ended` and took in `datagrams`. Returns how long to pause.
    pub(crate) fn pause_after(
        &mut self,
        began: Timestamp,
        ended: Timestamp,
        datagrams: u64,
    ) -> Duration {
        self.busy += ended.since(began);
        let window = ended.since(self.window_began);
        if window >= WINDOW {
            let share = self.busy.as_secs_f64() / window.as_secs_f64();
            self.utilization = (self.utilization + share.min(1.0)) / 2.0;
            self.busy = Duration::ZERO;
            self.window_began = ended;
        }
        // A tick without datagrams is a timer's or a command's: nothing says that more will come.
        if datagrams == 0 || datagrams >= DRAIN_FULL {
            return Duration::ZERO;
        }
        let above = (self.utilization - BUSY_FROM) / (BUSY_FULL - BUSY_FROM);
        self.max.mul_f64(above.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_millis(2);
    const PERIOD: Duration = Duration::from_millis(10);

    /// The pause after a second of ticks that each take `busy` of every 10 ms.
    fn pause_when(busy: Duration, max: Duration, datagrams: u64) -> Duration {
        let mut coalescing = Coalescing::new(max, Timestamp::default());
        let mut pause = Duration::ZERO;
        for tick in 0..100 {
            let began = Timestamp::default() + tick * PERIOD;
            pause = coalescing.pause_after(began, began + busy, datagrams);
        }
        pause
    }

    #[test]
    fn an_idle_shard_never_waits_and_a_busy_one_waits_longer_the_busier_it_is() {
        let ms = Duration::from_millis;
        assert_eq!(pause_when(ms(4), MAX, 3), Duration::ZERO);
        let half = pause_when(ms(6), MAX, 3);
        assert!((MAX / 4..MAX).contains(&half), "{half:?}");
        assert_eq!(pause_when(ms(9), MAX, 3), MAX);
        assert_eq!(pause_when(ms(9), Duration::ZERO, 3), Duration::ZERO);
    }

    #[test]
    fn a_shard_with_a_queue_before_it_does_not_wait() {
        let busy = Duration::from_millis(10);
        assert_eq!(pause_when(busy, MAX, DRAIN_FULL), Duration::ZERO);
        assert_eq!(pause_when(busy, MAX, 0), Duration::ZERO);
    }

    #[test]
    fn load_that_ends_is_forgotten_within_half_a_second() {
        let mut coalescing = Coalescing::new(MAX, Timestamp::default());
        let mut at = Timestamp::default();
        for _ in 0..100 {
            coalescing.pause_after(at, at + PERIOD, 3);
            at += PERIOD;
        }
        assert_eq!(coalescing.pause_after(at, at, 3), MAX);
        for _ in 0..50 {
            coalescing.pause_after(at, at, 3);
            at += PERIOD;
        }
        assert_eq!(coalescing.pause_after(at, at, 3), Duration::ZERO);
    }
}
