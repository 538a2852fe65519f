//! A bad network between one client and its socket, in user space: loss, delay, jitter and a rate.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use millrace_shared::time::Timestamp;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// What waits longer for a slow link is dropped, as a router's queue would.
const QUEUE_MAX: Duration = Duration::from_millis(300);

/// How bad it is, each way.
#[derive(Copy, Clone, PartialEq, Debug, Default)]
pub struct Impairment {
    /// Share of datagrams dropped.
    pub loss: f64,
    pub delay: Duration,
    /// Delay varies by up to this, without reordering.
    pub jitter: Duration,
    /// Bits per second; none is no limit.
    pub rate_bps: Option<u64>,
}

#[derive(Debug)]
struct Waiting {
    due: Timestamp,
    remote: SocketAddr,
    datagram: Vec<u8>,
}

/// One direction.
#[derive(Debug)]
pub struct Link {
    impairment: Impairment,
    rng: SmallRng,
    queue: VecDeque<Waiting>,
    /// When the last bit accepted has left.
    idle_at: Timestamp,
}

impl Link {
    pub fn new(impairment: Impairment, seed: u64) -> Self {
        Self {
            impairment,
            rng: SmallRng::seed_from_u64(seed),
            queue: VecDeque::new(),
            idle_at: Timestamp::ZERO,
        }
    }

    /// Takes a datagram. False if it is dropped.
    pub fn push(&mut self, now: Timestamp, remote: SocketAddr, datagram: &[u8]) -> bool {
        if self.rng.random_bool(self.impairment.loss.clamp(0.0, 1.0)) {
            return false;
        }
        let mut due = now;
        if let Some(rate) = self.impairment.rate_bps {
            let begin = self.idle_at.max(now);
            if begin.since(now) > QUEUE_MAX {
                return false;
            }
            let bits = datagram.len() as u64 * 8;
            due = begin + Duration::from_nanos(bits * 1_000_000_000 / rate.max(1));
            self.idle_at = due;
        }
        let jitter = self.impairment.jitter.mul_f64(self.rng.random());
        due = due + self.impairment.delay + jitter;
        if let Some(last) = self.queue.back() {
            due = due.max(last.due);
        }
        self.queue.push_back(Waiting {
            due,
            remote,
            datagram: datagram.to_vec(),
        });
        true
    }

    pub fn next_timeout(&self) -> Timestamp {
        self.queue.front().map_or(Timestamp::NEVER, |it| it.due)
    }

    /// The next datagram that is due.
    pub fn pop(&mut self, now: Timestamp) -> Option<(SocketAddr, Vec<u8>)> {
        if self.next_timeout() > now {
            return None;
        }
        let waiting = self.queue.pop_front()?;
        Some((waiting.remote, waiting.datagram))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr() -> SocketAddr {
        ([127, 0, 0, 1], 1).into()
    }

    #[test]
    fn loss_takes_its_share() {
        let impairment = Impairment {
            loss: 0.1,
            ..Impairment::default()
        };
        let mut link = Link::new(impairment, 1);
        let passed = (0..10_000)
            .filter(|_| link.push(Timestamp::ZERO, addr(), &[0]))
            .count();
        assert!((8_850..9_150).contains(&passed), "{passed}");
    }

    #[test]
    fn delay_and_jitter_keep_the_order() {
        let impairment = Impairment {
            delay: Duration::from_millis(20),
            jitter: Duration::from_millis(10),
            ..Impairment::default()
        };
        let mut link = Link::new(impairment, 1);
        for number in 0..100 {
            let now = Timestamp::from_millis(u64::from(number));
            link.push(now, addr(), &[number]);
        }
        let mut next = 0;
        let mut latest = Timestamp::ZERO;
        while link.next_timeout() < Timestamp::NEVER {
            let due = link.next_timeout();
            let (_, datagram) = link.pop(due).unwrap();
            assert_eq!(datagram, [next]);
            let delay = due.since(Timestamp::from_millis(u64::from(next)));
            assert!((20..=30).contains(&delay.as_millis()), "{delay:?}");
            assert!(due >= latest);
            latest = due;
            next += 1;
        }
        assert_eq!(next, 100);
    }

    #[test]
    fn a_rate_spaces_and_in_the_end_drops() {
        let impairment = Impairment {
            rate_bps: Some(1_000_000),
            ..Impairment::default()
        };
        let mut link = Link::new(impairment, 1);
        // 10 ms each at 1 Mbit/s.
        let passed = (0..100)
            .filter(|_| link.push(Timestamp::ZERO, addr(), &[0; 1250]))
            .count();
        assert_eq!(passed, 31);
        assert_eq!(link.next_timeout(), Timestamp::from_millis(10));
    }
}
