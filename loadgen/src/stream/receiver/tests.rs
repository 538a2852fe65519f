use millrace_shared::ids::Pt;
use millrace_shared::time::RtpTime;
use millrace_shared::wire::rtcp::{RtcpCompound, TransportFeedback};
use millrace_shared::wire::rtp::{RtpHeader, write_header};

use super::*;
use crate::media::{Origin, Stamp};
use crate::sdp::Description;

const OFFER: &str =
    include_str!("../../../../controlplane/src/negotiate/testdata/subscriber-offer.sdp");
const AUDIO: (u32, u8) = (2, 111);
const VIDEO: (u32, u8) = (4, 96);
const REPAIR: (u32, u8) = (5, 97);
/// Of the offer.
const TRANSPORT_CC: u8 = 2;

fn receiver() -> Receiver {
    let mut receiver = Receiver::new(Ssrc(1));
    receiver.set_map(StreamMap::of(&Description::parse(OFFER).unwrap()));
    receiver
}

fn packet((ssrc, pt): (u32, u8), seq: u16, index: u32, sent_ms: u64) -> Vec<u8> {
    let header = RtpHeader {
        marker: true,
        pt: Pt(pt),
        seq: SeqNo(seq),
        timestamp: RtpTime(u32::from(seq) * 3000),
        ssrc: Ssrc(ssrc),
    };
    let mut packet = vec![0; 200];
    let number = seq.to_be_bytes();
    let len = write_header(&mut packet, &header, &[(TRANSPORT_CC, &number)]).unwrap();
    packet.truncate(len);
    let mut payload = [0x11; 100];
    let stamp = Stamp {
        origin: Origin { track: 1, layer: 1 },
        index,
        sent_at: Timestamp::from_millis(sent_ms),
    };
    stamp.write(&mut payload, 4).unwrap();
    packet.extend_from_slice(&payload);
    packet
}

fn repair(original: u16, packet: &[u8]) -> Vec<u8> {
    let header = RtpView::parse(packet).unwrap();
    let mut repair = packet[..header.header_len()].to_vec();
    repair[1] = REPAIR.1;
    repair[8..12].copy_from_slice(&REPAIR.0.to_be_bytes());
    repair.extend_from_slice(&original.to_be_bytes());
    repair.extend_from_slice(header.payload());
    repair
}

#[test]
fn latency_is_arrival_less_departure() {
    let mut receiver = receiver();
    let mut meter = Meter::default();
    let arrival = Timestamp::from_millis(130);
    receiver.receive_sampled(arrival, &packet(VIDEO, 1, 0, 110), &mut meter);
    receiver.receive_sampled(arrival, &packet(AUDIO, 1, 0, 125), &mut meter);
    let ms = |latency: &crate::report::latency::Latency| latency.mean_ns().unwrap() / 1e6;
    assert!((ms(&meter.video) - 20.0).abs() < 0.5);
    assert!((ms(&meter.audio) - 5.0).abs() < 0.1);
    assert_eq!(meter.counters.layer_bytes, [100, 0, 100, 0]);
}

#[test]
fn loss_duplicates_and_reordering_are_told_apart() {
    for sampled in [true, false] {
        let mut receiver = receiver();
        let mut meter = Meter::default();
        for seq in [1, 2, 5, 3, 5, 6] {
            let packet = packet(VIDEO, seq, u32::from(seq), 0);
            if sampled {
                receiver.receive_sampled(Timestamp::ZERO, &packet, &mut meter);
            } else {
                assert!(receiver.receive_counted(Timestamp::ZERO, &packet, &mut meter));
            }
        }
        let counters = meter.counters;
        assert_eq!(counters.missing, 2, "sampled: {sampled}");
        assert_eq!(counters.reordered, 1);
        assert_eq!(counters.duplicated, 1);
        assert_eq!(counters.lost(), 1);
        assert_eq!(counters.skipped, 0);
    }
}

#[test]
fn a_changed_payload_is_corrupt() {
    let mut receiver = receiver();
    let mut meter = Meter::default();
    let mut packet = packet(VIDEO, 1, 0, 0);
    let middle = packet.len() - 60;
    packet[middle] ^= 0x40;
    receiver.receive_sampled(Timestamp::ZERO, &packet, &mut meter);
    assert_eq!(meter.counters.corrupted, 1);
    assert!(meter.latency().is_empty());
}

#[test]
fn a_packet_left_out_without_a_gap_is_skipped() {
    let mut receiver = receiver();
    let mut meter = Meter::default();
    for (seq, index) in [(1, 10), (2, 11), (3, 13), (5, 15)] {
        receiver.receive_sampled(Timestamp::ZERO, &packet(VIDEO, seq, index, 0), &mut meter);
    }
    assert_eq!(meter.counters.skipped, 1);
    assert_eq!(meter.counters.missing, 1);
}

#[test]
fn what_is_missing_is_asked_for_and_recovered() {
    let mut receiver = receiver();
    let mut meter = Meter::default();
    for seq in [1, 3] {
        let packet = packet(VIDEO, seq, u32::from(seq), 0);
        receiver.receive_sampled(Timestamp::ZERO, &packet, &mut meter);
    }
    let due = receiver.next_timeout();
    let mut asked = Vec::new();
    receiver.handle_timeout(due, &mut meter, &mut |compound| {
        for item in RtcpCompound::parse(compound) {
            if let Ok(RtcpPacket::TransportFeedback(TransportFeedback::Nack(nack))) = item {
                asked.extend(nack.seqs());
            }
        }
    });
    assert_eq!(asked, [SeqNo(2)]);
    let lost = packet(VIDEO, 2, 2, 0);
    receiver.receive_sampled(due, &repair(2, &lost), &mut meter);
    assert_eq!(meter.counters.recovered, 1);
    assert_eq!(meter.counters.lost(), 0);
    // The same again is the server's caution, not a duplicate.
    receiver.receive_sampled(due, &repair(2, &lost), &mut meter);
    assert_eq!(meter.counters.duplicated, 0);
}

#[test]
fn feedback_and_reports_come_by_themselves() {
    let mut receiver = receiver();
    let mut meter = Meter::default();
    let packet = packet(AUDIO, 1, 0, 0);
    receiver.receive_sampled(Timestamp::ZERO, &packet, &mut meter);
    let mut kinds = Vec::new();
    for ms in [100, 1000] {
        let now = Timestamp::from_millis(ms);
        assert_eq!(receiver.next_timeout(), now);
        receiver.handle_timeout(now, &mut meter, &mut |compound| {
            for item in RtcpCompound::parse(compound).flatten() {
                kinds.push(match item {
                    RtcpPacket::TransportFeedback(_) => "feedback",
                    RtcpPacket::ReceiverReport(_) => "report",
                    RtcpPacket::Sdes(_) => "name",
                    _ => "other",
                });
            }
        });
    }
    assert_eq!(kinds, ["feedback", "report", "name"]);
}

#[test]
fn streams_that_a_description_drops_end() {
    let mut receiver = receiver();
    let mut meter = Meter::default();
    receiver.receive_sampled(Timestamp::ZERO, &packet(VIDEO, 1, 0, 0), &mut meter);
    assert_eq!(receiver.streams_len(), 1);
    let without = OFFER.replace("a=ssrc:4 ", "a=ssrc:44 ");
    receiver.set_map(StreamMap::of(&Description::parse(&without).unwrap()));
    assert_eq!(receiver.streams_len(), 0);
}

#[test]
fn a_stream_that_is_counted_asks_for_a_key_frame_once() {
    let mut receiver = receiver();
    let mut meter = Meter::default();
    for seq in [1, 3] {
        let packet = packet(VIDEO, seq, 0, 0);
        assert!(receiver.receive_counted(Timestamp::ZERO, &packet, &mut meter));
    }
    let plis = plis_until(&mut receiver, Timestamp::from_millis(10_000), &mut meter);
    assert_eq!(plis, 1, "number 2 was given up");
}

#[test]
fn a_stream_that_is_sampled_no_more_waits_for_no_key_frame() {
    for stops in [false, true] {
        let mut receiver = receiver();
        let mut meter = Meter::default();
        receiver.receive_sampled(Timestamp::ZERO, &packet(VIDEO, 1, 0, 0), &mut meter);
        if stops {
            receiver.stop_sampling();
        }
        let plis = plis_until(&mut receiver, Timestamp::from_millis(3_000), &mut meter);
        assert_eq!(plis > 0, !stops);
    }
}

fn plis_until(receiver: &mut Receiver, end: Timestamp, meter: &mut Meter) -> u64 {
    while receiver.next_timeout() < end {
        receiver.handle_timeout(receiver.next_timeout(), meter, &mut |_| {});
    }
    meter.counters.plis_sent
}
