//! S22: data channels.

use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_shared::payload::data_packet::{DataKind, UserPacket, write_user_packet};

use super::Attack;
use crate::arena::{Arena, Counted, Finding};
use crate::client::acks::Acks;
use crate::client::session::{Role, Session};
use crate::outcome::{Outcome, Said as _};
use crate::report::mebibytes;

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        id: "S22a",
        name: "INITs of SCTP on an established association",
        expected: "each is dropped, the association goes on",
        run: inits,
    },
    Attack {
        id: "S22b",
        name: "64 KiB messages to a subscriber that acknowledges nothing, and to one that does",
        expected: "a bounded buffer, the excess dropped and counted; the good one receives",
        run: slow_subscriber,
    },
    Attack {
        id: "S22c",
        name: "small messages as fast as they go",
        expected: "the excess of 5,000 a second dropped and counted",
        run: message_flood,
    },
    Attack {
        id: "S22d",
        name: "small messages to a subscriber that acknowledges all but the first, by gaps",
        expected: "some thousand under way, the excess dropped and counted",
        run: gaps,
    },
    Attack {
        id: "S22e",
        name: "its acknowledgements as fast as they go, then with 250 overlapping gaps in each, then these hidden in another chunk",
        expected: "a rate of them is read, overlapping ones are not; the rest dropped and counted",
        run: acknowledgement_flood,
    },
    Attack {
        id: "S22f",
        name: "5,000 small messages a second to a subscriber that leaves 1,500 under way",
        expected: "all that the rate allows are passed on; the node stays below 40 % of a CPU",
        run: late_acknowledgements,
    },
];

fn user_packet(sequence: u32, payload_len: usize) -> Outcome<Bytes> {
    let payload = vec![7; payload_len];
    let mut out = vec![0; payload_len + 1_000];
    let packet = UserPacket {
        kind: DataKind::Reliable,
        destination_identities: &[],
        sequence,
        topic: None,
        payload: &payload,
    };
    let len = write_user_packet(&mut out, &packet).said("data packet")?;
    out.truncate(len);
    Ok(out.into())
}

fn inits(arena: &mut Arena) -> Outcome<Finding> {
    let room = format!("data-{}", arena.number());
    let mut eve = arena.join(&room, Role::Publisher)?;
    let mut bob = arena.join(&room, Role::Subscriber)?;
    eve.open_channels()?;
    bob.serve(Duration::from_millis(500), &mut |_| {});
    // RFC 9260 §3.3.2: common header, then the chunk with tag, window, streams and first TSN.
    let mut init = vec![0x13, 0x88, 0x13, 0x88, 0, 0, 0, 0, 0, 0, 0, 0];
    init.extend_from_slice(&[
        1, 0, 0, 20, 0, 0, 0, 9, 0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 1,
    ]);
    let before = arena.count()?;
    let count = arena.amount(2_000, 10_000);
    for n in 0..count {
        eve.send_sctp(&init);
        if n % 16 == 0 {
            eve.serve(Duration::from_millis(2), &mut |_| {});
        }
    }
    let dropped = arena.dropped(&before, "sctp_unexpected")? + arena.overflowed(&before);
    let sent = eve.send_data("_reliable", user_packet(1, 100)?);
    for _ in 0..50 {
        eve.serve(Duration::from_millis(5), &mut |_| {});
        bob.serve(Duration::from_millis(5), &mut |_| {});
    }
    let received = bob.messages;
    eve.leave();
    bob.leave();
    Ok(Finding::new(
        dropped == count && sent && received == 1,
        format!("{count} sent, {dropped} dropped; afterwards {received}/1 messages delivered"),
    ))
}

fn slow_subscriber(arena: &mut Arena) -> Outcome<Finding> {
    let room = format!("data-{}", arena.number());
    let mut eve = arena.join(&room, Role::Publisher)?;
    let mut slow = arena.join(&room, Role::Subscriber)?;
    let mut bob = arena.join(&room, Role::Subscriber)?;
    eve.open_channels()?;
    for session in [&mut slow, &mut bob] {
        session.serve(Duration::from_millis(500), &mut |_| {});
    }
    slow.reads_data = false;
    let before = arena.count()?;
    let memory = arena.node.rss();
    let count = arena.amount(150, 10_000);
    let time_max = Duration::from_secs(arena.amount(15, 180));
    let (begin, mut sent, mut grown) = (Instant::now(), 0, 0);
    while u64::from(sent) < count && begin.elapsed() < time_max {
        if eve.send_data("_reliable", user_packet(sent + 1, 64_000)?) {
            sent += 1;
        }
        for session in [&mut eve, &mut bob, &mut slow] {
            session.serve(Duration::from_millis(1), &mut |_| {});
        }
        grown = grown.max(arena.node.rss().saturating_sub(memory));
    }
    for _ in 0..100 {
        for session in [&mut eve, &mut bob, &mut slow] {
            session.serve(Duration::from_millis(5), &mut |_| {});
        }
    }
    let dropped = arena.dropped(&before, "data_buffer_full")?;
    let received = bob.messages;
    for session in [eve, slow, bob] {
        session.leave();
    }
    Ok(Finding::new(
        dropped > 0 && received > 0 && grown < 16 << 20,
        format!(
            "{sent} sent; the good one received {received}, {dropped} dropped for the slow one; \
             memory +{}",
            mebibytes(grown)
        ),
    ))
}

fn message_flood(arena: &mut Arena) -> Outcome<Finding> {
    let room = format!("data-{}", arena.number());
    let mut eve = arena.join(&room, Role::Publisher)?;
    let mut bob = arena.join(&room, Role::Subscriber)?;
    eve.open_channels()?;
    bob.serve(Duration::from_millis(500), &mut |_| {});
    let before = arena.count()?;
    let packet = user_packet(0, 10)?;
    let (begin, mut sent) = (Instant::now(), 0_u64);
    while begin.elapsed() < Duration::from_secs(arena.amount(4, 15)) {
        for _ in 0..50 {
            sent += u64::from(eve.send_data("_reliable", packet.clone()));
        }
        for _ in 0..20 {
            eve.drain();
        }
        bob.drain();
    }
    let took = begin.elapsed().as_secs_f64();
    let [policed, full, accepted, arrived] = arena.grew_all(
        &before,
        [
            "millrace_drop_data_rate_total",
            "millrace_drop_data_buffer_full_total",
            "millrace_data_total{direction=\"outgoing\"}",
            "millrace_data_total{direction=\"incoming\"}",
        ],
    )?;
    eve.leave();
    bob.leave();
    Ok(Finding::new(
        policed > 0
            && arrived == accepted + policed + full
            && accepted as f64 <= 5_000.0 * (took + 1.0) * 1.1,
        format!(
            "{sent} sent in {took:.1} s, {arrived} arrived: {accepted} passed on, {policed} policed, \
             {full} for a full buffer"
        ),
    ))
}

/// A publisher, and a subscriber that has received small messages for `time` and acknowledged all
/// but the first.
fn with_gaps(arena: &mut Arena, time: Duration) -> Outcome<(Session, Session)> {
    with_acknowledgements(arena, time, |acks| acks.all_but_the_first(1))
}

/// The same with acknowledgements of another kind.
fn with_acknowledgements(
    arena: &mut Arena,
    time: Duration,
    mut acknowledge: impl FnMut(&mut Acks) -> Option<Vec<u8>>,
) -> Outcome<(Session, Session)> {
    let room = format!("data-{}", arena.number());
    let mut eve = arena.join(&room, Role::Publisher)?;
    let mut mallory = arena.join(&room, Role::Subscriber)?;
    eve.open_channels()?;
    mallory.serve(Duration::from_millis(500), &mut |_| {});
    mallory.reads_data = false;
    mallory.acks.forget();
    let packet = user_packet(0, 10)?;
    let begin = Instant::now();
    while begin.elapsed() < time {
        // More than the 5,000 a second that the publisher's own rate lets pass.
        for _ in 0..8 {
            eve.send_data("_reliable", packet.clone());
        }
        // A socket that waits, waits for some milliseconds at least.
        std::thread::sleep(Duration::from_millis(1));
        eve.drain();
        mallory.drain();
        if let Some(sack) = acknowledge(&mut mallory.acks) {
            mallory.send_sctp(&sack);
        }
    }
    Ok((eve, mallory))
}

/// Messages dropped for a full buffer and messages passed on, and whether the subscriber's
/// session had ended. Both leave.
fn fate(
    arena: &Arena,
    before: &Counted,
    eve: Session,
    mallory: Session,
) -> Outcome<([u64; 2], bool)> {
    let grown = arena.grew_all(
        before,
        [
            "millrace_drop_data_buffer_full_total",
            "millrace_data_total{direction=\"outgoing\"}",
        ],
    )?;
    let ended = mallory.ended.is_some();
    eve.leave();
    mallory.leave();
    Ok((grown, ended))
}

fn gaps(arena: &mut Arena) -> Outcome<Finding> {
    let before = arena.count()?;
    let (eve, mallory) = with_gaps(arena, Duration::from_secs(arena.amount(4, 20)))?;
    let under_way = mallory.acks.count();
    let ([full, sent], ended) = fate(arena, &before, eve, mallory)?;
    Ok(Finding::new(
        full > 0 && !ended && (100..=5_000).contains(&under_way),
        format!("{under_way} under way of {sent} passed on, {full} dropped"),
    ))
}

fn late_acknowledgements(arena: &mut Arena) -> Outcome<Finding> {
    let before = arena.count()?;
    let (begin, cpu) = (Instant::now(), arena.node.cpu());
    let mut packets = 0;
    let time = Duration::from_secs(arena.amount(4, 20));
    let (eve, mallory) = with_acknowledgements(arena, time, |acks| {
        packets += 1;
        acks.keep_back(1_500);
        // More would be over the rate.
        acks.all_but_the_first(1).filter(|_| packets % 4 == 0)
    })?;
    let cpu = arena.node.cpu().saturating_sub(cpu).as_secs_f64() / begin.elapsed().as_secs_f64();
    let under_way = mallory.acks.count();
    let ([full, sent], ended) = fate(arena, &before, eve, mallory)?;
    Ok(Finding::new(
        full == 0 && !ended && sent > 2_000 * time.as_secs() && under_way >= 1_500 && cpu < 0.4,
        format!(
            "{under_way} under way, {sent} passed on, {full} dropped; the node took {:.0} % of a CPU",
            100.0 * cpu
        ),
    ))
}

fn acknowledgement_flood(arena: &mut Arena) -> Outcome<Finding> {
    let (eve, mut mallory) = with_gaps(arena, Duration::from_secs(2))?;
    let before = arena.count()?;
    let mut sent = [0_u64; 3];
    let acks = &mallory.acks;
    let packets = [
        acks.all_but_the_first(1),
        acks.all_but_the_first(250),
        acks.hidden(250),
    ];
    for (sent, packet) in sent.iter_mut().zip(packets) {
        let packet = packet.said("messages")?;
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(arena.amount(2, 10)) {
            for _ in 0..20 {
                mallory.send_sctp(&packet);
                *sent += 1;
            }
            mallory.drain();
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let [paced, refused] = arena.grew_all(
        &before,
        [
            "millrace_drop_sctp_rate_total",
            "millrace_drop_sctp_malformed_total",
        ],
    )?;
    let ended = mallory.ended.is_some();
    eve.leave();
    mallory.leave();
    Ok(Finding::new(
        paced > 0 && refused > 0 && !ended,
        format!(
            "{} sent, {paced} over the rate; {} overlapping and {} hidden sent, {refused} refused",
            sent[0], sent[1], sent[2]
        ),
    ))
}
