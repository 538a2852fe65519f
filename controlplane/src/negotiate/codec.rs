//! Codecs by name, and the payload types we give them in our own offers.

use millrace_shared::ids::Pt;
use millrace_shared::link::{Codec, MediaKind, UpCodec};
use serde::{Deserialize, Serialize};

use super::profile::Profile;

/// A payload type that a publisher may send, as its answer settled it. Of a track's list the first
/// is what the publisher sends; Opus follows RED, which wraps it.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PublishedCodec {
    pub up: UpCodec,
    pub profile: Profile,
}

struct Name {
    codec: Codec,
    /// As LiveKit writes it. Compared without case (RFC 8866 §6.6).
    mime: &'static str,
    clock_rate_hz: u32,
    channels: u8,
}

const fn name(codec: Codec, mime: &'static str, clock_rate_hz: u32, channels: u8) -> Name {
    Name {
        codec,
        mime,
        clock_rate_hz,
        channels,
    }
}

const NAMES: [Name; 9] = [
    name(Codec::Opus, "audio/opus", 48_000, 2),
    name(Codec::Red, "audio/red", 48_000, 2),
    name(Codec::Pcmu, "audio/PCMU", 8_000, 1),
    name(Codec::Pcma, "audio/PCMA", 8_000, 1),
    name(Codec::Vp8, "video/VP8", 90_000, 1),
    name(Codec::Vp9, "video/VP9", 90_000, 1),
    name(Codec::H264, "video/H264", 90_000, 1),
    name(Codec::Av1, "video/AV1", 90_000, 1),
    name(Codec::H265, "video/H265", 90_000, 1),
];

fn name_of(codec: Codec) -> &'static Name {
    // The table names every codec; its first row only satisfies the type.
    NAMES
        .iter()
        .find(|name| name.codec == codec)
        .unwrap_or(&NAMES[0])
}

/// `video/VP8` and so on, as LiveKit's TrackInfo has it.
pub fn mime_of_codec(codec: Codec) -> &'static str {
    name_of(codec).mime
}

/// The codec of a MIME type, in any case; none for what we cannot forward.
pub fn codec_of_mime(mime: &str) -> Option<Codec> {
    NAMES
        .iter()
        .find(|name| name.mime.eq_ignore_ascii_case(mime.trim()))
        .map(|name| name.codec)
}

/// Reads the value of `a=rtpmap` after the payload type, `opus/48000/2`.
pub(super) fn codec_of_rtpmap(kind: MediaKind, value: &str) -> Option<Codec> {
    let mut parts = value.trim().split('/');
    let encoding = parts.next()?;
    let clock_rate_hz = parts.next()?.trim().parse::<u32>().ok()?;
    let channels = match parts.next() {
        Some(text) => text.trim().parse::<u8>().ok()?,
        None => 1,
    };
    NAMES
        .iter()
        .filter(|name| name.codec.kind() == kind)
        .filter(|name| name.clock_rate_hz == clock_rate_hz)
        .filter(|name| kind == MediaKind::Video || name.channels == channels)
        .find(|name| encoding_name(name).eq_ignore_ascii_case(encoding))
        .map(|name| name.codec)
}

pub(super) fn clock_rate_hz(codec: Codec) -> u32 {
    name_of(codec).clock_rate_hz
}

/// The value of `a=rtpmap` after the payload type.
pub(super) fn rtpmap(codec: Codec) -> String {
    let name = name_of(codec);
    let (encoding, clock) = (encoding_name(name), name.clock_rate_hz);
    match name.channels {
        1 => format!("{encoding}/{clock}"),
        channels => format!("{encoding}/{clock}/{channels}"),
    }
}

fn encoding_name(name: &Name) -> &'static str {
    name.mime.split_once('/').map_or(name.mime, |parts| parts.1)
}

/// A format of our own offers. RFC 8843 §9.1.1: within a BUNDLE group a payload type means one
/// format, so each format has its number for all m-lines.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct OwnFormat {
    pub(super) pt: Pt,
    pub(super) rtx_pt: Option<Pt>,
    pub(super) profile: Profile,
}

const fn own(pt: u8, profile: Profile) -> OwnFormat {
    OwnFormat {
        pt: Pt(pt),
        rtx_pt: Some(Pt(pt + 1)),
        profile,
    }
}

const fn own_audio(pt: u8) -> OwnFormat {
    OwnFormat {
        pt: Pt(pt),
        rtx_pt: None,
        profile: Profile::Only,
    }
}

const fn h264(idc: u8, iop: u8, level: u8, packetization_mode: u8) -> Profile {
    Profile::H264 {
        profile_level_id: [idc, iop, level],
        packetization_mode,
    }
}

/// Opus of a stereo track, and RED over it: their `a=fmtp` differs, hence their number has to.
/// libwebrtc warns of one number with two meanings, and has a switch that makes it an error.
const OWN_STEREO: [(Codec, OwnFormat); 2] =
    [(Codec::Opus, own_audio(110)), (Codec::Red, own_audio(62))];

/// The numbers that LiveKit uses, and free ones for profiles it never offers. None lies in 64..=95,
/// which RTCP needs when multiplexed (RFC 5761 §4).
const OWN_FORMATS: [(Codec, OwnFormat); 23] = [
    (Codec::Opus, own_audio(111)),
    (Codec::Red, own_audio(63)),
    (Codec::Pcmu, own_audio(0)),
    (Codec::Pcma, own_audio(8)),
    (Codec::Vp8, own(96, Profile::Only)),
    (Codec::Vp9, own(98, Profile::Vp9 { id: 0 })),
    (Codec::Vp9, own(100, Profile::Vp9 { id: 1 })),
    (Codec::Vp9, own(47, Profile::Vp9 { id: 2 })),
    (Codec::Vp9, own(49, Profile::Vp9 { id: 3 })),
    (Codec::H264, own(108, h264(0x42, 0xe0, 0x1f, 1))),
    (Codec::H264, own(125, h264(0x42, 0xe0, 0x1f, 0))),
    (Codec::H264, own(102, h264(0x42, 0x00, 0x1f, 1))),
    (Codec::H264, own(104, h264(0x42, 0x00, 0x1f, 0))),
    (Codec::H264, own(106, h264(0x4d, 0x00, 0x1f, 1))),
    (Codec::H264, own(39, h264(0x4d, 0x00, 0x1f, 0))),
    (Codec::H264, own(112, h264(0x64, 0x0c, 0x1f, 1))),
    (Codec::H264, own(41, h264(0x64, 0x0c, 0x1f, 0))),
    (Codec::H264, own(123, h264(0x64, 0x00, 0x32, 1))),
    (Codec::H264, own(43, h264(0x64, 0x00, 0x32, 0))),
    (Codec::Av1, own(35, Profile::Av1 { profile: 0 })),
    (Codec::Av1, own(45, Profile::Av1 { profile: 1 })),
    (Codec::H265, own(116, Profile::H265 { id: 1, tier: 0 })),
    (Codec::H265, own(118, Profile::H265 { id: 2, tier: 0 })),
];

/// The format we offer for what a publisher sends; none for a profile we have no number for. A
/// stream's level is not repeated: it would give one payload type two meanings, and says nothing
/// to a receiver that may send another level than it receives (`level-asymmetry-allowed`).
pub(super) fn own_format(codec: Codec, profile: Profile, stereo: bool) -> Option<OwnFormat> {
    let special: &[_] = if stereo { &OWN_STEREO } else { &[] };
    special
        .iter()
        .chain(&OWN_FORMATS)
        .filter(|(own, _)| *own == codec)
        .map(|(_, format)| *format)
        .find(|format| format.profile.decodes(profile) == Some(super::profile::Fit::Same))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_both_ways() {
        assert_eq!(codec_of_mime("VIDEO/vp8"), Some(Codec::Vp8));
        assert_eq!(codec_of_mime("video/rtx"), None);
        for name in &NAMES {
            assert_eq!(
                codec_of_rtpmap(name.codec.kind(), &rtpmap(name.codec)),
                Some(name.codec)
            );
        }
    }

    #[test]
    fn another_clock_or_channel_count_is_another_codec() {
        assert_eq!(codec_of_rtpmap(MediaKind::Audio, "opus/48000"), None);
        assert_eq!(codec_of_rtpmap(MediaKind::Audio, "PCMU/16000"), None);
        // Video RED (RFC 5109 FEC) is not audio RED.
        assert_eq!(codec_of_rtpmap(MediaKind::Video, "red/90000"), None);
        assert_eq!(
            codec_of_rtpmap(MediaKind::Audio, "PCMA/8000/1"),
            Some(Codec::Pcma)
        );
    }

    #[test]
    fn own_payload_types_are_unique_and_legal() {
        let mut used = std::collections::HashSet::new();
        for (_, format) in OWN_FORMATS.iter().chain(&OWN_STEREO) {
            for pt in [Some(format.pt), format.rtx_pt].into_iter().flatten() {
                assert!(used.insert(pt), "payload type {pt} twice");
                assert!(pt.0 < 64 || (96..=127).contains(&pt.0));
            }
        }
    }

    #[test]
    fn level_does_not_choose_the_number() {
        let level_4 = h264(0x42, 0xc0, 0x28, 1);
        assert_eq!(
            own_format(Codec::H264, level_4, false).map(|format| format.pt),
            Some(Pt(108))
        );
    }
}
