//! Session descriptions: as an offer that is answered, and as the answer to an offer of ours.

use std::net::Ipv4Addr;

use millrace_controlplane::negotiate::{
    LocalTransport, MediaPlan, Offerer, Profile, PublishedCodec, ReceivePlan, RemoteDescription,
    RemoteMedia, Section, SendPlan, SessionLines, answer,
};
use millrace_shared::ids::{DownTrackId, Pt, Ssrc, TrackId};
use millrace_shared::limits::SDP_SECTIONS_MAX;
use millrace_shared::link::{
    Codec, Fingerprint, IceCredentials, Layer, LocalAddress, MediaKind, UpCodec,
};

pub(crate) fn sdp(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(description) = RemoteDescription::parse(&text) else {
        return;
    };
    assert!(description.media.len() <= SDP_SECTIONS_MAX);
    // What is published, what is subscribed to, and both by turns.
    for choice in 0..3 {
        answer_to(&description, choice);
    }
    let mut offerer = Offerer::new(SessionLines::new(9));
    for (number, kind) in [(1, MediaKind::Audio), (2, MediaKind::Video)] {
        offerer.add(send_plan(number, kind));
    }
    RemoteDescription::parse(&offerer.offer(&local())).expect("our offer is well-formed");
    if offerer.apply_answer(&description).is_ok() {
        assert!(description.media.len() >= 3, "an m-line has no answer");
    }
}

fn answer_to(description: &RemoteDescription, choice: usize) {
    let plans: Vec<MediaPlan> = (1_u64..)
        .zip(&description.media)
        .map(|(number, media)| plan(number, media, choice))
        .collect();
    let mut session = SessionLines::new(7);
    let Ok(answer) = answer(description, &plans, &local(), &mut session) else {
        return;
    };
    if !answer.sdp.contains("a=ice-ufrag:") {
        // Every m-line is rejected: there is no transport to describe.
        assert!(answer.receive.is_empty() && answer.send.is_empty());
        return;
    }
    let ours = RemoteDescription::parse(&answer.sdp).expect("our answer is well-formed");
    assert_eq!(ours.media.len(), description.media.len());
    for (ours, theirs) in ours.media.iter().zip(&description.media) {
        assert!(ours.rejected || ours.mid == theirs.mid);
        assert!(ours.rejected || ours.codecs.len() <= theirs.codecs.len());
    }
    for received in &answer.receive {
        assert!(!received.codecs.is_empty() && !received.config.encodings.is_empty());
    }
    let settled = answer.receive.len() + answer.send.len();
    assert!(settled + answer.refused.len() + answer.unsupported.len() <= plans.len());
}

fn plan(number: u64, media: &RemoteMedia, choice: usize) -> MediaPlan {
    let kind = match media.kind {
        Section::Audio => MediaKind::Audio,
        Section::Video => MediaKind::Video,
        Section::Application => return MediaPlan::Data,
    };
    let publishes = match choice {
        0 => true,
        1 => false,
        _ => number.is_multiple_of(2),
    };
    if publishes {
        MediaPlan::Receive(receive_plan(number))
    } else {
        MediaPlan::Send(send_plan(number, kind))
    }
}

fn receive_plan(number: u64) -> ReceivePlan {
    ReceivePlan {
        track: TrackId(number),
        allowed: vec![
            Codec::Opus,
            Codec::Red,
            Codec::Vp8,
            Codec::Vp9,
            Codec::H264,
            Codec::Av1,
        ],
        preferred: number.is_multiple_of(3).then_some(Codec::H264),
        only_preferred: false,
        red: number.is_multiple_of(2),
        dtx: true,
        stereo: number.is_multiple_of(2),
        rids: Vec::new(),
        pli_interval_ms: [500, 1_000, 1_000],
    }
}

fn send_plan(number: u64, kind: MediaKind) -> SendPlan {
    let (codec, clock_rate_hz) = match kind {
        MediaKind::Audio => (Codec::Opus, 48_000),
        MediaKind::Video => (Codec::Vp8, 90_000),
    };
    let ssrc = u32::try_from(2 * number).unwrap_or(u32::MAX - 1);
    SendPlan {
        down: DownTrackId(number),
        track: TrackId(number),
        kind,
        stream_id: "PA_p|camera".to_owned(),
        track_sid: format!("TR_{number}"),
        ssrc: Ssrc(ssrc),
        rtx_ssrc: Ssrc(ssrc + 1),
        source: vec![PublishedCodec {
            up: UpCodec {
                pt: Pt(96),
                codec,
                clock_rate_hz,
                rtx_pt: (kind == MediaKind::Video).then_some(Pt(97)),
            },
            profile: Profile::Only,
        }],
        stereo: false,
        max_layer: Layer::BEST,
        paused: false,
    }
}

fn local() -> LocalTransport {
    LocalTransport {
        ice: IceCredentials {
            ufrag: "0abc".to_owned(),
            pwd: "abcdefghijklmnopqrstuv".to_owned(),
        },
        fingerprint: Fingerprint([0xa5; 32]),
        candidates: vec![LocalAddress {
            ip: Ipv4Addr::new(192, 0, 2, 1).into(),
            port: 7882,
        }],
    }
}
