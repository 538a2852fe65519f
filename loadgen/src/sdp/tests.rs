use millrace_shared::link::{ExtKind, Fingerprint, IceCredentials};

use super::*;

const SUBSCRIBER_OFFER: &str =
    include_str!("../../../controlplane/src/negotiate/testdata/subscriber-offer.sdp");

fn local() -> Local {
    Local {
        ice: IceCredentials {
            ufrag: "uuuu".to_owned(),
            pwd: "p".repeat(24),
        },
        fingerprint: Fingerprint([0xab; 32]),
        candidate: Some(([127, 64, 0, 1], 4000).into()),
        version: 3,
    }
}

#[test]
fn a_server_offer_is_read() {
    let offer = Description::parse(SUBSCRIBER_OFFER).unwrap();
    assert_eq!(offer.ice.ufrag, "0abc");
    assert_eq!(offer.fingerprint, Fingerprint([0xa5; 32]));
    assert!(offer.has_data_channels());
    let addrs: Vec<_> = offer.candidates.iter().map(|it| it.addr).collect();
    assert_eq!(addrs[0], "192.0.2.1:7882".parse().unwrap());
    assert_eq!(addrs.len(), 2);

    let video = &offer.sections[2];
    assert_eq!(video.kind, SectionKind::Video);
    assert_eq!(video.mid, "2");
    assert_eq!(video.direction, Direction::SendOnly);
    assert_eq!(video.ssrcs, [4, 5]);
    assert_eq!(video.repairs, [(4, 5)]);
    assert_eq!(video.track.as_deref(), Some("TR_2"));
    assert_eq!(video.codecs[0].name, "vp8");
    assert_eq!(video.codecs[1].repaired_pt(), Some(96));
    assert_eq!(
        video.exts[0],
        (1, "urn:ietf:params:rtp-hdrext:sdes:mid".to_owned())
    );
}

#[test]
fn the_answer_mirrors_the_offer() {
    let offer = Description::parse(SUBSCRIBER_OFFER).unwrap();
    let answer = Description::parse(&answer(&local(), &offer)).unwrap();
    assert_eq!(answer.sections.len(), offer.sections.len());
    assert_eq!(answer.candidates[0].addr, local().candidate.unwrap());
    assert!(answer.dtls_active);
    for (ours, theirs) in answer.sections.iter().zip(&offer.sections) {
        assert_eq!(ours.mid, theirs.mid);
        assert_eq!(ours.kind, theirs.kind);
        if ours.kind != SectionKind::Application {
            assert_eq!(ours.direction, Direction::RecvOnly);
        }
    }
    // RED is not accepted, so that each packet is one of ours.
    let audio: Vec<_> = answer.sections[1].codecs.iter().map(|it| it.pt).collect();
    assert_eq!(audio, [111]);
    assert_eq!(answer.sections[2].codecs[0].feedback.len(), 4);
}

#[test]
fn a_rejected_section_stays_rejected_and_out_of_the_bundle() {
    let sdp = SUBSCRIBER_OFFER.replace(
        "m=video 9 UDP/TLS/RTP/SAVPF 96 97",
        "m=video 0 UDP/TLS/RTP/SAVPF 96 97",
    );
    let offer = Description::parse(&sdp).unwrap();
    let answer = answer(&local(), &offer);
    assert!(answer.contains("m=video 0 UDP/TLS/RTP/SAVPF"), "{answer}");
    assert!(answer.contains("a=group:BUNDLE 0 1 3 4\r\n"), "{answer}");
}

#[test]
fn an_offer_names_simulcast_encodings_or_ssrcs() {
    let video = Offered {
        kind: SectionKind::Video,
        track: "cam".to_owned(),
        codec: (96, "VP8/90000", "", Some(97)),
        ssrcs: (10, Some(11)),
        rids: Vec::new(),
        exts: vec![(4, ExtKind::Mid)],
    };
    let sdp = offer(&local(), &[Line::Send(video.clone()), Line::Data]);
    let parsed = Description::parse(&sdp).unwrap();
    assert_eq!(parsed.sections[0].repairs, [(10, 11)]);
    assert_eq!(parsed.sections[0].track.as_deref(), Some("cam"));
    assert_eq!(parsed.sections[1].kind, SectionKind::Application);

    let simulcast = Offered {
        rids: vec!["q", "h", "f"],
        ..video
    };
    let sdp = offer(&local(), &[Line::Send(simulcast)]);
    assert!(sdp.contains("a=simulcast:send q;h;f\r\n"));
    assert!(!sdp.contains("a=ssrc:"));
}

#[test]
fn an_offer_may_ask_to_receive() {
    let receive = Line::Receive {
        kind: SectionKind::Video,
        codecs: vec![
            (96, "VP8/90000", "", Some(97)),
            (102, "H264/90000", "x=1", None),
        ],
        exts: vec![(3, ExtKind::TransportCc)],
    };
    let sdp = offer(&local(), &[Line::Data, receive]);
    let parsed = Description::parse(&sdp).unwrap();
    let section = &parsed.sections[1];
    assert_eq!(
        (section.mid.as_str(), section.direction),
        ("1", Direction::RecvOnly)
    );
    let pts: Vec<_> = section.codecs.iter().map(|it| it.pt).collect();
    assert_eq!(pts, [96, 97, 102]);
    assert_eq!(section.codecs[1].repaired_pt(), Some(96));
}

#[test]
fn candidates_of_other_protocols_are_passed_over() {
    let udp = "candidate:1 1 udp 2130706431 192.0.2.2 7882 typ host";
    assert_eq!(
        Candidate::parse(udp).unwrap().addr,
        "192.0.2.2:7882".parse().unwrap()
    );
    for other in [
        "candidate:1 1 tcp 1671430143 192.0.2.2 7881 typ host tcptype passive",
        "candidate:1 2 udp 2130706430 192.0.2.2 7882 typ host",
        "candidate:1 1 udp 2130706431 abc.local 7882 typ host",
    ] {
        assert_eq!(Candidate::parse(other), None, "{other}");
    }
}

#[test]
fn a_description_without_credentials_is_an_error() {
    assert_eq!(Description::parse("v=0\r\n"), Err(SdpError::Credentials));
}
