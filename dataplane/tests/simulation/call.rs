//! A call of clients with real handshakes over networks of the simulation. DTLS and SCTP draw their
//! own random numbers, so what is lost differs from run to run: only what must hold whatever is lost
//! can be asked.

use std::time::{Duration, Instant};

use millrace_shared::dtls::Identity;
use millrace_shared::ice::Tuple;
use millrace_shared::ids::{GroupId, TransportId};
use millrace_shared::link::{AddTransport, Command, DataPublish, Event, IceCredentials, SetRemote};
use millrace_shared::payload::data_packet::write_stamp;
use millrace_shared::sim::{Agenda, Burst, Fate, Path, PathConfig, Prng};
use millrace_shared::time::{Epoch, Timestamp};

use crate::client::Peer;
use crate::io::Inbound;
use crate::media::up_ext_ids;
use crate::node::{Layout, Node, local};
use crate::peer::WALLCLOCK_START;
use crate::plan::START;

enum Hop {
    In(usize, Inbound<()>),
    Out(usize, Vec<u8>),
}

pub(crate) struct Call {
    agenda: Agenda<Hop>,
    pub(crate) node: Node<()>,
    pub(crate) clients: Vec<Peer>,
    layout: Layout,
    up: Vec<Path>,
    down: Vec<Path>,
    pub(crate) connected: Vec<TransportId>,
}

pub(crate) fn transport(client: usize) -> TransportId {
    TransportId(client as u64 + 1)
}

/// What destinations of data packets name a client by.
pub(crate) fn label(client: usize) -> String {
    format!("client-{client}")
}

pub(crate) fn bad_network(random: &mut Prng) -> PathConfig {
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
    /// Clients that have not begun. They have data channels if `data` says so.
    pub(crate) fn new(seed: u64, layout: Layout, clients: usize, data: bool) -> Self {
        let mut random = Prng::new(seed);
        let identity = Identity::generate().unwrap();
        let mut call = Self {
            agenda: Agenda::new(START),
            node: Node::new(layout, START, WALLCLOCK_START, &random.fork(1)),
            clients: Vec::new(),
            layout,
            up: Vec::new(),
            down: Vec::new(),
            connected: Vec::new(),
        };
        for client in 0..clients {
            let landing = random.fork(200 + client as u64).below(layout.shards as u64);
            call.add(client, landing as usize, &identity, data);
            let config = bad_network(&mut random);
            call.up.push(Path::new(config, random.fork(client as u64)));
            let random = random.fork(100 + client as u64);
            call.down.push(Path::new(config, random));
        }
        call
    }

    fn add(&mut self, client: usize, landing: usize, identity: &Identity, data: bool) {
        let shard = client % self.layout.shards;
        let ice = IceCredentials {
            ufrag: format!("{shard}-{client}"),
            pwd: format!("password-of-client-{client:04}"),
        };
        let mut stamp = [0; 64];
        let len = write_stamp(&mut stamp, &label(client), "PA_client").unwrap();
        let add = AddTransport {
            transport: transport(client),
            group: GroupId(1),
            label: label(client),
            ice: ice.clone(),
            data_publish: DataPublish {
                stamp: stamp[..len].to_vec().into(),
                allowed: data,
            },
            data_receive: data,
            open_data_channels: false,
        };
        let remote = SetRemote {
            transport: transport(client),
            ice: ice.clone(),
            fingerprint: identity.fingerprint(),
            receive_ext_ids: up_ext_ids(),
        };
        self.node
            .command(shard, Command::AddTransport(Box::new(add)));
        self.node
            .command(shard, Command::SetRemote(Box::new(remote)));
        let remote = ([198, 51, 100, 7], 40_000 + client as u16).into();
        let one_port = self.layout.one_port;
        let tuple = Tuple {
            local: local(if one_port { 0 } else { shard }, remote),
            remote,
        };
        let epoch = Epoch {
            instant: Instant::now(),
            since_1900: WALLCLOCK_START,
        };
        let mut peer = Peer::new(transport(client), tuple, ice, identity.clone(), epoch);
        peer.shard = shard;
        peer.arrives_at = if one_port { landing } else { shard };
        peer.uses_data = data;
        peer.opens_channels = data;
        peer.check_at = START;
        peer.start_dtls(START);
        self.clients.push(peer);
    }

    /// To the shard where the client was placed.
    pub(crate) fn command(&mut self, client: usize, command: Command) {
        self.node.command(self.clients[client].shard, command);
    }

    /// From now on networks only delay.
    pub(crate) fn calm(&mut self) {
        for path in self.up.iter_mut().chain(&mut self.down) {
            path.set_config(PathConfig {
                delay: Duration::from_millis(20),
                ..PathConfig::default()
            });
        }
    }

    pub(crate) fn send(&mut self, client: usize, bytes: Vec<u8>) {
        let now = self.agenda.now();
        let (tuple, shard) = (self.clients[client].tuple, self.clients[client].arrives_at);
        if let Fate::Arrives(times) = self.up[client].send(now, bytes.len()) {
            for at in times {
                let bytes = bytes.clone();
                let inbound = Inbound {
                    tuple,
                    bytes,
                    mark: (),
                };
                self.agenda.note(at, Hop::In(shard, inbound));
            }
        }
    }

    fn poll(&mut self) {
        let now = self.agenda.now();
        for client in 0..self.clients.len() {
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
            for shard in 0..self.layout.shards {
                let Some(ticked) = self.node.tick(shard, now) else {
                    continue;
                };
                for written in ticked.written {
                    self.pass_on(written.tuple, &written.bytes);
                }
                self.connected
                    .extend(ticked.events.iter().filter_map(|event| match event {
                        Event::Connected { transport } => Some(*transport),
                        _ => None,
                    }));
            }
        }
    }

    fn pass_on(&mut self, tuple: Tuple, bytes: &[u8]) {
        let now = self.agenda.now();
        let client = usize::from(tuple.remote.port() - 40_000);
        if let Fate::Arrives(times) = self.down[client].send(now, bytes.len()) {
            for at in times {
                self.agenda.note(at, Hop::Out(client, bytes.to_vec()));
            }
        }
    }

    pub(crate) fn run_until(&mut self, end: Timestamp, mut done: impl FnMut(&Self) -> bool) {
        while !done(self) {
            let now = self.agenda.now();
            let clients = self.clients.iter().map(Peer::next_timeout).min();
            let clients = clients.unwrap_or(Timestamp::NEVER);
            let due = self.node.due(now).min(clients).max(now);
            let next = self.agenda.next_at().min(due);
            if next > end {
                self.agenda.advance(end);
                return;
            }
            while let Some(hop) = self.agenda.take(next) {
                match hop {
                    Hop::In(shard, inbound) => self.node.push(shard, inbound),
                    Hop::Out(client, bytes) => self.clients[client].receive(next, &bytes),
                }
            }
            self.agenda.advance(next);
            self.poll();
            self.tick();
        }
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.agenda.now() + time;
        self.run_until(end, |_| false);
    }
}
