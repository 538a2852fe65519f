use std::fmt::Write as _;
use std::net::SocketAddr;

use millrace_shared::link::{ExtKind, Fingerprint, IceCredentials};

use super::parse::{Description, Direction, Section, SectionKind};

/// Our side of a description.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Local {
    pub ice: IceCredentials,
    pub fingerprint: Fingerprint,
    /// Our candidate. Without one a server waits for a better than the address our checks come
    /// from.
    pub candidate: Option<SocketAddr>,
    /// Counts our descriptions of this session (RFC 8829 §5.2.2).
    pub version: u64,
}

/// A track that an offer publishes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offered {
    pub kind: SectionKind,
    /// As in the AddTrackRequest.
    pub track: String,
    /// Name and parameters of the one codec offered, as in rtpmap, and its fmtp.
    pub codec: (u8, &'static str, &'static str),
    /// Payload type of its retransmissions.
    pub rtx_pt: Option<u8>,
    /// Media SSRC, and the one of its retransmissions. Not written for simulcast, which has rids.
    pub ssrcs: (u32, Option<u32>),
    /// Simulcast encodings.
    pub rids: Vec<&'static str>,
    /// Header extensions offered.
    pub exts: Vec<(u8, ExtKind)>,
}

/// RFC 8445 §5.1.2.1: of the only host candidate.
const HOST_PRIORITY: u32 = (126 << 24) | (65_535 << 8) | 255;

/// What we can decode, or rather count.
const CODECS_ACCEPTED: [&str; 5] = ["opus", "vp8", "h264", "vp9", "rtx"];
/// Feedback we give; the rest is not accepted.
const FEEDBACK_ACCEPTED: [&str; 4] = ["transport-cc", "nack", "nack pli", "goog-remb"];

/// An offer of these tracks, in order, and of data channels behind them. The m-line's index is its
/// mid.
pub fn offer(local: &Local, tracks: &[Offered]) -> String {
    let mut sdp = head(local, (0..=tracks.len()).map(|mid| mid.to_string()));
    for (mid, track) in tracks.iter().enumerate() {
        offered_section(&mut sdp, local, mid, track);
    }
    let mid = tracks.len().to_string();
    line(&mut sdp, "m=application 9 UDP/DTLS/SCTP webrtc-datachannel");
    line(&mut sdp, "c=IN IP4 0.0.0.0");
    transport_lines(&mut sdp, local, &mid, "actpass");
    line(&mut sdp, "a=sctp-port:5000");
    line(&mut sdp, "a=max-message-size:262144");
    sdp
}

/// Accepts everything of an offer that we can receive.
pub fn answer(local: &Local, offer: &Description) -> String {
    let bundled = offer.sections.iter().filter(|section| !section.rejected);
    let mut sdp = head(local, bundled.map(|section| section.mid.clone()));
    for section in &offer.sections {
        answered_section(&mut sdp, local, section);
    }
    sdp
}

fn head(local: &Local, mids: impl Iterator<Item = String>) -> String {
    let mut sdp = String::with_capacity(4096);
    line(&mut sdp, "v=0");
    // The session id is any number that stays the same; the version tells descriptions apart.
    let origin = format!("o=- 4611686018427387904 {} IN IP4 127.0.0.1", local.version);
    line(&mut sdp, &origin);
    for fixed in ["s=-", "t=0 0"] {
        line(&mut sdp, fixed);
    }
    let mids: Vec<_> = mids.collect();
    line(&mut sdp, &format!("a=group:BUNDLE {}", mids.join(" ")));
    line(&mut sdp, "a=extmap-allow-mixed");
    line(&mut sdp, "a=msid-semantic: WMS *");
    sdp
}

fn transport_lines(sdp: &mut String, local: &Local, mid: &str, setup: &str) {
    line(sdp, &format!("a=ice-ufrag:{}", local.ice.ufrag));
    line(sdp, &format!("a=ice-pwd:{}", local.ice.pwd));
    line(sdp, "a=ice-options:trickle");
    let digest: Vec<_> = local
        .fingerprint
        .0
        .iter()
        .map(|it| format!("{it:02X}"))
        .collect();
    line(sdp, &format!("a=fingerprint:sha-256 {}", digest.join(":")));
    line(sdp, &format!("a=setup:{setup}"));
    line(sdp, &format!("a=mid:{mid}"));
    if let Some(addr) = local.candidate {
        let (ip, port) = (addr.ip(), addr.port());
        line(
            sdp,
            &format!("a=candidate:1 1 udp {HOST_PRIORITY} {ip} {port} typ host"),
        );
    }
}

fn offered_section(sdp: &mut String, local: &Local, mid: usize, track: &Offered) {
    let (pt, codec, fmtp) = track.codec;
    let rtx = track.rtx_pt.map_or(String::new(), |pt| format!(" {pt}"));
    let kind = track.kind.name();
    line(sdp, &format!("m={kind} 9 UDP/TLS/RTP/SAVPF {pt}{rtx}"));
    line(sdp, "c=IN IP4 0.0.0.0");
    line(sdp, "a=rtcp:9 IN IP4 0.0.0.0");
    transport_lines(sdp, local, &mid.to_string(), "actpass");
    for (id, kind) in &track.exts {
        line(sdp, &format!("a=extmap:{id} {}", kind.uri()));
    }
    line(sdp, "a=sendonly");
    line(sdp, &format!("a=msid:loadgen {}", track.track));
    for fixed in ["a=rtcp-mux", "a=rtcp-rsize"] {
        line(sdp, fixed);
    }
    line(sdp, &format!("a=rtpmap:{pt} {codec}"));
    line(sdp, &format!("a=rtcp-fb:{pt} transport-cc"));
    if track.kind == SectionKind::Video {
        for feedback in ["goog-remb", "ccm fir", "nack", "nack pli"] {
            line(sdp, &format!("a=rtcp-fb:{pt} {feedback}"));
        }
    }
    if !fmtp.is_empty() {
        line(sdp, &format!("a=fmtp:{pt} {fmtp}"));
    }
    if let Some(rtx_pt) = track.rtx_pt {
        line(sdp, &format!("a=rtpmap:{rtx_pt} rtx/90000"));
        line(sdp, &format!("a=fmtp:{rtx_pt} apt={pt}"));
    }
    if track.rids.is_empty() {
        ssrc_lines(sdp, track);
        return;
    }
    for rid in &track.rids {
        line(sdp, &format!("a=rid:{rid} send"));
    }
    line(sdp, &format!("a=simulcast:send {}", track.rids.join(";")));
}

fn ssrc_lines(sdp: &mut String, track: &Offered) {
    let (media, repair) = track.ssrcs;
    if let Some(repair) = repair {
        line(sdp, &format!("a=ssrc-group:FID {media} {repair}"));
    }
    for ssrc in std::iter::once(media).chain(repair) {
        line(sdp, &format!("a=ssrc:{ssrc} cname:loadgen"));
        line(sdp, &format!("a=ssrc:{ssrc} msid:loadgen {}", track.track));
    }
}

fn answered_section(sdp: &mut String, local: &Local, section: &Section) {
    let port = if section.rejected { 0 } else { 9 };
    let kind = section.kind.name();
    let accepted: Vec<_> = section
        .codecs
        .iter()
        .filter(|codec| CODECS_ACCEPTED.contains(&codec.name.as_str()))
        .collect();
    let formats = if section.kind == SectionKind::Application || accepted.is_empty() {
        section.formats.clone()
    } else {
        let pts: Vec<_> = accepted.iter().map(|codec| codec.pt.to_string()).collect();
        pts.join(" ")
    };
    line(
        sdp,
        &format!("m={kind} {port} {} {formats}", section.protocol),
    );
    line(sdp, "c=IN IP4 0.0.0.0");
    transport_lines(sdp, local, &section.mid, "active");
    if section.kind == SectionKind::Application {
        line(sdp, "a=sctp-port:5000");
        line(sdp, "a=max-message-size:262144");
        return;
    }
    let receives = matches!(section.direction, Direction::SendRecv | Direction::SendOnly);
    line(sdp, if receives { "a=recvonly" } else { "a=inactive" });
    for fixed in ["a=rtcp-mux", "a=rtcp-rsize"] {
        line(sdp, fixed);
    }
    for (id, uri) in &section.exts {
        if ExtKind::from_uri(uri).is_some() {
            line(sdp, &format!("a=extmap:{id} {uri}"));
        }
    }
    for codec in accepted {
        let channels = codec
            .channels
            .as_ref()
            .map_or(String::new(), |it| format!("/{it}"));
        let (pt, name, clock) = (codec.pt, &codec.name, codec.clock_rate);
        line(sdp, &format!("a=rtpmap:{pt} {name}/{clock}{channels}"));
        if let Some(fmtp) = &codec.fmtp {
            line(sdp, &format!("a=fmtp:{pt} {fmtp}"));
        }
        for feedback in &codec.feedback {
            if FEEDBACK_ACCEPTED.contains(&feedback.as_str()) {
                line(sdp, &format!("a=rtcp-fb:{pt} {feedback}"));
            }
        }
    }
}

fn line(sdp: &mut String, text: &str) {
    // Writing to a string does not fail.
    let _ = write!(sdp, "{text}\r\n");
}
