//! Which transport a datagram belongs to: checks by ufrag, everything else by a tuple that a check
//! has validated. Nothing else is ever looked at (RFC 8445 §7.3; attacks by ClientHello race and by
//! injected RTP end here).

use std::net::IpAddr;

use hashbrown::HashMap;
use millrace_shared::ice::Tuple;

use crate::slots::Slot;

#[derive(Debug, Default)]
pub struct Demux {
    by_ufrag: HashMap<String, Slot>,
    by_tuple: HashMap<Tuple, Slot>,
    /// One entry for each tuple: who is behind an address, without asking every transport.
    by_ip: HashMap<IpAddr, Vec<Slot>>,
}

impl Demux {
    pub fn by_ufrag(&self, ufrag: &str) -> Option<Slot> {
        self.by_ufrag.get(ufrag).copied()
    }

    pub fn by_tuple(&self, tuple: &Tuple) -> Option<Slot> {
        self.by_tuple.get(tuple).copied()
    }

    pub fn add_ufrag(&mut self, ufrag: &str, transport: Slot) {
        self.by_ufrag.insert(ufrag.to_owned(), transport);
    }

    pub fn remove_ufrag(&mut self, ufrag: &str) {
        self.by_ufrag.remove(ufrag);
    }

    /// The transports with tuples of a peer at `ip`; one with several stands there several times.
    pub fn by_ip(&self, ip: IpAddr) -> &[Slot] {
        self.by_ip.get(&ip).map_or(&[], Vec::as_slice)
    }

    /// The transport whose password authenticated the latest check owns the tuple: a page that was
    /// reloaded may come back from the same port.
    pub fn add_tuple(&mut self, tuple: Tuple, transport: Slot) {
        if let Some(before) = self.by_tuple.insert(tuple, transport) {
            self.leave_ip(tuple.remote.ip(), before);
        }
        self.by_ip
            .entry(tuple.remote.ip())
            .or_default()
            .push(transport);
    }

    /// Forgets `tuple` unless it has passed to another transport.
    pub fn remove_tuple(&mut self, tuple: &Tuple, transport: Slot) {
        if self.by_tuple.get(tuple) == Some(&transport) {
            self.by_tuple.remove(tuple);
            self.leave_ip(tuple.remote.ip(), transport);
        }
    }

    fn leave_ip(&mut self, ip: IpAddr, transport: Slot) {
        let Some(slots) = self.by_ip.get_mut(&ip) else {
            return;
        };
        if let Some(index) = slots.iter().position(|slot| *slot == transport) {
            slots.swap_remove(index);
        }
        if slots.is_empty() {
            self.by_ip.remove(&ip);
        }
    }

    pub fn ufrags(&self) -> usize {
        self.by_ufrag.len()
    }

    pub fn tuples(&self) -> usize {
        self.by_tuple.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::Slots;

    fn tuple(remote: &str) -> Tuple {
        Tuple {
            local: "192.0.2.1:7882".parse().unwrap(),
            remote: remote.parse().unwrap(),
        }
    }

    #[test]
    fn an_address_knows_who_is_behind_it_and_forgets_with_the_last_tuple() {
        let mut slots = Slots::default();
        let (alice, bob) = (slots.insert(()), slots.insert(()));
        let (first, second) = (tuple("198.51.100.7:1"), tuple("198.51.100.7:2"));
        let ip = first.remote.ip();
        let mut demux = Demux::default();
        demux.add_tuple(first, alice);
        demux.add_tuple(first, alice);
        demux.add_tuple(second, alice);
        assert_eq!(demux.by_ip(ip), [alice, alice]);
        // The second tuple passes to another transport.
        demux.add_tuple(second, bob);
        demux.remove_tuple(&second, alice);
        assert_eq!(demux.by_ip(ip), [alice, bob]);
        assert!(demux.by_ip(tuple("198.51.100.8:1").remote.ip()).is_empty());
        demux.remove_tuple(&first, alice);
        demux.remove_tuple(&second, bob);
        assert!(demux.by_ip(ip).is_empty() && demux.by_ip.is_empty());
    }
}
