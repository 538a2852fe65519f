//! The network of one shard in memory, with what a kernel does under pressure.

use std::collections::VecDeque;
use std::time::Duration;

use millrace_netio::{Datagram, NetCounters, NetIo, Receive, TrainHint, Transmit};
use millrace_shared::ice::Tuple;
use millrace_shared::limits::TRAIN_PACKETS_MAX;
use millrace_shared::sim::Prng;

/// What lies in a slot until it is written: a byte that a packet forgot to write shows.
const UNWRITTEN: u8 = 0xaa;

/// How the kernel misbehaves.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct IoConfig {
    /// Datagrams that wait for submission; more are refused.
    pub(crate) arena_len: usize,
    /// Reservations refused although there is room.
    pub(crate) refuse_ppm: u32,
    /// Trains that the device's full queue drops (ENOBUFS): the shard took them for sent.
    pub(crate) enobufs_ppm: u32,
    /// Submissions that take only some of what waits; the rest goes with the next one.
    pub(crate) short_batch_ppm: u32,
    /// Drains that end before the socket is empty.
    pub(crate) short_drain_ppm: u32,
}

impl IoConfig {
    pub(crate) const SOUND: Self = Self {
        arena_len: 4096,
        refuse_ppm: 0,
        enobufs_ppm: 0,
        short_batch_ppm: 0,
        short_drain_ppm: 0,
    };
}

/// A datagram on its way to the shard, and what the world calls it.
#[derive(Clone, Debug)]
pub(crate) struct Inbound<M> {
    pub(crate) tuple: Tuple,
    pub(crate) bytes: Vec<u8>,
    pub(crate) mark: M,
}

/// What the shard wrote.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) tuple: Tuple,
    pub(crate) bytes: Vec<u8>,
    /// The kernel dropped it behind the shard's back.
    pub(crate) dropped: bool,
    /// The kernel took it later than the tick that wrote it.
    pub(crate) carried: bool,
    train: u64,
}

#[derive(Debug)]
pub(crate) struct SimIo<M> {
    inbox: Inbox<M>,
    outbox: Outbox,
    counters: NetCounters,
}

#[derive(Debug)]
struct Inbox<M> {
    config: IoConfig,
    random: Prng,
    queue: VecDeque<Inbound<M>>,
    current: Option<Inbound<M>>,
    /// What was handed out since the world last asked.
    taken: Vec<(Tuple, M)>,
}

#[derive(Debug)]
struct Outbox {
    config: IoConfig,
    random: Prng,
    waiting: VecDeque<Written>,
    left: Vec<Written>,
    trains: u64,
    /// Of each refused reservation.
    refused: Vec<Tuple>,
}

impl<M: Clone> SimIo<M> {
    pub(crate) fn new(random: &Prng) -> Self {
        let config = IoConfig::SOUND;
        Self {
            inbox: Inbox {
                config,
                random: random.fork(1),
                queue: VecDeque::new(),
                current: None,
                taken: Vec::new(),
            },
            outbox: Outbox {
                config,
                random: random.fork(2),
                waiting: VecDeque::new(),
                left: Vec::new(),
                trains: 0,
                refused: Vec::new(),
            },
            counters: NetCounters::default(),
        }
    }

    pub(crate) fn set_config(&mut self, config: IoConfig) {
        self.inbox.config = config;
        self.outbox.config = config;
    }

    pub(crate) fn push(&mut self, inbound: Inbound<M>) {
        self.inbox.queue.push_back(inbound);
    }

    /// A drain or a submission left something behind.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.inbox.queue.is_empty() || !self.outbox.waiting.is_empty()
    }

    pub(crate) fn drain_taken(&mut self) -> Vec<(Tuple, M)> {
        std::mem::take(&mut self.inbox.taken)
    }

    pub(crate) fn drain_left(&mut self) -> Vec<Written> {
        std::mem::take(&mut self.outbox.left)
    }

    pub(crate) fn drain_refused(&mut self) -> Vec<Tuple> {
        std::mem::take(&mut self.outbox.refused)
    }
}

impl<M: Clone> Receive for Inbox<M> {
    fn receive(&mut self) -> Option<Datagram<'_>> {
        if self.random.chance_ppm(self.config.short_drain_ppm) {
            return None;
        }
        self.current = self.queue.pop_front();
        let inbound = self.current.as_mut()?;
        self.taken.push((inbound.tuple, inbound.mark.clone()));
        Some(Datagram {
            remote: inbound.tuple.remote,
            local: inbound.tuple.local,
            payload: &mut inbound.bytes,
            truncated: false,
            waited: Duration::ZERO,
        })
    }
}

impl Outbox {
    /// Hands over what waits, or the first part of it; what it hands over may be lost.
    fn submit(&mut self) -> u64 {
        let mut batch = self.waiting.len();
        if batch > 1 && self.random.chance_ppm(self.config.short_batch_ppm) {
            batch = 1 + self.random.below(batch as u64 - 1) as usize;
        }
        let mut train = (u64::MAX, false);
        for mut datagram in self.waiting.drain(..batch) {
            if datagram.train != train.0 {
                let dropped = self.random.chance_ppm(self.config.enobufs_ppm);
                train = (datagram.train, dropped);
            }
            datagram.dropped = train.1;
            self.left.push(datagram);
        }
        for datagram in &mut self.waiting {
            datagram.carried = true;
        }
        batch as u64
    }
}

impl Transmit for Outbox {
    fn reserve(&mut self, path: &Tuple, hint: &mut TrainHint, len: usize) -> Option<&mut [u8]> {
        if self.waiting.len() >= self.config.arena_len {
            self.submit();
        }
        let full = self.waiting.len() >= self.config.arena_len;
        if full || len == 0 || self.random.chance_ppm(self.config.refuse_ppm) {
            self.refused.push(*path);
            return None;
        }
        let joins = hint.generation() == self.trains as u32
            && usize::from(hint.index()) < TRAIN_PACKETS_MAX
            && self.waiting.back().is_some_and(|last| last.tuple == *path);
        if !joins {
            self.trains += 1;
        }
        let packets = if joins { hint.index() + 1 } else { 1 };
        *hint = TrainHint::new(packets, self.trains as u32);
        self.waiting.push_back(Written {
            tuple: *path,
            bytes: vec![UNWRITTEN; len],
            dropped: false,
            carried: false,
            train: self.trains,
        });
        self.waiting
            .back_mut()
            .map(|written| written.bytes.as_mut_slice())
    }
}

impl<M: Clone> NetIo for SimIo<M> {
    fn split(&mut self) -> (&mut dyn Receive, &mut dyn Transmit) {
        (&mut self.inbox, &mut self.outbox)
    }

    fn submit(&mut self) {
        let send = &mut self.counters.send;
        send.datagrams += self.outbox.submit();
        send.submissions += 1;
    }

    fn park(&mut self, _timeout: Option<Duration>) {
        self.submit();
    }

    fn counters(&self) -> NetCounters {
        self.counters
    }
}
