//! Descriptions made to cost us time or memory.

use std::time::{Duration, Instant};

use millrace_shared::limits::{SDP_LEN_MAX, SDP_SECTIONS_MAX};

use super::*;

/// The whole budget is 50 ms on a release build (measured by the hostile suite); this build is some
/// thirty times slower, and its machine may be busy.
const BUDGET: Duration = Duration::from_secs(3);

const SESSION: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
    a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\n";

fn fingerprint() -> String {
    format!("a=fingerprint:sha-256 {}\r\n", ["AB"; 32].join(":"))
}

fn audio(mid: &str) -> String {
    format!(
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\n\
         a=rtpmap:111 opus/48000/2\r\n"
    )
}

fn bomb(rest: &str) -> String {
    format!("{SESSION}{}{rest}", fingerprint())
}

#[track_caller]
fn timed(text: &str) -> Result<RemoteDescription, SdpError> {
    let begin = Instant::now();
    let parsed = RemoteDescription::parse(text);
    let took = begin.elapsed();
    assert!(took < BUDGET, "{took:?}");
    parsed
}

#[test]
fn five_thousand_sections_are_refused() {
    let sections: String = (0..5_000).map(|n| audio(&n.to_string())).collect();
    assert_eq!(timed(&bomb(&sections)), Err(SdpError::TooManySections));
    let most: String = (0..SDP_SECTIONS_MAX)
        .map(|n| audio(&n.to_string()))
        .collect();
    assert_eq!(timed(&bomb(&most)).unwrap().media.len(), SDP_SECTIONS_MAX);
}

#[test]
fn ten_thousand_candidates_are_not_read() {
    let mut text = bomb(&audio("0"));
    for n in 0..10_000 {
        text += &format!(
            "a=candidate:{n} 1 udp 1 192.0.2.1 {} typ host\r\n",
            n % 65_536
        );
    }
    assert_eq!(timed(&text).unwrap().media.len(), 1);
}

#[test]
fn a_line_of_a_megabyte_is_refused_or_ignored() {
    let line = format!("a=x:{}\r\n", "y".repeat(SDP_LEN_MAX));
    assert_eq!(timed(&bomb(&line)), Err(SdpError::TooLong));
    let line = format!("{}a=x:{}\r\n", audio("0"), "y".repeat(SDP_LEN_MAX - 2_000));
    assert!(timed(&bomb(&line)).is_ok());
}

#[test]
fn one_name_for_two_sections_is_refused() {
    let twice = audio("0") + &audio("0");
    assert_eq!(
        timed(&bomb(&twice)),
        Err(SdpError::DuplicateMid("0".into()))
    );
}

#[test]
fn payload_types_beyond_seven_bits_are_no_codecs() {
    let text = bomb(
        "m=audio 9 UDP/TLS/RTP/SAVPF 200 300 -1\r\na=mid:0\r\na=rtpmap:200 opus/48000/2\r\n\
         a=fmtp:200 apt=300\r\na=rtcp-fb:200 nack\r\n",
    );
    assert!(timed(&text).unwrap().media[0].codecs.is_empty());
}

#[test]
fn retransmissions_of_retransmissions_end() {
    let mut text = bomb("m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99\r\na=mid:0\r\n");
    // 97 repairs itself, 98 and 99 each other, and 96 is a codec that all want to repair.
    text += "a=rtpmap:96 VP8/90000\r\n";
    for (rtx, apt) in [(97, 97), (98, 99), (99, 98)] {
        text += &format!("a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={apt}\r\n");
    }
    let parsed = timed(&text).unwrap();
    let codecs = &parsed.media[0].codecs;
    assert_eq!(codecs.len(), 1);
    assert_eq!((codecs[0].pt, codecs[0].rtx_pt), (Pt(96), None));
}

#[test]
fn a_megabyte_of_repeated_attributes_takes_no_square_of_time() {
    let mut text = bomb(&audio("0"));
    for line in [
        "a=ssrc:1 msid:a b",
        "a=ssrc-group:FID 1 2",
        "a=rid:q send",
        "a=fmtp:111 a=1;b=2",
        "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid",
        "a=rtcp-fb:* nack",
    ] {
        let times = (SDP_LEN_MAX - 4_000) / 6 / (line.len() + 2);
        text += &format!("{line}\r\n").repeat(times);
    }
    let parsed = timed(&text).unwrap();
    assert_eq!(parsed.media[0].codecs.len(), 1);
}
