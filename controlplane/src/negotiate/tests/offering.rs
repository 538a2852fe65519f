use millrace_shared::link::{ExtKind, MediaKind};

use super::*;

/// The offer that `testdata/*-subscribe-answer.sdp` answer: RED, VP8, H.264, stereo Opus and the
/// rest as the browsers' run had it, seven m-lines in Chromium's.
fn offerer() -> Offerer {
    let mut offerer = Offerer::new(session());
    offerer.add(send(1, MediaKind::Audio, &red()));
    offerer.add(send(2, MediaKind::Video, &vp8()));
    offerer.add(send(3, MediaKind::Video, &h264()));
    let mut stereo = send(4, MediaKind::Audio, &opus());
    stereo.stereo = true;
    offerer.add(stereo);
    offerer
}

/// Adds what Firefox's answer has besides.
fn offerer_for_firefox() -> Offerer {
    let mut offerer = offerer();
    let vp9 = published(Codec::Vp9, 98, Profile::Vp9 { id: 0 });
    let av1 = published(Codec::Av1, 45, Profile::Av1 { profile: 0 });
    offerer.add(send(5, MediaKind::Video, &[vp9]));
    offerer.add(send(6, MediaKind::Video, &[av1]));
    offerer
}

/// An answer to `offer` as a client that accepts everything gives it.
fn accepted(offer: &str) -> RemoteDescription {
    parse(
        &offer
            .replace("a=setup:actpass", "a=setup:active")
            .replace("a=sendonly", "a=recvonly"),
    )
}

/// The answer of `accepted`, with the m-line `index` (from 1) rejected.
fn rejecting(offer: &str, index: usize) -> RemoteDescription {
    let mut sections: Vec<String> = offer.split("m=").map(str::to_owned).collect();
    sections[index] = sections[index].replacen(" 9 ", " 0 ", 1);
    accepted(&sections.join("m="))
}

#[test]
fn first_offer() {
    let mut offerer = offerer();
    assert!(offerer.needs_offer());
    let sdp = offerer.offer(&local());
    golden("subscriber-offer.sdp", &sdp);
    assert!(!offerer.needs_offer() && offerer.awaits_answer());
    let mids: Vec<_> = offerer.mid_to_track();
    let mids: Vec<_> = mids.iter().map(|(m, t)| (m.as_str(), t.as_str())).collect();
    assert_eq!(
        mids,
        [("1", "TR_1"), ("2", "TR_2"), ("3", "TR_3"), ("4", "TR_4")]
    );
    // RED is an Opus of its own number when stereo; NACK only without RED.
    has(&section(&sdp, 2), "a=fmtp:63 111/111");
    has_none(&section(&sdp, 2), "nack");
    has(
        &section(&sdp, 5),
        "a=fmtp:110 minptime=10;useinbandfec=1;sprop-stereo=1",
    );
    has(&section(&sdp, 5), "a=rtcp-fb:110 nack");
    // The publisher's level 4.0 is not repeated.
    has(
        &section(&sdp, 4),
        "a=fmtp:108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
    );
}

#[test]
fn firefox_answers() {
    let mut offerer = offerer_for_firefox();
    offerer.offer(&local());
    let negotiated = offerer.apply_answer(&parse(FIREFOX_ANSWER)).unwrap();
    // No H.264: Firefox rejects the m-line.
    assert_eq!(negotiated.unsupported, [DownTrackId(3)]);
    assert!(offerer.needs_offer());
    assert_eq!(negotiated.send.len(), 5);
    let audio = &negotiated.send[0];
    let pts: Vec<_> = audio.pts.iter().map(|pt| (pt.up.0, pt.down.0)).collect();
    assert_eq!(pts, [(121, 111), (120, 111)]);
    let video = &negotiated.send[1];
    assert_eq!(video.mid.as_str(), "2");
    assert_eq!(video.pts[0].down_rtx, Some(Pt(97)));
    assert_eq!(video.rtx_ssrc, Some(Ssrc(5)));
    assert_eq!(video.ext_ids.id(ExtKind::PlayoutDelay), Some(6));
    assert_eq!(video.ext_ids.id(ExtKind::DependencyDescriptor), None);
    // The rejected m-line stays, with port 0 and out of the group.
    let sdp = offerer.offer(&local());
    assert!(section(&sdp, 4)[0].starts_with("m=video 0 "));
    has(&section(&sdp, 0), "a=group:BUNDLE 0 1 2 4 5 6");
}

#[test]
fn chromium_answers() {
    let mut offerer = offerer();
    let opus_again = send(5, MediaKind::Audio, &opus());
    offerer.add(opus_again);
    let vp9 = published(Codec::Vp9, 98, Profile::Vp9 { id: 0 });
    let av1 = published(Codec::Av1, 45, Profile::Av1 { profile: 0 });
    offerer.add(send(6, MediaKind::Video, &[vp9]));
    offerer.add(send(7, MediaKind::Video, &[av1]));
    offerer.offer(&local());
    let negotiated = offerer.apply_answer(&parse(CHROMIUM_ANSWER)).unwrap();
    assert!(negotiated.unsupported.is_empty());
    assert_eq!(negotiated.send.len(), 7);
    assert!(!offerer.needs_offer());
    let red = &negotiated.send[0];
    let pts: Vec<_> = red.pts.iter().map(|pt| (pt.up.0, pt.down.0)).collect();
    assert_eq!(pts, [(121, 63), (120, 111)]);
    let h264 = &negotiated.send[2];
    assert_eq!((h264.pts[0].up, h264.pts[0].down), (Pt(126), Pt(108)));
    let ids = h264.ext_ids;
    assert_eq!(ids.id(ExtKind::DependencyDescriptor), Some(5));
    assert_eq!(ids.id(ExtKind::AudioLevel), None);
}

#[test]
fn only_what_changed_is_told_again() {
    let mut offerer = offerer();
    let sdp = offerer.offer(&local());
    assert_eq!(offerer.apply_answer(&accepted(&sdp)).unwrap().send.len(), 4);
    offerer.add(send(9, MediaKind::Video, &vp8()));
    offerer.set_layer(
        DownTrackId(2),
        Layer {
            spatial: 0,
            temporal: 1,
        },
        true,
    );
    let sdp = offerer.offer(&local());
    let negotiated = offerer.apply_answer(&accepted(&sdp)).unwrap();
    let downs: Vec<_> = negotiated.send.iter().map(|config| config.down).collect();
    assert_eq!(downs, [DownTrackId(9)]);
    // Without RTX in the answer the second is told again, with its latest layer.
    let sdp = offerer.offer(&local());
    let changed = sdp.replacen("a=rtpmap:97 rtx/90000", "a=rtpmap:97 x/90000", 1);
    let negotiated = offerer.apply_answer(&accepted(&changed)).unwrap();
    let [config] = negotiated.send.as_slice() else {
        panic!("{:?}", negotiated.send);
    };
    assert_eq!((config.down, config.rtx_ssrc), (DownTrackId(2), None));
    assert!(config.paused && config.max_layer.spatial == 0);
}

#[test]
fn an_ended_m_line_serves_again_once_answered() {
    let mut offerer = offerer();
    let sdp = offerer.offer(&local());
    offerer.apply_answer(&accepted(&sdp)).unwrap();
    offerer.remove(DownTrackId(2));
    assert!(offerer.needs_offer());
    // Not before the client knows: it would see the same track go on.
    assert_eq!(offerer.add(send(8, MediaKind::Video, &vp8())).as_str(), "5");
    let sdp = offerer.offer(&local());
    let ended = section(&sdp, 3);
    has(&ended, "a=inactive");
    has_none(&ended, "a=ssrc");
    has_none(&ended, "a=msid");
    has(&section(&sdp, 0), "a=group:BUNDLE 0 1 2 3 4 5");
    offerer.apply_answer(&accepted(&sdp)).unwrap();
    // Another kind does not fit, the same kind does.
    assert_eq!(
        offerer.add(send(9, MediaKind::Audio, &opus())).as_str(),
        "6"
    );
    assert_eq!(
        offerer.add(send(10, MediaKind::Video, &h264())).as_str(),
        "2"
    );
    let sdp = offerer.offer(&local());
    has(&section(&sdp, 3), "a=sendonly");
    has(&section(&sdp, 3), "a=msid:PA_p|camera TR_10");
}

#[test]
fn removed_while_the_answer_is_under_way() {
    let mut offerer = offerer();
    let sdp = offerer.offer(&local());
    offerer.remove(DownTrackId(2));
    let negotiated = offerer.apply_answer(&accepted(&sdp)).unwrap();
    assert!(negotiated.send.iter().all(|c| c.down != DownTrackId(2)));
    assert!(offerer.needs_offer());
    // It was offered as sending, so this answer did not end it.
    assert_eq!(offerer.add(send(8, MediaKind::Video, &vp8())).as_str(), "5");
}

#[test]
fn added_while_the_answer_is_under_way() {
    let mut offerer = offerer();
    let sdp = offerer.offer(&local());
    offerer.add(send(8, MediaKind::Video, &vp8()));
    let negotiated = offerer.apply_answer(&accepted(&sdp)).unwrap();
    assert_eq!(negotiated.send.len(), 4);
    assert!(offerer.needs_offer());
}

#[test]
fn never_offered_is_free_at_once() {
    let mut offerer = Offerer::new(session());
    assert_eq!(offerer.add(send(1, MediaKind::Video, &vp8())).as_str(), "1");
    offerer.remove(DownTrackId(1));
    assert_eq!(offerer.add(send(2, MediaKind::Video, &vp8())).as_str(), "1");
}

#[test]
fn a_rejected_m_line_is_replaced_under_another_mid() {
    let mut offerer = offerer();
    let sdp = offerer.offer(&local());
    let negotiated = offerer.apply_answer(&rejecting(&sdp, 3)).unwrap();
    assert_eq!(negotiated.unsupported, [DownTrackId(2)]);
    let sdp = offerer.offer(&local());
    // While this offer waits, the place is taken by a track of another kind.
    assert_eq!(
        offerer.add(send(8, MediaKind::Audio, &opus())).as_str(),
        "5"
    );
    offerer.apply_answer(&rejecting(&sdp, 3)).unwrap();
    let sdp = offerer.offer(&local());
    let replaced = section(&sdp, 3);
    has(&replaced, "a=mid:5");
    assert!(replaced[0].starts_with("m=audio 9 "));
    has(&section(&sdp, 0), "a=group:BUNDLE 0 1 5 3 4");
    assert_eq!(offerer.apply_answer(&accepted(&sdp)).unwrap().send.len(), 1);
}

#[test]
fn unknown_profile_is_unsupported_to_all() {
    let mut offerer = Offerer::new(session());
    let profile = Profile::H265 { id: 9, tier: 1 };
    offerer.add(send(
        1,
        MediaKind::Video,
        &[published(Codec::H265, 49, profile)],
    ));
    let sdp = offerer.offer(&local());
    let negotiated = offerer.apply_answer(&accepted(&sdp)).unwrap();
    assert_eq!(negotiated.unsupported, [DownTrackId(1)]);
}

#[test]
fn ice_restart_is_another_offer() {
    let mut offerer = offerer();
    offerer.offer(&local());
    let mut restarted = local();
    restarted.ice.ufrag = "0new".to_owned();
    let sdp = offerer.offer(&restarted);
    has(&section(&sdp, 2), "a=ice-ufrag:0new");
    assert_eq!(offerer.apply_answer(&accepted(&sdp)).unwrap().send.len(), 4);
}

#[test]
fn wrong_answers_leave_the_offer_waiting() {
    let mut offerer = offerer();
    let ok = accepted(&offerer.offer(&local()));
    let wrong = |offerer: &mut Offerer, change: &dyn Fn(&mut RemoteDescription)| {
        let mut answer = ok.clone();
        change(&mut answer);
        let error = offerer.apply_answer(&answer).unwrap_err();
        assert!(offerer.awaits_answer());
        error
    };
    let error = wrong(&mut offerer, &|answer| drop(answer.media.pop()));
    let expected = SdpError::SectionCount {
        offered: 5,
        answered: 4,
    };
    assert_eq!(error, expected);
    let error = wrong(&mut offerer, &|answer| answer.media.swap(1, 4));
    assert_eq!(error, SdpError::SectionMismatch { index: 1 });
    let error = wrong(&mut offerer, &|answer| answer.media.swap(0, 4));
    assert_eq!(error, SdpError::SectionMismatch { index: 0 });
    let error = wrong(&mut offerer, &|answer| answer.setup = Setup::Passive);
    assert_eq!(error, SdpError::DtlsRole);
    assert!(offerer.apply_answer(&ok).is_ok());
    assert_eq!(offerer.apply_answer(&ok), Err(SdpError::NoOffer));
}
