use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use hashbrown::HashMap;
use millrace_netio::{NetIo, Transmit};
use millrace_shared::dtls::{Identity, PollBuffer};
use millrace_shared::time::{Epoch, Timestamp};
use tokio::sync::mpsc::UnboundedSender;

use super::locals::{Locals, Source, local_number};
use super::peer::{Peer, Surroundings};
use super::wait::wait;
use super::{Command, PeerId, PumpConfig, Sample};
use crate::measure::Meter;

/// Longest wait: a thread without clients looks around now and then.
pub(super) const PARK_MAX: Duration = Duration::from_secs(1);
/// Datagrams taken between two looks at the timers.
pub(super) const DRAIN_MAX: usize = 512;

pub(super) struct MediaThread {
    index: usize,
    epoch: Epoch,
    receive_interval: Duration,
    identity: Identity,
    source: Source,
    locals: Arc<Mutex<Locals>>,
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    /// By the number of the local address: one more than the peer's index, or 0.
    by_local: Vec<u32>,
    by_id: HashMap<PeerId, usize>,
    sample_up_to: u32,
    /// Those that do not stand in their peer's `armed` any more are stale.
    timers: BinaryHeap<Reverse<(Timestamp, usize)>>,
    meter: Meter,
    buffer: PollBuffer,
    samples: UnboundedSender<Sample>,
}

impl MediaThread {
    pub(super) fn new(
        config: &PumpConfig,
        locals: Arc<Mutex<Locals>>,
        samples: UnboundedSender<Sample>,
    ) -> Self {
        Self {
            index: config.index,
            epoch: config.epoch,
            receive_interval: config.receive_interval,
            identity: config.identity.clone(),
            source: config.source.clone(),
            locals,
            peers: Vec::new(),
            free: Vec::new(),
            by_local: Vec::new(),
            by_id: HashMap::new(),
            sample_up_to: u32::MAX,
            timers: BinaryHeap::new(),
            meter: Meter::default(),
            buffer: PollBuffer::new(),
            samples,
        }
    }

    /// Until the command to stop.
    pub(super) fn run(mut self, mut io: Box<dyn NetIo>, commands: &Receiver<Command>) {
        loop {
            let found = self.receive(io.as_mut());
            for command in commands.try_iter() {
                match command {
                    Command::Stop => {
                        self.stop(io.as_mut());
                        return;
                    }
                    Command::Sample => self.send_sample(io.as_ref()),
                    Command::SampleUpTo(rank) => self.sample_up_to(rank),
                    command => {
                        let (_, tx) = io.split();
                        self.apply(command, tx);
                    }
                }
            }
            self.fire_timers(io.as_mut());
            io.submit();
            let next = self.timers.peek().map_or(Timestamp::NEVER, |it| it.0.0);
            let left = next.since(self.now()).min(PARK_MAX);
            wait(io.as_mut(), left, found, self.receive_interval);
        }
    }

    fn now(&self) -> Timestamp {
        self.epoch.timestamp(Instant::now())
    }

    /// Whether there was anything.
    fn receive(&mut self, io: &mut dyn NetIo) -> bool {
        let (rx, tx) = io.split();
        let epoch = self.epoch;
        let woken = epoch.timestamp(Instant::now());
        for taken in 0..DRAIN_MAX {
            let Some(datagram) = rx.receive() else {
                return taken > 0;
            };
            let number = local_number(&self.source, datagram.local);
            let index = self.by_local.get(number).map_or(0, |it| *it as usize);
            let peer = index.checked_sub(1).and_then(|at| self.peers[at].as_mut());
            let Some(peer) = peer else {
                self.meter.counters.strayed += 1;
                continue;
            };
            let mut around = Surroundings {
                // What came after we woke did not wait; neither did what the kernel does not time.
                now: if datagram.waited.is_zero() {
                    epoch.timestamp(Instant::now())
                } else {
                    woken - datagram.waited
                },
                epoch: &epoch,
                meter: &mut self.meter,
                buffer: &mut self.buffer,
                tx,
            };
            let next = peer.receive(datagram.remote, datagram.payload, &mut around);
            arm(&mut self.timers, index - 1, peer, next);
        }
        true
    }

    fn fire_timers(&mut self, io: &mut dyn NetIo) {
        let (_, tx) = io.split();
        let epoch = self.epoch;
        // Each entry once: one that arms itself again for the past must not keep the thread from its
        // sockets and commands.
        for _ in 0..self.timers.len() {
            let now = epoch.timestamp(Instant::now());
            let Some(Reverse((at, index))) = self.timers.peek().copied() else {
                return;
            };
            if at > now {
                return;
            }
            self.timers.pop();
            let Some(peer) = self.peers[index].as_mut().filter(|peer| peer.armed == at) else {
                continue;
            };
            peer.armed = Timestamp::NEVER;
            let mut around = Surroundings {
                now,
                epoch: &epoch,
                meter: &mut self.meter,
                buffer: &mut self.buffer,
                tx,
            };
            peer.handle_timeout(&mut around);
            let next = peer.next_timeout();
            arm(&mut self.timers, index, peer, next);
        }
    }

    fn apply(&mut self, command: Command, tx: &mut dyn Transmit) {
        let now = self.now();
        let id = match &command {
            Command::Add(_) | Command::SampleUpTo(_) | Command::Sample | Command::Stop => None,
            Command::Remote { peer, .. }
            | Command::Candidate { peer, .. }
            | Command::Publish { peer, .. }
            | Command::Inject { peer, .. }
            | Command::Remove(peer) => Some(*peer),
        };
        let index = match id {
            Some(id) => self.by_id.get(&id).copied(),
            None => None,
        };
        let epoch = self.epoch;
        let mut around = Surroundings {
            now,
            epoch: &epoch,
            meter: &mut self.meter,
            buffer: &mut self.buffer,
            tx,
        };
        let peer = index.and_then(|index| self.peers[index].as_mut());
        match (command, peer) {
            (Command::Add(new), _) => return self.add(*new),
            (
                Command::Remote {
                    description,
                    offered,
                    ..
                },
                Some(peer),
            ) => peer.set_remote(now, &description, offered),
            (Command::Candidate { addr, .. }, Some(peer)) => peer.add_candidate(now, addr),
            (Command::Publish { tracks, .. }, Some(peer)) => peer.publish(now, tracks),
            (Command::Inject { to, datagram, .. }, Some(peer)) => {
                peer.inject(to, &datagram, &mut around);
            }
            (Command::Remove(_), Some(peer)) => {
                peer.close(&mut around);
                return self.remove(index);
            }
            // A transport that is gone already.
            (_, None) | (Command::SampleUpTo(_) | Command::Sample | Command::Stop, _) => {}
        }
        if let Some(index) = index
            && let Some(peer) = &mut self.peers[index]
        {
            let next = peer.next_timeout();
            arm(&mut self.timers, index, peer, next);
        }
    }

    fn add(&mut self, new: super::NewPeer) {
        let (id, local) = (new.id, new.local);
        let mut peer = Peer::new(new, &self.identity, &self.epoch);
        peer.sample_up_to(self.sample_up_to);
        let index = self.free.pop().unwrap_or(self.peers.len());
        if index == self.peers.len() {
            self.peers.push(None);
        }
        self.peers[index] = Some(peer);
        self.by_id.insert(id, index);
        let number = local_number(&self.source, local);
        if self.by_local.len() <= number {
            self.by_local.resize(number + 1, 0);
        }
        self.by_local[number] = u32::try_from(index + 1).unwrap_or(0);
    }

    fn sample_up_to(&mut self, rank: u32) {
        self.sample_up_to = rank;
        for peer in self.peers.iter_mut().flatten() {
            peer.sample_up_to(rank);
        }
    }

    fn remove(&mut self, index: Option<usize>) {
        let Some((index, peer)) = index.and_then(|at| Some((at, self.peers[at].take()?))) else {
            return;
        };
        self.by_id.remove(&peer.id);
        if let Some(slot) = self
            .by_local
            .get_mut(local_number(&self.source, peer.local()))
        {
            *slot = 0;
        }
        if let Ok(mut locals) = self.locals.lock() {
            locals.give_back(peer.local());
        }
        self.free.push(index);
    }

    fn stop(&mut self, io: &mut dyn NetIo) {
        let ids: Vec<_> = self.by_id.keys().copied().collect();
        for id in ids {
            let (_, tx) = io.split();
            self.apply(Command::Remove(id), tx);
        }
        io.submit();
        self.send_sample(io);
    }

    fn send_sample(&mut self, io: &dyn NetIo) {
        let sample = Sample {
            thread: self.index,
            meter: self.meter.take(),
            net: io.counters(),
            peers: self.by_id.len(),
            cpu: millrace_netio::thread_cpu_time(),
            at: self.now(),
        };
        // Nobody listens any more when the run is over.
        let _ = self.samples.send(sample);
    }
}

fn arm(
    timers: &mut BinaryHeap<Reverse<(Timestamp, usize)>>,
    index: usize,
    peer: &mut Peer,
    next: Timestamp,
) {
    if next < peer.armed {
        peer.armed = next;
        timers.push(Reverse((next, index)));
    }
}
