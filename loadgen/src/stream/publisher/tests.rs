use millrace_shared::link::ExtKind;
use millrace_shared::srtp::{MasterKey, Profile, SrtpRx};
use millrace_shared::wire::rtcp::RtcpCompound;
use millrace_shared::wire::rtp::RtpView;
use millrace_shared::wire::rtp_ext;

use super::*;
use crate::media::Stamp;
use crate::media::packetize::VideoCodec;
use crate::media::picture::{Content, Encoding};
use crate::media::speech::Manner;

fn key() -> MasterKey {
    MasterKey::new(Profile::AeadAes128Gcm, &[7; 16], &[9; 12]).unwrap()
}

fn epoch() -> Epoch {
    Epoch {
        instant: std::time::Instant::now(),
        since_1900: Duration::from_secs(4_000_000_000),
    }
}

fn track(source: TrackSource) -> PublishedTrack {
    let mut ids = millrace_shared::link::ExtIds::default();
    for (id, kind) in [
        (1, ExtKind::AudioLevel),
        (2, ExtKind::TransportCc),
        (3, ExtKind::Mid),
        (4, ExtKind::Rid),
        (5, ExtKind::RepairedRid),
    ] {
        ids.set(kind, id);
    }
    PublishedTrack {
        number: 5,
        source,
        mid: "0".to_owned(),
        pt: 96,
        rtx_pt: Some(97),
        ssrcs: vec![(100, 101), (200, 201)],
        rids: vec!["q", "h"],
        ids,
        seed: 0,
        audience: Audience::default(),
    }
}

fn video() -> TrackSource {
    let encoding = Encoding {
        width: 320,
        height: 180,
        bitrate_bps: 160_000,
        frame_rate: 20,
        content: Content::Camera,
    };
    TrackSource::Video {
        codec: VideoCodec::Vp8,
        encodings: vec![
            encoding,
            Encoding {
                bitrate_bps: 500_000,
                ..encoding
            },
        ],
    }
}

/// Runs a publisher for a time; its packets, decrypted, with when they left.
fn run(publisher: &mut Publisher, until_ms: u64) -> Vec<(Timestamp, Vec<u8>)> {
    let mut srtp = SrtpTx::new(&key());
    let mut meter = Meter::default();
    let mut sent = Vec::new();
    let until = Timestamp::from_millis(until_ms);
    while publisher.next_timeout() < until {
        let now = publisher.next_timeout();
        publisher.handle_timeout(now, &epoch(), &mut srtp, &mut meter, &mut |packet| {
            sent.push((now, packet.to_vec()));
        });
    }
    let mut rx = SrtpRx::new(&key());
    sent.retain_mut(|(_, packet)| match rx.unprotect_rtp(packet) {
        Ok(plain) => {
            packet.truncate(plain.len);
            true
        }
        // A sender report.
        Err(_) => false,
    });
    sent
}

#[test]
fn simulcast_sends_every_encoding_with_its_names_and_stamps() {
    let mut publisher = Publisher::new(Timestamp::ZERO, vec![track(video())]);
    let sent = run(&mut publisher, 2000);
    let mut next = [0, 0];
    let mut twcc = 0;
    for (at, packet) in &sent {
        let view = RtpView::parse(packet).unwrap();
        let layer = usize::from(view.ssrc.0 == 200);
        assert_eq!(view.ext(4).and_then(rtp_ext::rid), Some(["q", "h"][layer]));
        assert_eq!(view.ext(3).and_then(rtp_ext::mid), Some("0"));
        twcc += 1;
        assert_eq!(
            view.ext(2).and_then(rtp_ext::transport_cc),
            Some(SeqNo(twcc))
        );
        let stamp = Stamp::read(view.payload()).unwrap();
        assert_eq!(stamp.origin.track, 5);
        assert_eq!(usize::from(stamp.origin.layer), layer);
        assert_eq!(stamp.index, next[layer]);
        assert_eq!(stamp.sent_at, *at);
        next[layer] += 1;
    }
    // 20 frames a second of about 1000 and 3100 bytes, and a key frame each.
    assert!((40..80).contains(&next[0]), "{next:?}");
    assert!((110..190).contains(&next[1]), "{next:?}");
}

#[test]
fn speech_sends_fifty_packets_a_second_with_levels() {
    let source = TrackSource::Speech(Manner::Continuous);
    let mut publisher = Publisher::new(Timestamp::ZERO, vec![track(source)]);
    let sent = run(&mut publisher, 1000);
    assert_eq!(sent.len(), 50);
    for (_, packet) in &sent {
        let view = RtpView::parse(packet).unwrap();
        assert!(view.ext(1).and_then(rtp_ext::audio_level).unwrap().voice);
    }
}

#[test]
fn a_lost_packet_is_sent_again() {
    let mut publisher = Publisher::new(Timestamp::ZERO, vec![track(video())]);
    let sent = run(&mut publisher, 500);
    let lost = RtpView::parse(&sent[3].1).unwrap();
    let mut buffer = [0; 100];
    let mut writer = RtcpWriter::new(&mut buffer);
    writer.nack(Ssrc(1), lost.ssrc, [lost.seq]).unwrap();
    let srtp = SrtpTx::new(&key());
    let mut meter = Meter::default();
    let mut repairs = Vec::new();
    let now = Timestamp::from_millis(500);
    for packet in RtcpCompound::parse(writer.written()).flatten() {
        publisher.receive_rtcp(now, &epoch(), &packet, &srtp, &mut meter, &mut |packet| {
            repairs.push(packet.to_vec());
        });
    }
    assert_eq!(meter.counters.retransmitted, 1);
    let plain = SrtpRx::new(&key()).unprotect_rtp(&mut repairs[0]).unwrap();
    let view = RtpView::parse(&repairs[0][..plain.len]).unwrap();
    assert_eq!(view.pt.0, 97);
    assert_eq!(view.ssrc.0, lost.ssrc.0 + 1);
    assert!(view.ext(5).is_some(), "the repaired rid");
    assert_eq!(view.payload()[..2], lost.seq.0.to_be_bytes());
    assert_eq!(&view.payload()[2..], lost.payload());
}

#[test]
fn a_request_makes_a_key_frame() {
    use millrace_shared::payload::vp8::Vp8View;
    let mut publisher = Publisher::new(Timestamp::ZERO, vec![track(video())]);
    run(&mut publisher, 1000);
    publisher.request_key_frame(Ssrc(200), &mut Meter::default());
    let keys: Vec<_> = run(&mut publisher, 1200)
        .iter()
        .filter_map(|(_, packet)| {
            let view = RtpView::parse(packet).unwrap();
            let key = Vp8View::parse(view.payload()).unwrap().keyframe_start();
            key.then_some(view.ssrc.0)
        })
        .collect();
    assert_eq!(keys, [200]);
}
