//! Where the attacks take place: the node, the call it carries, and what the attackers need.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use millrace_shared::wire::rtp::RtpView;

use crate::call::Call;
use crate::client::media::Mark;
use crate::client::session::{Joining, Role, Session};
use crate::node::{Metrics, Node};
use crate::outcome::{Outcome, Said as _};

/// Datagrams sent before the sender looks at the clock.
const BURST: u64 = 32;
/// Attackers' numbers begin here; those of the call lie below.
const ATTACKER: u64 = 1_000;

#[derive(Debug)]
pub(crate) struct Arena {
    pub(crate) node: Node,
    pub(crate) call: Call,
    /// Minutes instead of half an hour.
    pub(crate) quick: bool,
    next_number: u64,
}

/// What an attack showed.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) measured: String,
    pub(crate) pass: bool,
}

impl Finding {
    pub(crate) fn new(pass: bool, measured: String) -> Self {
        Self { measured, pass }
    }
}

/// A participant that attacks, and one that watches what becomes of its media.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) eve: Session,
    pub(crate) witness: Session,
    /// Packets of eve that the witness received.
    pub(crate) seen: u64,
    /// SSRC and sequence number under which it received the last one.
    pub(crate) down_ssrc: u32,
    pub(crate) down_seq: u16,
}

/// Counters at one moment, and what they became.
#[derive(Debug)]
pub(crate) struct Counted {
    metrics: Metrics,
    overflowed: u64,
}

impl Arena {
    pub(crate) fn new(node: Node, call: Call, quick: bool) -> Self {
        Self {
            node,
            call,
            quick,
            next_number: ATTACKER,
        }
    }

    /// As much as fits the run.
    pub(crate) fn amount(&self, quick: u64, deep: u64) -> u64 {
        if self.quick { quick } else { deep }
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// A socket of an address that has nothing to do with the call.
    pub(crate) fn stranger(&self) -> Outcome<UdpSocket> {
        stranger_at(Ipv4Addr::new(127, 0, 0, 2), self.node.udp)
    }

    pub(crate) fn join(&mut self, room: &str, role: Role) -> Outcome<Session> {
        let number = self.number();
        let identity = format!("attacker-{number}");
        Session::connected(&self.node, &Joining::new(room, &identity, role), number)
    }

    /// Eve publishes from this number on, and the witness receives it.
    pub(crate) fn pair(&mut self, first_seq: u16) -> Outcome<Pair> {
        let room = format!("arena-{}", self.number());
        let mut eve = self.join(&room, Role::Publisher)?;
        eve.video = crate::client::media::Video::new(first_seq);
        let witness = self.join(&room, Role::Subscriber)?;
        Ok(Pair {
            eve,
            witness,
            seen: 0,
            down_ssrc: 0,
            down_seq: 0,
        })
    }

    pub(crate) fn count(&self) -> Outcome<Counted> {
        Ok(Counted {
            metrics: self.node.metrics()?,
            overflowed: self.node.overflowed(),
        })
    }

    /// How much a drop counter grew.
    pub(crate) fn dropped(&self, before: &Counted, reason: &str) -> Outcome<u64> {
        self.grew(before, &format!("millrace_drop_{reason}_total"))
    }

    pub(crate) fn grew(&self, before: &Counted, name: &str) -> Outcome<u64> {
        let after = self.node.metrics()?;
        Ok(grown(&before.metrics, &after, name))
    }

    /// How much several grew.
    pub(crate) fn grew_all<const N: usize>(
        &self,
        before: &Counted,
        names: [&str; N],
    ) -> Outcome<[u64; N]> {
        let after = self.node.metrics()?;
        Ok(names.map(|name| grown(&before.metrics, &after, name)))
    }

    /// Datagrams that never reached the node, because its socket was full.
    pub(crate) fn overflowed(&self, before: &Counted) -> u64 {
        self.node.overflowed().saturating_sub(before.overflowed)
    }
}

fn grown(before: &Metrics, after: &Metrics, name: &str) -> u64 {
    let of = |metrics: &Metrics| metrics.get(name).copied().unwrap_or(0);
    of(after).saturating_sub(of(before))
}

pub(crate) fn stranger_at(address: Ipv4Addr, node: SocketAddr) -> Outcome<UdpSocket> {
    let socket = UdpSocket::bind((address, 0)).said("socket of a stranger")?;
    socket.connect(node).said("socket of a stranger")?;
    socket.set_nonblocking(true).said("socket of a stranger")?;
    Ok(socket)
}

/// Datagrams and bytes that a stranger was sent.
pub(crate) fn received_by(stranger: &UdpSocket) -> (u64, u64) {
    let mut buffer = [0; 2_048];
    let (mut datagrams, mut bytes) = (0, 0);
    while let Ok(len) = stranger.recv(&mut buffer) {
        datagrams += 1;
        bytes += len as u64;
    }
    (datagrams, bytes)
}

/// Calls `send` so many times, at this pace.
pub(crate) fn spray(count: u64, per_second: u64, mut send: impl FnMut(u64)) {
    let begin = Instant::now();
    for n in 0..count {
        send(n);
        if n % BURST == BURST - 1 {
            let due = Duration::from_secs_f64((n + 1) as f64 / per_second as f64);
            std::thread::sleep(due.saturating_sub(begin.elapsed()));
        }
    }
}

impl Pair {
    /// Both do what is due for `time`.
    pub(crate) fn serve(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.eve.serve(Duration::from_millis(1), &mut |_| {});
            self.watch(Duration::from_millis(1));
        }
    }

    /// The witness looks at what came.
    pub(crate) fn watch(&mut self, time: Duration) {
        let (number, seen) = (self.eve.number, &mut self.seen);
        let (down_ssrc, down_seq) = (&mut self.down_ssrc, &mut self.down_seq);
        self.witness.serve(time, &mut |rtp| {
            if Mark::of_packet(rtp).is_some_and(|mark| mark.publisher == number)
                && let Ok(view) = RtpView::parse(rtp)
            {
                *seen += 1;
                (*down_ssrc, *down_seq) = (view.ssrc.0, view.seq.0);
            }
        });
    }

    /// Eve sends packets a millisecond apart; gives them as they were on the wire.
    pub(crate) fn send(&mut self, count: u64) -> Outcome<Vec<Vec<u8>>> {
        let mut packets = Vec::new();
        for _ in 0..count {
            let packet = self.eve.rtp()?;
            self.eve.send(&packet);
            packets.push(packet);
            self.serve(Duration::from_millis(1));
        }
        self.serve(Duration::from_millis(200));
        Ok(packets)
    }

    /// Eve sends until the witness sees it.
    pub(crate) fn begin(&mut self) -> Outcome<()> {
        let begin = Instant::now();
        while self.seen == 0 {
            if begin.elapsed() > Duration::from_secs(10) {
                return Err("the witness sees nothing".into());
            }
            self.send(5)?;
        }
        Ok(())
    }

    pub(crate) fn leave(self) {
        self.eve.leave();
        self.witness.leave();
    }
}
