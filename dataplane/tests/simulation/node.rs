//! The node: its shards, each with a network of its own, and what it is told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use millrace_dataplane::shard::lanes::{LaneLimits, mesh};
use millrace_dataplane::shard::{Counts, Shard, ShardSetup, Sizes};
use millrace_dataplane::speakers::SpeakerConfig;
use millrace_shared::dtls::Identity;
use millrace_shared::ice::Tuple;
use millrace_shared::ids::{ShardId, TransportId};
use millrace_shared::link::{Command, Event, EventSink, Fingerprint, ShardMetrics};
use millrace_shared::sim::Prng;
use millrace_shared::srtp::MasterKey;
use millrace_shared::time::{Epoch, Timestamp};

use crate::io::{Inbound, IoConfig, SimIo, Written};

/// Of every simulated peer; no certificate has it.
pub(crate) const FINGERPRINT: Fingerprint = Fingerprint([7; 32]);

/// Events in the order in which a shard said them.
#[derive(Clone, Debug, Default)]
struct EventLog(Arc<Mutex<Vec<Event>>>);

impl EventSink for EventLog {
    fn send(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// A shard with its network.
#[derive(Debug)]
struct Host<M> {
    shard: Shard,
    io: SimIo<M>,
    commands: VecDeque<Command>,
    due: Timestamp,
    /// Another shard rang.
    rung: Arc<AtomicBool>,
    events: EventLog,
}

impl<M: Clone> Host<M> {
    fn is_wanted(&self) -> bool {
        self.io.is_waiting() || !self.commands.is_empty() || self.rung.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
pub(crate) struct Node<M> {
    hosts: Vec<Host<M>>,
    stalled_until: Timestamp,
    /// Real time that ticks took.
    spent: Duration,
}

/// What one tick of a shard did.
#[derive(Debug)]
pub(crate) struct Ticked<M> {
    pub(crate) taken: Vec<(Tuple, M)>,
    pub(crate) refused: Vec<Tuple>,
    pub(crate) written: Vec<Written>,
    pub(crate) events: Vec<Event>,
    /// Packets for other shards that found their lane full.
    pub(crate) lane_lost: u64,
}

/// Handshakes are not part of the run, so one certificate serves all worlds.
fn identity() -> Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY
        .get_or_init(|| Identity::generate().unwrap())
        .clone()
}

/// Shards, and how datagrams find them.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    pub(crate) shards: usize,
    /// All have one port, and the kernel delivers each tuple to one of them by its hash.
    pub(crate) one_port: bool,
}

impl Layout {
    /// A port for each.
    pub(crate) fn ports(shards: usize) -> Self {
        Self {
            shards,
            one_port: false,
        }
    }

    pub(crate) fn one_port(shards: usize) -> Self {
        Self {
            shards,
            one_port: true,
        }
    }
}

/// The address of a shard, of the family of a peer's.
pub(crate) fn local(shard: usize, remote: SocketAddr) -> SocketAddr {
    let ip = if remote.is_ipv6() {
        "2001:db8::1"
    } else {
        "192.0.2.1"
    };
    SocketAddr::new(ip.parse().unwrap(), 7_882 + shard as u16)
}

impl<M: Clone> Node<M> {
    pub(crate) fn new(layout: Layout, now: Timestamp, wallclock: Duration, random: &Prng) -> Self {
        let shards = layout.shards;
        let rung: Vec<_> = (0..shards)
            .map(|_| Arc::new(AtomicBool::new(false)))
            .collect();
        let lanes = mesh(shards, LaneLimits::default(), |shard| {
            let rung = rung[usize::from(shard.0)].clone();
            Box::new(move || rung.store(true, Ordering::Relaxed))
        });
        let hosts = lanes.into_iter().enumerate().map(|(index, lanes)| {
            let events = EventLog::default();
            let mut random = random.fork(index as u64);
            let setup = ShardSetup {
                id: ShardId(index as u16),
                epoch: Epoch {
                    instant: Instant::now(),
                    since_1900: wallclock,
                },
                identity: identity(),
                events: Box::new(events.clone()),
                speakers: SpeakerConfig::default(),
                seed: random.next_u64(),
                lanes,
                one_port: layout.one_port,
            };
            Host {
                shard: Shard::new(setup, now),
                io: SimIo::new(&random),
                commands: VecDeque::new(),
                due: now,
                rung: rung[index].clone(),
                events,
            }
        });
        Self {
            hosts: hosts.collect(),
            stalled_until: Timestamp::ZERO,
            spent: Duration::ZERO,
        }
    }

    pub(crate) fn shards(&self) -> usize {
        self.hosts.len()
    }

    pub(crate) fn command(&mut self, shard: usize, command: Command) {
        self.hosts[shard].commands.push_back(command);
    }

    pub(crate) fn key_transport(
        &mut self,
        shard: usize,
        transport: TransportId,
        ours: &MasterKey,
        theirs: &MasterKey,
    ) {
        let shard = &mut self.hosts[shard].shard;
        let found = shard.key_transport(transport, FINGERPRINT, ours, theirs);
        assert!(found, "the transport was added");
    }

    pub(crate) fn push(&mut self, shard: usize, inbound: Inbound<M>) {
        self.hosts[shard].io.push(inbound);
    }

    pub(crate) fn limit_lanes(&mut self, limits: LaneLimits) {
        for host in &mut self.hosts {
            host.shard.lanes_mut().limit(limits);
        }
    }

    pub(crate) fn set_io(&mut self, config: IoConfig) {
        for host in &mut self.hosts {
            host.io.set_config(config);
        }
    }

    /// No shard runs until then, as on a host that is suspended.
    pub(crate) fn stall(&mut self, until: Timestamp) {
        self.stalled_until = until;
    }

    /// Real time that ticks took since the last call.
    pub(crate) fn take_spent(&mut self) -> Duration {
        std::mem::take(&mut self.spent)
    }

    /// When a shard must run.
    pub(crate) fn due(&self, now: Timestamp) -> Timestamp {
        let due = self
            .hosts
            .iter()
            .map(|host| if host.is_wanted() { now } else { host.due });
        let due = due.min().unwrap_or(Timestamp::NEVER);
        due.max(self.stalled_until).max(now)
    }

    /// Runs one shard, if it has something to do.
    pub(crate) fn tick(&mut self, shard: usize, now: Timestamp) -> Option<Ticked<M>> {
        let host = &mut self.hosts[shard];
        if now < self.stalled_until || (host.due > now && !host.is_wanted()) {
            return None;
        }
        host.rung.store(false, Ordering::Relaxed);
        let mut commands = std::iter::from_fn(|| host.commands.pop_front());
        let lane_lost = host.shard.metrics().lane_packets_lost;
        let begun = Instant::now();
        host.due = host.shard.tick(now, &mut host.io, &mut commands);
        self.spent += begun.elapsed();
        Some(Ticked {
            taken: host.io.drain_taken(),
            refused: host.io.drain_refused(),
            written: host.io.drain_left(),
            events: std::mem::take(&mut *host.events.0.lock().unwrap()),
            lane_lost: host.shard.metrics().lane_packets_lost - lane_lost,
        })
    }

    /// Runs a shard whether it has something to do or not.
    pub(crate) fn tick_now(&mut self, shard: usize, now: Timestamp) -> Option<Ticked<M>> {
        let stalled_until = std::mem::take(&mut self.stalled_until);
        self.hosts[shard].due = now;
        let ticked = self.tick(shard, now);
        self.stalled_until = stalled_until;
        ticked
    }

    pub(crate) fn counts(&self) -> Vec<Counts> {
        self.hosts.iter().map(|host| host.shard.counts()).collect()
    }

    pub(crate) fn sizes(&self) -> Sizes {
        let hosts = self.hosts.iter().map(|host| host.shard.sizes());
        hosts.fold(Sizes::default(), |sum, of| Sizes {
            timers: sum.timers + of.timers,
            store_bytes: sum.store_bytes + of.store_bytes,
        })
    }

    pub(crate) fn metrics(&self) -> Vec<ShardMetrics> {
        self.hosts.iter().map(|host| host.shard.metrics()).collect()
    }
}
