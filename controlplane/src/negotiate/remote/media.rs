//! One m-line of a peer's description.

use millrace_shared::ids::{Mid, Pt, Rid, Ssrc};
use millrace_shared::limits::{SDP_RIDS_MAX, SDP_SSRCS_MAX};
use millrace_shared::link::{Codec, ExtIds, ExtKind, MediaKind};
use sdp_types::{Attribute, Media};

use super::{Direction, Feedback, Msid, RemoteCodec, RemoteMedia, Section, direction, token};
use crate::negotiate::codec::codec_of_rtpmap;
use crate::negotiate::error::SdpError;
use crate::negotiate::profile::Profile;

/// Payload types are 7 bits.
const PT_COUNT: usize = 128;

/// Longest msid stream or track, as far as we keep it: browsers write 36 characters.
const MSID_LEN_MAX: usize = 256;

pub(super) fn parse(section: &Media, default: Direction) -> Result<RemoteMedia, SdpError> {
    let (kind, spoken) = section_kind(section);
    let mut lines = Lines::default();
    for attribute in &section.attributes {
        lines.read(attribute);
    }
    // RFC 8843 §6: port 0 with bundle-only is no rejection.
    let rejected = !spoken || (section.port == 0 && !lines.bundle_only);
    Ok(RemoteMedia {
        mid: match lines.mid {
            Some(mid) => mid,
            None if rejected => Mid::default(),
            None => return Err(SdpError::Mid),
        },
        kind,
        direction: direction(&section.attributes).unwrap_or(default),
        rejected,
        bundled: false,
        msid: lines.msid.or(lines.ssrc_msid),
        codecs: kind
            .media()
            .map_or_else(Vec::new, |media| lines.formats.codecs(media, &section.fmt)),
        send_ext_ids: lines.send_ext_ids,
        receive_ext_ids: lines.receive_ext_ids,
        ext_mixed: lines.ext_mixed,
        send_rids: simulcast_rids(lines.simulcast_send, &lines.send_rids),
        ssrcs: lines.ssrcs,
        rtx_ssrcs: lines.rtx_ssrcs,
        sim_ssrcs: lines.sim_ssrcs,
        sctp_port: lines.sctp_port,
        max_message_size: lines.max_message_size,
        proto: section.proto.clone(),
        fmt: section.fmt.clone(),
    })
}

/// The kind, and whether we speak the transport protocol. An m-line of an unknown kind counts as
/// data and is rejected.
fn section_kind(section: &Media) -> (Section, bool) {
    // RFC 8829 §5.1.2: any of these is to be understood as UDP/TLS/RTP/SAVPF.
    let rtp = matches!(
        section.proto.as_str(),
        "UDP/TLS/RTP/SAVPF" | "TCP/TLS/RTP/SAVPF" | "RTP/SAVPF" | "RTP/SAVP" | "UDP/TLS/RTP/SAVP"
    );
    let sctp = matches!(
        section.proto.as_str(),
        "UDP/DTLS/SCTP" | "TCP/DTLS/SCTP" | "DTLS/SCTP"
    );
    match section.media.as_str() {
        "audio" => (Section::Audio, rtp),
        "video" => (Section::Video, rtp),
        "application" => (
            Section::Application,
            sctp && section.fmt.trim() == "webrtc-datachannel",
        ),
        _ => (Section::Application, false),
    }
}

/// The attributes of one m-line, collected in one pass.
#[derive(Default)]
struct Lines<'a> {
    mid: Option<Mid>,
    bundle_only: bool,
    msid: Option<Msid>,
    ssrc_msid: Option<Msid>,
    formats: Formats<'a>,
    send_ext_ids: ExtIds,
    receive_ext_ids: ExtIds,
    ext_mixed: bool,
    send_rids: Vec<Rid>,
    simulcast_send: Option<&'a str>,
    ssrcs: Vec<Ssrc>,
    rtx_ssrcs: Vec<(Ssrc, Ssrc)>,
    sim_ssrcs: Vec<Ssrc>,
    sctp_port: Option<u16>,
    max_message_size: Option<u64>,
}

impl<'a> Lines<'a> {
    fn read(&mut self, attribute: &'a Attribute) {
        let value = attribute.value.as_deref().unwrap_or("").trim();
        match attribute.attribute.as_str() {
            "mid" => self.mid = self.mid.or_else(|| token(value)),
            "bundle-only" => self.bundle_only = true,
            "msid" if self.msid.is_none() => self.msid = parse_msid(value),
            "rtpmap" => self.formats.rtpmap(value),
            "fmtp" => self.formats.fmtp(value),
            "rtcp-fb" => self.formats.rtcp_fb(value),
            "extmap" => self.extmap(value),
            "extmap-allow-mixed" => self.ext_mixed = true,
            "rid" => self.rid(value),
            "simulcast" => self.simulcast_send = simulcast_send(value).or(self.simulcast_send),
            "ssrc" => self.ssrc(value),
            "ssrc-group" => self.ssrc_group(value),
            "sctp-port" => self.sctp_port = value.parse().ok(),
            "max-message-size" => self.max_message_size = value.parse().ok(),
            _ => {}
        }
    }

    /// `<id>["/"<direction>] <uri> [attributes]` (RFC 8285 §8).
    fn extmap(&mut self, value: &str) {
        let mut parts = value.split_ascii_whitespace();
        let (Some(id), Some(kind)) = (parts.next(), parts.next().and_then(ExtKind::from_uri))
        else {
            return;
        };
        let (id, way) = id.split_once('/').unwrap_or((id, "sendrecv"));
        let Ok(id) = id.parse::<u8>() else {
            return;
        };
        if matches!(way, "sendrecv" | "sendonly") && self.send_ext_ids.id(kind).is_none() {
            self.send_ext_ids.set(kind, id);
        }
        if matches!(way, "sendrecv" | "recvonly") && self.receive_ext_ids.id(kind).is_none() {
            self.receive_ext_ids.set(kind, id);
        }
    }

    /// `<rid> send|recv [restrictions]` (RFC 8851 §10).
    fn rid(&mut self, value: &str) {
        let mut parts = value.split_ascii_whitespace();
        let rid = parts.next().and_then(token);
        if let (Some(rid), Some("send")) = (rid, parts.next())
            && self.send_rids.len() < SDP_RIDS_MAX
            && !self.send_rids.contains(&rid)
        {
            self.send_rids.push(rid);
        }
    }

    fn ssrc(&mut self, value: &str) {
        let (ssrc, rest) = value.split_once(' ').unwrap_or((value, ""));
        let Ok(ssrc) = ssrc.parse().map(Ssrc) else {
            return;
        };
        if self.ssrcs.len() < SDP_SSRCS_MAX && !self.ssrcs.contains(&ssrc) {
            self.ssrcs.push(ssrc);
        }
        if self.ssrc_msid.is_none()
            && let Some(msid) = rest.trim().strip_prefix("msid:")
        {
            self.ssrc_msid = parse_msid(msid);
        }
    }

    /// `FID <ssrc> <rtx ssrc>`, `SIM <low> <mid> <high>` (RFC 5576 §4.2).
    fn ssrc_group(&mut self, value: &str) {
        let (semantics, rest) = value.split_once(' ').unwrap_or((value, ""));
        let mut ssrcs = rest
            .split_ascii_whitespace()
            .map_while(|ssrc| ssrc.parse().ok().map(Ssrc))
            .take(SDP_RIDS_MAX);
        match semantics {
            "FID" => {
                if let (Some(media), Some(rtx)) = (ssrcs.next(), ssrcs.next())
                    && self.rtx_ssrcs.len() < SDP_SSRCS_MAX
                {
                    self.rtx_ssrcs.push((media, rtx));
                }
            }
            "SIM" => self.sim_ssrcs = ssrcs.collect(),
            _ => {}
        }
    }
}

/// `<stream> [<track>]`; `-` stands for no stream (RFC 8830 §2).
fn parse_msid(value: &str) -> Option<Msid> {
    let mut parts = value.split_ascii_whitespace();
    let stream = parts.next()?;
    let track = parts.next().unwrap_or("");
    if stream.len() > MSID_LEN_MAX || track.len() > MSID_LEN_MAX {
        return None;
    }
    let stream = if stream == "-" { "" } else { stream };
    (!stream.is_empty() || !track.is_empty()).then(|| Msid {
        stream: stream.to_owned(),
        track: track.to_owned(),
    })
}

/// What is sent of `send q;h;f recv a`, in either order (RFC 8853 §5.1).
fn simulcast_send(value: &str) -> Option<&str> {
    let mut parts = value.split_ascii_whitespace();
    while let Some(direction) = parts.next() {
        let list = parts.next()?;
        if direction == "send" {
            return Some(list);
        }
    }
    None
}

/// Each stream's first alternative, if `a=rid` describes it. `~` marks one that starts paused
/// (RFC 8853 §5.2): it may flow at any time, so it counts.
fn simulcast_rids(simulcast: Option<&str>, described: &[Rid]) -> Vec<Rid> {
    let mut rids = Vec::new();
    for stream in simulcast.into_iter().flat_map(|list| list.split(';')) {
        let first = stream.split(',').next().unwrap_or("");
        let rid = token(first.strip_prefix('~').unwrap_or(first));
        if let Some(rid) = rid
            && described.contains(&rid)
            && !rids.contains(&rid)
        {
            rids.push(rid);
        }
    }
    rids
}

/// What is said of each payload type. The lines may come in any order.
struct Formats<'a> {
    rtpmaps: [Option<&'a str>; PT_COUNT],
    fmtps: [Option<&'a str>; PT_COUNT],
    feedback: [Feedback; PT_COUNT],
    /// `a=rtcp-fb:*` (RFC 4585 §4.2).
    feedback_all: Feedback,
}

impl Default for Formats<'_> {
    fn default() -> Self {
        Self {
            rtpmaps: [None; PT_COUNT],
            fmtps: [None; PT_COUNT],
            feedback: [Feedback::default(); PT_COUNT],
            feedback_all: Feedback::default(),
        }
    }
}

impl<'a> Formats<'a> {
    fn rtpmap(&mut self, value: &'a str) {
        if let Some((pt, rest)) = value.split_once(' ')
            && let Some(slot) = pt_slot(&mut self.rtpmaps, pt)
        {
            slot.get_or_insert(rest);
        }
    }

    fn fmtp(&mut self, value: &'a str) {
        if let Some((pt, rest)) = value.split_once(' ')
            && let Some(slot) = pt_slot(&mut self.fmtps, pt)
        {
            slot.get_or_insert(rest);
        }
    }

    fn rtcp_fb(&mut self, value: &str) {
        let Some((pt, rest)) = value.split_once(' ') else {
            return;
        };
        let slot = match pt {
            "*" => Some(&mut self.feedback_all),
            pt => pt_slot(&mut self.feedback, pt),
        };
        if let Some(slot) = slot {
            slot.add(rest);
        }
    }

    /// The codecs of the m-line's list, each with its RTX.
    fn codecs(&self, kind: MediaKind, fmt: &str) -> Vec<RemoteCodec> {
        let mut listed = Vec::new();
        for pt in fmt.split_ascii_whitespace().filter_map(parse_pt) {
            if !listed.contains(&pt) {
                listed.push(pt);
            }
        }
        let repairs: Vec<(Pt, Pt)> = listed
            .iter()
            .filter_map(|rtx| Some((*rtx, self.repaired(*rtx)?)))
            .collect();
        let mut codecs = Vec::new();
        for pt in listed {
            let Some(codec) = self.codec(kind, pt) else {
                continue;
            };
            let mut feedback = at(&self.feedback, pt).unwrap_or_default();
            feedback.merge(self.feedback_all);
            codecs.push(RemoteCodec {
                pt,
                codec,
                profile: Profile::parse(codec, self.fmtp_of(pt)),
                rtx_pt: repairs
                    .iter()
                    .find(|(_, media)| *media == pt)
                    .map(|(rtx, _)| *rtx),
                feedback,
                start_bitrate_kbps: fmtp_param(self.fmtp_of(pt), "x-google-start-bitrate"),
            });
        }
        codecs.retain(|codec| codec.profile.is_known());
        self.keep_red_of_opus(&mut codecs);
        codecs
    }

    /// RED is known to us as a wrapper of Opus only; its `a=fmtp` lists what it wraps, newest first
    /// (RFC 2198 §5).
    fn keep_red_of_opus(&self, codecs: &mut Vec<RemoteCodec>) {
        let opus: Vec<Pt> = codecs
            .iter()
            .filter(|codec| codec.codec == Codec::Opus)
            .map(|codec| codec.pt)
            .collect();
        codecs.retain(|codec| {
            codec.codec != Codec::Red
                || self
                    .fmtp_of(codec.pt)
                    .split('/')
                    .all(|pt| parse_pt(pt.trim()).is_some_and(|pt| opus.contains(&pt)))
        });
    }

    fn fmtp_of(&self, pt: Pt) -> &'a str {
        at(&self.fmtps, pt).flatten().unwrap_or("")
    }

    fn codec(&self, kind: MediaKind, pt: Pt) -> Option<Codec> {
        match (at(&self.rtpmaps, pt).flatten(), kind, pt) {
            (Some(rtpmap), ..) => codec_of_rtpmap(kind, rtpmap),
            // RFC 3551 §6: static payload types need no rtpmap.
            (None, MediaKind::Audio, Pt(0)) => Some(Codec::Pcmu),
            (None, MediaKind::Audio, Pt(8)) => Some(Codec::Pcma),
            (None, ..) => None,
        }
    }

    /// The payload type whose retransmissions `pt` carries, if any (RFC 4588 §8.6).
    fn repaired(&self, pt: Pt) -> Option<Pt> {
        let name = at(&self.rtpmaps, pt).flatten()?.get(..4)?;
        if !name.eq_ignore_ascii_case("rtx/") {
            return None;
        }
        let apt = fmtp_param(self.fmtp_of(pt), "apt")?;
        u8::try_from(apt).ok().filter(|apt| *apt < 128).map(Pt)
    }
}

impl Feedback {
    fn add(&mut self, value: &str) {
        let mut parts = value.split_ascii_whitespace();
        match (parts.next(), parts.next()) {
            (Some("transport-cc"), None) => self.transport_cc = true,
            (Some("goog-remb"), None) => self.remb = true,
            (Some("nack"), None) => self.nack = true,
            (Some("nack"), Some("pli")) => self.pli = true,
            (Some("ccm"), Some("fir")) => self.fir = true,
            _ => {}
        }
    }

    /// What both know.
    pub(in crate::negotiate) const fn and(self, other: Self) -> Self {
        Self {
            transport_cc: self.transport_cc && other.transport_cc,
            remb: self.remb && other.remb,
            nack: self.nack && other.nack,
            pli: self.pli && other.pli,
            fir: self.fir && other.fir,
        }
    }

    fn merge(&mut self, other: Self) {
        self.transport_cc |= other.transport_cc;
        self.remb |= other.remb;
        self.nack |= other.nack;
        self.pli |= other.pli;
        self.fir |= other.fir;
    }
}

fn fmtp_param(fmtp: &str, name: &str) -> Option<u32> {
    fmtp.split(';')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| key.trim() == name)
        .and_then(|(_, value)| value.trim().parse().ok())
}

fn parse_pt(text: &str) -> Option<Pt> {
    text.parse().ok().filter(|pt| *pt < 128).map(Pt)
}

fn at<T: Copy>(table: &[T; PT_COUNT], pt: Pt) -> Option<T> {
    table.get(usize::from(pt.0)).copied()
}

fn pt_slot<'t, T>(table: &'t mut [T; PT_COUNT], pt: &str) -> Option<&'t mut T> {
    parse_pt(pt).and_then(|pt| table.get_mut(usize::from(pt.0)))
}
