//! Against descriptions of real browsers (`testdata/`, Chromium 156 and Firefox 153), and hostile
//! ones. The answers and offers that are kept as golden files were accepted by both browsers.
//! `UPDATE_GOLDEN=1` rewrites them.

mod answering;
mod bombs;
mod offering;
mod parsing;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use millrace_shared::ids::{DownTrackId, Pt, Ssrc, TrackId};
use millrace_shared::link::{
    Codec, Fingerprint, IceCredentials, Layer, LocalAddress, MediaKind, UpCodec,
};

use super::*;

const CHROMIUM_SIMULCAST: &str = include_str!("../testdata/chromium-publish-simulcast-offer.sdp");
const CHROMIUM_PLAIN: &str = include_str!("../testdata/chromium-publish-plain-offer.sdp");
const CHROMIUM_SINGLE: &str = include_str!("../testdata/chromium-single-offer.sdp");
const CHROMIUM_SINGLE_PUBLISHING: &str =
    include_str!("../testdata/chromium-single-publishing-offer.sdp");
const CHROMIUM_MAX_BUNDLE: &str = include_str!("../testdata/chromium-max-bundle-offer.sdp");
const CHROMIUM_ANSWER: &str = include_str!("../testdata/chromium-subscribe-answer.sdp");
const FIREFOX_SIMULCAST: &str = include_str!("../testdata/firefox-publish-simulcast-offer.sdp");
const FIREFOX_PLAIN: &str = include_str!("../testdata/firefox-publish-plain-offer.sdp");
const FIREFOX_SINGLE: &str = include_str!("../testdata/firefox-single-offer.sdp");
const FIREFOX_MAX_BUNDLE: &str = include_str!("../testdata/firefox-max-bundle-offer.sdp");
const FIREFOX_ANSWER: &str = include_str!("../testdata/firefox-subscribe-answer.sdp");

const ALL: [&str; 11] = [
    CHROMIUM_SIMULCAST,
    CHROMIUM_PLAIN,
    CHROMIUM_SINGLE,
    CHROMIUM_SINGLE_PUBLISHING,
    CHROMIUM_MAX_BUNDLE,
    CHROMIUM_ANSWER,
    FIREFOX_SIMULCAST,
    FIREFOX_PLAIN,
    FIREFOX_SINGLE,
    FIREFOX_MAX_BUNDLE,
    FIREFOX_ANSWER,
];

fn parse(text: &str) -> RemoteDescription {
    RemoteDescription::parse(text).unwrap()
}

fn local() -> LocalTransport {
    let address = |ip, port| LocalAddress { ip, port };
    LocalTransport {
        ice: IceCredentials {
            ufrag: "0abc".to_owned(),
            pwd: "abcdefghijklmnopqrstuv".to_owned(),
        },
        fingerprint: Fingerprint([0xa5; 32]),
        candidates: vec![
            address(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 7882),
            address(IpAddr::V6(Ipv6Addr::LOCALHOST), 7882),
        ],
    }
}

fn session() -> SessionLines {
    SessionLines::new(7)
}

fn receive(track: u64, preferred: Codec) -> MediaPlan {
    MediaPlan::Receive(receive_plan(track, preferred))
}

fn receive_plan(track: u64, preferred: Codec) -> ReceivePlan {
    ReceivePlan {
        track: TrackId(track),
        allowed: vec![
            Codec::Opus,
            Codec::Red,
            Codec::Pcmu,
            Codec::Pcma,
            Codec::Vp8,
            Codec::Vp9,
            Codec::H264,
            Codec::Av1,
        ],
        preferred: Some(preferred),
        only_preferred: false,
        red: true,
        dtx: true,
        stereo: false,
        rids: Vec::new(),
        pli_interval_ms: [500, 1000, 1000],
    }
}

/// SSRCs follow from the id, so that two plans never share one.
fn send(down: u64, kind: MediaKind, source: &[PublishedCodec]) -> SendPlan {
    let ssrc = u32::try_from(down).unwrap() * 2;
    SendPlan {
        down: DownTrackId(down),
        track: TrackId(down),
        kind,
        stream_id: "PA_p|camera".to_owned(),
        track_sid: format!("TR_{down}"),
        ssrc: Ssrc(ssrc),
        rtx_ssrc: Ssrc(ssrc + 1),
        source: source.to_vec(),
        stereo: false,
        max_layer: Layer::BEST,
        paused: false,
    }
}

fn published(codec: Codec, pt: u8, profile: Profile) -> PublishedCodec {
    PublishedCodec {
        up: UpCodec {
            pt: Pt(pt),
            codec,
            clock_rate_hz: 90_000,
            rtx_pt: Some(Pt(pt + 1)),
        },
        profile,
    }
}

fn vp8() -> Vec<PublishedCodec> {
    vec![published(Codec::Vp8, 96, Profile::Only)]
}

/// H.264 Constrained Baseline, level 4.0, as a phone might send it.
fn h264() -> Vec<PublishedCodec> {
    let profile = Profile::H264 {
        profile_level_id: [0x42, 0xe0, 0x28],
        packetization_mode: 1,
    };
    vec![published(Codec::H264, 126, profile)]
}

/// RED over Opus, in numbers of the publisher's own.
fn red() -> Vec<PublishedCodec> {
    [(Codec::Red, 121), (Codec::Opus, 120)]
        .map(|(codec, pt)| PublishedCodec {
            up: UpCodec {
                pt: Pt(pt),
                codec,
                clock_rate_hz: 48_000,
                rtx_pt: None,
            },
            profile: Profile::Only,
        })
        .to_vec()
}

fn opus() -> Vec<PublishedCodec> {
    red().split_off(1)
}

/// Lines of the m-line `index`, 0 being the part before the first.
fn section(sdp: &str, index: usize) -> Vec<&str> {
    let lines = sdp.lines().map(|line| line.trim_end());
    let mut at = 0;
    let mut found = Vec::new();
    for line in lines {
        if line.starts_with("m=") {
            at += 1;
        }
        if at == index {
            found.push(line);
        }
    }
    found
}

#[track_caller]
fn has(lines: &[&str], line: &str) {
    assert!(lines.contains(&line), "no {line} in {lines:#?}");
}

#[track_caller]
fn has_none(lines: &[&str], part: &str) {
    let found: Vec<_> = lines.iter().filter(|line| line.contains(part)).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[track_caller]
fn golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/negotiate/testdata")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(actual, expected, "differs from {name}");
}
