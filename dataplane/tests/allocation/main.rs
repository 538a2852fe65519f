//! Forwarding a packet allocates nothing, on its shard and across to another. One test in this binary: it counts for the whole process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::disallowed_methods, reason = "a test is the shard's host")]
#![allow(clippy::disallowed_types, reason = "a test is the shard's host")]

mod counting;
#[path = "../shard/harness/mod.rs"]
#[allow(dead_code, reason = "the harness serves the scenario tests too")]
mod harness;

use std::cell::Cell;
use std::rc::Rc;

use harness::media::{RIDS, Vp8Encoder};
use harness::{Joining, Observer, World};
use millrace_shared::ids::{DownTrackId, Ssrc, TrackId};
use millrace_shared::link::{Command, Event, Layer, ShardMetrics};
use millrace_shared::time::SeqNo;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

const SUBSCRIBERS: usize = 10;
const FORWARDED_MIN: u64 = 100_000;
const WARM_UP_FRAMES: u32 = 300;

#[derive(Clone, Default)]
struct Tally(Rc<Cell<u64>>);

impl Observer for Tally {
    fn before_tick(&mut self) {
        counting::arm();
    }

    /// Reports to the control plane are built on the heap, off the packets' way.
    fn after_tick(&mut self, events: &[Event]) {
        let allocations = counting::disarm();
        let reported = events
            .iter()
            .any(|event| matches!(event, Event::Reports { .. } | Event::Metrics { .. }));
        if !reported {
            self.0.set(self.0.get() + allocations);
        }
    }
}

/// One frame of both encodings, with a loss in every 25th that the publisher repairs.
fn frame(world: &mut World, publisher: usize, encoders: &mut [Vp8Encoder], n: u32) {
    let mut number = world.transport_cc;
    let mut repairs = Vec::new();
    for encoder in encoders.iter_mut() {
        let packets = encoder.frame(n.is_multiple_of(150), 3, &mut number);
        for (index, packet) in packets.iter().enumerate() {
            if n % 25 == 7 && index == 1 {
                repairs.push(encoder.again(packet, &mut number));
            } else {
                world.send_rtp(publisher, packet);
            }
        }
    }
    world.transport_cc = number;
    world.run_ms(20);
    for packet in repairs {
        world.send_rtp(publisher, &packet);
    }
    world.run_ms(13);
}

/// Every subscriber asks again for two of its newest packets, and forgets the others. Notes the
/// payload length of the newest, by which the encodings are told apart.
fn ask_again(world: &mut World, lens: &mut Vec<usize>) {
    for index in 0..SUBSCRIBERS {
        let peer = index + 1;
        let ssrc = Ssrc(10_000 + 10 * index as u32);
        let seqs: Vec<SeqNo> = {
            let got = world.peers[peer].rtp.iter().rev().map(|got| got.view());
            let mut seqs: Vec<_> = got
                .filter(|view| view.ssrc == ssrc)
                .map(|view| view.seq)
                .take(2)
                .collect();
            seqs.reverse();
            seqs
        };
        let newest = world.peers[peer].rtp.iter().rev().map(|got| got.view());
        let mut newest = newest.filter(|view| view.ssrc == ssrc);
        if index == 0 {
            lens.extend(newest.next().map(|view| view.payload().len()));
        }
        world.peers[peer].rtp.clear();
        world.peers[peer].rtcp.clear();
        world.send_rtcp(peer, |writer| {
            writer.nack(Ssrc(1), ssrc, seqs).unwrap();
        });
    }
    world.settle();
}

fn set_layer(world: &mut World, spatial: u8) {
    for down in 1..=SUBSCRIBERS as u64 {
        let shard = world.peers[down as usize].shard;
        let command = Command::SetDownTrackLayer {
            transport: world.peers[down as usize].transport,
            down: DownTrackId(down),
            max_layer: Layer {
                spatial,
                temporal: 3,
            },
            paused: false,
        };
        world.command_to(shard, command);
    }
}

/// Of both shards.
fn metrics(world: &World) -> ShardMetrics {
    let (home, mirror) = (world.metrics_of(0), world.metrics_of(1));
    ShardMetrics {
        rtp_forwarded: home.rtp_forwarded + mirror.rtp_forwarded,
        rtx_sent: home.rtx_sent + mirror.rtx_sent,
        lane_packets_received: mirror.lane_packets_received,
        lane_packets_lost: home.lane_packets_lost,
        ..home
    }
}

#[test]
fn forwarding_allocates_nothing() {
    counting::arm();
    drop(std::hint::black_box(Box::new(7)));
    assert_eq!(
        counting::disarm(),
        1,
        "the counting allocator is not in use"
    );

    let mut world = World::with_shards(2);
    let publisher = world.join(&Joining::media("alice"));
    world.publish(publisher, TrackId(1), 2);
    for index in 0..SUBSCRIBERS {
        let peer = world.join_on(index % 2, &Joining::media("viewer"));
        let ssrc = 10_000 + 10 * index as u32;
        world.subscribe(peer, DownTrackId(index as u64 + 1), TrackId(1), ssrc);
    }
    let mut encoders = [0, 1].map(|spatial: usize| {
        Vp8Encoder::new(5_000 + 1_000 * spatial as u32, "m1", Some(RIDS[spatial]))
    });
    encoders[1].payload_len += 100;
    let mut lens = Vec::new();
    for n in 0..WARM_UP_FRAMES {
        frame(&mut world, publisher, &mut encoders, n);
        if n % 10 == 9 {
            ask_again(&mut world, &mut lens);
        }
    }

    lens.clear();
    let before = metrics(&world);
    let tally = Tally::default();
    world.observe(tally.clone());
    let mut n = WARM_UP_FRAMES;
    while metrics(&world).rtp_forwarded - before.rtp_forwarded < FORWARDED_MIN {
        if n.is_multiple_of(400) {
            set_layer(&mut world, (n / 400 % 2) as u8);
        }
        frame(&mut world, publisher, &mut encoders, n);
        if n % 10 == 9 {
            ask_again(&mut world, &mut lens);
        }
        n += 1;
    }
    let after = metrics(&world);
    let mirrored = after.lane_packets_received - before.lane_packets_received;
    assert!(mirrored > FORWARDED_MIN / SUBSCRIBERS as u64);
    assert_eq!(after.lane_packets_lost, 0);
    assert!(after.rtx_sent - before.rtx_sent > 1_000);
    assert!(after.rtx_received > before.rtx_received);
    assert!(after.nacks_sent > before.nacks_sent);
    assert!(after.nacks_received > before.nacks_received);
    assert!(after.plis_sent > before.plis_sent);
    lens.dedup();
    assert!(lens.len() > 4, "layer switches: {lens:?}");
    assert_eq!(tally.0.get(), 0, "allocations while forwarding");
    world.assert_unbroken();
}
