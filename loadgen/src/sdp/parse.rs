use std::net::{IpAddr, SocketAddr};

use millrace_shared::link::{Fingerprint, IceCredentials};
use thiserror::Error;

#[derive(Copy, Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum SdpError {
    #[error("the description has no ice-ufrag and ice-pwd")]
    Credentials,
    #[error("the description has no SHA-256 fingerprint")]
    Fingerprint,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum SectionKind {
    Audio,
    Video,
    Application,
}

impl SectionKind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Application => "application",
        }
    }
}

#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Direction {
    /// RFC 8866 §6.7: what is meant when none is named.
    #[default]
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

/// A payload type with what is said of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CodecLine {
    pub pt: u8,
    /// In lower case.
    pub name: String,
    pub clock_rate: u32,
    /// What follows the clock rate: the channels of Opus.
    pub channels: Option<String>,
    pub fmtp: Option<String>,
    pub feedback: Vec<String>,
}

impl CodecLine {
    /// The payload type that an RTX one repairs (RFC 4588 §8.6).
    pub fn repaired_pt(&self) -> Option<u8> {
        if self.name != "rtx" {
            return None;
        }
        let apt = self.fmtp.as_deref()?.strip_prefix("apt=")?;
        apt.split(';').next()?.trim().parse().ok()
    }
}

/// An m-line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Section {
    pub kind: SectionKind,
    /// Port 0: refused or ended (RFC 8829 §5.2.2).
    pub rejected: bool,
    pub mid: String,
    pub direction: Direction,
    pub codecs: Vec<CodecLine>,
    /// Identifier and URI of each header extension.
    pub exts: Vec<(u8, String)>,
    pub ssrcs: Vec<u32>,
    /// Media SSRC and the one that repairs it (RFC 4588 §9).
    pub repairs: Vec<(u32, u32)>,
    /// The track id of the msid.
    pub track: Option<String>,
    /// The protocol and formats as they stood, to be repeated for what we do not read.
    pub(super) protocol: String,
    pub(super) formats: String,
}

/// A candidate of a protocol and form that we use.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    pub addr: SocketAddr,
    pub priority: u32,
}

impl Candidate {
    /// Reads `candidate:...`, with or without `a=` before it; `None` for one that is not UDP, or
    /// whose address is a name.
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.strip_prefix("a=").unwrap_or(line);
        let mut words = line.strip_prefix("candidate:")?.split_ascii_whitespace();
        let _foundation = words.next()?;
        // Components other than 1 carry RTCP without rtcp-mux.
        if words.next()? != "1" || !words.next()?.eq_ignore_ascii_case("udp") {
            return None;
        }
        let priority = words.next()?.parse().ok()?;
        let ip: IpAddr = words.next()?.parse().ok()?;
        let port = words.next()?.parse().ok()?;
        Some(Self {
            addr: SocketAddr::new(ip, port),
            priority,
        })
    }
}

/// What a server's description says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    pub ice: IceCredentials,
    pub ice_lite: bool,
    /// The server takes the client's part in DTLS (RFC 8842 §5.3), as pion does in its answers.
    pub dtls_active: bool,
    pub fingerprint: Fingerprint,
    pub candidates: Vec<Candidate>,
    pub sections: Vec<Section>,
}

impl Description {
    pub fn parse(sdp: &str) -> Result<Self, SdpError> {
        let mut parsed = Parsed::default();
        for line in sdp.lines() {
            parsed.line(line.trim_end());
        }
        let credentials = parsed.ufrag.zip(parsed.pwd);
        let (ufrag, pwd) = credentials.ok_or(SdpError::Credentials)?;
        Ok(Self {
            ice: IceCredentials { ufrag, pwd },
            ice_lite: parsed.ice_lite,
            dtls_active: parsed.dtls_active,
            fingerprint: parsed.fingerprint.ok_or(SdpError::Fingerprint)?,
            candidates: parsed.candidates,
            sections: parsed.sections,
        })
    }

    pub fn has_data_channels(&self) -> bool {
        self.sections
            .iter()
            .any(|it| it.kind == SectionKind::Application && !it.rejected)
    }
}

/// With BUNDLE all sections share one transport: the first to name something names it for all.
#[derive(Default)]
struct Parsed {
    ufrag: Option<String>,
    pwd: Option<String>,
    ice_lite: bool,
    dtls_active: bool,
    fingerprint: Option<Fingerprint>,
    candidates: Vec<Candidate>,
    sections: Vec<Section>,
}

impl Parsed {
    fn line(&mut self, line: &str) {
        if let Some(media) = line.strip_prefix("m=") {
            self.sections.extend(section(media));
        } else if let Some(attribute) = line.strip_prefix("a=") {
            let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
            self.transport_attribute(name, value, attribute);
            if let Some(section) = self.sections.last_mut() {
                section.attribute(name, value);
            }
        }
    }

    fn transport_attribute(&mut self, name: &str, value: &str, attribute: &str) {
        match name {
            "ice-lite" => self.ice_lite = true,
            "setup" => self.dtls_active |= value == "active",
            "ice-ufrag" => drop(self.ufrag.get_or_insert_with(|| value.to_owned())),
            "ice-pwd" => drop(self.pwd.get_or_insert_with(|| value.to_owned())),
            "fingerprint" if self.fingerprint.is_none() => self.fingerprint = fingerprint(value),
            "candidate" => {
                let found = Candidate::parse(attribute);
                self.candidates
                    .extend(found.filter(|it| !self.candidates.contains(it)));
            }
            _ => {}
        }
    }
}

fn section(media: &str) -> Option<Section> {
    let mut words = media.splitn(4, ' ');
    let kind = match words.next()? {
        "audio" => SectionKind::Audio,
        "video" => SectionKind::Video,
        "application" => SectionKind::Application,
        _ => return None,
    };
    let port = words.next()?;
    let protocol = words.next()?.to_owned();
    let formats = words.next()?.to_owned();
    let codecs = formats.split(' ').filter_map(|pt| pt.parse().ok());
    let codecs = codecs.map(|pt| CodecLine {
        pt,
        ..CodecLine::default()
    });
    Some(Section {
        kind,
        rejected: port == "0",
        mid: String::new(),
        direction: Direction::default(),
        codecs: codecs.collect(),
        exts: Vec::new(),
        ssrcs: Vec::new(),
        repairs: Vec::new(),
        track: None,
        protocol,
        formats,
    })
}

impl Section {
    fn attribute(&mut self, name: &str, value: &str) {
        match name {
            "mid" => value.clone_into(&mut self.mid),
            "sendrecv" => self.direction = Direction::SendRecv,
            "sendonly" => self.direction = Direction::SendOnly,
            "recvonly" => self.direction = Direction::RecvOnly,
            "inactive" => self.direction = Direction::Inactive,
            "rtpmap" => drop(self.rtpmap(value)),
            "fmtp" => {
                if let Some((codec, rest)) = self.codec(value) {
                    codec.fmtp = Some(rest.to_owned());
                }
            }
            "rtcp-fb" => {
                if let Some((codec, rest)) = self.codec(value) {
                    codec.feedback.push(rest.to_owned());
                }
            }
            "extmap" => drop(self.extmap(value)),
            "msid" => self.track = value.split(' ').nth(1).map(str::to_owned),
            "ssrc" => {
                let ssrc = value.split(' ').next().and_then(|it| it.parse().ok());
                self.ssrcs
                    .extend(ssrc.filter(|it| !self.ssrcs.contains(it)));
            }
            "ssrc-group" => drop(self.ssrc_group(value)),
            _ => {}
        }
    }

    /// The payload type that `value` begins with, and the rest of it.
    fn codec<'a>(&mut self, value: &'a str) -> Option<(&mut CodecLine, &'a str)> {
        let (pt, rest) = value.split_once(' ')?;
        let pt: u8 = pt.parse().ok()?;
        let codec = self.codecs.iter_mut().find(|codec| codec.pt == pt)?;
        Some((codec, rest))
    }

    fn rtpmap(&mut self, value: &str) -> Option<()> {
        let (codec, encoding) = self.codec(value)?;
        let mut parts = encoding.split('/');
        codec.name = parts.next()?.to_ascii_lowercase();
        codec.clock_rate = parts.next()?.parse().ok()?;
        codec.channels = parts.next().map(str::to_owned);
        Some(())
    }

    fn extmap(&mut self, value: &str) -> Option<()> {
        let mut words = value.split(' ');
        // RFC 8285 §8: a direction may follow the identifier.
        let id = words.next()?.split('/').next()?.parse().ok()?;
        self.exts.push((id, words.next()?.to_owned()));
        Some(())
    }

    fn ssrc_group(&mut self, value: &str) -> Option<()> {
        let mut words = value.split(' ');
        if words.next()? != "FID" {
            return None;
        }
        let media = words.next()?.parse().ok()?;
        self.repairs.push((media, words.next()?.parse().ok()?));
        Some(())
    }
}

fn fingerprint(value: &str) -> Option<Fingerprint> {
    let (hash, digest) = value.split_once(' ')?;
    if !hash.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let mut bytes = [0; 32];
    let mut parts = digest.trim().split(':');
    for byte in &mut bytes {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(Fingerprint(bytes))
}
