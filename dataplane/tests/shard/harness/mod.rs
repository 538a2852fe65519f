//! One shard, a network without delay, and peers, in virtual time.

pub(crate) mod media;
pub(crate) mod net;
pub(crate) mod peer;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_dataplane::shard::lanes::Lanes;
use millrace_dataplane::shard::{Counts, Shard, ShardSetup};
use millrace_dataplane::speakers::SpeakerConfig;
use millrace_shared::drop::DropReason;
use millrace_shared::dtls::Identity;
use millrace_shared::ice::Tuple;
use millrace_shared::ids::{DownTrackId, GroupId, ShardId, TrackId, TransportId};
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
    shard: Shard,
    net: FakeNet,
    commands: VecDeque<Command>,
    due: Timestamp,
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
        let epoch = Epoch {
            instant: Instant::now(),
            since_1900: UNIX_EPOCH_SINCE_1900 + Duration::from_secs(1_700_000_000),
        };
        let server = Identity::generate().unwrap();
        let log = EventLog(Arc::new(Mutex::new(Vec::with_capacity(65_536))));
        let setup = ShardSetup {
            id: ShardId(0),
            epoch,
            identity: server.clone(),
            events: Box::new(log.clone()),
            speakers: SpeakerConfig::default(),
            seed: 1,
            lanes: Lanes::alone(),
            one_port: false,
        };
        Self {
            now: START,
            epoch,
            server,
            client: Identity::generate().unwrap(),
            shard: Shard::new(setup, START),
            net: FakeNet::new(DATAGRAMS_SENT_MAX),
            commands: VecDeque::new(),
            due: START,
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

    pub(crate) fn command(&mut self, command: Command) {
        self.commands.push_back(command);
    }

    /// A transport, and the peer at its other end, which does nothing yet.
    pub(crate) fn add_peer(&mut self, joining: &Joining) -> usize {
        let index = self.peers.len();
        let transport = TransportId(100 + index as u64);
        let ice = credentials(&format!("0-{index}"));
        self.command(Command::AddTransport(Box::new(AddTransport {
            transport,
            group: joining.group,
            label: joining.label.to_owned(),
            ice: ice.clone(),
            data_publish: data_publish(joining.label, joining.data_allowed),
            data_receive: joining.data_receive,
            open_data_channels: joining.shard_opens_channels,
        })));
        let tuple = Tuple {
            local: local(),
            remote: remote(index),
        };
        let client = self.client.clone();
        let mut peer = Peer::new(transport, tuple, ice, client, self.epoch);
        peer.uses_data = joining.uses_data;
        peer.opens_channels = !joining.shard_opens_channels;
        self.peers.push(peer);
        self.tick();
        index
    }

    pub(crate) fn set_remote(&mut self, peer: usize, fingerprint: Fingerprint) {
        let transport = self.peers[peer].transport;
        self.command(Command::SetRemote(Box::new(SetRemote {
            transport,
            ice: credentials("peer"),
            fingerprint,
            receive_ext_ids: up_ext_ids(),
        })));
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
        let peer = self.add_peer(joining);
        self.set_remote(peer, self.fingerprint());
        self.dial(peer);
        self.run_ms(2_000);
        assert!(self.connected(peer), "{joining:?}: {:?}", self.events);
        peer
    }

    pub(crate) fn publish(&mut self, peer: usize, track: TrackId, layers: u8) {
        let transport = self.peers[peer].transport;
        self.command(Command::SetUpTrack {
            transport,
            config: Box::new(video(track, "m1", layers)),
        });
        self.tick();
    }

    pub(crate) fn subscribe(&mut self, peer: usize, down: DownTrackId, track: TrackId, ssrc: u32) {
        let transport = self.peers[peer].transport;
        self.command(Command::SetDownTrack {
            transport,
            config: Box::new(copy(down, track, ssrc)),
        });
        self.tick();
    }

    /// Puts a datagram into the network as if the peer had sent it.
    pub(crate) fn inject(&mut self, peer: usize, bytes: Vec<u8>) {
        let tuple = self.peers[peer].tuple;
        self.inject_on(tuple, bytes);
    }

    pub(crate) fn inject_on(&mut self, tuple: Tuple, bytes: Vec<u8>) {
        self.datagrams_in += 1;
        self.net.push(Inbound {
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

    /// One tick, and everything the shard sent delivered.
    pub(crate) fn tick(&mut self) {
        if let Some(observer) = &mut self.observer {
            observer.before_tick();
        }
        let mut commands = std::iter::from_fn(|| self.commands.pop_front());
        self.due = self.shard.tick(self.now, &mut self.net, &mut commands);
        let mut events = self.log.0.lock().unwrap();
        if let Some(observer) = &mut self.observer {
            observer.after_tick(&events);
        }
        self.events.append(&mut events);
        drop(events);
        let Self {
            net, peers, now, ..
        } = self;
        let stray = &mut self.stray;
        net.drain_sent(|tuple, datagram| {
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
            let idle = !self.net.has_inbound() && self.commands.is_empty() && self.due > self.now;
            if idle {
                return;
            }
            self.tick();
        }
    }

    /// Lets time pass, from one deadline to the next.
    pub(crate) fn run_ms(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        loop {
            self.settle();
            let peers = self.peers.iter().map(Peer::next_timeout).min();
            let next = self.due.min(peers.unwrap_or(Timestamp::NEVER));
            if next > end {
                self.now = end;
                return;
            }
            assert!(next > self.now, "a deadline that does not move");
            self.now = next;
        }
    }

    pub(crate) fn metrics(&self) -> ShardMetrics {
        self.shard.metrics()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.shard.counts()
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.metrics().drops.of(reason)
    }

    pub(crate) fn stopping(&self) -> bool {
        self.shard.stopping()
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
