//! Which transport a datagram belongs to: checks by ufrag, everything else by a tuple that a check
//! has validated. Nothing else is ever looked at (RFC 8445 §7.3; attacks by ClientHello race and by
//! injected RTP end here).

use hashbrown::HashMap;
use millrace_shared::ice::Tuple;

use crate::slots::Slot;

#[derive(Debug, Default)]
pub struct Demux {
    by_ufrag: HashMap<String, Slot>,
    by_tuple: HashMap<Tuple, Slot>,
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

    /// The transport whose password authenticated the latest check owns the tuple: a page that was
    /// reloaded may come back from the same port.
    pub fn add_tuple(&mut self, tuple: Tuple, transport: Slot) {
        self.by_tuple.insert(tuple, transport);
    }

    /// Forgets `tuple` unless it has passed to another transport.
    pub fn remove_tuple(&mut self, tuple: &Tuple, transport: Slot) {
        if self.by_tuple.get(tuple) == Some(&transport) {
            self.by_tuple.remove(tuple);
        }
    }

    pub fn ufrags(&self) -> usize {
        self.by_ufrag.len()
    }

    pub fn tuples(&self) -> usize {
        self.by_tuple.len()
    }
}
