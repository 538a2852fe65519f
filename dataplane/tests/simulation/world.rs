//! Peers, networks and the node, moved by one clock.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use millrace_dataplane::shard::Sizes;
use millrace_shared::ice::Tuple;
use millrace_shared::ids::TransportId;
use millrace_shared::link::{Event, ShardMetrics};
use millrace_shared::sim::{Agenda, Fate, Path, PathConfig, PcapWriter, Prng};
use millrace_shared::srtp::MasterKey;
use millrace_shared::time::{SeqNo, Timestamp};
use ring::digest;

use crate::content::Content;
use crate::encoder::Load;
use crate::io::{Inbound, Written};
use crate::ledger::Ledger;
use crate::node::{Layout, Node, Ticked, local};
use crate::peer::{Opener, Peer, Sent, WALLCLOCK_START};
use crate::plan::{Action, Plan, START};
use crate::receiver::Decoded;
use crate::tamper::Tamper;
use crate::verdict::Verdict;

/// Part of the seed that decides where tuples arrive.
const PART_LANDING: u64 = 1 << 32;

const PART_STRAYS: u64 = 300;
/// Nobody is to hear anything there but checks.
pub(crate) const STRANGER: ([u8; 4], u16) = ([203, 0, 113, 66], 6_666);

/// What the world calls a datagram on its way to a shard.
#[derive(Clone, Debug)]
pub(crate) enum Mark {
    Check,
    Media {
        load: Load,
        content: Content,
        transport_cc: u16,
    },
    Report,
    /// A copy that is of no use to who sends it.
    Stray,
}

/// What a shard sent to a peer, in the clear.
#[derive(Clone, Debug)]
pub(crate) enum Delivery {
    CheckAnswer,
    Rtp {
        number: SeqNo,
        content: Option<Content>,
        ssrc: millrace_shared::ids::Ssrc,
        transport_cc: Option<SeqNo>,
        len: usize,
    },
    Rtcp(Vec<u8>),
}

#[derive(Clone, Debug)]
pub(crate) enum Happening {
    ToShard {
        peer: usize,
        inbound: Inbound<Mark>,
    },
    ToPeer {
        peer: usize,
        remote: SocketAddr,
        delivery: Delivery,
    },
    Act(Action),
}

/// A peer and its way to the node.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) peer: Peer,
    /// Where the control plane placed it.
    pub(crate) shard: usize,
    /// Where it lives: with one port the shard that its first check reached.
    pub(crate) home: usize,
    /// Where its first check that was answered arrived.
    pub(crate) landed: usize,
    pub(crate) opener: Opener,
    /// The shard's and the peer's, until the shard answered a check: a handshake follows it.
    pub(crate) keys: Option<(MasterKey, MasterKey)>,
    pub(crate) up: Path,
    pub(crate) down: Path,
    /// Every address it was at: what answers a check that it sent from there is no stranger's.
    pub(crate) addresses: BTreeSet<SocketAddr>,
    /// Addresses from which a check reached the shard.
    pub(crate) valid: BTreeSet<SocketAddr>,
    pub(crate) present: bool,
    /// Transport-wide number of the newest packet that the shard sent.
    pub(crate) transport_cc: Option<SeqNo>,
    /// Its network was dark for a while.
    pub(crate) was_dark: bool,
    pub(crate) steps: Vec<i64>,
}

/// A track and what its publisher does with it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Track {
    pub(crate) publishing: crate::plan::Publishing,
    pub(crate) muted: bool,
    pub(crate) gone: bool,
    /// Since then nothing has changed that could interrupt it.
    pub(crate) steady_since: Timestamp,
}

/// What a command changes for the oracles, once the shard has applied it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    /// Datagrams of this address are passed on to where the peer's transport lives.
    Validated(usize, SocketAddr),
    Removed(usize),
    /// A copy, and how many wishes it had with the one that pauses it.
    Paused(usize, usize),
    Muted(u16, bool),
    Left(usize),
}

/// An effect, the shard whose next tick brings it, and whose transport the command is for, if it
/// may have to be passed on to where that lives.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pending {
    pub(crate) shard: usize,
    pub(crate) of: Option<usize>,
    pub(crate) effect: Effect,
}

pub(crate) struct World {
    pub(crate) layout: Layout,
    pub(crate) agenda: Agenda<Happening>,
    pub(crate) node: Node<Mark>,
    pub(crate) random: Prng,
    strays: Prng,
    /// In the order of the plan's numbers; a peer that has not joined is none yet.
    pub(crate) members: Vec<Option<Member>>,
    pub(crate) paths: Vec<(PathConfig, PathConfig)>,
    /// How often each peer has joined.
    pub(crate) visits: Vec<u64>,
    pub(crate) tracks: Vec<Track>,
    pub(crate) effects: Vec<Pending>,
    pub(crate) ledger: Ledger,
    pub(crate) verdict: Verdict,
    pub(crate) tamper: Tamper,
    pub(crate) stepped: bool,
    pub(crate) roamed: bool,
    /// In the tick being looked at, some packets found their lane full.
    pub(crate) lane_lost: bool,
    pub(crate) events: Vec<Event>,
    pub(crate) watch_at: Timestamp,
    pub(crate) gap_max: Duration,
    pub(crate) sizes_max: Sizes,
    end: Timestamp,
    digest: digest::Context,
    pub(crate) capture: Option<PcapWriter<Vec<u8>>>,
}

/// What is left of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    /// Of every datagram that anybody sent, with its time and addresses.
    pub(crate) digest: String,
    pub(crate) metrics: Vec<ShardMetrics>,
    pub(crate) ledger: Ledger,
    /// By copy, every frame decoded, in order.
    pub(crate) decoded: Vec<(u64, Vec<Decoded>)>,
    pub(crate) gap_max: Duration,
    pub(crate) sizes_max: Sizes,
    pub(crate) capture: Option<Vec<u8>>,
}

impl World {
    pub(crate) fn new(plan: &Plan, layout: Layout, tamper: Tamper) -> Self {
        let random = Prng::new(plan.seed);
        let mut agenda = Agenda::new(START);
        for (at, action) in &plan.actions {
            agenda.note(*at, Happening::Act(*action));
        }
        Self {
            agenda,
            layout,
            node: Node::new(layout, START, WALLCLOCK_START, &random.fork(2)),
            strays: random.fork(PART_STRAYS),
            random,
            members: Vec::new(),
            paths: Vec::new(),
            visits: Vec::new(),
            tracks: Vec::new(),
            effects: Vec::new(),
            ledger: Ledger::default(),
            verdict: Verdict::default(),
            tamper,
            stepped: false,
            roamed: false,
            lane_lost: false,
            events: Vec::new(),
            watch_at: START,
            gap_max: Duration::ZERO,
            sizes_max: Sizes::default(),
            end: plan.end,
            digest: digest::Context::new(&digest::SHA256),
            capture: None,
        }
    }

    /// Keeps every packet in the clear.
    pub(crate) fn capture_all(&mut self) {
        self.capture = Some(PcapWriter::new(Vec::new()).unwrap());
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.agenda.now()
    }

    pub(crate) fn run(mut self) -> Outcome {
        self.run_until(self.end);
        self.finish()
    }

    pub(crate) fn run_until(&mut self, end: Timestamp) {
        loop {
            let now = self.now();
            let peers = self.members.iter().flatten().filter(|it| it.present);
            let peers = peers.map(|it| it.peer.next_timeout()).min();
            let next = self
                .agenda
                .next_at()
                .min(self.node.due(now))
                .min(peers.unwrap_or(Timestamp::NEVER))
                .min(self.watch_at)
                .max(now);
            if next > end {
                return;
            }
            while let Some(happening) = self.agenda.take(next) {
                self.happen(happening);
            }
            self.agenda.advance(next);
            self.poll_peers();
            self.tick_shards();
            if self.watch_at <= next {
                self.watch();
            }
        }
    }

    fn finish(mut self) -> Outcome {
        self.judge_recovery();
        self.judge_layers();
        self.judge_repair();
        self.judge_retransmission();
        self.judge_placement();
        crate::judge::judge(&self.ledger, self.stepped, &mut self.verdict);
        let metrics = self.node.metrics();
        self.take_down();
        let receivers = self
            .members
            .iter()
            .flatten()
            .flat_map(|it| &it.peer.receivers);
        let decoded = receivers.map(|receiver| (receiver.down.0, receiver.decoded.clone()));
        let mut decoded: Vec<_> = decoded.collect();
        decoded.sort_by_key(|(down, _)| *down);
        let digest = self.digest.finish();
        let digest = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
        Outcome {
            verdict: self.verdict,
            digest: digest.collect(),
            metrics,
            ledger: self.ledger,
            decoded,
            gap_max: self.gap_max,
            sizes_max: self.sizes_max,
            capture: self.capture.map(|capture| capture.finish().unwrap()),
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::ToShard { peer, inbound } => {
                let shard = self.landing(peer, inbound.tuple.remote);
                self.stray(&inbound);
                self.node.push(shard, inbound);
            }
            Happening::ToPeer {
                peer,
                remote,
                delivery,
            } => self.deliver(peer, remote, delivery),
            Happening::Act(action) => self.act(action),
        }
    }

    /// The shard to which the kernel delivers what a peer sends.
    pub(crate) fn landing(&self, peer: usize, remote: SocketAddr) -> usize {
        if self.layout.one_port {
            let family = u64::from(remote.is_ipv6()) << 16;
            let part = PART_LANDING + family + u64::from(remote.port());
            return self.random.fork(part).below(self.layout.shards as u64) as usize;
        }
        self.members[peer].as_ref().map_or(0, |it| it.shard)
    }

    /// A stranger has a copy of some datagrams and sends them from its own address, to any shard.
    /// Not of checks: until the peer's next one, the copy of a check that comes first is a check.
    fn stray(&mut self, inbound: &Inbound<Mark>) {
        let shards = self.layout.shards as u64;
        let check = matches!(inbound.mark, Mark::Check);
        if self.layout.one_port && !check && self.strays.one_in(50) {
            let mut copy = inbound.clone();
            copy.mark = Mark::Stray;
            copy.tuple.remote = STRANGER.into();
            let shard = self.strays.below(shards) as usize;
            self.node.push(shard, copy);
        }
    }

    fn deliver(&mut self, peer: usize, remote: SocketAddr, delivery: Delivery) {
        let now = self.now();
        let Some(member) = self.members[peer].as_mut().filter(|it| it.present) else {
            return;
        };
        // What was sent to an address that the peer has left.
        if member.peer.remote != remote {
            return;
        }
        let mut out = Vec::new();
        match delivery {
            Delivery::CheckAnswer => member.peer.receive_check_answer(),
            Delivery::Rtp {
                number,
                content,
                ssrc,
                transport_cc,
                len,
            } => {
                member.peer.note_arrival(now, transport_cc, len);
                let mut receivers = member.peer.receivers.iter_mut();
                let receiver = receivers.find(|it| it.ssrc == ssrc || it.rtx_ssrc == ssrc);
                if let (Some(receiver), Some(content)) = (receiver, content) {
                    receiver.receive(now, number, content, ssrc == receiver.rtx_ssrc);
                }
            }
            Delivery::Rtcp(compound) => member.peer.receive_rtcp(now, &compound, &mut out),
        }
        for sent in out {
            self.send(peer, &sent);
        }
        self.check_feedback(peer);
    }

    fn poll_peers(&mut self) {
        let now = self.now();
        for index in 0..self.members.len() {
            let mut out = Vec::new();
            if let Some(member) = self.members[index].as_mut().filter(|it| it.present)
                && member.peer.next_timeout() <= now
            {
                member.peer.poll(now, &mut out);
            }
            for sent in out {
                self.send(index, &sent);
            }
        }
    }

    /// Puts what a peer sends on its way.
    fn send(&mut self, peer: usize, sent: &Sent) {
        let now = self.now();
        let one_port = self.layout.one_port;
        let Some(member) = self.members[peer].as_mut() else {
            return;
        };
        let remote = member.peer.remote;
        let tuple = Tuple {
            local: local(if one_port { 0 } else { member.shard }, remote),
            remote,
        };
        let bytes = member.peer.protect(sent);
        let fate = member.up.send(now, bytes.len());
        self.record(tuple.remote, tuple.local, &bytes);
        let mark = match sent {
            Sent::Check(_) => Mark::Check,
            Sent::Report(plain) => {
                self.capture(tuple.remote, tuple.local, plain);
                Mark::Report
            }
            Sent::Media(plain) => {
                self.capture(tuple.remote, tuple.local, &plain.bytes);
                Mark::Media {
                    load: plain.load,
                    content: plain.content,
                    transport_cc: plain.transport_cc,
                }
            }
        };
        if let Fate::Arrives(times) = fate {
            for at in times {
                let (bytes, mark) = (bytes.clone(), mark.clone());
                let inbound = Inbound { tuple, bytes, mark };
                self.agenda.note(at, Happening::ToShard { peer, inbound });
            }
        }
    }

    fn tick_shards(&mut self) {
        let now = self.now();
        while self.node.due(now) <= now {
            for shard in 0..self.node.shards() {
                if let Some(ticked) = self.node.tick(shard, now) {
                    self.observe(shard, ticked);
                }
            }
        }
    }

    pub(crate) fn observe(&mut self, shard: usize, ticked: Ticked<Mark>) {
        let now = self.now();
        self.lane_lost = ticked.lane_lost > 0;
        for (tuple, mark) in ticked.taken {
            self.note_taken(now, shard, tuple, mark);
        }
        for tuple in ticked.refused {
            if let Some(peer) = self.peer_at(tuple.remote) {
                self.ledger.excuses.entry(peer).or_default().refused += 1;
            }
        }
        if ticked.lane_lost > 0 {
            self.excuse_lanes(shard, ticked.lane_lost);
        }
        for written in ticked.written {
            self.record(written.tuple.local, written.tuple.remote, &written.bytes);
            self.tap(shard, written);
        }
        let events = ticked.events.into_iter();
        self.events.extend(events.map(|it| self.tamper.tell(it)));
        let effects = std::mem::take(&mut self.effects);
        let (due, later) = effects.into_iter().partition(|it| it.shard == shard);
        self.effects = later;
        let due: Vec<Pending> = due;
        for Pending { of, effect, .. } in due {
            let home = of.and_then(|peer| self.members[peer].as_ref());
            match home.map(|member| member.home) {
                Some(home) if self.layout.one_port && home != shard => {
                    self.effects.push(Pending {
                        shard: home,
                        of: None,
                        effect,
                    });
                }
                _ => self.take_effect(effect),
            }
        }
    }

    /// Media lanes may lose: whoever is on another shard may miss as many packets. With one port so
    /// may anybody, for what publishers send crosses them, too.
    fn excuse_lanes(&mut self, shard: usize, lost: u64) {
        for (peer, member) in self.members.iter().enumerate() {
            if member
                .as_ref()
                .is_some_and(|it| self.layout.one_port || it.shard != shard)
            {
                self.ledger.excuses.entry(peer).or_default().refused += lost;
            }
        }
    }

    /// The peer that has, or had, an address.
    pub(crate) fn peer_at(&self, remote: SocketAddr) -> Option<usize> {
        self.members.iter().position(|member| {
            member
                .as_ref()
                .is_some_and(|it| it.addresses.contains(&remote))
        })
    }

    /// Sends what the shard wrote down the network, unless the kernel dropped it.
    pub(crate) fn pass_on(&mut self, peer: usize, written: &Written, delivery: &Delivery) {
        let now = self.now();
        let Some(member) = self.members[peer].as_mut() else {
            return;
        };
        let remote = written.tuple.remote;
        let fate = member.down.send(now, written.bytes.len());
        if let (Fate::Arrives(times), false) = (fate, written.dropped) {
            for at in times {
                let delivery = delivery.clone();
                let happening = Happening::ToPeer {
                    peer,
                    remote,
                    delivery,
                };
                self.agenda.note(at, happening);
            }
        }
    }

    /// One seed is one run: this is what two runs are compared by.
    fn record(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.digest
            .update(&self.agenda.now().as_nanos().to_be_bytes());
        self.digest.update(&from.port().to_be_bytes());
        self.digest.update(&to.port().to_be_bytes());
        self.digest.update(bytes);
    }

    pub(crate) fn capture(&mut self, from: SocketAddr, to: SocketAddr, plain: &[u8]) {
        let now = self.agenda.now();
        if let Some(capture) = &mut self.capture {
            capture.udp(now, from, to, plain).unwrap();
        }
    }

    pub(crate) fn member(&mut self, peer: usize) -> Option<&mut Member> {
        self.members.get_mut(peer)?.as_mut()
    }

    /// Of the peer's last visit: the control plane never uses a number twice.
    pub(crate) fn transport(&self, peer: usize) -> TransportId {
        let visits = self.visits.get(peer).copied().unwrap_or(0);
        TransportId(1_000 * visits + peer as u64)
    }
}
