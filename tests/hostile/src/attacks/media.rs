//! S5 to S10: RTP and RTCP that is forged, or comes twice.

use std::net::UdpSocket;
use std::time::Duration;

use millrace_shared::ids::Ssrc;
use millrace_shared::time::{ExtSeq, SeqNo};

use super::Attack;
use crate::arena::{Arena, Finding, Pair, received_by, spray};
use crate::client::media::{Mark, SSRC, Video};
use crate::outcome::{Outcome, Said as _};
use crate::report::mebibytes;

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        id: "S5",
        name: "forged SSRCs by the million, of a stranger and from a participant's own tuple",
        expected: "each is dropped, memory as before",
        run: forged_sources,
    },
    Attack {
        id: "S6",
        name: "every RTP, RTCP and RTX packet of a session once more, across a roll-over",
        expected: "none is forwarded, each is dropped as a replay",
        run: replays,
    },
    Attack {
        id: "S7",
        name: "forged sequence numbers far ahead, to move the roll-over counter",
        expected: "the stream is unaffected",
        run: roll_over_poison,
    },
    Attack {
        id: "S8",
        name: "a stream that begins at 65,533 and loses its first five packets",
        expected: "forwarded within a second",
        run: starts_before_roll_over,
    },
    Attack {
        id: "S9",
        name: "200 packets with a bad tag from a stranger and from every participant's tuple",
        expected: "each is dropped, no session ends",
        run: bad_tags,
    },
    Attack {
        id: "S10",
        name: "a session's own packets, and plain ones, from another address",
        expected: "each is dropped; nothing is sent to that address, the session's media goes on",
        run: other_address,
    },
];

/// An RTP packet whose tag is nonsense.
fn forged(ssrc: u32, seq: u16) -> Vec<u8> {
    let mut bytes = vec![0x80, 96];
    bytes.extend_from_slice(&seq.to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 1]);
    bytes.extend_from_slice(&ssrc.to_be_bytes());
    bytes.resize(120, 0x5a);
    bytes
}

/// An odd multiplier reaches every number once.
fn ssrc_of(n: u64) -> u32 {
    (n as u32).wrapping_mul(0x9e37_79b1)
}

fn forged_sources(arena: &mut Arena) -> Outcome<Finding> {
    let count = arena.amount(60_000, 1_000_000);
    let pace = 25_000;
    let stranger = arena.stranger()?;
    let mut pair = arena.pair(1_000)?;
    let before = arena.count()?;
    let memory = arena.node.rss();
    // A million take longer than a tuple stays valid without checks.
    let keep = |n: u64, pair: &mut Pair| {
        if n.is_multiple_of(1_024) {
            pair.eve.serve(Duration::ZERO, &mut |_| {});
            pair.watch(Duration::ZERO);
        }
    };
    spray(count, pace, |n| {
        let _ = stranger.send(&forged(ssrc_of(n), n as u16));
        keep(n, &mut pair);
    });
    spray(count, pace, |n| {
        pair.eve.send(&forged(ssrc_of(n), n as u16));
        keep(n, &mut pair);
    });
    let [unvalidated, bad] = arena.grew_all(
        &before,
        [
            "millrace_drop_tuple_unvalidated_total",
            "millrace_drop_srtp_authentication_total",
        ],
    )?;
    let lost = arena.overflowed(&before);
    let grown = arena.node.rss().saturating_sub(memory);
    pair.leave();
    Ok(Finding::new(
        unvalidated + bad + lost == 2 * count && bad > 0 && grown < 2 << 20,
        format!(
            "2 x {count} sent; {unvalidated} of a stranger and {bad} of a tuple dropped, {lost} by the \
             kernel; memory +{}",
            mebibytes(grown)
        ),
    ))
}

fn replays(arena: &mut Arena) -> Outcome<Finding> {
    let mut pair = arena.pair(65_000)?;
    let mut plain = Vec::new();
    let mut sent = pair.send(30)?;
    for n in 0..1_200 {
        let (bytes, seq) = pair.eve.video.packet(Mark::now(pair.eve.number));
        let packet = pair.eve.protect(&bytes, seq)?;
        pair.eve.send(&packet);
        sent.push(packet);
        plain.push(bytes);
        if n % 4 == 0 {
            pair.serve(Duration::from_millis(2));
        }
    }
    let originals = sent.len();
    for (n, original) in plain.iter().rev().take(50).enumerate() {
        let seq = ExtSeq::first(SeqNo(n as u16));
        let rtx = Video::again(original, seq);
        sent.push(pair.eve.protect(&rtx, seq)?);
    }
    for _ in 0..50 {
        sent.push(pair.eve.rtcp_of(|writer| {
            let _ = writer.receiver_report(Ssrc(1), &[]);
        })?);
    }
    for packet in &sent[originals..] {
        pair.eve.send(packet);
    }
    pair.serve(Duration::from_millis(500));
    let seen = pair.seen;
    let before = arena.count()?;
    for burst in sent.chunks(8) {
        for packet in burst {
            pair.eve.send(packet);
        }
        pair.serve(Duration::from_millis(2));
    }
    pair.serve(Duration::from_millis(500));
    let replayed = pair.seen - seen;
    let dropped = arena.dropped(&before, "srtp_replay")? + arena.overflowed(&before);
    pair.leave();
    let count = sent.len() as u64;
    Ok(Finding::new(
        replayed == 0 && dropped == count && seen > 1_000,
        format!("{seen} seen first; of {count} replayed {dropped} dropped, {replayed} forwarded"),
    ))
}

fn roll_over_poison(arena: &mut Arena) -> Outcome<Finding> {
    let mut pair = arena.pair(1_000)?;
    pair.begin()?;
    for n in 0..100_u16 {
        let ahead = pair.eve.video.next.seq().0.wrapping_add(30_000 + n);
        pair.eve.send(&forged(SSRC.0, ahead));
    }
    let before = pair.seen;
    pair.send(100)?;
    let seen = pair.seen - before;
    pair.leave();
    Ok(Finding::new(
        seen == 100,
        format!("{seen}/100 packets forwarded afterwards"),
    ))
}

fn starts_before_roll_over(arena: &mut Arena) -> Outcome<Finding> {
    let mut pair = arena.pair(65_533)?;
    for _ in 0..5 {
        pair.eve.video.lose();
    }
    pair.send(50)?;
    let seen = pair.seen;
    pair.leave();
    // The first ones pass while the subscription is being set up.
    Ok(Finding::new(
        seen > 0,
        format!("{seen}/50 packets forwarded"),
    ))
}

fn bad_tags(arena: &mut Arena) -> Outcome<Finding> {
    let before = arena.count()?;
    let stranger = arena.stranger()?;
    let clones: Vec<UdpSocket> = arena
        .call
        .tuples
        .iter()
        .map(|socket| socket.try_clone().said("socket"))
        .collect::<Outcome<_>>()?;
    spray(200, 5_000, |n| {
        let packet = forged(SSRC.0, n as u16);
        let _ = stranger.send(&packet);
        for socket in &clones {
            let _ = socket.send(&packet);
        }
    });
    let [unvalidated, bad, old] = arena.grew_all(
        &before,
        [
            "millrace_drop_tuple_unvalidated_total",
            "millrace_drop_srtp_authentication_total",
            "millrace_drop_srtp_replay_total",
        ],
    )?;
    // Of a publisher the numbers are too old for its window, which is looked at first.
    let bad = bad + old;
    let expected = 200 * clones.len() as u64;
    Ok(Finding::new(
        unvalidated == 200 && bad == expected,
        format!("{unvalidated}/200 and {bad}/{expected} dropped"),
    ))
}

fn other_address(arena: &mut Arena) -> Outcome<Finding> {
    let mut pair = arena.pair(1_000)?;
    pair.begin()?;
    let stranger = arena.stranger()?;
    let before = arena.count()?;
    let captured = pair.send(100)?;
    let mut sent = 0;
    for packet in &captured {
        let plain = Video::new(2_000).packet(Mark::now(pair.eve.number)).0;
        for bytes in [packet, &plain] {
            sent += u64::from(stranger.send(bytes).is_ok());
        }
    }
    // Packets that the stranger has first, and eve's tuple only afterwards.
    let ahead: Vec<Vec<u8>> = (0..50).map(|_| pair.eve.rtp()).collect::<Outcome<_>>()?;
    for packet in &ahead {
        sent += u64::from(stranger.send(packet).is_ok());
    }
    pair.serve(Duration::from_millis(100));
    let seen = pair.seen;
    for packet in &ahead {
        pair.eve.send(packet);
        pair.serve(Duration::from_millis(1));
    }
    pair.serve(Duration::from_millis(200));
    let forwarded = pair.seen - seen;
    let dropped = arena.dropped(&before, "tuple_unvalidated")?;
    let (datagrams, _) = received_by(&stranger);
    pair.leave();
    Ok(Finding::new(
        dropped == sent && datagrams == 0 && forwarded == 50,
        format!(
            "{sent} sent, {dropped} dropped, {datagrams} datagrams came there; \
             {forwarded}/50 packets of the session forwarded"
        ),
    ))
}
