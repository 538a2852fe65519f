//! How many connections one address may have on which nobody has shown a token yet.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A company behind one address that comes back after an outage stays below it: each of its people
/// is a stranger for as long as one join takes.
const STRANGERS_PER_ADDRESS_MAX: usize = 512;

/// Connections of strangers by address.
#[derive(Clone, Debug, Default)]
pub(super) struct Strangers(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection's place among its address's strangers; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Stranger {
    strangers: Strangers,
    address: IpAddr,
    counted: AtomicBool,
}

impl Strangers {
    /// None when the address has enough of them.
    pub(super) fn admit(&self, remote: IpAddr) -> Option<Stranger> {
        let address = owner(remote);
        // A proxy on this machine speaks for everybody, and limits them itself.
        let counted = !address.is_loopback();
        if counted {
            let mut counts = self.lock();
            let count = counts.entry(address).or_default();
            if *count >= STRANGERS_PER_ADDRESS_MAX {
                return None;
            }
            *count += 1;
        }
        Some(Stranger {
            strangers: self.clone(),
            address,
            counted: AtomicBool::new(counted),
        })
    }

    /// A panic while the lock was held leaves a whole map behind.
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stranger {
    /// The peer has joined: it counts no more.
    pub(super) fn recognise(&self) {
        if !self.counted.swap(false, Ordering::Relaxed) {
            return;
        }
        let mut counts = self.strangers.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.recognise();
    }
}

/// The address by which one peer is counted: of IPv6 a peer has 64 bits to itself.
pub(super) fn owner(remote: IpAddr) -> IpAddr {
    match remote.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            IpAddr::V6((u128::from(v6) & (u128::MAX << 64)).into())
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(strangers: &Strangers, address: &str) -> Vec<Stranger> {
        let address = address.parse().unwrap();
        std::iter::from_fn(|| strangers.admit(address))
            .take(STRANGERS_PER_ADDRESS_MAX + 1)
            .collect()
    }

    #[test]
    fn one_address_has_a_limit_and_others_are_not_touched() {
        let strangers = Strangers::default();
        let mut held = fill(&strangers, "198.51.100.1");
        assert_eq!(held.len(), STRANGERS_PER_ADDRESS_MAX);
        assert!(
            strangers
                .admit("::ffff:198.51.100.1".parse().unwrap())
                .is_none()
        );
        assert!(strangers.admit("198.51.100.2".parse().unwrap()).is_some());
        // Who joined makes room, once, though its connection lives on.
        held[0].recognise();
        held[0].recognise();
        let next = strangers.admit("198.51.100.1".parse().unwrap());
        assert!(next.is_some());
        assert!(strangers.admit("198.51.100.1".parse().unwrap()).is_none());
        held.clear();
        drop(next);
        assert!(strangers.lock().is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_peer_and_loopback_is_none() {
        let strangers = Strangers::default();
        let held = fill(&strangers, "2001:db8::1");
        assert_eq!(held.len(), STRANGERS_PER_ADDRESS_MAX);
        assert!(strangers.admit("2001:db8::2".parse().unwrap()).is_none());
        assert!(
            strangers
                .admit("2001:db8:0:1::2".parse().unwrap())
                .is_some()
        );
        assert_eq!(
            fill(&strangers, "127.0.0.1").len(),
            STRANGERS_PER_ADDRESS_MAX + 1
        );
        assert_eq!(fill(&strangers, "::1").len(), STRANGERS_PER_ADDRESS_MAX + 1);
    }
}
