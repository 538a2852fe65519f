use millrace_shared::ids::{Mid, Rid};
use millrace_shared::link::{Codec, Encoding, TrackReport};
use millrace_shared::time::{NtpTime, RtpTime};
use millrace_shared::wire::rtp::{RtpHeader, pad, write_header};

use super::*;

const VP8: Pt = Pt(96);
const VP8_RTX: Pt = Pt(97);
const MEDIA: [Ssrc; 3] = [Ssrc(10), Ssrc(11), Ssrc(12)];
const RTX: [Ssrc; 3] = [Ssrc(20), Ssrc(21), Ssrc(22)];
/// Payload descriptor without extensions, then the first byte of a VP8 frame (RFC 7741 §4.3).
const KEY: &[u8] = &[0x10, 0x00, 0, 0, 0x9d, 0x01, 0x2a, 0, 0, 0, 0];
const DELTA: &[u8] = &[0x10, 0x01, 1, 2, 3, 4];

fn ms(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn config(rids: &[&str]) -> UpTrackConfig {
    let encodings = rids.iter().enumerate().map(|(spatial, rid)| Encoding {
        rid: (!rid.is_empty()).then(|| Rid::from(rid).unwrap()),
        spatial: spatial as u8,
        ssrc: None,
        rtx_ssrc: None,
    });
    UpTrackConfig {
        track: TrackId(1),
        mid: Mid::from("0").unwrap(),
        kind: MediaKind::Video,
        codecs: vec![UpCodec {
            pt: VP8,
            codec: Codec::Vp8,
            clock_rate_hz: 90_000,
            rtx_pt: Some(VP8_RTX),
        }],
        encodings: encodings.collect(),
        nack: true,
        pli_interval_ms: [500, 1_000, 1_000],
    }
}

fn claim(ssrc: Ssrc, pt: Pt, rid: Option<&'static str>) -> StreamClaim<'static> {
    StreamClaim {
        ssrc,
        pt,
        rid: rid.filter(|_| pt == VP8),
        repaired_rid: rid.filter(|_| pt != VP8),
    }
}

/// A simulcast track all of whose streams are known.
fn simulcast() -> UpTrack {
    let mut track = UpTrack::new(&config(&["q", "h", "f"]));
    for (spatial, rid) in ["q", "h", "f"].into_iter().enumerate() {
        let media = claim(MEDIA[spatial], VP8, Some(rid));
        let rtx = claim(RTX[spatial], VP8_RTX, Some(rid));
        for claim in [media, rtx] {
            assert!(track.resolve(ms(0), &claim).is_some());
        }
    }
    track
}

struct Sent {
    spatial: usize,
    seq: u16,
    rtp_time: u32,
    rtx: bool,
    padding: u8,
    payload: Vec<u8>,
}

fn media(seq: u16, payload: &[u8]) -> Sent {
    Sent {
        spatial: 0,
        seq,
        rtp_time: u32::from(seq) * 3_000,
        rtx: false,
        padding: 0,
        payload: payload.to_vec(),
    }
}

fn rtx(original_seq: u16, payload: &[u8]) -> Sent {
    let payload = [&original_seq.to_be_bytes(), payload].concat();
    Sent {
        seq: original_seq.wrapping_mul(31),
        rtx: true,
        ..media(original_seq, &payload)
    }
}

/// What the track made of a packet: sequence number, lateness and payload, or a padding's number.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Got {
    Packet(PacketMeta, Vec<u8>),
    Padding(u64),
}

impl Got {
    fn seq(&self) -> u64 {
        match self {
            Self::Packet(meta, _) => meta.seq.0,
            Self::Padding(seq) => *seq,
        }
    }
}

fn receive(track: &mut UpTrack, now: Timestamp, sent: &Sent) -> Result<Got, DropReason> {
    let mut ext_ids = ExtIds::default();
    ext_ids.set(ExtKind::VideoOrientation, 3);
    let (pt, ssrcs) = if sent.rtx {
        (VP8_RTX, RTX)
    } else {
        (VP8, MEDIA)
    };
    let header = RtpHeader {
        marker: true,
        pt,
        seq: SeqNo(sent.seq),
        timestamp: RtpTime(sent.rtp_time),
        ssrc: ssrcs[sent.spatial],
    };
    let mut bytes = [0; 1500];
    let header_len = write_header(&mut bytes, &header, &[(3, &[1]), (9, b"0")]).unwrap();
    let mut len = header_len + sent.payload.len();
    bytes[header_len..len].copy_from_slice(&sent.payload);
    if sent.padding > 0 {
        len = pad(&mut bytes, len, sent.padding).unwrap();
    }
    let role = StreamRole {
        spatial: sent.spatial as u8,
        rtx: sent.rtx,
    };
    let rtp = RtpView::parse(&bytes[..len]).unwrap();
    track
        .receive(now, role, &rtp, &ext_ids)
        .map(|received| match received {
            Received::Packet(packet) => {
                assert_eq!(packet.exts[..], [(ExtKind::VideoOrientation, &[1_u8][..])]);
                Got::Packet(packet.meta, packet.payload.to_vec())
            }
            Received::Padding { spatial, seq } => {
                assert_eq!(usize::from(spatial), sent.spatial);
                Got::Padding(seq.0)
            }
        })
}

#[test]
fn streams_are_found_by_rid() {
    let mut track = UpTrack::new(&config(&["q", "h"]));
    let role = track.resolve(ms(0), &claim(MEDIA[1], VP8, Some("h")));
    let expected = StreamRole {
        spatial: 1,
        rtx: false,
    };
    assert_eq!(role, Some(expected));
    let role = track.resolve(ms(0), &claim(RTX[1], VP8_RTX, Some("h")));
    let expected = StreamRole {
        spatial: 1,
        rtx: true,
    };
    assert_eq!(role, Some(expected));
    assert_eq!(track.ssrc(1), Some(MEDIA[1]));
    // Known by now, though browsers stop sending the rid after a while.
    let role = track.resolve(ms(0), &claim(MEDIA[1], VP8, None));
    assert_eq!(role.map(|role| role.spatial), Some(1));

    assert_eq!(track.resolve(ms(0), &claim(Ssrc(99), VP8, None)), None);
    assert_eq!(track.resolve(ms(0), &claim(Ssrc(99), VP8, Some("x"))), None);
    assert_eq!(
        track.resolve(ms(0), &claim(Ssrc(99), Pt(45), Some("q"))),
        None
    );
}

#[test]
fn the_only_stream_needs_no_rid() {
    let mut track = UpTrack::new(&config(&[""]));
    assert!(track.resolve(ms(0), &claim(MEDIA[0], VP8, None)).is_some());
    assert!(receive(&mut track, ms(0), &media(1, KEY)).is_ok());
    // A new source takes the encoding over; its predecessor is a stranger.
    assert!(track.resolve(ms(0), &claim(Ssrc(77), VP8, None)).is_some());
    let refused = receive(&mut track, ms(1), &media(2, DELTA));
    assert_eq!(refused, Err(DropReason::RtpStreamUnknown));
}

/// RFC 3550 §8.2 lets a source change its SSRC. One that was here before is believed after some
/// packets, and goes on above all numbers there were.
#[test]
fn a_publisher_comes_back_to_a_source_it_left() {
    let mut track = UpTrack::new(&config(&[""]));
    assert!(track.resolve(ms(0), &claim(MEDIA[0], VP8, None)).is_some());
    assert!(
        track
            .resolve(ms(0), &claim(RTX[0], VP8_RTX, None))
            .is_some()
    );
    let before = receive(&mut track, ms(0), &media(1, KEY)).unwrap();
    for (ssrc, pt) in [(77, VP8), (78, VP8_RTX)] {
        assert!(track.resolve(ms(0), &claim(Ssrc(ssrc), pt, None)).is_some());
    }
    let again = (2..20).map(|seq| receive(&mut track, ms(seq.into()), &media(seq, DELTA)));
    let again: Vec<_> = again.collect();
    let dropped = again.iter().take_while(|it| it.is_err()).count();
    assert!((2..10).contains(&dropped), "{dropped}");
    assert!(again[dropped..].iter().all(Result::is_ok));
    assert!(again[dropped].as_ref().unwrap().seq() > before.seq());
    // What repaired it repairs it again, and a key frame fills what was lost.
    let ssrcs: Vec<_> = track.ssrcs().map(|(ssrc, _)| ssrc).collect();
    assert_eq!(ssrcs, [MEDIA[0], RTX[0]]);
    assert_eq!(track.due_keyframe_requests(ms(2_000)).len(), 1);
}

#[test]
fn describes_and_keeps_a_packet() {
    let mut track = simulcast();
    let mut sent = media(500, KEY);
    sent.padding = 20;
    let Ok(Got::Packet(meta, payload)) = receive(&mut track, ms(7), &sent) else {
        panic!("no packet");
    };
    assert_eq!(payload, KEY);
    assert!(meta.keyframe_start && meta.marker && !meta.late);
    assert_eq!((meta.pt, meta.arrival), (VP8, ms(7)));
    let stored = track.stored(0, meta.seq).unwrap();
    assert_eq!((stored.meta, stored.payload), (meta, KEY));
    assert!(track.stored(1, meta.seq).is_none());
}

/// RFC 4588 §4: number and payload type of the original come back.
#[test]
fn a_retransmission_becomes_the_original() {
    let mut track = simulcast();
    for seq in [65_534, 65_535, 1] {
        receive(&mut track, ms(0), &media(seq, DELTA)).unwrap();
    }
    assert_eq!(track.next_timeout(), ms(10));
    let nacks = track.due_nacks(ms(10));
    assert_eq!(nacks.len(), 1);
    assert_eq!(nacks[0].ssrc, MEDIA[0]);
    assert_eq!(nacks[0].seqs[..], [SeqNo(0)]);

    let Ok(Got::Packet(meta, payload)) = receive(&mut track, ms(60), &rtx(0, DELTA)) else {
        panic!("not repaired");
    };
    assert_eq!(
        (meta.seq, meta.pt, meta.late),
        (ExtSeq(0x2_0000), VP8, true)
    );
    assert_eq!(payload, DELTA);
    assert_eq!(track.next_timeout(), Timestamp::NEVER);
    let again = receive(&mut track, ms(61), &rtx(0, DELTA));
    assert_eq!(again, Err(DropReason::RtpDuplicate));
    let report = track.report();
    assert_eq!((report.packets, report.lost), (4, 0));
}

#[test]
fn probes_are_not_forwarded() {
    let mut track = simulcast();
    let early = receive(&mut track, ms(0), &rtx(3, DELTA));
    assert_eq!(early, Err(DropReason::RtxUnusable));
    receive(&mut track, ms(0), &media(4, KEY)).unwrap();

    let mut probe = rtx(0, b"");
    probe.payload.clear();
    probe.padding = 224;
    let dropped = receive(&mut track, ms(1), &probe);
    assert_eq!(dropped, Err(DropReason::RtxUnusable));

    // Padding of the media stream takes a number, which is then not missing.
    let mut padding = media(5, b"");
    padding.padding = 224;
    let got = receive(&mut track, ms(1), &padding).unwrap();
    assert_eq!(got, Got::Padding(0x1_0005));
    receive(&mut track, ms(2), &media(6, DELTA)).unwrap();
    assert_eq!(track.next_timeout(), Timestamp::NEVER);
}

#[test]
fn a_foreign_payload_type_is_refused() {
    let mut track = simulcast();
    let mut config = config(&["q", "h", "f"]);
    config.codecs[0].pt = Pt(100);
    track.update(&config);
    let refused = receive(&mut track, ms(0), &media(1, KEY));
    assert_eq!(refused, Err(DropReason::RtpPayloadTypeUnknown));
}

#[test]
fn muted_streams_stay_in_step() {
    let mut track = simulcast();
    receive(&mut track, ms(0), &media(1, KEY)).unwrap();
    track.set_muted(true);
    for seq in 2..400 {
        let got = receive(&mut track, ms(seq), &media(seq as u16, DELTA));
        assert!(matches!(got, Ok(Got::Padding(_))), "{got:?}");
    }
    track.set_muted(false);
    let got = receive(&mut track, ms(400), &media(400, DELTA)).unwrap();
    assert_eq!(got.seq(), 0x1_0000 + 400);
    assert_eq!(track.next_timeout(), Timestamp::NEVER);
    assert_eq!(track.report().lost, 0);
}

#[test]
fn key_frame_requests_are_throttled_per_encoding() {
    let mut track = simulcast();
    let request = |spatial: u8| {
        let ssrc = MEDIA[usize::from(spatial)];
        Some(KeyframeRequest { spatial, ssrc })
    };
    assert_eq!(track.request_keyframe(ms(0), 0), request(0));
    assert_eq!(track.request_keyframe(ms(0), 1), request(1));
    assert_eq!(track.request_keyframe(ms(100), 0), None);
    assert_eq!(track.request_keyframe(ms(100), 1), None);
    assert_eq!(track.next_timeout(), ms(500));
    assert_eq!(
        track.due_keyframe_requests(ms(500)).first().copied(),
        request(0)
    );
    assert_eq!(track.request_keyframe(ms(550), 0), None);
    // The key frame answers whoever waits; the other encoding still has none.
    receive(&mut track, ms(600), &media(1, KEY)).unwrap();
    assert_eq!(track.next_timeout(), ms(1_000));
    assert_eq!(
        track.due_keyframe_requests(ms(1_000)).as_slice(),
        [request(1).unwrap()]
    );
    assert_eq!(track.request_keyframe(ms(1_000), 7), None);
}

/// Nobody starts at a packet that others of its frame went before, see `Selector::select`.
#[test]
fn a_key_frame_whose_start_comes_late_answers_nobody_who_waits_to_start() {
    let mut track = simulcast();
    receive(&mut track, ms(0), &media(1, KEY)).unwrap();
    assert!(track.request_keyframe(ms(0), 0).is_some());
    assert!(track.request_keyframe(ms(100), 0).is_none());
    receive(&mut track, ms(110), &media(3, DELTA)).unwrap();
    receive(&mut track, ms(150), &rtx(2, KEY)).unwrap();
    assert_eq!(track.due_keyframe_requests(ms(500)).len(), 1);
}

#[test]
fn a_late_key_frame_older_than_what_broke_mends_nothing() {
    for (keyframe, requests) in [(2, 1), (6, 0)] {
        let mut track = simulcast();
        let mut config = config(&["q", "h", "f"]);
        config.pli_interval_ms = [5_000; 3];
        track.update(&config);
        receive(&mut track, ms(0), &media(1, KEY)).unwrap();
        assert!(track.request_keyframe(ms(0), 0).is_some());
        // After a silence three are missing, and given up soon.
        receive(&mut track, ms(600), &media(5, DELTA)).unwrap();
        for at in 600..1_200 {
            track.due_nacks(ms(at));
        }
        receive(&mut track, ms(1_200), &media(7, DELTA)).unwrap();
        receive(&mut track, ms(1_210), &rtx(keyframe, KEY)).unwrap();
        let due = track.due_keyframe_requests(ms(5_000)).len();
        assert_eq!(due, requests, "{keyframe}");
    }
}

#[test]
fn a_gap_beyond_repair_asks_for_a_key_frame() {
    let mut track = simulcast();
    receive(&mut track, ms(0), &media(1, KEY)).unwrap();
    receive(&mut track, ms(1), &media(1_000, DELTA)).unwrap();
    assert!(track.due_nacks(ms(100)).is_empty());
    assert_eq!(track.due_keyframe_requests(ms(100)).len(), 1);
    assert_eq!(track.report().lost, 998);
}

#[test]
fn a_restart_asks_for_the_packet_that_showed_it_only() {
    let mut track = simulcast();
    receive(&mut track, ms(0), &media(10, KEY)).unwrap();
    receive(&mut track, ms(0), &media(15, DELTA)).unwrap();
    let first = receive(&mut track, ms(1), &media(40_000, KEY));
    assert_eq!(first, Err(DropReason::RtpTooOld));
    receive(&mut track, ms(1), &media(40_001, DELTA)).unwrap();
    let nacks = track.due_nacks(ms(20));
    assert_eq!(nacks[0].seqs[..], [SeqNo(40_000)]);
    let repaired = receive(&mut track, ms(60), &rtx(40_000, KEY)).unwrap();
    assert_eq!(repaired.seq(), 0x1_0000 + 40_000);
    assert_eq!(track.report_blocks(ms(61))[0].cumulative_lost, 0);
}

#[test]
fn a_stopped_encoding_is_told_from_a_still_picture() {
    let mut track = simulcast();
    let send = |track: &mut UpTrack, at: u64, spatials: &[usize], seq: &mut u16| {
        for spatial in spatials {
            let mut sent = media(*seq, DELTA);
            sent.spatial = *spatial;
            receive(track, ms(at), &sent).unwrap();
        }
        *seq += 1;
    };
    let mut seq = 1;
    assert_eq!(track.live_layers(ms(0)), 0);
    for i in 0..30 {
        send(&mut track, i * 33, &[0, 1, 2], &mut seq);
    }
    assert_eq!(track.live_layers(ms(1_000)), 0b111);
    // The sender stops the highest one.
    for i in 30..65 {
        send(&mut track, i * 33, &[0, 1], &mut seq);
    }
    assert_eq!(track.live_layers(ms(2_150)), 0b011);
    // A still screen: a frame now and then, now of all.
    for i in 1..6 {
        let at = 2_150 + i * 1_500;
        send(&mut track, at, &[0, 1, 2], &mut seq);
        assert_eq!(track.live_layers(ms(at + 1_499)), 0b111);
    }
    assert_eq!(track.live_layers(ms(20_000)), 0);
    assert_eq!(track.report().live_layers, 0b111);
    assert_eq!(track.report(), TrackReport::default());
}

#[test]
fn sender_reports_give_each_layer_its_clock() {
    let mut track = simulcast();
    receive(&mut track, ms(0), &media(1, KEY)).unwrap();
    track.sender_report(ms(10), MEDIA[0], NtpTime(5 << 32), RtpTime(90_000));
    track.sender_report(ms(10), Ssrc(1_234), NtpTime(9 << 32), RtpTime(1));
    let clocks = track.clocks();
    assert_eq!(clocks.clock_rate_hz, 90_000);
    assert_eq!(clocks.layers[0].unwrap().ntp, NtpTime(5 << 32));
    assert_eq!(clocks.layers[1], None);
    let blocks = track.report_blocks(ms(20));
    assert_eq!(blocks.len(), 1);
    assert_eq!((blocks[0].ssrc, blocks[0].last_sr), (MEDIA[0], 5 << 16));
}

#[test]
fn a_description_that_loses_an_encoding_keeps_the_others() {
    let mut track = simulcast();
    let before = receive(&mut track, ms(0), &media(1, KEY)).unwrap();
    track.update(&config(&["q"]));
    assert_eq!(track.ssrcs().count(), 2);
    let after = receive(&mut track, ms(1), &media(2, DELTA)).unwrap();
    assert_eq!(after.seq(), before.seq() + 1);
}
