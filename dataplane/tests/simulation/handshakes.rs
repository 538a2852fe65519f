//! Real handshakes over bad networks. DTLS draws its own random numbers, so what is lost differs
//! from run to run: only what must hold whatever is lost is asked.

use std::time::{Duration, Instant};

use millrace_shared::dtls::Identity;
use millrace_shared::ice::Tuple;
use millrace_shared::ids::{DownTrackId, GroupId, Ssrc, TrackId, TransportId};
use millrace_shared::link::{AddTransport, Command, DataPublish, Event, IceCredentials, SetRemote};
use millrace_shared::sim::{Agenda, Burst, Fate, Path, PathConfig, Prng};
use millrace_shared::time::{Epoch, Timestamp};

use crate::client::Peer;
use crate::io::Inbound;
use crate::media::{Vp8Encoder, copy, up_ext_ids, video};
use crate::node::{Node, local};
use crate::peer::WALLCLOCK_START;
use crate::plan::START;

const CLIENTS: usize = 6;
const TRACK: TrackId = TrackId(1);
/// DTLS repeats a flight after 100 to 250 ms, doubling; eight times a tenth is lost seldom.
const CONNECTED_WITHIN: Duration = Duration::from_secs(20);

enum Hop {
    In(Inbound<()>),
    Out(usize, Vec<u8>),
}

struct Call {
    agenda: Agenda<Hop>,
    node: Node<()>,
    clients: Vec<Peer>,
    up: Vec<Path>,
    down: Vec<Path>,
    connected: Vec<TransportId>,
}

fn transport(client: usize) -> TransportId {
    TransportId(client as u64 + 1)
}

fn config(random: &mut Prng) -> PathConfig {
    PathConfig {
        loss_ppm: random.within(0..=120_000) as u32,
        burst: random.one_in(2).then_some(Burst {
            enter_ppm: 10_000,
            leave_ppm: 300_000,
            loss_ppm: 900_000,
        }),
        delay: Duration::from_millis(random.within(5..=80)),
        jitter: Duration::from_millis(15),
        reorder_ppm: 50_000,
        reorder_by: Duration::from_millis(60),
        duplicate_ppm: 30_000,
        ..PathConfig::default()
    }
}

impl Call {
    fn new(seed: u64) -> Self {
        let mut random = Prng::new(seed);
        let identity = Identity::generate().unwrap();
        let mut call = Self {
            agenda: Agenda::new(START),
            node: Node::new(1, START, WALLCLOCK_START, &random.fork(1)),
            clients: Vec::new(),
            up: Vec::new(),
            down: Vec::new(),
            connected: Vec::new(),
        };
        for client in 0..CLIENTS {
            call.add(client, &identity);
            let config = config(&mut random);
            call.up.push(Path::new(config, random.fork(client as u64)));
            let random = random.fork(100 + client as u64);
            call.down.push(Path::new(config, random));
        }
        call
    }

    fn add(&mut self, client: usize, identity: &Identity) {
        let ice = IceCredentials {
            ufrag: format!("0-{client}"),
            pwd: format!("password-of-client-{client:04}"),
        };
        let add = AddTransport {
            transport: transport(client),
            group: GroupId(1),
            label: format!("client-{client}"),
            ice: ice.clone(),
            data_publish: DataPublish {
                stamp: Default::default(),
                allowed: false,
            },
            data_receive: false,
            open_data_channels: false,
        };
        let remote = SetRemote {
            transport: transport(client),
            ice: ice.clone(),
            fingerprint: identity.fingerprint(),
            receive_ext_ids: up_ext_ids(),
        };
        self.node.command(0, Command::AddTransport(Box::new(add)));
        self.node.command(0, Command::SetRemote(Box::new(remote)));
        let remote = ([198, 51, 100, 7], 40_000 + client as u16).into();
        let tuple = Tuple {
            local: local(0, remote),
            remote,
        };
        let epoch = Epoch {
            instant: Instant::now(),
            since_1900: WALLCLOCK_START,
        };
        let mut peer = Peer::new(transport(client), tuple, ice, identity.clone(), epoch);
        peer.check_at = START;
        peer.start_dtls(START);
        self.clients.push(peer);
    }

    fn send(&mut self, client: usize, bytes: Vec<u8>) {
        let now = self.agenda.now();
        let tuple = self.clients[client].tuple;
        if let Fate::Arrives(times) = self.up[client].send(now, bytes.len()) {
            for at in times {
                let bytes = bytes.clone();
                let inbound = Inbound {
                    tuple,
                    bytes,
                    mark: (),
                };
                self.agenda.note(at, Hop::In(inbound));
            }
        }
    }

    fn poll(&mut self) {
        let now = self.agenda.now();
        for client in 0..CLIENTS {
            let mut out = Vec::new();
            let peer = &mut self.clients[client];
            peer.poll(now, &mut out);
            // A browser checks often until it is answered.
            if peer.checks_answered == 0 {
                peer.check_at = peer.check_at.min(now + Duration::from_millis(100));
            }
            for bytes in out {
                self.send(client, bytes);
            }
        }
    }

    fn tick(&mut self) {
        let now = self.agenda.now();
        while self.node.due(now) <= now {
            let Some(ticked) = self.node.tick(0, now) else {
                return;
            };
            for written in ticked.written {
                let client = usize::from(written.tuple.remote.port() - 40_000);
                if let Fate::Arrives(times) = self.down[client].send(now, written.bytes.len()) {
                    for at in times {
                        self.agenda
                            .note(at, Hop::Out(client, written.bytes.clone()));
                    }
                }
            }
            self.connected
                .extend(ticked.events.iter().filter_map(|event| match event {
                    Event::Connected { transport } => Some(*transport),
                    _ => None,
                }));
        }
    }

    fn run_until(&mut self, end: Timestamp, mut done: impl FnMut(&Self) -> bool) {
        while !done(self) {
            let now = self.agenda.now();
            let clients = self.clients.iter().map(Peer::next_timeout).min();
            let clients = clients.unwrap_or(Timestamp::NEVER);
            let due = self.node.due(now).min(clients).max(now);
            let next = self.agenda.next_at().min(due);
            if next > end {
                return;
            }
            while let Some(hop) = self.agenda.take(next) {
                match hop {
                    Hop::In(inbound) => self.node.push(0, inbound),
                    Hop::Out(client, bytes) => self.clients[client].receive(next, &bytes),
                }
            }
            self.agenda.advance(next);
            self.poll();
            self.tick();
        }
    }

    /// Ten frames, each a key frame: one of them arrives whole, whatever is lost.
    fn media(&mut self) {
        let config = Box::new(video(TRACK, "v", 1));
        self.node.command(
            0,
            Command::SetUpTrack {
                transport: transport(0),
                config,
            },
        );
        for client in 1..CLIENTS {
            let (down, ssrc) = (DownTrackId(client as u64), 10_000 + 10 * client as u32);
            let config = Box::new(copy(down, TRACK, ssrc));
            self.node.command(
                0,
                Command::SetDownTrack {
                    transport: transport(client),
                    config,
                },
            );
        }
        let (mut encoder, mut number) = (Vp8Encoder::new(5_000, "v", None), 0);
        for _ in 0..10 {
            let frame_at = self.agenda.now() + Duration::from_millis(100);
            self.run_until(frame_at, |_| false);
            for packet in encoder.frame(true, 3, &mut number) {
                let bytes = self.clients[0].protect(&packet);
                self.send(0, bytes);
            }
        }
        let end = self.agenda.now() + Duration::from_secs(1);
        self.run_until(end, |_| false);
    }
}

#[test]
fn handshakes_complete_over_bad_networks_and_media_follows() {
    for seed in 1..=4 {
        let mut call = Call::new(seed);
        let end = START + CONNECTED_WITHIN;
        call.run_until(end, |call| {
            call.connected.len() == CLIENTS && call.clients.iter().all(|it| it.srtp.is_some())
        });
        assert_eq!(
            call.connected.len(),
            CLIENTS,
            "seed {seed}: {:?}",
            call.connected
        );
        call.media();
        for client in 1..CLIENTS {
            let peer = &call.clients[client];
            let ssrc = Ssrc(10_000 + 10 * client as u32);
            let got = peer.rtp.iter().filter(|got| got.view().ssrc == ssrc);
            assert!(got.count() >= 10, "seed {seed}: client {client}");
            let replays = |it: &&String| !it.contains("Replay") && !it.starts_with("dtls");
            let broken: Vec<_> = peer.broken.iter().filter(replays).collect();
            assert!(
                broken.is_empty(),
                "seed {seed}: client {client}: {broken:?}"
            );
        }
    }
}
