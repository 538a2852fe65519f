//! Shards, a network without delay, and peers, in virtual time.

pub(crate) mod media;
pub(crate) mod net;
pub(crate) mod peer;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_dataplane::shard::lanes::{self, LaneLimits, Lanes};
use millrace_dataplane::shard::{Counts, Shard, ShardSetup};
use millrace_dataplane::speakers::SpeakerConfig;
use millrace_shared::drop::DropReason;
use millrace_shared::dtls::Identity;
use millrace_shared::ice::Tuple;
use millrace_shared::ids::{DownTrackId, GroupId, TrackId, TransportId};
use millrace_shared::link::{
    AddTransport, CloseReason, Command, DataPublish, Event, EventSink, Fingerprint, IceCredentials,
    SetRemote, ShardMetrics,
};
use millrace_shared::payload::data_packet::write_stamp;
use millrace_shared::time::{Epoch, Timestamp, UNIX_EPOCH_SINCE_1900};
use millrace_shared::wire::rtcp::RtcpWriter;

use media::{Plain, copy, up_ext_ids, video};
use net::{FakeNet, Inbound};
use peer::Peer;

pub(crate) const GROUP: GroupId = GroupId(1);
const START: Timestamp = Timestamp::from_millis(10_000);
/// From a tick's begin until the kernel has what it wrote.
const TICK_TAKES: Duration = Duration::from_micros(100);
const DATAGRAMS_SENT_MAX: usize = 8_192;

pub(crate) fn local() -> SocketAddr {
    "192.0.2.1:7882".parse().unwrap()
}

/// The address of peer number `index`.
pub(crate) fn remote(index: usize) -> SocketAddr {
    let index = u16::try_from(index).unwrap();
    SocketAddr::new("198.51.100.7".parse().unwrap(), 40_000 + index)
}

/// Events in the order in which the shard said them, with room so that the list never grows while
/// the shard runs.
#[derive(Clone, Debug)]
struct EventLog(Arc<Mutex<Vec<Event>>>);

impl EventSink for EventLog {
    fn send(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// How a peer joins.
#[derive(Clone, Debug)]
pub(crate) struct Joining {
    pub(crate) label: &'static str,
    pub(crate) group: GroupId,
    pub(crate) data_allowed: bool,
    pub(crate) data_receive: bool,
    pub(crate) shard_opens_channels: bool,
    pub(crate) uses_data: bool,
}

impl Joining {
    /// For media alone.
    pub(crate) fn media(label: &'static str) -> Self {
        Self {
            label,
            group: GROUP,
            data_allowed: false,
            data_receive: false,
            shard_opens_channels: false,
            uses_data: false,
        }
    }

    /// One transport both ways, whose channels the client opens.
    pub(crate) fn data(label: &'static str) -> Self {
        Self {
            data_allowed: true,
            data_receive: true,
            uses_data: true,
            ..Self::media(label)
        }
    }
}

/// One shard, with its network and what the control plane wants of it.
struct Node {
    shard: Shard,
    net: FakeNet,
    commands: VecDeque<Command>,
    due: Timestamp,
    /// Another shard sent it something.
    rung: Arc<AtomicBool>,
}

/// What surrounds one call of the shard.
pub(crate) trait Observer {
    fn before_tick(&mut self) {}
    fn after_tick(&mut self, _events: &[Event]) {}
}

pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) epoch: Epoch,
    pub(crate) server: Identity,
    client: Identity,
    nodes: Vec<Node>,
    log: EventLog,
    pub(crate) events: Vec<Event>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) transport_cc: u16,
    /// Datagrams that reached no peer.
    pub(crate) stray: u64,
    pub(crate) datagrams_in: u64,
    observer: Option<Box<dyn Observer>>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_shards(1)
    }

    /// Shards on ports of their own.
    pub(crate) fn with_shards(shards: usize) -> Self {
        Self::build(shards, LaneLimits::default(), false)
    }

    pub(crate) fn build(shards: usize, limits: LaneLimits, one_port: bool) -> Self {
        let epoch = Epoch {
            instant: Instant::now(),
            since_1900: UNIX_EPOCH_SINCE_1900 + Duration::from_secs(1_700_000_000),
        };
        let server = Identity::generate().unwrap();
        let log = EventLog(Arc::new(Mutex::new(Vec::with_capacity(65_536))));
        let rung: Vec<_> = (0..shards)
            .map(|_| Arc::new(AtomicBool::new(false)))
            .collect();
        let lanes = if shards == 1 {
            vec![Lanes::alone()]
        } else {
            lanes::mesh(shards, limits, |to| {
                let rung = Arc::clone(&rung[usize::from(to.0)]);
                Box::new(move || rung.store(true, Ordering::Relaxed))
            })
        };
        let node = |(lanes, rung): (Lanes, Arc<AtomicBool>)| {
            let setup = ShardSetup {
                id: lanes.shard(),
                epoch,
                identity: server.clone(),
                events: Box::new(log.clone()),
                speakers: SpeakerConfig::default(),
                seed: 1 + u64::from(lanes.shard().0),
                lanes,
                one_port,
            };
            Node {
                shard: Shard::new(setup, START),
                net: FakeNet::new(DATAGRAMS_SENT_MAX),
                commands: VecDeque::new(),
                due: START,
                rung,
            }
        };
        let nodes = lanes.into_iter().zip(rung).map(node).collect();
        Self {
            now: START,
            epoch,
            server,
            client: Identity::generate().unwrap(),
            nodes,
            log,
            events: Vec::new(),
            peers: Vec::new(),
            transport_cc: 0,
            stray: 0,
            datagrams_in: 0,
            observer: None,
        }
    }

    pub(crate) fn observe(&mut self, observer: impl Observer + 'static) {
        self.observer = Some(Box::new(observer));
    }

    /// To the first shard.
    pub(crate) fn command(&mut self, command: Command) {
        self.command_to(0, command);
    }

    pub(crate) fn command_to(&mut self, shard: usize, command: Command) {
        self.nodes[shard].commands.push_back(command);
    }

    /// To the shard that a peer was placed on.
    fn command_for(&mut self, peer: usize, command: Command) {
        self.command_to(self.peers[peer].shard, command);
    }

    /// A transport, and the peer at its other end, which does nothing yet.
    pub(crate) fn add_peer(&mut self, joining: &Joining) -> usize {
        self.add_peer_on(0, joining)
    }

    pub(crate) fn add_peer_on(&mut self, shard: usize, joining: &Joining) -> usize {
        let index = self.peers.len();
        let transport = TransportId(100 + index as u64);
        let ice = credentials(&format!("{shard}x{index}"));
        self.command_to(
            shard,
            Command::AddTransport(Box::new(AddTransport {
                transport,
                group: joining.group,
                label: joining.label.to_owned(),
                ice: ice.clone(),
                data_publish: data_publish(joining.label, joining.data_allowed),
                data_receive: joining.data_receive,
                open_data_channels: joining.shard_opens_channels,
            })),
        );
        let tuple = Tuple {
            local: local(),
            remote: remote(index),
        };
        let client = self.client.clone();
        let mut peer = Peer::new(transport, tuple, ice, client, self.epoch);
        peer.uses_data = joining.uses_data;
        peer.shard = shard;
        peer.arrives_at = shard;
        peer.opens_channels = !joining.shard_opens_channels;
        self.peers.push(peer);
        self.tick();
        index
    }

    pub(crate) fn set_remote(&mut self, peer: usize, fingerprint: Fingerprint) {
        let transport = self.peers[peer].transport;
        self.command_for(
            peer,
            Command::SetRemote(Box::new(SetRemote {
                transport,
                ice: credentials("peer"),
                fingerprint,
                receive_ext_ids: up_ext_ids(),
            })),
        );
        self.tick();
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.client.fingerprint()
    }

    /// The peer begins with ICE and DTLS.
    pub(crate) fn dial(&mut self, peer: usize) {
        let now = self.now;
        self.peers[peer].check_at = now;
        self.peers[peer].start_dtls(now);
    }

    /// A peer that is connected.
    pub(crate) fn join(&mut self, joining: &Joining) -> usize {
        self.join_on(0, joining)
    }

    pub(crate) fn join_on(&mut self, shard: usize, joining: &Joining) -> usize {
        let peer = self.add_peer_on(shard, joining);
        self.set_remote(peer, self.fingerprint());
        self.dial(peer);
        self.run_ms(2_000);
        assert!(self.connected(peer), "{joining:?}: {:?}", self.events);
        peer
    }

    pub(crate) fn publish(&mut self, peer: usize, track: TrackId, layers: u8) {
        let transport = self.peers[peer].transport;
        self.command_for(
            peer,
            Command::SetUpTrack {
                transport,
                config: Box::new(video(track, "m1", layers)),
            },
        );
        self.tick();
    }

    pub(crate) fn subscribe(&mut self, peer: usize, down: DownTrackId, track: TrackId, ssrc: u32) {
        let transport = self.peers[peer].transport;
        self.command_for(
            peer,
            Command::SetDownTrack {
                transport,
                config: Box::new(copy(down, track, ssrc)),
            },
        );
        self.tick();
    }

    /// Puts a datagram into the network as if the peer had sent it.
    pub(crate) fn inject(&mut self, peer: usize, bytes: Vec<u8>) {
        let Peer {
            tuple, arrives_at, ..
        } = self.peers[peer];
        self.inject_at(arrives_at, tuple, bytes);
    }

    pub(crate) fn inject_on(&mut self, tuple: Tuple, bytes: Vec<u8>) {
        self.inject_at(0, tuple, bytes);
    }

    pub(crate) fn inject_at(&mut self, shard: usize, tuple: Tuple, bytes: Vec<u8>) {
        self.datagrams_in += 1;
        self.nodes[shard].net.push(Inbound {
            tuple,
            bytes,
            truncated: false,
        });
    }

    pub(crate) fn send_rtp(&mut self, peer: usize, plain: &Plain) {
        let bytes = self.peers[peer].protect(plain);
        self.inject(peer, bytes);
    }

    pub(crate) fn send_rtcp(&mut self, peer: usize, write: impl FnOnce(&mut RtcpWriter<'_>)) {
        let bytes = self.peers[peer].rtcp_of(write);
        self.inject(peer, bytes);
    }

    pub(crate) fn send_data(&mut self, peer: usize, label: &str, packet: Vec<u8>) {
        self.peers[peer].send_message(label, Bytes::from(packet));
        self.run_ms(10);
    }

    /// One tick of each shard, and everything they sent delivered.
    pub(crate) fn tick(&mut self) {
        for shard in 0..self.nodes.len() {
            self.tick_shard(shard);
        }
    }

    pub(crate) fn tick_shard(&mut self, shard: usize) {
        let node = &mut self.nodes[shard];
        node.rung.store(false, Ordering::Relaxed);
        if let Some(observer) = &mut self.observer {
            observer.before_tick();
        }
        let mut commands = std::iter::from_fn(|| node.commands.pop_front());
        node.due = node.shard.tick(self.now, &mut node.net, &mut commands);
        let lingers = node.shard.is_lingering();
        if !lingers {
            node.shard.note_handed_over(self.now, self.now + TICK_TAKES);
        }
        let mut events = self.log.0.lock().unwrap();
        if let Some(observer) = &mut self.observer {
            observer.after_tick(&events);
        }
        self.events.append(&mut events);
        drop(events);
        if lingers {
            return;
        }
        let Self { peers, now, .. } = self;
        let stray = &mut self.stray;
        node.net.drain_sent(|tuple, datagram| {
            match peers.iter_mut().find(|peer| peer.is_at(tuple.remote)) {
                Some(peer) => peer.receive(*now, datagram),
                None => *stray += 1,
            }
        });
    }

    fn poll_peers(&mut self) {
        let mut out = Vec::new();
        for index in 0..self.peers.len() {
            if self.peers[index].next_timeout() <= self.now || self.peers[index].dtls.is_some() {
                self.peers[index].poll(self.now, &mut out);
                for datagram in out.drain(..) {
                    self.inject(index, datagram);
                }
            }
        }
    }

    /// Ticks until nobody has anything to say at this time.
    pub(crate) fn settle(&mut self) {
        loop {
            self.poll_peers();
            let now = self.now;
            let busy: Vec<_> = (0..self.nodes.len())
                .filter(|shard| self.nodes[*shard].is_busy(now))
                .collect();
            if busy.is_empty() {
                return;
            }
            for shard in busy {
                self.tick_shard(shard);
            }
        }
    }

    /// Lets time pass, from one deadline to the next.
    pub(crate) fn run_ms(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        loop {
            self.settle();
            let peers = self.peers.iter().map(Peer::next_timeout).min();
            let due = self.nodes.iter().map(|node| node.due).min();
            let next = due
                .unwrap_or(Timestamp::NEVER)
                .min(peers.unwrap_or(Timestamp::NEVER));
            if next > end {
                self.now = end;
                return;
            }
            assert!(next > self.now, "a deadline that does not move");
            self.now = next;
        }
    }

    /// Of the first shard.
    pub(crate) fn metrics(&self) -> ShardMetrics {
        self.metrics_of(0)
    }

    pub(crate) fn metrics_of(&self, shard: usize) -> ShardMetrics {
        self.nodes[shard].shard.metrics()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts_of(0)
    }

    pub(crate) fn counts_of(&self, shard: usize) -> Counts {
        self.nodes[shard].shard.counts()
    }

    /// Bounds what may be on its way from a shard to each other one.
    pub(crate) fn limit_lanes(&mut self, shard: usize, limits: LaneLimits) {
        self.nodes[shard].shard.lanes_mut().limit(limits);
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.metrics().drops.of(reason)
    }

    pub(crate) fn lingers(&self) -> bool {
        self.nodes.iter().any(|node| node.shard.is_lingering())
    }

    pub(crate) fn stopping(&self) -> bool {
        self.nodes.iter().all(|node| node.shard.stopping())
    }

    pub(crate) fn connected(&self, peer: usize) -> bool {
        let transport = self.peers[peer].transport;
        self.events.contains(&Event::Connected { transport })
    }

    pub(crate) fn closed(&self, peer: usize) -> Option<CloseReason> {
        let ours = self.peers[peer].transport;
        self.events.iter().find_map(|event| match event {
            Event::Closed { transport, reason } if *transport == ours => Some(*reason),
            _ => None,
        })
    }

    pub(crate) fn assert_unbroken(&self) {
        for peer in &self.peers {
            assert!(peer.broken.is_empty(), "{:?}", peer.broken);
        }
        assert_eq!(self.stray, 0);
    }
}

impl Node {
    fn is_busy(&self, now: Timestamp) -> bool {
        self.net.has_inbound()
            || !self.commands.is_empty()
            || self.due <= now
            || self.rung.load(Ordering::Relaxed)
    }
}

pub(crate) fn credentials(ufrag: &str) -> IceCredentials {
    IceCredentials {
        ufrag: ufrag.to_owned(),
        pwd: format!("{ufrag}-password-of-22-bytes"),
    }
}

pub(crate) fn data_publish(label: &str, allowed: bool) -> DataPublish {
    let mut stamp = [0; 128];
    let len = write_stamp(&mut stamp, label, &format!("PA_{label}")).unwrap();
    DataPublish {
        stamp: Bytes::copy_from_slice(&stamp[..len]),
        allowed,
    }
}
