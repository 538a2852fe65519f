//! Tracks as the control plane negotiated them.

use serde::{Deserialize, Serialize};

use crate::ids::{DownTrackId, Mid, Pt, Rid, Ssrc, TrackId};

#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum MediaKind {
    Audio,
    Video,
}

/// What the data plane must know of a codec to find key frames and rewrite descriptors. Profiles
/// are negotiation's affair.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Codec {
    Opus,
    /// Opus with redundancy (RFC 2198), passed through.
    Red,
    Pcmu,
    Pcma,
    Vp8,
    Vp9,
    H264,
    Av1,
    H265,
}

impl Codec {
    pub const fn kind(self) -> MediaKind {
        match self {
            Self::Opus | Self::Red | Self::Pcmu | Self::Pcma => MediaKind::Audio,
            Self::Vp8 | Self::Vp9 | Self::H264 | Self::Av1 | Self::H265 => MediaKind::Video,
        }
    }
}

/// RTP header extensions that the data plane reads, writes or carries through.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum ExtKind {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid` (RFC 8843)
    Mid,
    /// `urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id` (RFC 8852)
    Rid,
    /// `urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id` (RFC 8852)
    RepairedRid,
    /// `http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01`
    TransportCc,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time`
    AbsSendTime,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level` (RFC 6464)
    AudioLevel,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time`
    AbsCaptureTime,
    /// `https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension`
    DependencyDescriptor,
    /// `urn:3gpp:video-orientation`
    VideoOrientation,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/playout-delay`
    PlayoutDelay,
}

impl ExtKind {
    pub const COUNT: usize = 10;
    pub const ALL: [Self; Self::COUNT] = [
        Self::Mid,
        Self::Rid,
        Self::RepairedRid,
        Self::TransportCc,
        Self::AbsSendTime,
        Self::AudioLevel,
        Self::AbsCaptureTime,
        Self::DependencyDescriptor,
        Self::VideoOrientation,
        Self::PlayoutDelay,
    ];

    pub const fn uri(self) -> &'static str {
        match self {
            Self::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Self::Rid => "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            Self::RepairedRid => "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
            Self::TransportCc => {
                "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
            }
            Self::AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Self::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Self::AbsCaptureTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
            Self::DependencyDescriptor => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
            Self::VideoOrientation => "urn:3gpp:video-orientation",
            Self::PlayoutDelay => "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
        }
    }

    pub fn from_uri(uri: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.uri() == uri)
    }
}

/// The negotiated id of each extension; ids are 1..=14 (one-byte form, RFC 8285 §4.2).
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "[u8; ExtKind::COUNT]")]
pub struct ExtIds([u8; ExtKind::COUNT]);

#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an extension's id is above 14")]
pub struct ExtIdOutOfRange;

impl TryFrom<[u8; ExtKind::COUNT]> for ExtIds {
    type Error = ExtIdOutOfRange;

    fn try_from(ids: [u8; ExtKind::COUNT]) -> Result<Self, ExtIdOutOfRange> {
        if ids.iter().all(|id| *id <= 14) {
            Ok(Self(ids))
        } else {
            Err(ExtIdOutOfRange)
        }
    }
}

impl ExtIds {
    /// The id negotiated for `kind`, if any.
    pub const fn id(&self, kind: ExtKind) -> Option<u8> {
        match self.0[kind as usize] {
            0 => None,
            id => Some(id),
        }
    }

    /// The extension that `id` stands for, if any.
    pub fn kind(&self, id: u8) -> Option<ExtKind> {
        ExtKind::ALL
            .into_iter()
            .find(|kind| id != 0 && self.0[*kind as usize] == id)
    }

    /// Ids outside 1..=14 are ignored: 0 is padding, 15 is reserved (RFC 8285 §4.2).
    pub fn set(&mut self, kind: ExtKind, id: u8) {
        if (1..=14).contains(&id) {
            self.0[kind as usize] = id;
        }
    }

    /// Adds every id of `other`; an id it already has stays.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            if *mine == 0 {
                *mine = theirs;
            }
        }
    }
}

/// A payload type that a publisher may send.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UpCodec {
    pub pt: Pt,
    pub codec: Codec,
    pub clock_rate_hz: u32,
    /// Payload type of its retransmissions (RFC 4588).
    pub rtx_pt: Option<Pt>,
}

/// One simulcast encoding, or the only one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Encoding {
    /// Absent when the track is not simulcast.
    pub rid: Option<Rid>,
    /// Spatial layer it stands for, 0 is the smallest.
    pub spatial: u8,
    /// Present when the SDP named them; otherwise learned from MID and RID.
    pub ssrc: Option<Ssrc>,
    pub rtx_ssrc: Option<Ssrc>,
}

/// A published track as negotiated with its publisher.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UpTrackConfig {
    pub track: TrackId,
    pub mid: Mid,
    pub kind: MediaKind,
    pub codecs: Vec<UpCodec>,
    /// At most [`crate::limits::SPATIAL_LAYERS_MAX`], by ascending `spatial`.
    pub encodings: Vec<Encoding>,
    /// `a=rtcp-fb nack` was negotiated: missing packets are asked for.
    pub nack: bool,
    /// No key frame is asked for more often than this, per encoding (LiveKit `pli_throttle`).
    pub pli_interval_ms: [u32; crate::limits::SPATIAL_LAYERS_MAX],
}

/// How a publisher's RED reaches a subscriber.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RedMapping {
    /// The subscriber has no RED, as Firefox: only the primary block is sent.
    Unwrap,
    /// The subscriber's payload type for what the blocks contain.
    Blocks(Pt),
}

/// Payload type of the publisher to payload type of the subscriber.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PtMapping {
    pub up: Pt,
    pub down: Pt,
    /// Payload type of retransmissions to the subscriber.
    pub down_rtx: Option<Pt>,
    /// What happens to RED (RFC 2198); absent for every other payload.
    pub red: Option<RedMapping>,
}

/// Highest layer a subscriber may get. Both count from 0; more than exists means the best one.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Layer {
    pub spatial: u8,
    pub temporal: u8,
}

impl Layer {
    pub const BEST: Self = Self {
        spatial: 2,
        temporal: 3,
    };
}

/// One subscriber's copy of a track, as negotiated with the subscriber.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DownTrackConfig {
    pub down: DownTrackId,
    pub track: TrackId,
    pub kind: MediaKind,
    pub mid: Mid,
    /// Canonical name of the publisher towards this subscriber (RFC 3550 §6.5.1), as the
    /// description says it.
    pub cname: String,
    /// Never used before on this transport: under one SRTP key a stream that starts anew must not
    /// repeat packet indices (RFC 3711 §9.1).
    pub ssrc: Ssrc,
    /// Absent where the subscriber did not accept RTX (audio, or no rtx codec).
    pub rtx_ssrc: Option<Ssrc>,
    pub pts: Vec<PtMapping>,
    /// Extensions the subscriber accepted on this m-line.
    pub ext_ids: ExtIds,
    /// `a=rtcp-fb nack` was negotiated.
    pub nack: bool,
    /// Highest layer the subscriber wants.
    pub max_layer: Layer,
    /// The subscriber wants nothing for now (hidden element, `disabled`).
    pub paused: bool,
}
