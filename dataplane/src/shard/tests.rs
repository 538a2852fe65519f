//! What a peer can do to a shard by the order and the content of its packets.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use millrace_netio::{Datagram, NetCounters, NetIo, Receive, TrainHint, Transmit};
use millrace_shared::drop::DropReason;
use millrace_shared::dtls::Identity;
use millrace_shared::ice::Tuple;
use millrace_shared::ids::{GroupId, Pt, ShardId, Ssrc, TransportId};
use millrace_shared::link::{
    AddTransport, CloseReason, Command, DataPublish, Event, EventSink, ExtIds, ExtKind,
    Fingerprint, IceCredentials, SetRemote,
};
use millrace_shared::sctp::{Role, Sctp, SctpOutput};
use millrace_shared::srtp::{MasterKey, Profile, SrtpTx};
use millrace_shared::time::{Epoch, RtpTime, SeqNo, Timestamp, UNIX_EPOCH_SINCE_1900};
use millrace_shared::wire::rtp::{RtpHeader, write_header};
use millrace_shared::wire::stun::{
    BindingRequest, IceRole, IntegrityKey, TransactionId, write_binding_request,
};

use super::lanes::Lanes;
use super::{Shard, ShardSetup};
use crate::speakers::SpeakerConfig;

const PWD: &str = "a password of 24 letters";
const FINGERPRINT: Fingerprint = Fingerprint([7; 32]);
const PROFILE: Profile = Profile::AeadAes128Gcm;

struct Log(Sender<Event>);

impl EventSink for Log {
    fn send(&self, event: Event) {
        let _ = self.0.send(event);
    }
}

#[derive(Default)]
struct Inbox {
    waiting: VecDeque<(Tuple, Vec<u8>)>,
    lent: Option<(Tuple, Vec<u8>)>,
}

impl Receive for Inbox {
    fn receive(&mut self) -> Option<Datagram<'_>> {
        self.lent = self.waiting.pop_front();
        let (tuple, payload) = self.lent.as_mut()?;
        Some(Datagram {
            remote: tuple.remote,
            local: tuple.local,
            payload,
            truncated: false,
            waited: std::time::Duration::ZERO,
        })
    }
}

#[derive(Default)]
struct Outbox(Vec<(Tuple, Vec<u8>)>);

impl Transmit for Outbox {
    fn reserve(&mut self, path: &Tuple, _: &mut TrainHint, len: usize) -> Option<&mut [u8]> {
        self.0.push((*path, vec![0; len]));
        self.0.last_mut().map(|(_, bytes)| bytes.as_mut_slice())
    }
}

#[derive(Default)]
struct FakeNet {
    inbox: Inbox,
    outbox: Outbox,
}

impl NetIo for FakeNet {
    fn split(&mut self) -> (&mut dyn Receive, &mut dyn Transmit) {
        (&mut self.inbox, &mut self.outbox)
    }

    fn submit(&mut self) {}

    fn park(&mut self, _: Option<Duration>) {}

    fn counters(&self) -> NetCounters {
        let mut counters = NetCounters::default();
        counters.send.datagrams = self.outbox.0.len() as u64;
        counters.send.bytes = self.outbox.0.iter().map(|it| it.1.len() as u64).sum();
        counters.send.submissions = 1;
        counters
    }
}

struct World {
    shard: Shard,
    net: FakeNet,
    events: Receiver<Event>,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        let (log, events) = unbounded();
        let now = Timestamp::from_millis(1_000);
        let setup = ShardSetup {
            id: ShardId(0),
            epoch: Epoch {
                #[expect(clippy::disallowed_methods, reason = "any instant will do")]
                instant: Instant::now(),
                since_1900: UNIX_EPOCH_SINCE_1900,
            },
            identity: Identity::generate().unwrap(),
            events: Box::new(Log(log)),
            seed: 1,
            lanes: Lanes::alone(),
            one_port: false,
            speakers: SpeakerConfig::default(),
        };
        Self {
            shard: Shard::new(setup, now),
            net: FakeNet::default(),
            events,
            now,
        }
    }

    fn tick(&mut self, commands: impl IntoIterator<Item = Command>) -> Timestamp {
        let mut commands = commands.into_iter();
        self.shard.tick(self.now, &mut self.net, &mut commands)
    }

    fn receive(&mut self, tuple: Tuple, datagram: &[u8]) -> Timestamp {
        let inbound = (tuple, datagram.to_vec());
        self.net.inbox.waiting.push_back(inbound);
        self.tick([])
    }

    fn add(&mut self, id: u64) {
        let add = AddTransport {
            transport: TransportId(id),
            group: GroupId(1),
            label: format!("peer {id}"),
            ice: IceCredentials {
                ufrag: ufrag(id),
                pwd: PWD.into(),
            },
            data_publish: DataPublish {
                stamp: bytes::Bytes::new(),
                allowed: true,
            },
            data_receive: true,
            open_data_channels: false,
        };
        self.tick([Command::AddTransport(Box::new(add))]);
    }

    /// As if the peer's handshake had ended; its side of SRTP.
    fn establish(&mut self, id: u64) -> SrtpTx {
        let key = MasterKey::new(PROFILE, &[1; 16], &[2; 12]).unwrap();
        let slot = self.shard.transport_ids[&TransportId(id)];
        let security = &mut self.shard.transports.get_mut(slot).unwrap().security;
        security.present(FINGERPRINT);
        security.set_keys(&key, &key);
        security.complete();
        self.set_remote(id, FINGERPRINT);
        SrtpTx::new(&key)
    }

    fn set_remote(&mut self, id: u64, fingerprint: Fingerprint) {
        let mut receive_ext_ids = ExtIds::default();
        receive_ext_ids.set(ExtKind::TransportCc, 4);
        let remote = SetRemote {
            transport: TransportId(id),
            ice: IceCredentials {
                ufrag: "peer".into(),
                pwd: "another password".into(),
            },
            fingerprint,
            receive_ext_ids,
        };
        self.tick([Command::SetRemote(Box::new(remote))]);
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.shard.metrics.drops.of(reason)
    }

    fn sent_to(&self, tuple: Tuple) -> usize {
        self.net.outbox.0.iter().filter(|it| it.0 == tuple).count()
    }
}

fn ufrag(id: u64) -> String {
    format!("0ufrag{id}")
}

fn tuple(port: u16) -> Tuple {
    Tuple {
        local: ([192, 0, 2, 1], 7882).into(),
        remote: ([198, 51, 100, 7], port).into(),
    }
}

fn check(id: u64) -> Vec<u8> {
    let mut out = vec![0; 256];
    let username = format!("{}:peer", ufrag(id));
    let request = BindingRequest {
        transaction_id: TransactionId([7; 12]),
        username: &username,
        priority: 1,
        role: IceRole::Controlling(1),
        use_candidate: true,
    };
    let key = IntegrityKey::new(PWD.as_bytes());
    let len = write_binding_request(&mut out, &request, &key).unwrap();
    out.truncate(len);
    out
}

/// A packet of a source that no description named, with a transport-wide number.
fn stranger(srtp: &SrtpTx, seq: u16) -> Vec<u8> {
    let mut out = vec![0; 200];
    let header = RtpHeader {
        marker: false,
        pt: Pt(96),
        seq: SeqNo(seq),
        timestamp: RtpTime(0),
        ssrc: Ssrc(99),
    };
    let header_len = write_header(&mut out, &header, &[(4, &seq.to_be_bytes())]).unwrap();
    let len = srtp
        .protect_rtp(&mut out, header_len, header_len + 50, 0)
        .unwrap();
    out.truncate(len);
    out
}

/// Media that outruns its signaling: feedback is due before any source is known.
#[test]
fn feedback_of_unknown_sources_is_sent_and_does_not_spin() {
    let mut world = World::new();
    world.add(1);
    world.receive(tuple(1), &check(1));
    let srtp = world.establish(1);
    world.receive(tuple(1), &stranger(&srtp, 1));
    assert_eq!(world.drops(DropReason::RtpStreamUnknown), 1);
    let sent = world.sent_to(tuple(1));
    world.now += Duration::from_millis(60);
    let next = world.tick([]);
    assert!(next > world.now);
    assert_eq!(world.sent_to(tuple(1)), sent + 1);
}

// A peer whose association ended is sent nothing, and nothing of it is taken.
#[test]
fn a_closed_transport_is_deaf_and_mute() {
    let mut world = World::new();
    world.add(1);
    world.receive(tuple(1), &check(1));
    let srtp = world.establish(1);
    world.set_remote(1, Fingerprint([8; 32]));
    let closed = Event::Closed {
        transport: TransportId(1),
        reason: CloseReason::FingerprintMismatch,
    };
    assert!(world.events.try_iter().any(|event| event == closed));

    let sent = world.sent_to(tuple(1));
    world.receive(tuple(1), &stranger(&srtp, 1));
    assert_eq!(world.drops(DropReason::SrtpNoKeys), 1);
    world.receive(tuple(1), &check(1));
    assert_eq!(world.drops(DropReason::StunUfragUnknown), 1);
    world.now += Duration::from_secs(60);
    world.tick([]);
    assert_eq!(world.sent_to(tuple(1)), sent);
}

#[test]
fn a_removed_transport_is_not_told_as_closed() {
    let mut world = World::new();
    world.add(1);
    world.receive(tuple(1), &check(1));
    world.receive(tuple(1), &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    world.tick([Command::RemoveTransport {
        transport: TransportId(1),
    }]);
    let closed = |event| matches!(event, Event::Closed { .. });
    assert!(!world.events.try_iter().any(closed));
    assert!(world.shard.demux.by_tuple(&tuple(1)).is_none());
    assert!(world.shard.demux.by_ufrag(&ufrag(1)).is_none());
}

/// A page that was reloaded, and the one before that still says something.
#[test]
fn a_tuple_belongs_to_whom_its_latest_check_names() {
    let mut world = World::new();
    world.add(1);
    world.add(2);
    for id in [1, 2, 1] {
        world.receive(tuple(1), &check(id));
        let owner = world.shard.transport_ids[&TransportId(id)];
        assert_eq!(world.shard.demux.by_tuple(&tuple(1)), Some(owner));
    }
}

// RFC 8827 §6.5: a peer that is not verified gets no data.
#[test]
fn sctp_waits_for_the_certificate() {
    let mut world = World::new();
    world.add(1);
    world.receive(tuple(1), &check(1));
    world.receive(tuple(1), &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut client = Sctp::new(Role::DtlsClient, &world.shard.epoch);
    let Some(SctpOutput::Datagram(init)) = client.poll(world.now) else {
        panic!("no INIT");
    };
    let mut server = Box::new(Sctp::new(Role::DtlsServer, &world.shard.epoch));
    server.receive(world.now, &init).unwrap();
    let slot = world.shard.transport_ids[&TransportId(1)];
    world.shard.transports.get_mut(slot).unwrap().sctp = Some(server);

    let unsent = world.drops(DropReason::DtlsUnexpected);
    world.shard.pump(world.now, slot, &mut world.net.outbox);
    assert_eq!(world.drops(DropReason::DtlsUnexpected), unsent);
    // The answer goes to DTLS, which in this test has no peer.
    world.establish(1);
    assert_eq!(world.drops(DropReason::DtlsUnexpected), unsent + 1);
}

#[test]
fn what_netio_sent_is_in_the_metrics() {
    let mut world = World::new();
    world.add(1);
    world.receive(tuple(1), &check(1));
    let metrics = &world.shard.metrics;
    assert_eq!((metrics.datagrams_sent, metrics.sends), (1, 1));
    assert_eq!(metrics.bytes_sent, world.net.outbox.0[0].1.len() as u64);
}
