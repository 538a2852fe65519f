//! S11: every length of every class.

use std::time::Duration;

use super::Attack;
use crate::arena::{Arena, Finding};
use crate::outcome::Outcome;

pub(super) const ATTACKS: &[Attack] = &[Attack {
    id: "S11",
    name: "every datagram length from 0 to 1,500 for each first byte, of a stranger and from a tuple",
    expected: "the node lives, each datagram is read",
    run: sweep,
}];

/// First bytes of every class (RFC 7983 §7), and the second byte that tells RTCP (RFC 5761 §4).
const HEADS: [[u8; 2]; 10] = [
    [0, 1],
    [1, 1],
    [19, 0],
    [20, 0xfe],
    [22, 0xfe],
    [63, 0xfe],
    [64, 0],
    [0x80, 96],
    [0x80, 200],
    [0xbf, 0xff],
];

fn sweep(arena: &mut Arena) -> Outcome<Finding> {
    let before = arena.count()?;
    let stranger = arena.stranger()?;
    let step = usize::try_from(arena.amount(5, 1)).unwrap_or(1);
    let mut sent = 0_u64;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for len in (0..=1_500).step_by(step) {
        for head in HEADS {
            let mut bytes = vec![0; len];
            for byte in &mut bytes {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                *byte = (state >> 56) as u8;
            }
            let head_len = len.min(2);
            bytes[..head_len].copy_from_slice(&head[..head_len]);
            let victim = &arena.call.tuples[len % arena.call.tuples.len()];
            for socket in [&stranger, victim] {
                sent += u64::from(socket.send(&bytes).is_ok());
            }
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    let name = "millrace_shard_datagrams_received_total{shard=\"0\"}";
    let read = arena.grew(&before, name)? + arena.overflowed(&before);
    let dropped: u64 = {
        let classes = ["datagram_length", "datagram_class", "tuple_unvalidated"];
        classes
            .iter()
            .map(|reason| arena.dropped(&before, reason))
            .sum::<Outcome<u64>>()?
    };
    Ok(Finding::new(
        read >= sent && dropped > sent / 3,
        format!("{sent} sent, all read; {dropped} stopped before any transport"),
    ))
}
