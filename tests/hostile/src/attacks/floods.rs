//! S12: a valid participant that sends or asks far too much.

use std::time::{Duration, Instant};

use millrace_shared::ids::Ssrc;
use millrace_shared::limits::{NACKED_PACKETS, RTP_PACKETS};
use millrace_shared::time::SeqNo;
use millrace_shared::wire::rtcp::{
    PayloadFeedback, RtcpCompound, RtcpPacket, RtcpWriter, TransportCcHead,
};

use super::Attack;
use crate::arena::{Arena, Finding, Pair, spray};
use crate::outcome::Outcome;

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        id: "S12a",
        name: "authentic media, 40,000 packets a second",
        expected: "forwarded up to the rate, the excess dropped and counted",
        run: media,
    },
    Attack {
        id: "S12b",
        name: "PLIs, 10,000 a second",
        expected: "the publisher gets two a second",
        run: plis,
    },
    Attack {
        id: "S12c",
        name: "NACKs, 2,000 a second, that name 65,536 packets as lost",
        expected: "retransmissions up to the rate, the excess dropped and counted",
        run: nacks,
    },
    Attack {
        id: "S12d",
        name: "transport-wide feedback, 10,000 a second",
        expected: "the excess dropped and counted",
        run: feedback,
    },
];

/// Packets a second of the flood of feedback, in bursts of a millisecond.
const FEEDBACK_PER_SECOND: u64 = 10_000;

fn media(arena: &mut Arena) -> Outcome<Finding> {
    let mut pair = arena.pair(1_000)?;
    pair.begin()?;
    pair.eve.video.payload_len = 120;
    let before = arena.count()?;
    let seen = pair.seen;
    let (seconds, pace) = (arena.amount(2, 5), 40_000);
    let begin = Instant::now();
    let count = seconds * pace;
    let mut failed = None;
    spray(count, pace, |n| {
        match pair.eve.rtp() {
            Ok(packet) => pair.eve.send(&packet),
            Err(error) => failed = Some(error),
        }
        if n % 32 == 0 {
            pair.watch(Duration::ZERO);
        }
    });
    if let Some(error) = failed {
        return Err(error);
    }
    let took = begin.elapsed().as_secs_f64();
    pair.serve(Duration::from_millis(200));
    let seen = pair.seen - seen;
    let [policed, forwarded] = arena.grew_all(
        &before,
        [
            "millrace_drop_rtp_rate_total",
            "livekit_packet_total{direction=\"incoming\",transmission=\"initial\"}",
        ],
    )?;
    let lost = arena.overflowed(&before);
    let allowed = f64::from(RTP_PACKETS.burst) + f64::from(RTP_PACKETS.per_second) * took;
    // The same counter counts the call's packets.
    let own = (count - lost).saturating_sub(policed);
    pair.leave();
    Ok(Finding::new(
        policed > 0 && own as f64 <= allowed * 1.05 + 1_000.0,
        format!(
            "{count} sent in {took:.1} s: {own} accepted ({allowed:.0} allowed), {policed} policed, \
             {lost} lost in the kernel; {forwarded} accepted of everybody, the witness read {seen}"
        ),
    ))
}

/// The witness floods with compounds; the pair is served meanwhile.
fn flood(
    pair: &mut Pair,
    count: u64,
    per_second: u64,
    mut write: impl FnMut(u64, &mut RtcpWriter<'_>),
) -> Outcome<f64> {
    let begin = Instant::now();
    let mut failed = None;
    spray(count, per_second, |n| {
        match pair.witness.rtcp_of(|writer| write(n, writer)) {
            Ok(packet) => pair.witness.send(&packet),
            Err(error) => failed = Some(error),
        }
        if n % 32 == 0 {
            pair.eve.serve(Duration::ZERO, &mut |_| {});
            pair.watch(Duration::from_micros(200));
        }
    });
    let took = begin.elapsed().as_secs_f64();
    pair.serve(Duration::from_millis(300));
    failed.map_or(Ok(took), Err)
}

fn plis(arena: &mut Arena) -> Outcome<Finding> {
    let mut pair = arena.pair(1_000)?;
    pair.begin()?;
    pair.serve(Duration::from_secs(2));
    pair.eve.rtcp.clear();
    let before = arena.count()?;
    let ssrc = Ssrc(pair.down_ssrc);
    let count = FEEDBACK_PER_SECOND * arena.amount(2, 10);
    let took = flood(&mut pair, count, FEEDBACK_PER_SECOND, |_, writer| {
        let _ = writer.pli(Ssrc(1), ssrc);
    })?;
    let reached = pair
        .eve
        .rtcp
        .iter()
        .flat_map(|compound| RtcpCompound::parse(compound))
        .filter(|packet| {
            matches!(
                packet,
                Ok(RtcpPacket::PayloadFeedback(PayloadFeedback::Pli(_)))
            )
        })
        .count();
    let [policed, rtcp] = arena.grew_all(
        &before,
        [
            "millrace_drop_keyframe_request_rate_total",
            "millrace_drop_rtcp_rate_total",
        ],
    )?;
    pair.leave();
    // Every 500 ms at the most, whatever the configured throttle, and one at once.
    let allowed = took * 2.0 + 2.0;
    Ok(Finding::new(
        reached >= 1 && (reached as f64) <= allowed && policed + rtcp > 0,
        format!(
            "{count} sent in {took:.1} s, {reached} reached the publisher; {policed} policed, {rtcp} \
             beyond the rate of RTCP"
        ),
    ))
}

fn nacks(arena: &mut Arena) -> Outcome<Finding> {
    let mut pair = arena.pair(1_000)?;
    pair.begin()?;
    pair.send(300)?;
    let before = arena.count()?;
    let (ssrc, newest) = (Ssrc(pair.down_ssrc), SeqNo(pair.down_seq));
    let count = 2_000 * arena.amount(2, 10);
    let took = flood(&mut pair, count, 2_000, |n, writer| {
        // Backwards from what was sent last: the allowance is gone before the others' turn comes.
        let last = newest.wrapping_add((n as u16).wrapping_mul(256).wrapping_neg());
        let seqs = (0_u16..256).map(|offset| last.wrapping_add(offset.wrapping_neg()));
        let _ = writer.nack(Ssrc(1), ssrc, seqs);
    })?;
    let [policed, sent] = arena.grew_all(
        &before,
        [
            "millrace_drop_nack_rate_total",
            "livekit_packet_total{direction=\"outgoing\",transmission=\"retransmit\"}",
        ],
    )?;
    pair.leave();
    let allowed = f64::from(NACKED_PACKETS.burst) + f64::from(NACKED_PACKETS.per_second) * took;
    Ok(Finding::new(
        sent > 0 && policed > 0 && (sent as f64) <= allowed * 1.1,
        format!(
            "{count} sent in {took:.1} s: {sent} retransmissions ({allowed:.0} allowed), {policed} \
             policed"
        ),
    ))
}

fn feedback(arena: &mut Arena) -> Outcome<Finding> {
    let mut pair = arena.pair(1_000)?;
    pair.begin()?;
    let before = arena.count()?;
    let count = FEEDBACK_PER_SECOND * arena.amount(2, 10);
    let took = flood(&mut pair, count, FEEDBACK_PER_SECOND, |n, writer| {
        let head = TransportCcHead {
            sender_ssrc: Ssrc(1),
            media_ssrc: Ssrc(2),
            base_seq: SeqNo(n as u16),
            reference_time: 0,
            feedback_count: n as u8,
        };
        let _ = writer.transport_cc(&head, (0..200).map(|n| (n % 3 == 0).then_some(1)));
    })?;
    let [policed, rtcp] = arena.grew_all(
        &before,
        [
            "millrace_drop_transport_cc_rate_total",
            "millrace_drop_rtcp_rate_total",
        ],
    )?;
    pair.leave();
    Ok(Finding::new(
        policed > 0,
        format!("{count} sent in {took:.1} s: {policed} policed, {rtcp} beyond the rate of RTCP"),
    ))
}
