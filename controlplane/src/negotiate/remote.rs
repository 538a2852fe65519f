//! A peer's session description, read once into what it means to us.
//!
//! Candidates are not read: a lite agent sends no checks (RFC 8445 §2.5), it learns a peer's
//! addresses from the checks it receives.
#![deny(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap
)]

mod media;

use std::collections::HashSet;

use millrace_shared::ids::{Mid, Pt, Rid, Ssrc, TOKEN_LEN_MAX, TransportId};
use millrace_shared::limits::{SDP_LEN_MAX, SDP_SECTIONS_MAX};
use millrace_shared::link::{Codec, ExtIds, Fingerprint, IceCredentials, MediaKind, SetRemote};
use sdp_types::{Attribute, Session};

use super::error::SdpError;
use super::profile::Profile;

/// Kind of an m-line.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Section {
    Audio,
    Video,
    /// Data channels (RFC 8841).
    Application,
}

impl Section {
    pub const fn media(self) -> Option<MediaKind> {
        match self {
            Self::Audio => Some(MediaKind::Audio),
            Self::Video => Some(MediaKind::Video),
            Self::Application => None,
        }
    }
}

/// As the peer sees it (RFC 8866 §6.7).
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// RFC 4145 §4, RFC 8842.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Setup {
    Active,
    Passive,
    ActPass,
}

/// The `a=rtcp-fb` of a payload type that we know (RFC 4585, RFC 5104).
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Feedback {
    pub transport_cc: bool,
    pub remb: bool,
    pub nack: bool,
    pub pli: bool,
    pub fir: bool,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct RemoteCodec {
    pub pt: Pt,
    pub codec: Codec,
    pub profile: Profile,
    /// Payload type of its retransmissions (RFC 4588 §8.6, `apt`).
    pub rtx_pt: Option<Pt>,
    pub feedback: Feedback,
    /// `x-google-start-bitrate`, which LiveKit's client writes into its offer. libwebrtc heeds it
    /// in the answer.
    pub start_bitrate_kbps: Option<u32>,
}

/// `a=msid` (RFC 8830).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Msid {
    pub stream: String,
    /// Empty if absent.
    pub track: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemoteMedia {
    /// Empty only if rejected.
    pub mid: Mid,
    pub kind: Section,
    pub direction: Direction,
    /// Port 0 without `a=bundle-only`, or of a kind or transport we do not speak.
    pub rejected: bool,
    /// In the same BUNDLE group as the first m-line of it.
    pub bundled: bool,
    /// Absent also where the stream is `-` and there is no track.
    pub msid: Option<Msid>,
    /// In the order of the m-line; formats we cannot forward are left out.
    pub codecs: Vec<RemoteCodec>,
    /// Header extensions that the peer may send, and that it can receive: `a=extmap` may have a
    /// direction (RFC 8285 §5).
    pub send_ext_ids: ExtIds,
    pub receive_ext_ids: ExtIds,
    /// Two forms of header extensions may be mixed (RFC 8285 §6).
    pub ext_mixed: bool,
    /// Simulcast encodings that the peer sends, in its order (RFC 8853); empty without simulcast.
    pub send_rids: Vec<Rid>,
    /// In the order of their first line, those of retransmissions included.
    pub ssrcs: Vec<Ssrc>,
    /// `a=ssrc-group:FID`: a source and that of its retransmissions (RFC 5576 §4.2).
    pub rtx_ssrcs: Vec<(Ssrc, Ssrc)>,
    /// `a=ssrc-group:SIM`: simulcast without rids, lowest first.
    pub sim_ssrcs: Vec<Ssrc>,
    pub sctp_port: Option<u16>,
    pub max_message_size: Option<u64>,
    /// Of the m-line itself, to be repeated in an answer.
    pub(super) proto: String,
    pub(super) fmt: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemoteDescription {
    pub ice: IceCredentials,
    pub fingerprint: Fingerprint,
    pub setup: Setup,
    pub ice_lite: bool,
    /// As in [`RemoteMedia`], for all m-lines.
    pub ext_mixed: bool,
    /// There is a BUNDLE group.
    pub grouped: bool,
    pub media: Vec<RemoteMedia>,
}

impl RemoteDescription {
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        if text.len() > SDP_LEN_MAX {
            return Err(SdpError::TooLong);
        }
        // Counted before anything is kept of them.
        let sections = text.lines().filter(|line| line.starts_with("m="));
        if sections.count() > SDP_SECTIONS_MAX {
            return Err(SdpError::TooManySections);
        }
        let session =
            Session::parse(text.as_bytes()).map_err(|error| SdpError::Syntax(error.to_string()))?;
        let groups: Vec<Vec<&str>> = values(&session.attributes, "group")
            .filter_map(|value| value.strip_prefix("BUNDLE"))
            .map(|mids| mids.split_whitespace().collect())
            .collect();
        let session_direction = direction(&session.attributes).unwrap_or(Direction::SendRecv);
        let mut media = Vec::with_capacity(session.medias.len());
        let mut mids = HashSet::new();
        for section in &session.medias {
            let read = media::parse(section, session_direction)?;
            if !read.mid.is_empty() && !mids.insert(read.mid) {
                return Err(SdpError::DuplicateMid(read.mid.to_string()));
            }
            media.push(read);
        }
        let tagged = mark_bundled(&mut media, &groups);
        let own: &[Attribute] = session
            .medias
            .get(tagged)
            .map_or(&[], |section| &section.attributes);
        // A value in the m-line precedes one of the session (RFC 8839 §5.4, RFC 8122 §5).
        let transport = [own, session.attributes.as_slice()];
        Ok(Self {
            ice: ice_credentials(transport)?,
            fingerprint: fingerprint(transport)?,
            setup: setup(transport)?,
            ice_lite: has(&session.attributes, "ice-lite"),
            ext_mixed: has(&session.attributes, "extmap-allow-mixed"),
            grouped: groups.iter().any(|group| !group.is_empty()),
            media,
        })
    }

    /// Header extensions the peer may send. RFC 8843 §9.1: an id means the same on every m-line.
    pub fn receive_ext_ids(&self) -> ExtIds {
        let mut all = ExtIds::default();
        for media in &self.media {
            all.merge(&media.send_ext_ids);
        }
        all
    }

    pub fn set_remote(&self, transport: TransportId) -> SetRemote {
        SetRemote {
            transport,
            ice: self.ice.clone(),
            fingerprint: self.fingerprint,
            receive_ext_ids: self.receive_ext_ids(),
        }
    }

    pub fn media_by_mid(&self, mid: &Mid) -> Option<&RemoteMedia> {
        self.media.iter().find(|media| media.mid == *mid)
    }
}

/// Marks the m-lines that share the transport we serve, and returns the index of the tagged one,
/// whose transport attributes count (RFC 8843 §7.2.1): the first of the first BUNDLE group, or a
/// lone m-line.
fn mark_bundled(media: &mut [RemoteMedia], groups: &[Vec<&str>]) -> usize {
    let group = groups.iter().find(|group| !group.is_empty());
    let Some(group) = group else {
        if let Some(first) = media.first_mut() {
            first.bundled = true;
        }
        return 0;
    };
    let members: HashSet<&str> = group.iter().copied().collect();
    for media in media.iter_mut() {
        media.bundled = members.contains(media.mid.as_str());
    }
    group
        .first()
        .and_then(|mid| media.iter().position(|media| media.mid.as_str() == *mid))
        .unwrap_or(0)
}

fn values<'a>(attributes: &'a [Attribute], name: &'a str) -> impl Iterator<Item = &'a str> {
    attributes
        .iter()
        .filter(move |attribute| attribute.attribute == name)
        .map(|attribute| attribute.value.as_deref().unwrap_or("").trim())
}

fn has(attributes: &[Attribute], name: &str) -> bool {
    attributes
        .iter()
        .any(|attribute| attribute.attribute == name)
}

fn direction(attributes: &[Attribute]) -> Option<Direction> {
    attributes
        .iter()
        .find_map(|attribute| match attribute.attribute.as_str() {
            "sendrecv" => Some(Direction::SendRecv),
            "sendonly" => Some(Direction::SendOnly),
            "recvonly" => Some(Direction::RecvOnly),
            "inactive" => Some(Direction::Inactive),
            _ => None,
        })
}

fn ice_credentials(transport: [&[Attribute]; 2]) -> Result<IceCredentials, SdpError> {
    let find = |name| transport.into_iter().find_map(|of| values(of, name).next());
    let legal = |text: &str, min: usize| {
        // RFC 8839 §5.4: ice-char, 4 to 256 and 22 to 256 of them.
        (min..=256).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
    };
    match (find("ice-ufrag"), find("ice-pwd")) {
        (Some(ufrag), Some(pwd)) if legal(ufrag, 4) && legal(pwd, 22) => Ok(IceCredentials {
            ufrag: ufrag.to_owned(),
            pwd: pwd.to_owned(),
        }),
        _ => Err(SdpError::IceCredentials),
    }
}

fn fingerprint(transport: [&[Attribute]; 2]) -> Result<Fingerprint, SdpError> {
    transport
        .into_iter()
        .flat_map(|of| values(of, "fingerprint"))
        .find_map(parse_fingerprint)
        .ok_or(SdpError::Fingerprint)
}

/// `sha-256 AB:CD:..`, 32 bytes (RFC 8122 §5).
fn parse_fingerprint(value: &str) -> Option<Fingerprint> {
    let (hash, hex) = value.split_once(' ')?;
    if !hash.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let mut bytes = [0_u8; 32];
    let mut parts = hex.trim().split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(Fingerprint(bytes))
}

fn setup(transport: [&[Attribute]; 2]) -> Result<Setup, SdpError> {
    match transport
        .into_iter()
        .find_map(|of| values(of, "setup").next())
    {
        Some("active") => Ok(Setup::Active),
        Some("actpass") => Ok(Setup::ActPass),
        Some("passive") => Ok(Setup::Passive),
        // RFC 8842 §5.2: an offer has to say actpass. Nobody sends `holdconn` any more.
        _ => Err(SdpError::DtlsRole),
    }
}

/// RFC 8866 §9: token-char. What is not one would change the meaning of a line we write it into.
pub(super) fn is_token_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&byte)
}

/// A mid or rid, if it is one that a header extension can carry.
fn token(text: &str) -> Option<Mid> {
    let legal = !text.is_empty() && text.len() <= TOKEN_LEN_MAX && text.bytes().all(is_token_char);
    legal.then(|| Mid::from(text).ok()).flatten()
}
