//! How often an address may join, and how often show a token that is refused.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use millrace_shared::bucket::{Bucket, Rate};
use millrace_shared::time::Timestamp;

use super::strangers::owner;

/// At once an address may have the joins of so many seconds: a company behind one address comes back
/// after an outage, and somebody who joins again and again still does not keep the rooms busy.
const JOINS_BURST_S: u32 = 20;
/// Clients give up after one. More come from a service that has the wrong key, or who guesses.
const REFUSED_TOKENS: Rate = Rate {
    per_second: 10,
    burst: 100,
};
/// Addresses that are remembered: 5 MiB. One that is too many is not limited, as nobody is who has
/// so many addresses.
const ADDRESSES_MAX: usize = 65_536;
/// Full of addresses, the memory is looked through no more often.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What was taken of the allowances of each address.
#[derive(Clone, Debug)]
pub(super) struct Visits {
    begun: Instant,
    /// None: a proxy before us speaks for everybody.
    joins: Option<Rate>,
    memory: Arc<Mutex<Memory>>,
}

#[derive(Debug, Default)]
struct Memory {
    taken: HashMap<IpAddr, Taken>,
    swept_at: Option<Timestamp>,
}

#[derive(Copy, Clone, Debug, Default)]
struct Taken {
    joins: Bucket,
    refused_tokens: Bucket,
}

impl Taken {
    fn is_made_up_for(&self, now: Timestamp, joins: Option<Rate>) -> bool {
        joins.is_none_or(|rate| self.joins.ready_at(rate, rate.burst) <= now)
            && self
                .refused_tokens
                .ready_at(REFUSED_TOKENS, REFUSED_TOKENS.burst)
                <= now
    }
}

impl Visits {
    /// With so many joins of one address a second; 0 is no limit.
    pub(super) fn new(joins_per_second: u32) -> Self {
        let joins = (joins_per_second > 0).then(|| Rate {
            per_second: joins_per_second,
            burst: joins_per_second.saturating_mul(JOINS_BURST_S),
        });
        Self {
            begun: Instant::now(),
            joins,
            memory: Arc::default(),
        }
    }

    /// A join with a good token; false when the address has joined too often.
    pub(super) fn join(&self, remote: IpAddr) -> bool {
        self.join_at(self.now(), remote)
    }

    fn join_at(&self, now: Timestamp, remote: IpAddr) -> bool {
        let Some(rate) = self.joins else {
            return true;
        };
        self.take(now, remote, |taken| taken.joins.take(now, rate, 1))
    }

    /// Whether [`Self::join`] would be allowed.
    pub(super) fn may_join(&self, remote: IpAddr) -> bool {
        let taken = self.lock().taken.get(&owner(remote)).copied();
        let (Some(taken), Some(rate)) = (taken, self.joins) else {
            return true;
        };
        taken.joins.ready_at(rate, 1) <= self.now()
    }

    /// A token that was refused; false when the address has shown too many of them.
    pub(super) fn refuse_token(&self, remote: IpAddr) -> bool {
        let now = self.now();
        self.take(now, remote, |taken| {
            taken.refused_tokens.take(now, REFUSED_TOKENS, 1)
        })
    }

    fn take(&self, now: Timestamp, remote: IpAddr, take: impl FnOnce(&mut Taken) -> bool) -> bool {
        let address = owner(remote);
        // A proxy on this machine speaks for everybody, and limits them itself.
        if address.is_loopback() {
            return true;
        }
        let joins = self.joins;
        self.lock().remember(now, address, joins).is_none_or(take)
    }

    fn now(&self) -> Timestamp {
        let nanos = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        // A bucket that was never used is full at time zero.
        Timestamp::from_millis(1) + Duration::from_nanos(nanos)
    }

    /// A panic while the lock was held leaves a whole map behind.
    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn remember(
        &mut self,
        now: Timestamp,
        address: IpAddr,
        joins: Option<Rate>,
    ) -> Option<&mut Taken> {
        if self.taken.len() >= ADDRESSES_MAX && !self.taken.contains_key(&address) {
            let due = self.swept_at.is_none_or(|at| at + SWEEP_INTERVAL <= now);
            if due {
                self.swept_at = Some(now);
                self.taken
                    .retain(|_, taken| !taken.is_made_up_for(now, joins));
            }
            if self.taken.len() >= ADDRESSES_MAX {
                return None;
            }
        }
        Some(self.taken.entry(address).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000 * seconds)
    }

    fn joins(visits: &Visits, now: Timestamp, address: &str) -> usize {
        let address = address.parse().unwrap();
        (0..2_000).filter(|_| visits.join_at(now, address)).count()
    }

    #[test]
    fn one_address_has_a_rate_and_others_are_not_touched() {
        let visits = Visits::new(50);
        assert_eq!(joins(&visits, at(100), "198.51.100.1"), 1_000);
        assert_eq!(joins(&visits, at(100), "198.51.100.1"), 0);
        assert_eq!(joins(&visits, at(101), "198.51.100.1"), 50);
        assert_eq!(joins(&visits, at(101), "198.51.100.2"), 1_000);
        // Of IPv6 a network is one peer; loopback is none.
        assert_eq!(joins(&visits, at(101), "2001:db8::1"), 1_000);
        assert_eq!(joins(&visits, at(101), "2001:db8::2"), 0);
        assert_eq!(joins(&visits, at(101), "127.0.0.1"), 2_000);
        let unlimited = Visits::new(0);
        assert_eq!(joins(&unlimited, at(101), "198.51.100.1"), 2_000);
        assert!(unlimited.may_join("198.51.100.1".parse().unwrap()));
    }

    #[test]
    fn refused_tokens_do_not_keep_good_ones_out() {
        let visits = Visits::new(50);
        let address = "198.51.100.1".parse().unwrap();
        let refused = (0..300).filter(|_| visits.refuse_token(address)).count();
        assert!((100..150).contains(&refused), "{refused}");
        assert!(visits.may_join(address) && visits.join(address));
    }

    #[test]
    fn a_full_memory_forgets_whom_nothing_is_held_against() {
        let visits = Visits::new(50);
        let address = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        let join = |now, n| visits.join_at(now, address(n));
        let many = u32::try_from(ADDRESSES_MAX).unwrap();
        for n in 0..many {
            assert!(join(at(100), n));
        }
        assert!(join(at(100), many), "not limited");
        assert_eq!(visits.lock().taken.len(), ADDRESSES_MAX);
        assert!(join(at(102), many));
        assert_eq!(visits.lock().taken.len(), 1);
    }
}
