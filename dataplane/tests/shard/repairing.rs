//! Loss on either side of the shard.

use millrace_shared::ids::Ssrc;
use millrace_shared::time::{RtpTime, SeqNo};
use millrace_shared::wire::rtcp::{
    PayloadFeedback, RtcpCompound, RtcpPacket, SenderInfo, TransportFeedback,
};

use crate::forwarding::{call, down_ssrc, media_of, send_frames};
use crate::harness::World;
use crate::harness::media::{DOWN_RTX_PT, PLI_INTERVAL_MS, Vp8Encoder};

/// What a peer was asked for again, of one SSRC.
fn nacked(world: &World, peer: usize, ssrc: Ssrc) -> Vec<SeqNo> {
    let compounds = world.peers[peer].rtcp.iter();
    let packets = compounds.flat_map(|got| RtcpCompound::parse(&got.bytes));
    packets
        .filter_map(|packet| match packet {
            Ok(RtcpPacket::TransportFeedback(TransportFeedback::Nack(nack)))
                if nack.media_ssrc == ssrc =>
            {
                Some(nack.seqs().collect::<Vec<_>>())
            }
            _ => None,
        })
        .flatten()
        .collect()
}

/// When a peer was asked for a key frame, in milliseconds.
pub(crate) fn plis(world: &World, peer: usize, ssrc: Ssrc) -> Vec<u64> {
    let compounds = world.peers[peer].rtcp.iter();
    let packets = compounds.flat_map(|got| {
        let at_ms = got.at.as_millis();
        RtcpCompound::parse(&got.bytes).map(move |packet| (at_ms, packet))
    });
    packets
        .filter_map(|(at_ms, packet)| match packet {
            Ok(RtcpPacket::PayloadFeedback(PayloadFeedback::Pli(pli)))
                if pli.media_ssrc == ssrc =>
            {
                Some(at_ms)
            }
            _ => None,
        })
        .collect()
}

// RFC 4585 §6.2.1, RFC 4588 §4.
#[test]
fn a_subscribers_nack_is_answered_over_rtx() {
    let (mut world, publisher, subscribers) = call(1, 2);
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    for frame in 0..10 {
        send_frames(&mut world, publisher, &mut encoders, frame == 0);
    }
    let peer = subscribers[0];
    let lost: Vec<_> = media_of(&world, peer, down_ssrc(0))
        .skip(20)
        .take(4)
        .map(|view| {
            (
                view.seq,
                view.timestamp,
                view.marker,
                view.payload().to_vec(),
            )
        })
        .collect();
    world.send_rtcp(peer, |writer| {
        let seqs = lost.iter().map(|(seq, ..)| *seq);
        writer.nack(Ssrc(1), Ssrc(down_ssrc(0)), seqs).unwrap();
    });
    world.settle();
    let repaired: Vec<_> = media_of(&world, peer, down_ssrc(0) + 1).collect();
    assert_eq!(repaired.len(), 4);
    for (view, (seq, rtp_time, marker, payload)) in repaired.iter().zip(&lost) {
        assert_eq!(view.pt, DOWN_RTX_PT);
        assert_eq!((view.timestamp, view.marker), (*rtp_time, *marker));
        assert_eq!(view.payload()[..2], seq.0.to_be_bytes());
        assert_eq!(view.payload()[2..], payload[..]);
    }
    assert_eq!(world.metrics().rtx_sent, 4);
    assert_eq!(
        media_of(&world, subscribers[1], down_ssrc(1) + 1).count(),
        0
    );
    // The publisher is not asked for what it sent.
    assert!(nacked(&world, publisher, Ssrc(5_000)).is_empty());
    world.assert_unbroken();
}

// Each retransmission uses up part of an allowance.
#[test]
fn asking_for_what_is_not_kept_costs_no_retransmission() {
    let (mut world, publisher, subscribers) = call(1, 1);
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    // 15 s of packets: more are within the numbers that may be asked for than are kept.
    for frame in 0..160 {
        send_frames(&mut world, publisher, &mut encoders, frame == 0);
        world.run_ms(67);
    }
    let peer = subscribers[0];
    let newest = media_of(&world, peer, down_ssrc(0)).last().unwrap().seq;
    for back in [400_u16, 200] {
        world.send_rtcp(peer, |writer| {
            let first = newest.wrapping_add(back.wrapping_neg());
            let seqs = (0..=200).map(|offset| first.wrapping_add(offset));
            writer.nack(Ssrc(1), Ssrc(down_ssrc(0)), seqs).unwrap();
        });
    }
    world.settle();
    assert!(world.metrics().rtx_sent >= 20);
}

#[test]
fn a_nack_for_another_subscribers_copy_gets_nothing() {
    let (mut world, publisher, subscribers) = call(1, 2);
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    for frame in 0..3 {
        send_frames(&mut world, publisher, &mut encoders, frame == 0);
    }
    let seq = media_of(&world, subscribers[1], down_ssrc(1))
        .next()
        .unwrap()
        .seq;
    world.send_rtcp(subscribers[0], |writer| {
        writer.nack(Ssrc(1), Ssrc(down_ssrc(1)), [seq]).unwrap();
    });
    world.settle();
    assert_eq!(world.metrics().rtx_sent, 0);
}

#[test]
fn upstream_loss_is_nacked_and_repaired_for_everyone() {
    let (mut world, publisher, subscribers) = call(1, 2);
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    send_frames(&mut world, publisher, &mut encoders, true);
    let mut number = world.transport_cc;
    let packets = encoders[0].frame(false, 4, &mut number);
    world.transport_cc = number;
    for index in [0, 3] {
        world.send_rtp(publisher, &packets[index]);
    }
    world.run_ms(33);
    let lost = [packets[1].seq, packets[2].seq];
    assert_eq!(nacked(&world, publisher, Ssrc(5_000)), lost);

    for packet in &packets[1..3] {
        let again = encoders[0].again(packet, &mut world.transport_cc);
        world.send_rtp(publisher, &again);
    }
    world.run_ms(500);
    assert_eq!(nacked(&world, publisher, Ssrc(5_000)).len(), 2);
    assert_eq!(world.metrics().rtx_received, 2);
    for (index, peer) in subscribers.iter().enumerate() {
        let mut seqs: Vec<_> = media_of(&world, *peer, down_ssrc(index))
            .map(|view| view.seq.0)
            .collect();
        seqs.sort_unstable();
        assert_eq!(seqs.len(), 7);
        assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1));
    }
    world.assert_unbroken();
}

/// A publisher whose packets of a second are lost, and who then answers NACKs or does not. When it was
/// asked for a key frame after that, in milliseconds.
fn plis_after_a_hole(answers: bool) -> Vec<u64> {
    let (mut world, publisher, subscribers) = call(1, 2);
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    for frame in 0..10 {
        send_frames(&mut world, publisher, &mut encoders, frame == 0);
    }
    let mut lost = Vec::new();
    for _ in 0..30 {
        lost.extend(encoders[0].frame(false, 3, &mut world.transport_cc));
        world.run_ms(33);
    }
    let back_ms = world.now.as_millis();
    for _ in 0..40 {
        send_frames(&mut world, publisher, &mut encoders, false);
        if answers {
            for packet in std::mem::take(&mut lost) {
                let again = encoders[0].again(&packet, &mut world.transport_cc);
                world.send_rtp(publisher, &again);
            }
        }
    }
    if answers {
        let seqs = media_of(&world, subscribers[0], down_ssrc(0)).count();
        assert_eq!(seqs, 3 * (10 + 30 + 40));
    }
    let plis = plis(&world, publisher, Ssrc(5_000)).into_iter();
    plis.filter_map(|at_ms| at_ms.checked_sub(back_ms))
        .collect()
}

// A browser asks only when its picture has stood still for 3 s.
#[test]
fn what_was_sent_into_a_hole_and_does_not_come_again_is_replaced_by_a_key_frame() {
    let plis = plis_after_a_hole(false);
    assert!(plis.first().is_some_and(|first| *first < 600), "{plis:?}");
}

#[test]
fn a_hole_that_retransmissions_fill_asks_for_no_key_frame() {
    assert!(plis_after_a_hole(true).is_empty());
}

// RFC 4585 §6.3.1: a key frame costs much, so requests of many are one.
#[test]
fn many_requests_for_a_key_frame_are_one_in_the_interval() {
    let (mut world, publisher, subscribers) = call(1, 3);
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    for frame in 0..30 {
        send_frames(&mut world, publisher, &mut encoders, frame == 0);
    }
    world.peers[publisher].rtcp.clear();
    for _ in 0..40 {
        for (index, peer) in subscribers.iter().enumerate() {
            world.send_rtcp(*peer, |writer| {
                writer.pli(Ssrc(1), Ssrc(down_ssrc(index))).unwrap();
            });
        }
        send_frames(&mut world, publisher, &mut encoders, false);
    }
    let plis = plis(&world, publisher, Ssrc(5_000));
    assert!((2..=4).contains(&plis.len()), "{plis:?}");
    for pair in plis.windows(2) {
        assert!(pair[1] - pair[0] >= u64::from(PLI_INTERVAL_MS), "{plis:?}");
    }
    assert_eq!(world.metrics().plis_received, 120);
}

// RFC 3550 §6.4, draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.
#[test]
fn the_publisher_hears_how_its_packets_arrive() {
    let (mut world, publisher, subscribers) = call(1, 1);
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    for frame in 0..90 {
        send_frames(&mut world, publisher, &mut encoders, frame == 0);
        if frame == 1 {
            let info = SenderInfo {
                ntp: world.epoch.ntp(world.now),
                rtp_time: RtpTime(3_000),
                packets: 3,
                bytes: 600,
            };
            world.send_rtcp(publisher, |writer| {
                writer.sender_report(Ssrc(5_000), &info, &[]).unwrap();
            });
        }
    }
    let (mut told, mut blocks) = (0, 0);
    for got in &world.peers[publisher].rtcp {
        for packet in RtcpCompound::parse(&got.bytes) {
            match packet.unwrap() {
                RtcpPacket::TransportFeedback(TransportFeedback::TransportCc(feedback)) => {
                    told += feedback.arrivals().count();
                }
                RtcpPacket::ReceiverReport(report) => blocks += report.blocks().count(),
                _ => {}
            }
        }
    }
    assert!(told >= 260, "{told}");
    assert!(blocks >= 2, "{blocks}");
    let reports = world.peers[subscribers[0]].rtcp.iter();
    let reports = reports.flat_map(|got| RtcpCompound::parse(&got.bytes));
    let sent = reports.filter(|packet| matches!(packet, Ok(RtcpPacket::SenderReport(_))));
    assert!(sent.count() >= 2);
}
