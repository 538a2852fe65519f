//! Codec profiles: which bit stream a decoder can decode.

use millrace_shared::link::Codec;
use serde::{Deserialize, Serialize};

/// The part of `a=fmtp` that tells formats of one codec apart. Everything else in it is a wish of
/// the receiver, and ours to state.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Profile {
    /// The codec has none, or the default one.
    Only,
    /// `profile-id` (RFC 9628 §6).
    Vp9 { id: u8 },
    /// `profile-level-id` and `packetization-mode` (RFC 6184 §8.1).
    H264 {
        profile_level_id: [u8; 3],
        packetization_mode: u8,
    },
    /// `profile` (AV1 RTP payload format §7.2.1).
    Av1 { profile: u8 },
    /// `profile-id` and `tier-flag` (RFC 7798 §7.1).
    H265 { id: u8, tier: u8 },
}

/// How well a decoder fits a stream; the better one is greater.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Fit {
    /// Another profile, whose decoders decode this one as well.
    Contains,
    Same,
}

/// Of RFC 6184 table 5, those that WebRTC end points name.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum H264Profile {
    ConstrainedBaseline,
    Baseline,
    Main,
    ConstrainedHigh,
    High,
}

impl Profile {
    /// Reads the parameters of `a=fmtp`. A value out of bounds is as one absent: the default holds.
    pub(super) fn parse(codec: Codec, fmtp: &str) -> Self {
        let param = |key: &str| {
            fmtp.split(';').find_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                name.trim().eq_ignore_ascii_case(key).then(|| value.trim())
            })
        };
        let small = |key: &str, max: u8, default: u8| {
            param(key)
                .and_then(|value| value.parse::<u8>().ok())
                .filter(|value| *value <= max)
                .unwrap_or(default)
        };
        match codec {
            Codec::Vp9 => Self::Vp9 {
                id: small("profile-id", 3, 0),
            },
            Codec::Av1 => Self::Av1 {
                profile: small("profile", 2, 0),
            },
            Codec::H265 => Self::H265 {
                id: small("profile-id", 31, 1),
                tier: small("tier-flag", 1, 0),
            },
            Codec::H264 => Self::H264 {
                profile_level_id: param("profile-level-id")
                    .and_then(parse_profile_level_id)
                    // RFC 6184 §8.1: absent means Baseline, level 1.
                    .unwrap_or([0x42, 0x00, 0x0a]),
                // RFC 6184 §8.1: absent means single NAL unit mode.
                packetization_mode: small("packetization-mode", 2, 0),
            },
            Codec::Opus | Codec::Red | Codec::Pcmu | Codec::Pcma | Codec::Vp8 => Self::Only,
        }
    }

    /// The parameters of `a=fmtp` that state this profile; empty where the default says it.
    pub(super) fn fmtp(self) -> String {
        match self {
            Self::Only | Self::Av1 { profile: 0 } | Self::H265 { id: 1, tier: 0 } => String::new(),
            Self::Vp9 { id } => format!("profile-id={id}"),
            Self::Av1 { profile } => format!("profile={profile}"),
            Self::H265 { id, tier } => format!("profile-id={id};tier-flag={tier}"),
            Self::H264 {
                profile_level_id: [idc, iop, level],
                packetization_mode,
            } => format!(
                "level-asymmetry-allowed=1;packetization-mode={packetization_mode};\
                 profile-level-id={idc:02x}{iop:02x}{level:02x}"
            ),
        }
    }

    /// Whether a decoder of this profile decodes a stream of profile `stream`.
    pub(super) fn decodes(self, stream: Self) -> Option<Fit> {
        match (self, stream) {
            (
                Self::H264 {
                    profile_level_id: mine,
                    packetization_mode: my_mode,
                },
                Self::H264 {
                    profile_level_id: theirs,
                    packetization_mode: their_mode,
                },
            ) => {
                let mode = h264_mode_fit(my_mode, their_mode)?;
                let profile = h264_profile_fit(h264_profile(mine)?, h264_profile(theirs)?)?;
                Some(mode.min(profile))
            }
            (mine, theirs) => (mine == theirs).then_some(Fit::Same),
        }
    }

    /// Smaller is what more receivers decode. Publishers send the first format of an answer.
    pub(super) fn rank(self) -> (u8, u8) {
        match self {
            Self::Only => (0, 0),
            Self::Vp9 { id } => (id, 0),
            Self::Av1 { profile } => (profile, 0),
            Self::H265 { id, tier } => (id, tier),
            Self::H264 {
                profile_level_id,
                packetization_mode,
            } => (
                h264_profile(profile_level_id).map_or(u8::MAX, |profile| profile as u8),
                // Mode 1 lets a picture span packets; mode 0 limits it to one packet a slice.
                u8::from(packetization_mode != 1),
            ),
        }
    }

    /// False for an H.264 profile we know nothing of, which could be mapped to nobody.
    pub(super) fn is_known(self) -> bool {
        match self {
            Self::H264 {
                profile_level_id, ..
            } => h264_profile(profile_level_id).is_some(),
            _ => true,
        }
    }
}

fn parse_profile_level_id(text: &str) -> Option<[u8; 3]> {
    if text.len() != 6 || !text.is_ascii() {
        return None;
    }
    let value = u32::from_str_radix(text, 16).ok()?;
    let [_, idc, iop, level] = value.to_be_bytes();
    Some([idc, iop, level])
}

/// RFC 6184 §8.1 table 5: profile_idc and the constraint flags, most significant bit first.
pub(super) fn h264_profile([idc, iop, _level]: [u8; 3]) -> Option<H264Profile> {
    let constrained = |mask: u8| iop & mask == mask;
    match idc {
        0x42 if constrained(0x40) => Some(H264Profile::ConstrainedBaseline),
        0x4d if constrained(0x80) => Some(H264Profile::ConstrainedBaseline),
        0x58 if constrained(0xc0) => Some(H264Profile::ConstrainedBaseline),
        0x42 => Some(H264Profile::Baseline),
        0x58 if constrained(0x80) => Some(H264Profile::Baseline),
        0x4d => Some(H264Profile::Main),
        0x64 if constrained(0x0c) => Some(H264Profile::ConstrainedHigh),
        0x64 => Some(H264Profile::High),
        _ => None,
    }
}

/// RFC 6184 §6.2: the modes are no subsets for negotiation (§8.2.2), but a receiver of mode 1 takes
/// every packet of mode 0.
fn h264_mode_fit(decoder: u8, stream: u8) -> Option<Fit> {
    match (decoder, stream) {
        (mine, theirs) if mine == theirs => Some(Fit::Same),
        (1, 0) => Some(Fit::Contains),
        _ => None,
    }
}

/// H.264 annex A.2: what a decoder of one profile decodes of another. Baseline streams of WebRTC
/// encoders use no tool that Constrained Baseline lacks (no slice groups, no redundant slices), so
/// that the two stand for each other.
fn h264_profile_fit(decoder: H264Profile, stream: H264Profile) -> Option<Fit> {
    use H264Profile::{Baseline, ConstrainedBaseline, ConstrainedHigh, High, Main};
    if decoder == stream {
        return Some(Fit::Same);
    }
    let contains = match stream {
        ConstrainedBaseline | Baseline => true,
        Main => matches!(decoder, High),
        ConstrainedHigh => matches!(decoder, High),
        High => false,
    };
    contains.then_some(Fit::Contains)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn h264(profile_level_id: &str, mode: u8) -> Profile {
        Profile::parse(
            Codec::H264,
            &format!("profile-level-id={profile_level_id};packetization-mode={mode}"),
        )
    }

    #[test]
    fn profiles_of_table_5() {
        let of = |text| h264_profile(parse_profile_level_id(text).unwrap());
        assert_eq!(of("42e01f"), Some(H264Profile::ConstrainedBaseline));
        assert_eq!(of("42c01f"), Some(H264Profile::ConstrainedBaseline));
        assert_eq!(of("42001f"), Some(H264Profile::Baseline));
        assert_eq!(of("4d001f"), Some(H264Profile::Main));
        assert_eq!(of("4de01f"), Some(H264Profile::ConstrainedBaseline));
        assert_eq!(of("640c1f"), Some(H264Profile::ConstrainedHigh));
        assert_eq!(of("640032"), Some(H264Profile::High));
        assert_eq!(of("7a001f"), None);
    }

    #[test]
    fn level_does_not_matter_mode_and_profile_do() {
        assert_eq!(
            h264("42e01f", 1).decodes(h264("42e034", 1)),
            Some(Fit::Same)
        );
        assert_eq!(h264("42e01f", 0).decodes(h264("42e01f", 1)), None);
        assert_eq!(
            h264("42e01f", 1).decodes(h264("42e01f", 0)),
            Some(Fit::Contains)
        );
        assert_eq!(
            h264("640032", 1).decodes(h264("42e01f", 1)),
            Some(Fit::Contains)
        );
        assert_eq!(h264("42e01f", 1).decodes(h264("640032", 1)), None);
    }

    #[test]
    fn nonsense_means_the_default() {
        assert_eq!(
            Profile::parse(
                Codec::H264,
                "profile-level-id=zz0000;;=;packetization-mode=9"
            ),
            Profile::parse(Codec::H264, "")
        );
        assert_eq!(
            Profile::parse(Codec::Vp9, "profile-id=200"),
            Profile::Vp9 { id: 0 }
        );
    }

    #[test]
    fn constrained_baseline_with_mode_1_ranks_first() {
        let mut formats = [
            h264("640032", 1),
            h264("42001f", 1),
            h264("42e01f", 0),
            h264("42e01f", 1),
        ];
        formats.sort_by_key(|format| format.rank());
        assert_eq!(formats[0], h264("42e01f", 1));
        assert_eq!(formats[3], h264("640032", 1));
    }
}
