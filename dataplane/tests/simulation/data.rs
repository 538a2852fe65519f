//! Data packets over bad networks, through real handshakes and real data channels.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use millrace_shared::payload::data_packet::{
    DataKind, DataPacketView, UserPacket, write_user_packet,
};
use millrace_shared::sim::Prng;

use crate::call::{Call, label};
use crate::node::Layout;
use crate::plan::START;

const CLIENTS: usize = 4;
const MESSAGES: u64 = 160;
const RELIABLE: &str = "_reliable";
const LOSSY: &str = "_lossy";
const CONNECTED_WITHIN: Duration = Duration::from_secs(25);
/// By then everything reliable has arrived: SCTP waits 10 s at most before it sends again, and the
/// network has been good for as long.
const SETTLED_AFTER: Duration = Duration::from_secs(25);
/// Of what goes over a network that loses nothing, nothing is lost; a bad one loses some, twice.
const LOST_PERCENT_MAX: usize = 60;

/// What must hold of data packets, whatever networks do.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Rule {
    /// A reliable packet arrives.
    Arrival,
    /// Reliable packets of one sender arrive in order.
    Order,
    /// No packet arrives twice.
    Twice,
    /// It carries what was sent, and nothing else does.
    Content,
    /// Nobody gets what is not for him, nor his own.
    Stranger,
    /// Of the lossy packets some arrive.
    Loss,
    /// When all have acknowledged, shards hold nothing for them.
    Memory,
}

/// A packet that a client gave to its channel. A number counts the packets of a sender's channel.
#[derive(Clone, Debug)]
struct Sent {
    from: usize,
    channel: &'static str,
    number: u32,
    /// Everybody if empty.
    to: Vec<usize>,
    payload: Vec<u8>,
}

/// A packet as a client got it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Heard {
    from: String,
    channel: String,
    number: u32,
    packet: Bytes,
}

/// What a run came to.
#[derive(Clone, Debug)]
struct Run {
    sent: Vec<Sent>,
    /// By client, in order.
    heard: Vec<Vec<Heard>>,
    data_buffered: usize,
}

fn message(random: &mut Prng, counts: &mut BTreeMap<(usize, &str), u32>) -> Sent {
    let from = random.below(CLIENTS as u64) as usize;
    let channel = if random.one_in(2) { RELIABLE } else { LOSSY };
    let number = counts.entry((from, channel)).or_default();
    *number += 1;
    let to = match random.below(4) {
        0 => vec![(from + 1) % CLIENTS],
        1 => vec![(from + 1) % CLIENTS, (from + 3) % CLIENTS],
        _ => Vec::new(),
    };
    // Most fit a datagram.
    let len = if random.one_in(8) { 4_000 } else { 300 };
    let mut payload = vec![0; random.within(8..=len) as usize];
    random.fill(&mut payload);
    Sent {
        from,
        channel,
        number: *number,
        to,
        payload,
    }
}

impl Sent {
    fn packet(&self) -> Vec<u8> {
        let labels: Vec<String> = self.to.iter().map(|it| label(*it)).collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let mut out = vec![0; self.payload.len() + 200];
        let packet = UserPacket {
            kind: if self.channel == RELIABLE {
                DataKind::Reliable
            } else {
                DataKind::Lossy
            },
            destination_identities: &labels,
            sequence: self.number,
            topic: None,
            payload: &self.payload,
        };
        let len = write_user_packet(&mut out, &packet).unwrap();
        out.truncate(len);
        out
    }

    fn is_for(&self, client: usize) -> bool {
        self.from != client && (self.to.is_empty() || self.to.contains(&client))
    }
}

fn run(seed: u64, layout: Layout) -> Run {
    let mut call = Call::new(seed, layout, CLIENTS, true);
    let ready = |call: &Call| call.clients.iter().all(|it| it.channels.len() == 2);
    call.run_until(START + CONNECTED_WITHIN, ready);
    assert!(ready(&call), "seed {seed}, {layout:?}: no channels");
    // The answers of the shards, which say that the channels are open, are behind.
    call.run_for(Duration::from_secs(3));
    let (mut random, mut counts) = (Prng::new(seed).fork(7), BTreeMap::new());
    let mut sent = Vec::new();
    for _ in 0..MESSAGES {
        let message = message(&mut random, &mut counts);
        let packet = message.packet().into();
        call.clients[message.from].send_message(message.channel, packet);
        sent.push(message);
        call.run_for(Duration::from_millis(random.below(60)));
    }
    call.calm();
    call.run_for(SETTLED_AFTER);
    let heard = call.clients.iter().map(|peer| {
        let messages = peer.messages.iter();
        let heard = messages.map(|(channel, packet)| {
            let view = DataPacketView::parse(packet).unwrap();
            Heard {
                from: view.participant_identity.to_owned(),
                channel: channel.clone(),
                number: view.sequence,
                packet: packet.clone(),
            }
        });
        heard.collect()
    });
    Run {
        heard: heard.collect(),
        sent,
        data_buffered: call.node.counts().iter().map(|it| it.data_buffered).sum(),
    }
}

fn judge(run: &Run) -> Vec<(Rule, String)> {
    let mut blamed = Vec::new();
    for (client, heard) in run.heard.iter().enumerate() {
        let mut seen = BTreeSet::new();
        let mut newest = BTreeMap::new();
        for it in heard {
            let name = format!("client {client}: {} {} {}", it.from, it.channel, it.number);
            let mut sent = run.sent.iter();
            let Some(sent) = sent.find(|sent| {
                (label(sent.from), sent.channel, sent.number)
                    == (it.from.clone(), it.channel.as_str(), it.number)
            }) else {
                blamed.push((Rule::Content, name));
                continue;
            };
            let mut windows = it.packet.windows(sent.payload.len());
            if !windows.any(|window| window == sent.payload) {
                blamed.push((Rule::Content, name.clone()));
            }
            if !sent.is_for(client) {
                blamed.push((Rule::Stranger, name.clone()));
            }
            if !seen.insert((sent.from, sent.channel, sent.number)) {
                blamed.push((Rule::Twice, name.clone()));
            }
            let before = newest.insert((sent.from, sent.channel), sent.number);
            if sent.channel == RELIABLE && before.is_some_and(|before| before > sent.number) {
                blamed.push((Rule::Order, name));
            }
        }
        let (mut lossy, mut lost) = (0, 0);
        for sent in run.sent.iter().filter(|it| it.is_for(client)) {
            let arrived = seen.contains(&(sent.from, sent.channel, sent.number));
            if sent.channel == RELIABLE && !arrived {
                let name = format!("client {client} has no {} of {}", sent.number, sent.from);
                blamed.push((Rule::Arrival, name));
            }
            if sent.channel == LOSSY {
                lossy += 1;
                lost += usize::from(!arrived);
            }
        }
        if lost * 100 > lossy * LOST_PERCENT_MAX {
            let text = format!("client {client}: {lost} of {lossy} lossy packets lost");
            blamed.push((Rule::Loss, text));
        }
    }
    if run.data_buffered > 0 {
        blamed.push((Rule::Memory, format!("{} bytes", run.data_buffered)));
    }
    blamed
}

const LAYOUTS: [Layout; 4] = [
    Layout {
        shards: 1,
        one_port: false,
    },
    Layout {
        shards: 2,
        one_port: false,
    },
    Layout {
        shards: 4,
        one_port: false,
    },
    Layout {
        shards: 3,
        one_port: true,
    },
];

/// Of the environment: so many for each count of shards.
fn seeds() -> u64 {
    let asked = std::env::var("MILLRACE_DATA_SEEDS");
    asked.map_or(1, |it| it.parse().unwrap())
}

#[test]
fn reliable_packets_arrive_once_in_order_and_lossy_ones_at_most_once() {
    for (first, layout) in (0..).zip(LAYOUTS) {
        for seed in (0..seeds()).map(|it| 4 * it + first) {
            let blamed = judge(&run(seed, layout));
            assert!(blamed.is_empty(), "seed {seed}, {layout:?}: {blamed:#?}");
        }
    }
}

/// Each rule fails when there is something to fail for.
#[test]
fn every_error_of_data_is_noticed() {
    let good = run(1, Layout::ports(2));
    assert_eq!(judge(&good), []);
    let reliable = good.heard[0].iter().position(|it| it.channel == RELIABLE);
    let reliable = reliable.unwrap();
    let from = good.heard[0][reliable].from.clone();
    let of_one = |it: &Heard| it.channel == RELIABLE && it.from == from;
    let next = good.heard[0].iter().skip(reliable + 1).position(of_one);
    let next = reliable + 1 + next.unwrap();
    let own = Heard {
        from: label(0),
        ..good.heard[1]
            .iter()
            .find(|it| it.from == label(0))
            .unwrap()
            .clone()
    };
    type Error<'a> = (Rule, Box<dyn Fn(&mut Run) + 'a>);
    let errors: [Error<'_>; 9] = [
        (
            Rule::Arrival,
            Box::new(|run| drop(run.heard[0].remove(reliable))),
        ),
        (
            Rule::Order,
            Box::new(|run| run.heard[0].swap(reliable, next)),
        ),
        (
            Rule::Twice,
            Box::new(|run| {
                let again = run.heard[0][reliable].clone();
                run.heard[0].insert(reliable, again);
            }),
        ),
        (
            Rule::Twice,
            Box::new(|run| {
                let mut heard = run.heard[0].iter();
                let again = heard.find(|it| it.channel == LOSSY).unwrap().clone();
                run.heard[0].push(again);
            }),
        ),
        (
            Rule::Content,
            Box::new(|run| run.heard[0][reliable].from = "eve".to_owned()),
        ),
        (
            Rule::Content,
            Box::new(|run| run.heard[0][reliable].packet = vec![0; 5_000].into()),
        ),
        (
            Rule::Stranger,
            Box::new(|run| run.heard[0].push(own.clone())),
        ),
        (
            Rule::Loss,
            Box::new(|run| run.heard[0].retain(|it| it.channel == RELIABLE)),
        ),
        (Rule::Memory, Box::new(|run| run.data_buffered = 1)),
    ];
    for (rule, change) in errors {
        let mut bad = good.clone();
        change(&mut bad);
        let blamed = judge(&bad);
        assert!(
            blamed.iter().any(|(it, _)| *it == rule),
            "{rule:?} does not notice: {blamed:?}"
        );
    }
}
