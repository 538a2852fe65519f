//! A network in memory that gives what it was given and, once told to, throws away what is sent.

use std::collections::VecDeque;
use std::time::Duration;

use millrace_netio::{Datagram, NetCounters, NetIo, Receive, TrainHint, Transmit};
use millrace_shared::ice::Tuple;

/// As much as netio's own arena by default: 256 trains of eight datagrams.
const ARENA_LEN: usize = 256 * 8 * 1_500;

#[derive(Debug, Default)]
struct Inbox {
    queue: VecDeque<(Tuple, Vec<u8>)>,
    current: Option<(Tuple, Vec<u8>)>,
}

#[derive(Debug)]
struct Outbox {
    arena: Vec<u8>,
    next: usize,
    /// Where and for whom, while somebody listens.
    sent: Option<Vec<(Tuple, usize, usize)>>,
}

#[derive(Debug)]
pub struct DiscardNet {
    inbox: Inbox,
    outbox: Outbox,
}

impl Default for DiscardNet {
    fn default() -> Self {
        Self {
            inbox: Inbox::default(),
            outbox: Outbox {
                arena: vec![0; ARENA_LEN],
                next: 0,
                sent: Some(Vec::new()),
            },
        }
    }
}

impl DiscardNet {
    /// `datagram` is the last one to arrive.
    pub fn receive_next(&mut self, tuple: Tuple, datagram: Vec<u8>) {
        self.inbox.queue.push_back((tuple, datagram));
    }

    /// What was sent since the last call.
    pub fn take_sent(&mut self) -> Vec<(Tuple, Vec<u8>)> {
        let Outbox { arena, sent, .. } = &mut self.outbox;
        let sent = sent.iter_mut().flat_map(std::mem::take);
        sent.map(|(tuple, start, len)| (tuple, arena[start..start + len].to_vec()))
            .collect()
    }

    /// From now on nobody takes what is sent.
    pub fn discard(&mut self) {
        self.outbox.sent = None;
    }
}

impl Receive for Inbox {
    fn receive(&mut self) -> Option<Datagram<'_>> {
        self.current = self.queue.pop_front();
        self.current.as_mut().map(|(tuple, payload)| Datagram {
            remote: tuple.remote,
            local: tuple.local,
            payload,
            truncated: false,
            waited: Duration::ZERO,
        })
    }
}

impl Transmit for Outbox {
    fn reserve(&mut self, path: &Tuple, _hint: &mut TrainHint, len: usize) -> Option<&mut [u8]> {
        if self.next + len > self.arena.len() {
            self.next = 0;
        }
        let start = self.next;
        self.next += len;
        if let Some(sent) = &mut self.sent {
            sent.push((*path, start, len));
        }
        self.arena.get_mut(start..start + len)
    }
}

impl NetIo for DiscardNet {
    fn split(&mut self) -> (&mut dyn Receive, &mut dyn Transmit) {
        (&mut self.inbox, &mut self.outbox)
    }

    fn submit(&mut self) {}

    fn park(&mut self, _timeout: Option<Duration>) {}

    fn counters(&self) -> NetCounters {
        NetCounters::default()
    }
}
