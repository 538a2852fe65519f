use arrayvec::ArrayVec;
use millrace_shared::link::{ExtKind, RedMapping};
use millrace_shared::payload::vp8::Vp8View;
use millrace_shared::wire::rtp::RtpView;

use super::*;
use crate::packet::{PacketMeta, Vp8Fields, Vp8PictureId};

const AT: fn(u64) -> Timestamp = Timestamp::from_millis;
const SSRC: Ssrc = Ssrc(0x1111_1111);
const RTX_SSRC: Ssrc = Ssrc(0x2222_2222);
const START: StartValues = StartValues {
    seq: SeqNo(100),
    rtx_seq: SeqNo(7_000),
    rtp_time: RtpTime(1_000_000),
    picture_id: 0x7fff,
    tl0_pic_idx: 9,
    key_idx: 3,
};
const CLOCKS: LayerClocks = LayerClocks {
    clock_rate_hz: 90_000,
    layers: [None; 3],
};
const SEEN: ReportBlock = ReportBlock {
    ssrc: SSRC,
    fraction_lost: 0,
    cumulative_lost: 0,
    highest_seq: 0,
    jitter: 0,
    last_sr: 0,
    delay_since_last_sr: 0,
};
/// X, S; I, L, T, K; 7 bit picture id 5, TL0PICIDX 200, key index 17; then the frame.
const VP8_KEY: [u8; 9] = [0x90, 0xf0, 0x05, 200, 17, 0xa0, 0xa1, 0xa2, 0xa3];

fn config() -> DownTrackConfig {
    let mut ext_ids = ExtIds::default();
    ext_ids.set(ExtKind::Mid, 1);
    ext_ids.set(ExtKind::TransportCc, 2);
    ext_ids.set(ExtKind::VideoOrientation, 6);
    ext_ids.set(ExtKind::DependencyDescriptor, 7);
    DownTrackConfig {
        down: DownTrackId(1),
        track: TrackId(2),
        kind: MediaKind::Video,
        mid: Mid::from("12").unwrap(),
        cname: "PA_a".into(),
        ssrc: SSRC,
        rtx_ssrc: Some(RTX_SSRC),
        pts: vec![PtMapping {
            up: Pt(96),
            down: Pt(120),
            down_rtx: Some(Pt(121)),
            red: None,
        }],
        ext_ids,
        nack: true,
        max_layer: Layer::BEST,
        paused: false,
    }
}

fn started(config: DownTrackConfig) -> DownTrack {
    let mut down = DownTrack::new(config, START);
    down.set_live_layers(0b1);
    down
}

fn packet(seq: u64, payload: &[u8]) -> Packet<'_> {
    Packet {
        meta: PacketMeta {
            arrival: AT(1_000),
            seq: ExtSeq(0x1_0000 + seq),
            rtp_time: RtpTime(5_000),
            spatial: 0,
            temporal: 0,
            pt: Pt(96),
            marker: true,
            keyframe_start: true,
            late: false,
            vp8: None,
        },
        exts: ArrayVec::new(),
        payload,
    }
}

fn vp8_packet(seq: u64, payload: &[u8]) -> Packet<'_> {
    let mut packet = packet(seq, payload);
    packet.meta.vp8 = Some(Vp8Fields {
        picture_id: Some(Vp8PictureId {
            value: 5,
            long: false,
        }),
        tl0_pic_idx: Some(200),
        key_idx: Some(17),
        layer_sync: false,
    });
    packet
}

fn written(outgoing: &Outgoing, packet: &Packet<'_>) -> Vec<u8> {
    let exts = TransportExts {
        transport_cc: Some(0xabcd),
        abs_send_time: Some([1, 2, 3]),
    };
    let mut out = vec![0xee; outgoing.len(packet)];
    let header_len = outgoing.write(packet, &exts, &mut out);
    assert_eq!(RtpView::parse(&out).unwrap().header_len(), header_len);
    out
}

/// A NACK of `seq` whose packet is in the store: where it came from, if it is answered.
fn retransmit(down: &mut DownTrack, now: Timestamp, seq: SeqNo) -> Option<Source> {
    let source = down.source(seq)?;
    down.allow_rtx(now, seq).then_some(source)
}

#[test]
fn a_packet_leaves_with_the_subscribers_numbers_and_extensions() {
    let mut down = started(config());
    let mut packet = packet(50, b"frame");
    packet.exts.push((ExtKind::VideoOrientation, &[3]));
    packet.exts.push((ExtKind::AudioLevel, &[0x9e]));
    let outgoing = down.forward(AT(1_000), &packet, &CLOCKS).unwrap();
    assert!(outgoing.transport_cc());
    assert_eq!(outgoing.roc(), 0);
    let bytes = written(&outgoing, &packet);
    let rtp = RtpView::parse(&bytes).unwrap();
    assert_eq!((rtp.ssrc, rtp.pt, rtp.marker), (SSRC, Pt(120), true));
    assert_eq!((rtp.seq, rtp.timestamp), (START.seq, START.rtp_time));
    assert_eq!(rtp.payload(), b"frame");
    let exts: Vec<_> = rtp.exts().collect();
    assert_eq!(
        exts,
        [
            (2, [0xab, 0xcd].as_slice()),
            (1, b"12".as_slice()),
            (6, [3].as_slice()),
        ]
    );
}

// RFC 8285 §4.3: contents longer than 16 bytes need the two-byte form.
#[test]
fn a_long_extension_is_carried_and_counted() {
    let mut down = started(config());
    let mut packet = packet(50, b"frame");
    packet
        .exts
        .push((ExtKind::DependencyDescriptor, &[0x55; 40]));
    let outgoing = down.forward(AT(1_000), &packet, &CLOCKS).unwrap();
    let bytes = written(&outgoing, &packet);
    let rtp = RtpView::parse(&bytes).unwrap();
    assert_eq!(rtp.ext(7), Some([0x55; 40].as_slice()));
    assert_eq!(rtp.payload(), b"frame");
}

// RFC 8843 §9.2: MID until the receiver knows the SSRC.
#[test]
fn mid_goes_until_the_first_report_on_its_ssrc() {
    let mut down = started(config());
    let mid = |down: &mut DownTrack, seq| {
        let packet = packet(seq, b"frame");
        let outgoing = down.forward(AT(1_000), &packet, &CLOCKS).unwrap();
        let bytes = written(&outgoing, &packet);
        let rtp = RtpView::parse(&bytes).unwrap();
        rtp.ext(1).map(<[u8]>::to_vec)
    };
    assert!(mid(&mut down, 1).is_some());
    let other = ReportBlock {
        ssrc: RTX_SSRC,
        ..SEEN
    };
    down.receiver_report(AT(1_100), &other);
    assert!(mid(&mut down, 2).is_some());
    down.receiver_report(AT(1_200), &SEEN);
    assert_eq!(mid(&mut down, 3), None);
}

#[test]
fn vp8_gets_its_fields_and_the_long_picture_id() {
    let mut down = started(config());
    let packet = vp8_packet(50, &VP8_KEY);
    let outgoing = down.forward(AT(1_000), &packet, &CLOCKS).unwrap();
    let bytes = written(&outgoing, &packet);
    let rtp = RtpView::parse(&bytes).unwrap();
    assert_eq!(rtp.payload().len(), VP8_KEY.len() + 1);
    let view = Vp8View::parse(rtp.payload()).unwrap();
    let id = view.descriptor.picture_id.unwrap();
    assert_eq!((id.value, id.long), (0x7fff, true));
    assert_eq!(view.descriptor.tl0_pic_idx, Some(9));
    assert_eq!(view.descriptor.key_idx, Some(3));
    assert!(view.descriptor.partition_start);
    assert_eq!(view.frame, &VP8_KEY[5..]);
}

#[test]
fn an_unmapped_payload_type_is_dropped_counted_and_closed_over() {
    let mut down = started(config());
    let seq = |down: &mut DownTrack, packet: &Packet<'_>| {
        let outgoing = down.forward(AT(1_000), packet, &CLOCKS);
        outgoing.map(|outgoing| outgoing.seq().seq().0)
    };
    assert_eq!(seq(&mut down, &packet(1, b"a")), Some(100));
    let mut other = packet(2, b"b");
    other.meta.pt = Pt(13);
    assert_eq!(seq(&mut down, &other), None);
    assert_eq!(seq(&mut down, &packet(3, b"c")), Some(101));
    assert_eq!(down.take_unmapped_packets(), 1);
    assert_eq!(down.take_unmapped_packets(), 0);
}

#[test]
fn padding_closes_and_loss_leaves_a_hole_that_late_packets_fill() {
    let mut down = started(config());
    let seq = |down: &mut DownTrack, n: u64| {
        let mut packet = packet(n, b"a");
        packet.meta.rtp_time = RtpTime(5_000 + 3_000 * n as u32);
        let outgoing = down.forward(AT(1_000), &packet, &CLOCKS);
        outgoing.map(|outgoing| outgoing.seq().seq().0)
    };
    assert_eq!(seq(&mut down, 1), Some(100));
    down.skip(0, ExtSeq(0x1_0002));
    assert_eq!(seq(&mut down, 5), Some(103));
    assert_eq!(seq(&mut down, 4), Some(102));
    assert_eq!(seq(&mut down, 4), None);
    assert_eq!(seq(&mut down, 2), None);
    assert_eq!(seq(&mut down, 3), Some(101));
    assert_eq!(seq(&mut down, 6), Some(104));
}

// RFC 4588 §4.
#[test]
fn a_nack_is_answered_on_the_rtx_stream() {
    let mut down = started(config());
    let packet = vp8_packet(50, &VP8_KEY);
    let first = down.forward(AT(1_000), &packet, &CLOCKS).unwrap();
    let first = written(&first, &packet);
    let source = retransmit(&mut down, AT(1_100), START.seq).unwrap();
    assert_eq!((source.spatial, source.seq), (0, packet.meta.seq));
    let again = down.outgoing_rtx(&source, &packet).unwrap();
    let again = written(&again, &packet);
    let (first, again) = (
        RtpView::parse(&first).unwrap(),
        RtpView::parse(&again).unwrap(),
    );
    assert_eq!((again.ssrc, again.pt), (RTX_SSRC, Pt(121)));
    assert_eq!(
        (again.seq, again.timestamp),
        (START.rtx_seq, first.timestamp)
    );
    assert_eq!(again.payload()[..2], START.seq.0.to_be_bytes());
    assert_eq!(&again.payload()[2..], first.payload());
    assert_eq!(again.ext(1), Some(b"12".as_slice()));
}

#[test]
fn a_nack_of_what_was_not_sent_or_just_was_again_is_not_answered() {
    let mut down = started(config());
    let packet = packet(50, b"frame");
    assert_eq!(retransmit(&mut down, AT(1_000), START.seq), None);
    down.forward(AT(1_000), &packet, &CLOCKS).unwrap();
    assert_eq!(retransmit(&mut down, AT(1_100), SeqNo(99)), None);
    assert_eq!(retransmit(&mut down, AT(1_100), SeqNo(101)), None);
    assert!(retransmit(&mut down, AT(1_100), START.seq).is_some());
    assert_eq!(retransmit(&mut down, AT(1_110), START.seq), None);
    let other = vp8_packet(51, &VP8_KEY);
    let source = retransmit(&mut down, AT(1_200), START.seq).unwrap();
    assert_eq!(down.outgoing_rtx(&source, &other), None);
}

#[test]
fn without_rtx_or_nack_nothing_is_sent_again() {
    let no_rtx = DownTrackConfig {
        rtx_ssrc: None,
        ..config()
    };
    let no_nack = DownTrackConfig {
        nack: false,
        ..config()
    };
    for config in [no_rtx, no_nack] {
        let mut down = started(config);
        down.forward(AT(1_000), &packet(50, b"frame"), &CLOCKS);
        assert_eq!(retransmit(&mut down, AT(1_100), START.seq), None);
    }
}

// RFC 3711 §9.1: no packet index twice under one key.
#[test]
fn rtx_numbers_go_on_over_a_renegotiation_without_rtx() {
    let mut down = started(config());
    let packet = packet(50, b"frame");
    down.forward(AT(1_000), &packet, &CLOCKS).unwrap();
    let source = retransmit(&mut down, AT(1_100), START.seq).unwrap();
    let before = down.outgoing_rtx(&source, &packet).unwrap();
    down.update(DownTrackConfig {
        rtx_ssrc: None,
        ..config()
    });
    assert_eq!(retransmit(&mut down, AT(1_200), START.seq), None);
    down.update(config());
    let source = retransmit(&mut down, AT(1_300), START.seq).unwrap();
    let after = down.outgoing_rtx(&source, &packet).unwrap();
    assert_eq!(after.seq(), ExtSeq(before.seq().0 + 1));
}

#[test]
fn the_roll_over_count_is_of_the_packet_and_not_of_the_newest() {
    let mut down = started(config());
    let mut forward = |n: u64| {
        let outgoing = down.forward(AT(1_000), &packet(n, b"a"), &CLOCKS)?;
        Some((outgoing.roc(), outgoing.seq().seq().0))
    };
    assert_eq!(forward(0), Some((0, 100)));
    for n in 1..0xff9b {
        forward(n);
    }
    // 65,535 is missing, 0 follows.
    assert_eq!(forward(0xff9c), Some((1, 0)));
    assert_eq!(forward(0xff9b), Some((0, 65_535)));
}

#[test]
fn key_frames_are_asked_for_until_one_comes() {
    let mut down = started(config());
    assert_eq!(down.next_timeout(), Timestamp::ZERO);
    assert_eq!(down.keyframe_due(AT(1_000)), Some(0));
    assert_eq!(down.keyframe_due(AT(1_100)), None);
    assert_eq!(down.next_timeout(), AT(1_200));
    assert_eq!(down.keyframe_due(AT(1_200)), Some(0));
    let mut delta = packet(1, b"a");
    delta.meta.keyframe_start = false;
    assert_eq!(down.forward(AT(1_300), &delta, &CLOCKS), None);
    assert!(down.forward(AT(1_300), &packet(2, b"a"), &CLOCKS).is_some());
    assert_eq!(down.wanted_keyframe(), None);
    assert_eq!(down.keyframe_requested(), Some(0));
    assert_eq!(down.current_spatial(), Some(0));
    // A sender report is due at once.
    assert_eq!(down.next_timeout(), AT(1_300));
}

#[test]
fn a_pause_stops_packets_reports_and_requests() {
    let mut down = started(config());
    down.forward(AT(1_000), &packet(1, b"a"), &CLOCKS).unwrap();
    down.set_layer(Layer::BEST, true);
    assert_eq!(down.forward(AT(1_010), &packet(2, b"a"), &CLOCKS), None);
    assert_eq!(down.next_timeout(), Timestamp::NEVER);
    assert_eq!(down.sender_report(AT(20_000), NtpTime(1), &CLOCKS), None);
    down.set_layer(Layer::BEST, false);
    assert_eq!(down.keyframe_due(AT(20_000)), Some(0));
    let mut after = packet(900, b"a");
    after.meta.arrival = AT(20_000);
    after.meta.rtp_time = RtpTime(5_000 + 19_000 * 90);
    let outgoing = down.forward(AT(20_000), &after, &CLOCKS).unwrap();
    assert_eq!(outgoing.seq().seq(), SeqNo(101));
    assert_eq!(outgoing.rtp_time(), RtpTime(START.rtp_time.0 + 19_000 * 90));
}

#[test]
fn a_sender_report_maps_the_publishers_clock() {
    let mut down = started(config());
    let clocks = LayerClocks {
        clock_rate_hz: 90_000,
        layers: [
            Some(crate::packet::SenderClock {
                ntp: NtpTime(500 << 32),
                rtp_time: RtpTime(5_000),
                arrival: AT(1_000),
            }),
            None,
            None,
        ],
    };
    let outgoing = down.forward(AT(1_000), &packet(1, b"frame"), &clocks);
    let outgoing = outgoing.unwrap();
    let (ssrc, info) = down.sender_report(AT(2_000), NtpTime(1), &clocks).unwrap();
    assert_eq!(ssrc, SSRC);
    assert_eq!(info.ntp, NtpTime(501 << 32));
    assert_eq!(info.rtp_time, outgoing.rtp_time().wrapping_add(90_000));
    assert_eq!((info.packets, info.bytes), (1, 5));
    assert_eq!(down.report().packets, 1);
}

#[test]
fn start_values_leave_room_before_the_wrap() {
    for random in [0, u64::MAX, 0x1234_5678_9abc_def0] {
        let start = StartValues::from_random(random);
        assert!(start.seq.0 < 0x8000 && start.rtx_seq.0 < 0x8000);
        assert!(start.picture_id < 0x8000 && start.key_idx < 0x20);
    }
}

// RFC 2198 §3: one redundant block of two bytes before the primary one.
#[test]
fn red_is_unwrapped_for_a_subscriber_without_it() {
    let mut unwrapping = config();
    unwrapping.kind = MediaKind::Audio;
    unwrapping.pts[0].red = Some(RedMapping::Unwrap);
    let mut down = DownTrack::new(unwrapping, START);
    let red = [0xef, 0x00, 0x00, 0x02, 0x6f, 0xaa, 0xbb, 0x78, 0x03];
    let packet = packet(50, &red);
    let outgoing = down.forward(AT(1_000), &packet, &CLOCKS).unwrap();
    let bytes = written(&outgoing, &packet);
    assert_eq!(RtpView::parse(&bytes).unwrap().payload(), [0x78, 0x03]);
    let source = retransmit(&mut down, AT(1_010), START.seq).unwrap();
    let again = down.outgoing_rtx(&source, &packet).unwrap();
    let again = written(&again, &packet);
    let again = RtpView::parse(&again).unwrap();
    assert_eq!(again.payload(), [0, 100, 0x78, 0x03]);
    assert!(
        down.forward(AT(1_020), &self::packet(51, &[0xff]), &CLOCKS)
            .is_none()
    );
}

#[test]
fn red_blocks_get_the_subscribers_payload_type() {
    let mut mapping = config();
    mapping.kind = MediaKind::Audio;
    mapping.pts[0].red = Some(RedMapping::Blocks(Pt(110)));
    let mut down = DownTrack::new(mapping, START);
    let red = [0xef, 0x00, 0x00, 0x02, 0x6f, 0xaa, 0xbb, 0x78, 0x03];
    let packet = packet(50, &red);
    let outgoing = down.forward(AT(1_000), &packet, &CLOCKS).unwrap();
    let bytes = written(&outgoing, &packet);
    let payload = RtpView::parse(&bytes).unwrap().payload().to_vec();
    assert_eq!(
        payload,
        [0xee, 0x00, 0x00, 0x02, 0x6e, 0xaa, 0xbb, 0x78, 0x03]
    );
}
