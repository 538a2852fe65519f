//! A network in memory: what the test puts in is received, what the shard sends waits to be taken.

use std::collections::VecDeque;
use std::time::Duration;

use millrace_netio::{Datagram, NetCounters, NetIo, Receive, TrainHint, Transmit};
use millrace_shared::ice::Tuple;
use millrace_shared::limits::DATAGRAM_RECEIVE_LEN_MAX;

/// What lies in a slot until it is written: a byte that a packet forgot to write shows.
const UNWRITTEN: u8 = 0xaa;

/// A datagram on its way to the shard.
#[derive(Clone, Debug)]
pub(crate) struct Inbound {
    pub(crate) tuple: Tuple,
    pub(crate) bytes: Vec<u8>,
    pub(crate) truncated: bool,
}

#[derive(Debug)]
pub(crate) struct FakeNet {
    inbox: Inbox,
    outbox: Outbox,
    counters: NetCounters,
}

#[derive(Debug)]
struct Inbox {
    queue: VecDeque<Inbound>,
    current: Option<Inbound>,
}

/// The send arena, allocated at start like the real one.
#[derive(Debug)]
struct Outbox {
    bytes: Vec<u8>,
    sent: Vec<(Tuple, usize)>,
    datagrams_max: usize,
}

impl FakeNet {
    pub(crate) fn new(datagrams_max: usize) -> Self {
        Self {
            inbox: Inbox {
                queue: VecDeque::with_capacity(1024),
                current: None,
            },
            outbox: Outbox {
                bytes: vec![0; datagrams_max * DATAGRAM_RECEIVE_LEN_MAX],
                sent: Vec::with_capacity(datagrams_max),
                datagrams_max,
            },
            counters: NetCounters::default(),
        }
    }

    pub(crate) fn push(&mut self, inbound: Inbound) {
        self.inbox.queue.push_back(inbound);
    }

    pub(crate) fn has_inbound(&self) -> bool {
        !self.inbox.queue.is_empty()
    }

    /// Gives every datagram sent since the last call to `visit`, in order.
    pub(crate) fn drain_sent(&mut self, mut visit: impl FnMut(Tuple, &[u8])) {
        let slots = self.outbox.bytes.chunks(DATAGRAM_RECEIVE_LEN_MAX);
        for ((tuple, len), slot) in self.outbox.sent.iter().zip(slots) {
            self.counters.send.datagrams += 1;
            self.counters.send.bytes += *len as u64;
            visit(*tuple, &slot[..*len]);
        }
        self.outbox.sent.clear();
    }
}

impl Receive for Inbox {
    fn receive(&mut self) -> Option<Datagram<'_>> {
        self.current = self.queue.pop_front();
        self.current.as_mut().map(|inbound| Datagram {
            remote: inbound.tuple.remote,
            local: inbound.tuple.local,
            payload: &mut inbound.bytes,
            truncated: inbound.truncated,
            waited: Duration::ZERO,
        })
    }
}

impl Transmit for Outbox {
    fn reserve(&mut self, path: &Tuple, _hint: &mut TrainHint, len: usize) -> Option<&mut [u8]> {
        if self.sent.len() == self.datagrams_max || len == 0 {
            return None;
        }
        let start = self.sent.len() * DATAGRAM_RECEIVE_LEN_MAX;
        self.sent.push((*path, len));
        let slot = self.bytes.get_mut(start..start + len)?;
        slot.fill(UNWRITTEN);
        Some(slot)
    }
}

impl NetIo for FakeNet {
    fn split(&mut self) -> (&mut dyn Receive, &mut dyn Transmit) {
        (&mut self.inbox, &mut self.outbox)
    }

    fn submit(&mut self) {}

    fn park(&mut self, _timeout: Option<Duration>) {}

    fn counters(&self) -> NetCounters {
        self.counters
    }
}
