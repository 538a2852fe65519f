//! How often an address may join, and how often show a token that is refused; how often a session may
//! be resumed.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use millrace_shared::bucket::{Bucket, Rate};
use millrace_shared::time::Timestamp;

use super::strangers::owner;
use crate::auth::Claims;

/// At once an address may have the joins of so many seconds: a company behind one address comes back
/// after an outage, and somebody who joins again and again still does not keep the rooms busy.
const JOINS_BURST_S: u32 = 20;
/// Clients give up after one. More come from a service that has the wrong key, or who guesses.
const REFUSED_TOKENS: Rate = Rate {
    per_second: 10,
    burst: 100,
};
/// Resumes of one session that cost its address nothing: when a network comes back, everybody behind
/// it resumes at once, and more often than once. Clients try again after 0.3 s and ever more slowly.
///
/// Who has one valid token can have this many of them: each costs a response that lists the room, and
/// an ICE restart of his own transports, less than he may ask for over an open socket
/// (`signal_socket::REQUESTS`). What exceeds it is charged as a join, and so is a resume of a session
/// that does not exist, after its room was asked: to look for sessions costs what it did.
const RESUMES: Rate = Rate {
    per_second: 1,
    burst: 20,
};
/// A refusal is told this rarely, with the number of those that were not: whose clients are refused
/// has to know why, and a flood shall not fill the disk.
const TELL_INTERVAL: Duration = Duration::from_secs(60);
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
    /// Of a session's name. Nobody can choose names that fall together.
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Memory {
    taken: HashMap<IpAddr, Taken>,
    resumes: HashMap<u64, Bucket>,
    swept_at: Option<Timestamp>,
    resumes_swept_at: Option<Timestamp>,
    /// Refusals since the one that was told last, and when that was.
    untold: u64,
    told_at: Option<Timestamp>,
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
            hasher: RandomState::new(),
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

    /// A resume of the session that a good token names; false when it is to be charged as a join.
    pub(super) fn resume(&self, claims: &Claims) -> bool {
        let room = claims.video.as_ref().map(|grant| &grant.room);
        let session = self.hasher.hash_one((&claims.iss, &claims.sub, room));
        self.lock().resume(self.now(), session)
    }

    /// A join was refused: what to tell of it now, and how many were not told before.
    pub(super) fn refuse_join(&self) -> Option<u64> {
        self.lock().refuse_join(self.now())
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
            if is_due(&mut self.swept_at, now, SWEEP_INTERVAL) {
                self.taken
                    .retain(|_, taken| !taken.is_made_up_for(now, joins));
            }
            if self.taken.len() >= ADDRESSES_MAX {
                return None;
            }
        }
        Some(self.taken.entry(address).or_default())
    }

    /// As many sessions are remembered as addresses; one too many is charged.
    fn resume(&mut self, now: Timestamp, session: u64) -> bool {
        if self.resumes.len() >= ADDRESSES_MAX && !self.resumes.contains_key(&session) {
            if is_due(&mut self.resumes_swept_at, now, SWEEP_INTERVAL) {
                self.resumes
                    .retain(|_, taken| taken.ready_at(RESUMES, RESUMES.burst) > now);
            }
            if self.resumes.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        let taken = self.resumes.entry(session).or_default();
        taken.take(now, RESUMES, 1)
    }

    fn refuse_join(&mut self, now: Timestamp) -> Option<u64> {
        if is_due(&mut self.told_at, now, TELL_INTERVAL) {
            return Some(std::mem::take(&mut self.untold));
        }
        self.untold += 1;
        None
    }
}

/// Whether the interval since `last` is over; then it begins anew.
fn is_due(last: &mut Option<Timestamp>, now: Timestamp, interval: Duration) -> bool {
    let due = last.is_none_or(|at| at + interval <= now);
    if due {
        *last = Some(now);
    }
    due
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

    #[test]
    fn a_session_resumes_a_few_times_for_nothing() {
        let mut memory = Memory::default();
        let mut resumes = |now, session| (0..50).filter(|_| memory.resume(now, session)).count();
        assert_eq!(resumes(at(100), 1), 20);
        assert_eq!(resumes(at(100), 2), 20);
        assert_eq!(resumes(at(103), 1), 3);
        for session in 0..ADDRESSES_MAX as u64 {
            memory.resume(at(103), session);
        }
        assert!(!memory.resume(at(103), u64::MAX));
        assert!(memory.resume(at(130), u64::MAX));
        assert_eq!(memory.resumes.len(), 1);
    }

    #[test]
    fn refusals_are_told_once_a_minute() {
        let mut memory = Memory::default();
        assert_eq!(memory.refuse_join(at(100)), Some(0));
        assert!((0..500).all(|_| memory.refuse_join(at(159)).is_none()));
        assert_eq!(memory.refuse_join(at(160)), Some(500));
        assert_eq!(memory.refuse_join(at(161)), None);
        assert_eq!(memory.refuse_join(at(1_000)), Some(1));
    }
}
