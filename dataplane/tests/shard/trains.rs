//! What makes trains long: frames that leave as a whole.

use std::time::Duration;

use crate::forwarding::call;
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
fn a_packet_to_few_does_not_wait() {
    let (mut world, publisher, viewers) = call(1, 2);
    let mut encoder = Vp8Encoder::new(5_000, "m1", None);
    let packets = frame(&mut world, &mut encoder, 2);
    world.send_rtp(publisher, &packets[0]);
    world.tick();
    assert_eq!(heard(&world, &viewers), 2);
}
