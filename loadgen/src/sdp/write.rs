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
    /// The one codec offered.
    pub codec: Codec,
    /// Media SSRC, and the one of its retransmissions. Not written for simulcast, which has rids.
    pub ssrcs: (u32, Option<u32>),
    /// Simulcast encodings.
    pub rids: Vec<&'static str>,
    /// Header extensions offered.
    pub exts: Vec<(u8, ExtKind)>,
}

/// A section of an offer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    Send(Offered),
    /// For something that the server may send.
    Receive {
        kind: SectionKind,
        codecs: Vec<Codec>,
        exts: Vec<(u8, ExtKind)>,
    },
    Data,
}

/// Payload type, name and parameters as in rtpmap, fmtp, and the payload type of retransmissions.
pub type Codec = (u8, &'static str, &'static str, Option<u8>);

/// RFC 8445 §5.1.2.1: of the only host candidate.
const HOST_PRIORITY: u32 = (126 << 24) | (65_535 << 8) | 255;

/// What we can decode, or rather count.
const CODECS_ACCEPTED: [&str; 5] = ["opus", "vp8", "h264", "vp9", "rtx"];
/// Feedback we give; the rest is not accepted.
const FEEDBACK_ACCEPTED: [&str; 4] = ["transport-cc", "nack", "nack pli", "goog-remb"];

/// An offer of these sections, in order. The m-line's index is its mid.
pub fn offer(local: &Local, lines: &[Line]) -> String {
    let mut sdp = head(local, (0..lines.len()).map(|mid| mid.to_string()));
    for (mid, offered) in lines.iter().enumerate() {
        let mid = mid.to_string();
        match offered {
            Line::Send(track) => offered_section(&mut sdp, local, &mid, track),
            Line::Receive { kind, codecs, exts } => {
                media_head(&mut sdp, local, &mid, *kind, codecs);
                media_body(&mut sdp, *kind, codecs, exts, "recvonly");
            }
            Line::Data => data_section(&mut sdp, local, &mid),
        }
    }
    sdp
}

fn data_section(sdp: &mut String, local: &Local, mid: &str) {
    line(sdp, "m=application 9 UDP/DTLS/SCTP webrtc-datachannel");
    line(sdp, "c=IN IP4 0.0.0.0");
    transport_lines(sdp, local, mid, "actpass");
    line(sdp, "a=sctp-port:5000");
    line(sdp, "a=max-message-size:262144");
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

fn media_head(sdp: &mut String, local: &Local, mid: &str, kind: SectionKind, codecs: &[Codec]) {
    let pts = codecs
        .iter()
        .flat_map(|(pt, .., rtx_pt)| [Some(*pt), *rtx_pt]);
    let pts: Vec<_> = pts.flatten().map(|pt| pt.to_string()).collect();
    let (kind, pts) = (kind.name(), pts.join(" "));
    line(sdp, &format!("m={kind} 9 UDP/TLS/RTP/SAVPF {pts}"));
    line(sdp, "c=IN IP4 0.0.0.0");
    line(sdp, "a=rtcp:9 IN IP4 0.0.0.0");
    transport_lines(sdp, local, mid, "actpass");
}

fn media_body(
    sdp: &mut String,
    kind: SectionKind,
    codecs: &[Codec],
    exts: &[(u8, ExtKind)],
    direction: &str,
) {
    for (id, kind) in exts {
        line(sdp, &format!("a=extmap:{id} {}", kind.uri()));
    }
    for attribute in [direction, "rtcp-mux", "rtcp-rsize"] {
        line(sdp, &format!("a={attribute}"));
    }
    for (pt, name, fmtp, rtx_pt) in codecs {
        line(sdp, &format!("a=rtpmap:{pt} {name}"));
        line(sdp, &format!("a=rtcp-fb:{pt} transport-cc"));
        if kind == SectionKind::Video {
            for feedback in ["goog-remb", "ccm fir", "nack", "nack pli"] {
                line(sdp, &format!("a=rtcp-fb:{pt} {feedback}"));
            }
        }
        if !fmtp.is_empty() {
            line(sdp, &format!("a=fmtp:{pt} {fmtp}"));
        }
        if let Some(rtx_pt) = rtx_pt {
            line(sdp, &format!("a=rtpmap:{rtx_pt} rtx/90000"));
            line(sdp, &format!("a=fmtp:{rtx_pt} apt={pt}"));
        }
    }
}

fn offered_section(sdp: &mut String, local: &Local, mid: &str, track: &Offered) {
    let codecs = [track.codec];
    media_head(sdp, local, mid, track.kind, &codecs);
    media_body(sdp, track.kind, &codecs, &track.exts, "sendonly");
    line(sdp, &format!("a=msid:loadgen {}", track.track));
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
