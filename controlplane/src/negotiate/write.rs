//! Our descriptions as lines.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use millrace_shared::ids::{Pt, Rid, Ssrc};
use millrace_shared::limits::DATA_MESSAGE_LEN_MAX;
use millrace_shared::link::{Codec, ExtIds, ExtKind, Fingerprint, MediaKind};
use sdp_types::{Attribute, Connection, Media, Origin, Session, Time};

use super::plan::{LocalTransport, SendPlan, SessionLines};
use super::profile::Profile;
use super::remote::{Feedback, is_token_char};

/// Port of an m-line whose candidates say more (RFC 8839 §4.2.1.1: discard).
pub(super) const PORT_DISCARD: u16 = 9;

/// SCTP has one association over a DTLS connection, so its port is a constant (RFC 8841 §5).
const SCTP_PORT: u16 = 5000;

/// RFC 8839 §5.1 and RFC 8445 §5.1.2.1: type preference of a host candidate.
const HOST_TYPE_PREFERENCE: u32 = 126;

/// `a=setup` of our descriptions: the DTLS server answers passive and offers actpass, which clients
/// answer with active.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Offer,
    Answer,
}

/// The part before the first m-line. `mids` are those of the BUNDLE group.
pub(super) fn session(
    lines: &mut SessionLines,
    mids: &[&str],
    ext_mixed: bool,
    medias: Vec<Media>,
) -> String {
    // RFC 8829 §5.2.2: the version grows with each description.
    lines.version += 1;
    let mut attributes = vec![property("ice-lite")];
    // RFC 8838 §4: a peer may trickle its candidates to us. All of ours are here, as
    // `a=end-of-candidates` says, which trickling agents take as well.
    attributes.push(valued("ice-options", "trickle"));
    if ext_mixed {
        // RFC 8285 §6: a dependency descriptor of a key frame outgrows the one-byte form.
        attributes.push(property("extmap-allow-mixed"));
    }
    attributes.push(valued("msid-semantic", "WMS *"));
    if !mids.is_empty() {
        attributes.push(valued("group", format!("BUNDLE {}", mids.join(" "))));
    }
    let description = Session {
        origin: Origin::with_ip_addr(lines.id, lines.version, Ipv4Addr::LOCALHOST),
        session_name: "-".to_owned(),
        session_description: None,
        uri: None,
        emails: Vec::new(),
        phones: Vec::new(),
        connection: None,
        bandwidths: Vec::new(),
        times: vec![Time::new(0, 0)],
        time_zones: Vec::new(),
        key: None,
        attributes,
        medias,
    };
    let mut bytes = Vec::new();
    // Writing to memory does not fail, and sdp-types writes the UTF-8 it was given.
    if description.write(&mut bytes).is_err() {
        return String::new();
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// One m-line under construction.
pub(super) struct SectionWriter {
    media: Media,
    fmt: Vec<String>,
}

impl SectionWriter {
    pub(super) fn new(kind: &str, port: u16, proto: &str, mid: &str) -> Self {
        let media = Media {
            media: kind.to_owned(),
            port,
            num_ports: None,
            proto: proto.to_owned(),
            fmt: String::new(),
            media_title: None,
            connections: vec![Connection::from_ip_addr(Ipv4Addr::UNSPECIFIED)],
            bandwidths: Vec::new(),
            key: None,
            attributes: Vec::new(),
        };
        let mut section = Self {
            media,
            fmt: Vec::new(),
        };
        if !mid.is_empty() {
            section.value("mid", mid);
        }
        section
    }

    pub(super) fn property(&mut self, name: &str) {
        self.media.attributes.push(property(name));
    }

    pub(super) fn value(&mut self, name: &str, value: impl Into<String>) {
        self.media.attributes.push(valued(name, value));
    }

    pub(super) fn fmt(&mut self, fmt: impl Into<String>) {
        self.fmt.push(fmt.into());
    }

    /// Every m-line repeats the transport's attributes: of a BUNDLE group only those of the tagged
    /// one count (RFC 8843 §7.1.3), but old clients look at each. Candidates are given once.
    pub(super) fn transport(&mut self, local: &LocalTransport, role: Role, tagged: bool) {
        self.value("ice-ufrag", local.ice.ufrag.as_str());
        self.value("ice-pwd", local.ice.pwd.as_str());
        self.value("fingerprint", fingerprint(&local.fingerprint));
        self.value(
            "setup",
            match role {
                Role::Offer => "actpass",
                Role::Answer => "passive",
            },
        );
        if !tagged {
            return;
        }
        for (index, address) in local.candidates.iter().enumerate() {
            self.value("candidate", candidate(index, address.ip, address.port));
        }
        self.property("end-of-candidates");
    }

    pub(super) fn rtp_mux(&mut self) {
        self.property("rtcp-mux");
        self.property("rtcp-rsize");
    }

    /// Of an extension that the peer sends only, or receives only, ours is the other half
    /// (RFC 8285 §6).
    pub(super) fn extensions(&mut self, ids: &ExtIds, peer_sends: &ExtIds, peer_receives: &ExtIds) {
        for kind in ExtKind::ALL {
            let Some(id) = ids.id(kind) else {
                continue;
            };
            let way = match (peer_sends.id(kind), peer_receives.id(kind)) {
                (Some(_), None) => "/recvonly",
                (None, Some(_)) => "/sendonly",
                _ => "",
            };
            self.value("extmap", format!("{id}{way} {}", kind.uri()));
        }
    }

    pub(super) fn codec(&mut self, codec: &CodecLines) {
        let pt = codec.pt;
        self.fmt(pt.to_string());
        self.value(
            "rtpmap",
            format!("{pt} {}", super::codec::rtpmap(codec.codec)),
        );
        if !codec.fmtp.is_empty() {
            self.value("fmtp", format!("{pt} {}", codec.fmtp));
        }
        let feedback = [
            (codec.feedback.remb, "goog-remb"),
            (codec.feedback.transport_cc, "transport-cc"),
            (codec.feedback.fir, "ccm fir"),
            (codec.feedback.nack, "nack"),
            (codec.feedback.pli, "nack pli"),
        ];
        for (_, name) in feedback.iter().filter(|(on, _)| *on) {
            self.value("rtcp-fb", format!("{pt} {name}"));
        }
        if let Some(rtx_pt) = codec.rtx_pt {
            let clock_rate_hz = super::codec::clock_rate_hz(codec.codec);
            self.fmt(rtx_pt.to_string());
            self.value("rtpmap", format!("{rtx_pt} rtx/{clock_rate_hz}"));
            self.value("fmtp", format!("{rtx_pt} apt={pt}"));
        }
    }

    /// RFC 8853 §5.3.2: the answer receives what the offer sends, in the offer's order.
    pub(super) fn simulcast(&mut self, rids: &[Rid]) {
        if rids.is_empty() {
            return;
        }
        for rid in rids {
            self.value("rid", format!("{rid} recv"));
        }
        let list: Vec<&str> = rids.iter().map(Rid::as_str).collect();
        self.value("simulcast", format!("recv {}", list.join(";")));
    }

    /// Who is heard on this m-line. The lines per SSRC are older than `a=msid`, and what some
    /// clients still match packets by.
    pub(super) fn source(&mut self, plan: &SendPlan, rtx: bool) {
        let stream = token_or_underscores(&plan.stream_id);
        let track = token_or_underscores(&plan.track_sid);
        self.value("msid", format!("{stream} {track}"));
        let mut ssrcs = vec![plan.ssrc];
        if rtx {
            ssrcs.push(plan.rtx_ssrc);
            self.value("ssrc-group", format!("FID {} {}", plan.ssrc, plan.rtx_ssrc));
        }
        for Ssrc(ssrc) in ssrcs {
            self.value("ssrc", format!("{ssrc} cname:{stream}"));
            self.value("ssrc", format!("{ssrc} msid:{stream} {track}"));
        }
    }

    pub(super) fn data_channels(&mut self) {
        self.fmt("webrtc-datachannel");
        self.value("sctp-port", SCTP_PORT.to_string());
        self.value("max-message-size", DATA_MESSAGE_LEN_MAX.to_string());
    }

    pub(super) fn finish(mut self) -> Media {
        self.media.fmt = self.fmt.join(" ");
        self.media
    }
}

/// The lines of one codec.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CodecLines {
    pub(super) pt: Pt,
    pub(super) rtx_pt: Option<Pt>,
    pub(super) codec: Codec,
    pub(super) fmtp: String,
    pub(super) feedback: Feedback,
}

/// What an `a=fmtp` of Opus says beside what each one says.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct OpusFmtp {
    /// We ask the sender to be silent in silence.
    pub(super) dtx: bool,
    /// We ask for two channels.
    pub(super) stereo: bool,
    /// We send two channels.
    pub(super) sprop_stereo: bool,
}

/// The value of `a=fmtp`. `opus_pt` is what RED wraps.
pub(super) fn fmtp(codec: Codec, profile: Profile, opus: OpusFmtp, opus_pt: Pt) -> String {
    match codec {
        Codec::Opus => {
            let mut text = "minptime=10;useinbandfec=1".to_owned();
            if opus.dtx {
                text.push_str(";usedtx=1");
            }
            if opus.stereo {
                // LiveKit's bitrate, the most that Opus has (RFC 6716 §2.1.1).
                text.push_str(";stereo=1;maxaveragebitrate=510000");
            }
            if opus.sprop_stereo {
                text.push_str(";sprop-stereo=1");
            }
            text
        }
        Codec::Red => format!("{opus_pt}/{opus_pt}"),
        _ => profile.fmtp(),
    }
}

pub(super) const fn media_name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}

/// RFC 8445 §5.1.2.1, component 1; the local preference falls with the place in the list.
fn candidate(index: usize, ip: IpAddr, port: u16) -> String {
    let place = u32::try_from(index).unwrap_or(u32::MAX);
    let local_preference = 65_535_u32.saturating_sub(place);
    let priority = (HOST_TYPE_PREFERENCE << 24) | (local_preference << 8) | 255;
    let foundation = place.saturating_add(1);
    format!("{foundation} 1 udp {priority} {ip} {port} typ host")
}

fn fingerprint(fingerprint: &Fingerprint) -> String {
    let mut text = "sha-256".to_owned();
    for (index, byte) in fingerprint.0.iter().enumerate() {
        let separator = if index == 0 { ' ' } else { ':' };
        // Writing to a String does not fail.
        let _ = write!(text, "{separator}{byte:02X}");
    }
    text
}

/// Stream names are the publisher's free text; a space would end the field (RFC 8830 §2: token).
pub(super) fn token_or_underscores(text: &str) -> String {
    text.chars()
        .map(|c| match u8::try_from(c) {
            Ok(byte) if is_token_char(byte) => c,
            _ => '_',
        })
        .collect()
}

fn property(name: &str) -> Attribute {
    Attribute {
        attribute: name.to_owned(),
        value: None,
    }
}

fn valued(name: &str, value: impl Into<String>) -> Attribute {
    Attribute {
        attribute: name.to_owned(),
        value: Some(value.into()),
    }
}
