//! What makes trains long: packets of one length, and frames that leave as a whole.

use std::time::Duration;

use millrace_shared::link::Command;

use crate::forwarding::{call, down_ssrc, media_of};
use crate::harness::World;
use crate::harness::media::{Plain, Vp8Encoder};

/// From so many copies on.
const MANY: usize = 64;
const PACKET_INTERVAL: Duration = Duration::from_micros(50);

fn frame(world: &mut World, encoder: &mut Vp8Encoder, packets: usize) -> Vec<Plain> {
    let mut number = world.transport_cc;
    let frame = encoder.frame(true, packets, &mut number);
    world.transport_cc = number;
    frame
}

fn heard(world: &World, viewers: &[usize]) -> usize {
    let rtp = viewers.iter().map(|viewer| world.peers[*viewer].rtp.len());
    rtp.sum()
}

#[test]
fn a_frame_to_many_leaves_as_a_whole() {
    let (mut world, publisher, viewers) = call(1, MANY);
    let mut encoder = Vp8Encoder::new(5_000, "m1", None);
    let before = world.metrics().forwarding;
    for packet in frame(&mut world, &mut encoder, 3) {
        assert_eq!(heard(&world, &viewers), 0);
        world.send_rtp(publisher, &packet);
        world.tick();
        world.now += PACKET_INTERVAL;
    }
    assert_eq!(heard(&world, &viewers), 3 * MANY);
    // The first packet waited for two others, and the second for one.
    let after = world.metrics().forwarding;
    let waited = after.sum() - before.sum();
    let ticks = 3 * Duration::from_micros(100);
    assert_eq!(after.count() - before.count(), 3);
    assert_eq!(waited, 3 * PACKET_INTERVAL + ticks);
}

#[test]
fn the_rest_of_a_frame_is_not_waited_for_long() {
    let (mut world, publisher, viewers) = call(1, MANY);
    let mut encoder = Vp8Encoder::new(5_000, "m1", None);
    let packets = frame(&mut world, &mut encoder, 2);
    world.send_rtp(publisher, &packets[0]);
    world.tick();
    assert_eq!(heard(&world, &viewers), 0);
    world.run_ms(1);
    assert_eq!(heard(&world, &viewers), MANY);
    world.send_rtp(publisher, &packets[1]);
    world.tick();
    assert_eq!(heard(&world, &viewers), 2 * MANY);
}

#[test]
fn a_packet_that_nobody_takes_is_no_frame_to_many() {
    let (mut world, publisher, viewers) = call(1, MANY);
    let mut encoder = Vp8Encoder::new(5_000, "m1", None);
    let mut number = world.transport_cc;
    // All wait for a key frame.
    let packets = encoder.frame(false, 2, &mut number);
    world.send_rtp(publisher, &packets[0]);
    world.tick();
    assert_eq!(heard(&world, &viewers), 0);
    assert!(!world.lingers());
}

#[test]
fn the_last_tick_waits_for_nothing() {
    let (mut world, publisher, viewers) = call(1, MANY);
    let mut encoder = Vp8Encoder::new(5_000, "m1", None);
    let packets = frame(&mut world, &mut encoder, 2);
    world.command(Command::Shutdown);
    world.send_rtp(publisher, &packets[0]);
    world.tick();
    assert_eq!(heard(&world, &viewers), MANY);
}

#[test]
fn a_packet_to_few_does_not_wait() {
    let (mut world, publisher, viewers) = call(1, 2);
    let mut encoder = Vp8Encoder::new(5_000, "m1", None);
    let packets = frame(&mut world, &mut encoder, 2);
    world.send_rtp(publisher, &packets[0]);
    world.tick();
    assert_eq!(heard(&world, &viewers), 2);
}

#[test]
fn packets_whose_lengths_differ_by_a_byte_are_as_long() {
    let (mut world, publisher, viewers) = call(1, 1);
    let mut encoder = Vp8Encoder::new(5_000, "m1", None);
    let lens = [1_001, 1_002, 1_003, 120];
    for payload_len in lens {
        encoder.payload_len = payload_len;
        for packet in frame(&mut world, &mut encoder, 1) {
            world.send_rtp(publisher, &packet);
        }
        world.run_ms(33);
    }
    let views: Vec<_> = media_of(&world, viewers[0], down_ssrc(0)).collect();
    let payloads: Vec<_> = views.iter().map(|view| view.payload().len()).collect();
    assert_eq!(payloads, lens);
    let [first, second, third, short] = &views[..] else {
        panic!("{} packets", views.len());
    };
    let len =
        |view: &millrace_shared::wire::rtp::RtpView<'_>| view.payload().len() + view.padding_len;
    assert_eq!(len(first), len(second));
    assert_eq!(len(second), len(third));
    assert_eq!(short.padding_len, 0);
}
