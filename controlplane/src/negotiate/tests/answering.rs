use millrace_shared::ids::Rid;
use millrace_shared::link::{ExtKind, MediaKind, PtMapping, RedMapping};

use super::*;

fn answered(offer: &str, plans: &[MediaPlan]) -> Answer {
    answer(&parse(offer), plans, &local(), &mut session()).unwrap()
}

fn published_names(received: &Received) -> Vec<(Codec, u8)> {
    let codecs = received.codecs.iter();
    codecs
        .map(|codec| (codec.up.codec, codec.up.pt.0))
        .collect()
}

#[test]
fn publisher_with_simulcast() {
    let plans = [
        receive(1, Codec::Opus),
        receive(2, Codec::Vp8),
        MediaPlan::Data,
    ];
    let answer = answered(CHROMIUM_SIMULCAST, &plans);
    golden("chromium-publish-simulcast-answer.sdp", &answer.sdp);

    let audio = &answer.receive[0];
    assert_eq!(audio.config.track, TrackId(1));
    assert_eq!(
        published_names(audio)[..2],
        [(Codec::Red, 63), (Codec::Opus, 111)]
    );
    assert!(audio.config.nack);
    let video = &answer.receive[1];
    assert_eq!(video.config.mid.as_str(), "1");
    assert_eq!(published_names(video)[0], (Codec::Vp8, 96));
    assert_eq!(video.config.codecs[0].rtx_pt, Some(Pt(97)));
    let layers: Vec<_> = video
        .config
        .encodings
        .iter()
        .map(|encoding| (encoding.rid.unwrap().to_string(), encoding.spatial))
        .collect();
    let expected = [("q", 0), ("h", 1), ("f", 2)];
    assert_eq!(
        layers,
        expected.map(|(rid, spatial)| (rid.to_owned(), spatial))
    );
    assert_eq!(video.config.pli_interval_ms, [500, 1000, 1000]);
    assert!(answer.refused.is_empty() && answer.send.is_empty());
}

#[test]
fn candidates_once_and_end_of_them() {
    let plans = [MediaPlan::Inactive, MediaPlan::Inactive, MediaPlan::Data];
    let sdp = answered(CHROMIUM_SIMULCAST, &plans).sdp;
    let first = section(&sdp, 1);
    has(
        &first,
        "a=candidate:1 1 udp 2130706431 192.0.2.1 7882 typ host",
    );
    has(&first, "a=candidate:2 1 udp 2130706175 ::1 7882 typ host");
    has(&first, "a=end-of-candidates");
    for index in 2..=3 {
        let lines = section(&sdp, index);
        has_none(&lines, "candidate");
        has(&lines, "a=setup:passive");
        has(&lines, "a=ice-ufrag:0abc");
    }
}

#[test]
fn version_grows_and_id_stays() {
    let offer = parse(CHROMIUM_SIMULCAST);
    let plans = [MediaPlan::Inactive, MediaPlan::Inactive, MediaPlan::Data];
    let mut session = SessionLines::new(u64::MAX);
    let mut origin = || {
        let sdp = answer(&offer, &plans, &local(), &mut session).unwrap().sdp;
        sdp.lines().nth(1).unwrap().to_owned()
    };
    assert_eq!(origin(), "o=- 4611686018427387903 1 IN IP4 127.0.0.1");
    assert_eq!(origin(), "o=- 4611686018427387903 2 IN IP4 127.0.0.1");
}

#[test]
fn preferred_codec_comes_first_in_its_most_common_profile() {
    let plans = [
        MediaPlan::Inactive,
        receive(2, Codec::H264),
        MediaPlan::Data,
    ];
    let answer = answered(CHROMIUM_SIMULCAST, &plans);
    let names = published_names(&answer.receive[0]);
    // 42e01f with packetization-mode 1, though Chromium lists 42001f first.
    assert_eq!(names[0], (Codec::H264, 108));
    assert!(names.contains(&(Codec::Vp8, 96)));
    let m_line = section(&answer.sdp, 2)[0].to_owned();
    assert!(
        m_line.starts_with("m=video 9 UDP/TLS/RTP/SAVPF 108 109 "),
        "{m_line}"
    );
}

#[test]
fn only_the_preferred_codec_for_firefox() {
    let mut plan = receive_plan(2, Codec::Vp9);
    plan.only_preferred = true;
    let plans = [
        receive(1, Codec::Opus),
        MediaPlan::Receive(plan),
        MediaPlan::Data,
    ];
    let answer = answered(FIREFOX_SIMULCAST, &plans);
    assert_eq!(published_names(&answer.receive[1]), [(Codec::Vp9, 121)]);
    let video = section(&answer.sdp, 2);
    has(&video, "m=video 9 UDP/TLS/RTP/SAVPF 121 125");
    // What Firefox can only send, we only receive.
    has(
        &video,
        "a=extmap:9/recvonly urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    );
    has(&video, "a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid");
    has_none(&video, "playout-delay");
    has(&video, "a=extmap-allow-mixed");
    // A wish of Firefox as a receiver, not ours.
    has_none(&video, "max-fs");
    // Without the codec asked for, what there is.
    let mut plan = receive_plan(2, Codec::H264);
    plan.only_preferred = true;
    let plans = [
        MediaPlan::Inactive,
        MediaPlan::Receive(plan),
        MediaPlan::Data,
    ];
    let answer = answered(FIREFOX_SIMULCAST, &plans);
    assert_eq!(published_names(&answer.receive[0])[0], (Codec::Vp8, 120));
    assert_eq!(answer.receive[0].codecs.len(), 3);
}

#[test]
fn audio_features() {
    let mut plan = receive_plan(1, Codec::Opus);
    plan.red = false;
    plan.dtx = false;
    plan.stereo = true;
    let plans = [
        MediaPlan::Receive(plan),
        MediaPlan::Inactive,
        MediaPlan::Data,
    ];
    let answer = answered(CHROMIUM_SIMULCAST, &plans);
    let audio = section(&answer.sdp, 1);
    has(
        &audio,
        "a=fmtp:111 minptime=10;useinbandfec=1;stereo=1;maxaveragebitrate=510000",
    );
    has_none(&audio, "red/48000");
    has(&audio, "a=rtcp-fb:111 nack");
    assert_eq!(published_names(&answer.receive[0])[0], (Codec::Opus, 111));
}

#[test]
fn disallowed_codecs_refuse_the_track_but_keep_the_m_line() {
    let mut plan = receive_plan(5, Codec::H264);
    plan.allowed = vec![Codec::Opus, Codec::H265];
    let plans = [
        MediaPlan::Inactive,
        MediaPlan::Receive(plan),
        MediaPlan::Data,
    ];
    let answer = answered(CHROMIUM_SIMULCAST, &plans);
    assert_eq!(answer.refused, [TrackId(5)]);
    assert!(answer.receive.is_empty());
    let video = section(&answer.sdp, 2);
    has(&video, "a=inactive");
    assert!(video[0].starts_with("m=video 9 "));
}

#[test]
fn feedback_is_what_both_know() {
    let text = CHROMIUM_SIMULCAST.replace("a=rtcp-fb:96 nack\r\n", "");
    let plans = [MediaPlan::Inactive, receive(2, Codec::Vp8), MediaPlan::Data];
    let video_of = |text: &str| {
        let sdp = answered(text, &plans).sdp;
        section(&sdp, 2)
            .iter()
            .map(|l| (*l).to_owned())
            .collect::<Vec<_>>()
    };
    let lines = video_of(&text);
    assert!(!lines.contains(&"a=rtcp-fb:96 nack".to_owned()));
    assert!(lines.contains(&"a=rtcp-fb:98 nack".to_owned()));
    assert!(lines.contains(&"a=rtcp-fb:96 transport-cc".to_owned()));
    assert!(lines.iter().all(|line| !line.contains("goog-remb")));
    // RFC 4585 §4.2: `*` stands for all payload types.
    let text = text.replace("a=rtcp-fb:96 ccm fir", "a=rtcp-fb:* nack");
    assert!(video_of(&text).contains(&"a=rtcp-fb:96 nack".to_owned()));
}

#[test]
fn start_bitrate_of_the_client_is_repeated() {
    let text = CHROMIUM_SIMULCAST
        .replace(
            "a=rtpmap:96 VP8/90000",
            "a=rtpmap:96 VP8/90000\r\na=fmtp:96 x-google-start-bitrate=900",
        )
        .replace("profile-id=2", "profile-id=2;x-google-start-bitrate=lots");
    let plans = [MediaPlan::Inactive, receive(2, Codec::Vp8), MediaPlan::Data];
    let sdp = answered(&text, &plans).sdp;
    has(&section(&sdp, 2), "a=fmtp:96 x-google-start-bitrate=900");
    has(&section(&sdp, 2), "a=fmtp:100 profile-id=2");
}

#[test]
fn one_encoding_with_ssrc_and_rtx() {
    let plans = [receive(2, Codec::Vp8), receive(1, Codec::Opus)];
    for text in [CHROMIUM_PLAIN, FIREFOX_PLAIN] {
        let answer = answered(text, &plans);
        let offer = parse(text);
        let config = &answer.receive[0].config;
        assert_eq!(config.kind, MediaKind::Video);
        let [encoding] = config.encodings.as_slice() else {
            panic!("{:?}", config.encodings);
        };
        assert_eq!(encoding.rid, None);
        assert_eq!(encoding.ssrc, Some(offer.media[0].rtx_ssrcs[0].0));
        assert_eq!(encoding.rtx_ssrc, Some(offer.media[0].rtx_ssrcs[0].1));
        has_none(&section(&answer.sdp, 1), "simulcast");
    }
}

#[test]
fn simulcast_without_rids() {
    let text = CHROMIUM_PLAIN.replacen(
        "a=ssrc-group:FID",
        "a=ssrc-group:SIM 11 22 33\r\na=ssrc-group:FID 22 222\r\na=ssrc-group:FID",
        1,
    );
    let answer = answered(&text, &[receive(2, Codec::Vp8), MediaPlan::Inactive]);
    let encodings: Vec<_> = answer.receive[0]
        .config
        .encodings
        .iter()
        .map(|e| (e.spatial, e.ssrc.unwrap().0, e.rtx_ssrc.map(|rtx| rtx.0)))
        .collect();
    assert_eq!(
        encodings,
        [(0, 11, None), (1, 22, Some(222)), (2, 33, None)]
    );
}

#[test]
fn rids_by_layer() {
    let spatial = |simulcast: &str, order: &[&str]| {
        let mut text = CHROMIUM_SIMULCAST.replace("a=simulcast:send q;h;f", simulcast);
        for rid in ["2", "1", "0", "x", "y"] {
            text = text.replace("a=rid:q send", &format!("a=rid:{rid} send\r\na=rid:q send"));
        }
        let mut plan = receive_plan(2, Codec::Vp8);
        plan.rids = order.iter().map(|rid| Rid::from(rid).unwrap()).collect();
        let plans = [
            MediaPlan::Inactive,
            MediaPlan::Receive(plan),
            MediaPlan::Data,
        ];
        let answer = answered(&text, &plans);
        let encodings = answer.receive[0].config.encodings.iter();
        let rids = encodings.map(|encoding| encoding.rid.unwrap().to_string());
        let lines = section(&answer.sdp, 2);
        let echoed = lines.iter().find(|line| line.starts_with("a=simulcast"));
        (rids.collect::<Vec<_>>(), echoed.unwrap().to_string())
    };
    // Two layers leave no gap.
    assert_eq!(
        spatial("a=simulcast:send h;q", &[]),
        (vec!["q".into(), "h".into()], "a=simulcast:recv h;q".into())
    );
    assert_eq!(spatial("a=simulcast:send 0;1;2", &[]).0, ["2", "1", "0"]);
    assert_eq!(spatial("a=simulcast:send x;y", &["y", "x"]).0, ["y", "x"]);
    // More than three: the lowest of those we can name.
    assert_eq!(
        spatial("a=simulcast:send x;q;h;f", &[]),
        (
            vec!["q".into(), "h".into(), "f".into()],
            "a=simulcast:recv q;h;f".into()
        )
    );
}

/// Three audio and three video m-lines for us to send on, then data: plans in that order.
fn single(sends: [Option<SendPlan>; 6]) -> Vec<MediaPlan> {
    let plan = |send: Option<SendPlan>| send.map_or(MediaPlan::Inactive, MediaPlan::Send);
    sends
        .map(plan)
        .into_iter()
        .chain([MediaPlan::Data])
        .collect()
}

#[test]
fn one_connection_for_chromium() {
    let plans = single([
        Some(send(1, MediaKind::Audio, &red())),
        None,
        Some(send(2, MediaKind::Audio, &opus())),
        Some(send(3, MediaKind::Video, &vp8())),
        Some(send(4, MediaKind::Video, &h264())),
        None,
    ]);
    let answer = answered(CHROMIUM_SINGLE, &plans);
    golden("chromium-single-answer.sdp", &answer.sdp);
    assert!(answer.unsupported.is_empty() && answer.unplaced.is_empty());
    let red = &answer.send[0];
    let mapping = |up, down, rtx: Option<u8>| PtMapping {
        up: Pt(up),
        down: Pt(down),
        down_rtx: rtx.map(Pt),
        red: None,
    };
    let blocks = PtMapping {
        red: Some(RedMapping::Blocks(Pt(111))),
        ..mapping(121, 63, None)
    };
    assert_eq!(red.pts, [blocks, mapping(120, 111, None)]);
    assert!(!red.nack && red.rtx_ssrc.is_none());
    let h264 = answer
        .send
        .iter()
        .find(|s| s.down == DownTrackId(4))
        .unwrap();
    assert_eq!(h264.pts, [mapping(126, 108, Some(109))]);
    assert_eq!(h264.rtx_ssrc, Some(Ssrc(9)));
    assert!(h264.nack);
    assert_eq!(h264.ext_ids.id(ExtKind::TransportCc), Some(3));
    let mids: Vec<_> = answer
        .mid_to_track
        .iter()
        .map(|(mid, track)| (mid.as_str(), track.as_str()))
        .collect();
    assert_eq!(
        mids,
        [("0", "TR_1"), ("2", "TR_2"), ("3", "TR_3"), ("4", "TR_4")]
    );
}

#[test]
fn m_lines_that_receive_nothing_accept_what_a_later_one_needs() {
    let answer = answered(CHROMIUM_SINGLE, &single([const { None }; 6]));
    for index in 4..=6 {
        let lines = section(&answer.sdp, index);
        has(&lines, "a=inactive");
        has(
            &lines,
            "a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
        );
    }
    let audio = section(&answer.sdp, 1);
    has(
        &audio,
        "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    );
}

#[test]
fn firefox_gets_its_own_payload_types_and_no_h264() {
    let plans = single([
        Some(send(1, MediaKind::Audio, &red())),
        None,
        None,
        Some(send(3, MediaKind::Video, &h264())),
        Some(send(4, MediaKind::Video, &vp8())),
        None,
    ]);
    let answer = answered(FIREFOX_SINGLE, &plans);
    golden("firefox-single-answer.sdp", &answer.sdp);
    assert_eq!(answer.unsupported, [DownTrackId(3)]);
    has(&section(&answer.sdp, 4), "a=inactive");
    has(&section(&answer.sdp, 1), "m=audio 9 UDP/TLS/RTP/SAVPF 109");
    // No RED here: both lead to Opus, by which the data plane knows that it has to unwrap.
    let downs: Vec<_> = answer.send[0]
        .pts
        .iter()
        .map(|pt| (pt.up.0, pt.down.0))
        .collect();
    assert_eq!(downs, [(121, 109), (120, 109)]);
    assert_eq!(answer.send[1].pts[0].down, Pt(120));
}

#[test]
fn publishing_and_receiving_on_one_connection() {
    let offer = parse(CHROMIUM_SINGLE_PUBLISHING);
    let mut plan = receive_plan(9, Codec::Opus);
    plan.stereo = true;
    let mut sends = vec![send(1, MediaKind::Audio, &opus())];
    let plans: Vec<_> = offer
        .media
        .iter()
        .map(|media| match (media.kind, media.direction.sends()) {
            (Section::Application, _) => MediaPlan::Data,
            (Section::Audio, true) => MediaPlan::Receive(plan.clone()),
            (Section::Video, true) => receive(10, Codec::Vp8),
            (Section::Audio, false) => sends.pop().map_or(MediaPlan::Inactive, MediaPlan::Send),
            (Section::Video, false) => MediaPlan::Inactive,
        })
        .collect();
    let answer = answer(&offer, &plans, &local(), &mut session()).unwrap();
    assert_eq!(answer.receive.len(), 2);
    assert_eq!(answer.receive[1].config.encodings.len(), 3);
    // RFC 8843 §9.1.1: one number, one meaning.
    let fmtps: Vec<_> = answer
        .sdp
        .lines()
        .filter(|line| line.starts_with("a=fmtp:111 "))
        .collect();
    assert!(fmtps.len() > 1);
    assert!(fmtps.iter().all(|line| *line == fmtps[0]), "{fmtps:?}");
}

#[test]
fn what_does_not_fit_is_unplaced() {
    let plans = single([
        Some(send(1, MediaKind::Video, &vp8())),
        None,
        None,
        None,
        None,
        None,
    ]);
    assert_eq!(answered(CHROMIUM_SINGLE, &plans).unplaced, [DownTrackId(1)]);
    let plans = [
        MediaPlan::Inactive,
        MediaPlan::Send(send(2, MediaKind::Video, &vp8())),
        MediaPlan::Data,
    ];
    // This client sends there and receives nothing.
    assert_eq!(
        answered(CHROMIUM_SIMULCAST, &plans).unplaced,
        [DownTrackId(2)]
    );
}

#[test]
fn m_lines_outside_the_bundle_are_rejected() {
    let text = CHROMIUM_SIMULCAST.replace("a=group:BUNDLE 0 1 2", "a=group:BUNDLE 1 2");
    let plans = [
        receive(1, Codec::Opus),
        receive(2, Codec::Vp8),
        MediaPlan::Data,
    ];
    let answer = answered(&text, &plans);
    assert!(section(&answer.sdp, 1)[0].starts_with("m=audio 0 UDP/TLS/RTP/SAVPF 111 "));
    has(&section(&answer.sdp, 0), "a=group:BUNDLE 1 2");
    // The candidates move to the first that is left.
    has(&section(&answer.sdp, 2), "a=end-of-candidates");
    assert_eq!(answer.receive.len(), 1);
}

#[test]
fn free_text_of_a_publisher_stays_in_its_field() {
    let mut plan = send(1, MediaKind::Audio, &opus());
    plan.stream_id = "PA_x|my stream\r\na=evil:\u{1f600}".to_owned();
    let mut plans = single([const { None }; 6]);
    plans[0] = MediaPlan::Send(plan);
    let sdp = answered(CHROMIUM_SINGLE, &plans).sdp;
    has(&section(&sdp, 1), "a=msid:PA_x|my_stream__a_evil__ TR_1");
}

#[test]
fn refused_offers() {
    let offer = parse(CHROMIUM_SIMULCAST);
    assert_eq!(
        answer(&offer, &[], &local(), &mut session()),
        Err(SdpError::PlanCount {
            sections: 3,
            plans: 0
        })
    );
    let offer = parse(&CHROMIUM_SIMULCAST.replace("a=setup:actpass", "a=setup:passive"));
    let plans = [MediaPlan::Inactive, MediaPlan::Inactive, MediaPlan::Data];
    assert_eq!(
        answer(&offer, &plans, &local(), &mut session()),
        Err(SdpError::DtlsRole)
    );
}
