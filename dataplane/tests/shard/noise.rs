//! Datagrams that nobody meant.

use millrace_shared::ice::Tuple;

use crate::forwarding::{call, send_frames};
use crate::harness::media::Vp8Encoder;
use crate::harness::remote;

/// First bytes of every class (RFC 7983 §7), and the second that tells RTCP (RFC 5761 §4).
const HEADS: [[u8; 2]; 8] = [
    [0, 1],
    [1, 1],
    [19, 0],
    [22, 0xfe],
    [64, 0],
    [0x80, 96],
    [0x80, 200],
    [0xbf, 0xff],
];

#[test]
fn every_length_of_every_class_is_counted_and_does_no_harm() {
    let (mut world, publisher, subscribers) = call(1, 1);
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    send_frames(&mut world, publisher, &mut encoders, true);
    let drops = |world: &crate::harness::World| {
        let metrics = world.metrics();
        metrics.drops.iter().map(|(_, count)| count).sum::<u64>()
    };
    let (before, received) = (drops(&world), world.metrics().datagrams_received);
    let valid = world.peers[publisher].tuple;
    let stranger = Tuple {
        remote: remote(99),
        ..valid
    };
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut sent = 0;
    for len in 0..=1_500_usize {
        for head in HEADS {
            for tuple in [valid, stranger] {
                let mut bytes = vec![0; len];
                for byte in &mut bytes {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    *byte = random as u8;
                }
                let head_len = len.min(2);
                bytes[..head_len].copy_from_slice(&head[..head_len]);
                world.inject_on(tuple, bytes);
                sent += 1;
            }
        }
        world.tick();
    }
    assert_eq!(world.metrics().datagrams_received - received, sent);
    // DTLS itself discards records that are none (RFC 6347 §4.1.2.7); every other datagram is counted.
    assert_eq!(drops(&world) - before, sent - 1_500);
    assert_eq!(world.closed(publisher), None);
    assert_eq!(world.stray, 0);
    let before = world.peers[subscribers[0]].rtp.len();
    send_frames(&mut world, publisher, &mut encoders, false);
    assert_eq!(world.peers[subscribers[0]].rtp.len(), before + 3);
}
