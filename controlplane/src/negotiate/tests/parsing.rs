use millrace_shared::ids::{Mid, TransportId};
use millrace_shared::limits::{SDP_RIDS_MAX, SDP_SECTIONS_MAX, SDP_SSRCS_MAX};
use millrace_shared::link::{ExtKind, MediaKind};
use proptest::prelude::*;

use super::*;

#[test]
fn chromium_simulcast() {
    let offer = parse(CHROMIUM_SIMULCAST);
    assert_eq!(offer.ice.ufrag, "9f1Z");
    assert_eq!(offer.fingerprint.0[..2], [0x4f, 0xb5]);
    assert_eq!(offer.setup, Setup::ActPass);
    assert!(!offer.ice_lite && offer.ext_mixed && offer.grouped);
    let kinds: Vec<_> = offer.media.iter().map(|media| media.kind).collect();
    assert_eq!(
        kinds,
        [Section::Audio, Section::Video, Section::Application]
    );

    let audio = &offer.media[0];
    assert_eq!(audio.direction, Direction::SendOnly);
    let codecs: Vec<_> = audio.codecs.iter().map(|c| (c.codec, c.pt.0)).collect();
    let expected = [
        (Codec::Opus, 111),
        (Codec::Red, 63),
        (Codec::Pcmu, 0),
        (Codec::Pcma, 8),
    ];
    assert_eq!(codecs, expected);
    assert_eq!(audio.ssrcs.len(), 1);

    let video = &offer.media[1];
    assert_eq!(video.mid.as_str(), "1");
    let msid = video.msid.as_ref().unwrap();
    assert_eq!(msid.track, "4c0fc589-ac75-42e5-8fb4-f5952e8d4593");
    let rids: Vec<_> = video.send_rids.iter().map(|rid| rid.as_str()).collect();
    assert_eq!(rids, ["q", "h", "f"]);
    assert!(video.codecs.iter().all(|codec| codec.rtx_pt.is_some()));
    assert_eq!(video.codecs[0].rtx_pt, Some(Pt(97)));
    assert_eq!(video.send_ext_ids.id(ExtKind::Rid), Some(10));
    // Video RED and ULPFEC are nothing we forward.
    assert!(
        video
            .codecs
            .iter()
            .all(|c| c.codec.kind() == MediaKind::Video)
    );

    assert_eq!(offer.media[2].sctp_port, Some(5000));
    assert_eq!(offer.media[2].max_message_size, Some(262_144));
}

#[test]
fn firefox_simulcast_has_one_way_extensions() {
    let offer = parse(FIREFOX_SIMULCAST);
    // The fingerprint is the session's.
    assert_eq!(offer.fingerprint.0[..2], [0x08, 0x4a]);
    let video = &offer.media[1];
    assert_eq!(video.rtx_ssrcs.len(), 3);
    assert_eq!(video.send_ext_ids.id(ExtKind::Rid), Some(9));
    assert_eq!(video.receive_ext_ids.id(ExtKind::Rid), None);
    assert_eq!(video.receive_ext_ids.id(ExtKind::PlayoutDelay), Some(6));
    assert_eq!(video.send_ext_ids.id(ExtKind::PlayoutDelay), None);
    assert!(video.ext_mixed && !offer.ext_mixed);
    let ids = offer.set_remote(TransportId(1)).receive_ext_ids;
    assert_eq!(ids.id(ExtKind::AudioLevel), Some(1));
    assert_eq!(ids.id(ExtKind::RepairedRid), Some(10));
}

#[test]
fn bundle_only_is_no_rejection() {
    let offer = parse(FIREFOX_MAX_BUNDLE);
    assert!(
        offer
            .media
            .iter()
            .all(|media| !media.rejected && media.bundled)
    );
}

#[test]
fn a_rejected_m_line_may_lack_its_mid() {
    let text = FIREFOX_ANSWER.replace("a=inactive\r\na=mid:3\r\n", "a=inactive\r\n");
    assert_ne!(text, FIREFOX_ANSWER);
    let answer = parse(&text);
    assert!(answer.media[3].rejected && answer.media[3].mid.is_empty());
}

#[test]
fn transport_of_the_tagged_m_line_counts() {
    let text = CHROMIUM_SIMULCAST
        .replacen("a=ice-ufrag:9f1Z", "a=ice-ufrag:unbundled", 1)
        .replace("a=group:BUNDLE 0 1 2", "a=group:BUNDLE 1 2");
    let offer = parse(&text);
    assert_eq!(offer.ice.ufrag, "9f1Z");
    let bundled: Vec<_> = offer.media.iter().map(|media| media.bundled).collect();
    assert_eq!(bundled, [false, true, true]);
}

#[test]
fn refusals() {
    let refused = |from: &str, to: &str| {
        let text = CHROMIUM_SIMULCAST.replace(from, to);
        assert_ne!(text, CHROMIUM_SIMULCAST, "nothing replaced: {from}");
        RemoteDescription::parse(&text).unwrap_err()
    };
    assert_eq!(refused("a=ice-pwd:", "a=ice-pw:"), SdpError::IceCredentials);
    assert_eq!(
        refused("a=ice-pwd:b2u", "a=ice-pwd:\u{e4}"),
        SdpError::IceCredentials
    );
    assert_eq!(refused("sha-256", "sha-1"), SdpError::Fingerprint);
    assert_eq!(refused(":22:CF:57", ":22:CF"), SdpError::Fingerprint);
    assert_eq!(
        refused("a=setup:actpass", "a=setup:holdconn"),
        SdpError::DtlsRole
    );
    assert_eq!(
        refused("a=mid:1\r", "a=mid:0\r"),
        SdpError::DuplicateMid("0".into())
    );
    assert_eq!(refused("a=mid:1\r", "a=mid:two words\r"), SdpError::Mid);
    assert_eq!(
        refused("a=mid:1\r", "a=mid:12345678901234567\r"),
        SdpError::Mid
    );
    assert!(matches!(refused("t=0 0", "t"), SdpError::Syntax(_)));
    assert_eq!(
        RemoteDescription::parse(&"a".repeat(2 << 20)),
        Err(SdpError::TooLong)
    );
}

#[test]
fn m_lines_are_limited() {
    let (head, rest) = CHROMIUM_SINGLE.split_once("m=").unwrap();
    let audio = format!("m={}", rest.split_once("m=").unwrap().0);
    let with = |count: usize| {
        let mut text = head.to_owned();
        for index in 0..count {
            let mid = format!("a=mid:n{index}\r");
            // Only the first needs what the transport is.
            match index {
                0 => text.push_str(&audio.replace("a=mid:0\r", &mid)),
                _ => text.push_str(&format!("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n{mid}\n")),
            }
        }
        RemoteDescription::parse(&text)
    };
    assert_eq!(
        with(SDP_SECTIONS_MAX).unwrap().media.len(),
        SDP_SECTIONS_MAX
    );
    assert_eq!(with(SDP_SECTIONS_MAX + 1), Err(SdpError::TooManySections));
}

#[test]
fn lists_within_an_m_line_are_limited() {
    let mut lines = String::from("a=mid:1\r\n");
    for index in 0..1000 {
        lines.push_str(&format!(
            "a=rid:r{index} send\r\na=ssrc:{index} cname:x\r\n"
        ));
        lines.push_str(&format!("a=ssrc-group:FID {index} {index}\r\n"));
    }
    let text = CHROMIUM_SIMULCAST.replace("a=mid:1\r\n", &lines);
    let media = &parse(&text).media[1];
    assert_eq!(media.ssrcs.len(), SDP_SSRCS_MAX);
    assert_eq!(media.rtx_ssrcs.len(), SDP_SSRCS_MAX);
    assert!(media.send_rids.len() <= SDP_RIDS_MAX);
}

#[test]
fn simulcast_alternatives_and_paused_streams() {
    let rids = |line: &str| {
        let text = CHROMIUM_SIMULCAST.replace("a=simulcast:send q;h;f", line);
        let media = &parse(&text).media[1];
        media
            .send_rids
            .iter()
            .map(|rid| rid.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(rids("a=simulcast:send ~q,h;h;~f"), ["q", "h", "f"]);
    assert_eq!(rids("a=simulcast:recv x send f;q"), ["f", "q"]);
    // Not described by any a=rid.
    assert_eq!(rids("a=simulcast:send q;other"), ["q"]);
    assert_eq!(rids("a=simulcast:send"), [""; 0]);
    // RFC 8851 §6.3: rids without simulcast are not for us.
    assert_eq!(rids("a=x"), [""; 0]);
}

#[test]
fn msid_of_the_ssrc_line_serves_old_clients() {
    let text = CHROMIUM_SIMULCAST.replacen("a=msid:1c22eede", "a=x-msid:1c22eede", 1);
    let msid = parse(&text).media[0].msid.clone().unwrap();
    assert_eq!(msid.track, "142d64e4-52b4-4697-b347-3f65b1412f47");
}

#[test]
fn red_of_something_else_is_not_audio_red() {
    let text = CHROMIUM_SIMULCAST.replace("a=fmtp:63 111/111", "a=fmtp:63 110/110");
    let codecs = &parse(&text).media[0].codecs;
    assert!(codecs.iter().all(|codec| codec.codec != Codec::Red));
}

/// Whatever the peer says, we answer or refuse, and what we write can be read.
fn survives(text: &str) {
    let Ok(offer) = RemoteDescription::parse(text) else {
        return;
    };
    let plans: Vec<_> = offer
        .media
        .iter()
        .zip(0_u64..)
        .map(|(media, id)| match (media.kind.media(), id % 3) {
            (None, _) => MediaPlan::Data,
            (Some(_), 0) => receive(id, Codec::H264),
            (Some(MediaKind::Audio), 1) => MediaPlan::Send(send(id, MediaKind::Audio, &red())),
            (Some(MediaKind::Video), 1) => MediaPlan::Send(send(id, MediaKind::Video, &h264())),
            (Some(_), _) => MediaPlan::Inactive,
        })
        .collect();
    if let Ok(answer) = answer(&offer, &plans, &local(), &mut session()) {
        let lines = section(&answer.sdp, 0);
        has(&lines, "a=ice-lite");
        let sections = answer.sdp.lines().filter(|line| line.starts_with("m="));
        assert_eq!(sections.count(), offer.media.len());
    }
    let mut offerer = Offerer::new(session());
    offerer.add(send(1, MediaKind::Audio, &red()));
    offerer.add(send(2, MediaKind::Video, &h264()));
    offerer.offer(&local());
    let _ = offerer.apply_answer(&offer);
    let _ = offerer.offer(&local());
}

/// One edit of a description.
#[derive(Clone, Debug)]
enum Edit {
    Remove(usize),
    Repeat(usize),
    Swap(usize, usize),
    Set(usize, String),
    Cut(usize),
    Char(usize, char),
}

fn edit() -> impl Strategy<Value = Edit> {
    let line = prop_oneof![
        "a=(mid|rid|ssrc|ssrc-group|simulcast|fmtp|rtpmap|rtcp-fb|extmap|msid|setup):[ -~]{0,40}",
        "a=(fmtp|rtpmap|rtcp-fb):(-1|0|96|127|128|255|99999|\\*) ?[ -~]{0,30}",
        "a=extmap:[0-9]{1,4}/?(send|recv)?(only)? ?[ -~]{0,60}",
        "m=(audio|video|application|text) [0-9]{1,6} (UDP/TLS/RTP/SAVPF|x) [0-9 ]{0,40}",
        "a=group:BUNDLE( [0-9a-z]{0,20}){0,5}",
        "\\PC{0,40}",
    ];
    prop_oneof![
        any::<usize>().prop_map(Edit::Remove),
        any::<usize>().prop_map(Edit::Repeat),
        (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Edit::Swap(a, b)),
        (any::<usize>(), line).prop_map(|(at, line)| Edit::Set(at, line)),
        any::<usize>().prop_map(Edit::Cut),
        (any::<usize>(), any::<char>()).prop_map(|(at, c)| Edit::Char(at, c)),
    ]
}

fn apply(text: &str, edits: &[Edit]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for edit in edits {
        let count = lines.len().max(1);
        if lines.is_empty() {
            lines.push(String::new());
        }
        match edit {
            Edit::Remove(at) => drop(lines.remove(at % count)),
            Edit::Repeat(at) => lines.insert(at % count, lines[at % count].clone()),
            Edit::Swap(a, b) => lines.swap(a % count, b % count),
            Edit::Set(at, line) => lines[at % count].clone_from(line),
            Edit::Cut(at) => lines.truncate(at % count),
            Edit::Char(at, c) => {
                let line = &mut lines[at % count];
                let mut chars: Vec<char> = line.chars().collect();
                chars.insert(at % (chars.len() + 1), *c);
                *line = chars.into_iter().collect();
            }
        }
    }
    lines.join("\r\n") + "\r\n"
}

proptest! {
    #[test]
    fn mutated_descriptions_never_panic(
        which in 0..ALL.len(),
        edits in prop::collection::vec(edit(), 1..12),
    ) {
        survives(&apply(ALL[which], &edits));
    }

    #[test]
    fn noise_never_panics(text in "\\PC{0,200}") {
        survives(&text);
    }

    #[test]
    fn tokens_are_kept_or_refused(mid in "[!-~]{0,20}") {
        let text = CHROMIUM_SIMULCAST.replace("a=mid:1\r", &format!("a=mid:{mid}\r"));
        if let Ok(offer) = RemoteDescription::parse(&text) {
            prop_assert_eq!(offer.media[1].mid, Mid::from(&mid).unwrap());
        }
    }
}

#[test]
fn real_descriptions_survive() {
    for text in ALL {
        assert!(RemoteDescription::parse(text).is_ok());
        survives(text);
    }
}
