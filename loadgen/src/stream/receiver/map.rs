use millrace_shared::ids::Ssrc;
use millrace_shared::link::ExtKind;

use crate::media::packetize::VideoCodec;
use crate::sdp::{Description, Direction, Section, SectionKind};

/// What a payload type means.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct RxCodec {
    pub pt: u8,
    pub audio: bool,
    /// Of those whose key frames we find.
    pub video: Option<VideoCodec>,
    pub clock_rate: u32,
    /// Whether lost packets are asked for.
    pub nack: bool,
    /// Carries retransmissions of others.
    pub repairs: bool,
}

/// How to read a transport's packets, from the server's description.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StreamMap {
    codecs: Vec<RxCodec>,
    ssrcs: Vec<u32>,
    repairs: Vec<(u32, u32)>,
    /// Identifier of the transport-wide sequence number.
    pub transport_cc: Option<u8>,
    pub remb: bool,
}

/// Payload type and transport-wide sequence number's identifier of [`StreamMap::of_streams`].
pub const SYNTHETIC_PT: u8 = 96;
pub const SYNTHETIC_TRANSPORT_CC: u8 = 2;

impl StreamMap {
    /// Of streams that no description names: of VP8, or of Opus.
    pub fn of_streams(audio: bool, ssrcs: impl Iterator<Item = Ssrc>) -> Self {
        Self {
            codecs: vec![RxCodec {
                pt: SYNTHETIC_PT,
                audio,
                video: (!audio).then_some(VideoCodec::Vp8),
                clock_rate: if audio { 48_000 } else { 90_000 },
                nack: !audio,
                repairs: false,
            }],
            ssrcs: ssrcs.map(|ssrc| ssrc.0).collect(),
            repairs: Vec::new(),
            transport_cc: Some(SYNTHETIC_TRANSPORT_CC),
            remb: false,
        }
    }

    /// Of a description whose every section is the server's to send on.
    pub fn of(description: &Description) -> Self {
        Self::of_sections(description.sections.iter())
    }

    /// Of an answer, in which the server sends on some of the sections.
    pub fn of_answer(description: &Description) -> Self {
        let sections = description.sections.iter();
        let sends =
            |it: &&Section| matches!(it.direction, Direction::SendOnly | Direction::SendRecv);
        Self::of_sections(sections.filter(sends))
    }

    fn of_sections<'a>(sections: impl Iterator<Item = &'a Section>) -> Self {
        let mut map = Self::default();
        let open = sections.filter(|it| !it.rejected);
        for section in open.filter(|it| it.kind != SectionKind::Application) {
            map.ssrcs.extend(&section.ssrcs);
            map.repairs.extend(&section.repairs);
            for codec in &section.codecs {
                map.remb |= codec.feedback.iter().any(|it| it == "goog-remb");
                if map.codec(codec.pt).is_none() {
                    map.codecs.push(RxCodec {
                        pt: codec.pt,
                        audio: section.kind == SectionKind::Audio,
                        video: match codec.name.as_str() {
                            "vp8" => Some(VideoCodec::Vp8),
                            "h264" => Some(VideoCodec::H264),
                            _ => None,
                        },
                        clock_rate: codec.clock_rate.max(1),
                        nack: section.kind == SectionKind::Video
                            && codec.feedback.iter().any(|it| it == "nack"),
                        repairs: codec.name == "rtx",
                    });
                }
            }
            let wide = ExtKind::TransportCc.uri();
            let found = section.exts.iter().find(|(_, uri)| uri == wide);
            map.transport_cc = map.transport_cc.or(found.map(|(id, _)| *id));
        }
        map
    }

    pub(super) fn codec(&self, pt: u8) -> Option<RxCodec> {
        self.codecs.iter().copied().find(|codec| codec.pt == pt)
    }

    pub(super) fn repaired_by(&self, ssrc: u32) -> Option<u32> {
        let found = self.repairs.iter().find(|(_, repair)| *repair == ssrc);
        found.map(|(media, _)| *media)
    }

    /// Whether a stream of this SSRC goes on. A server that names none may send any.
    pub(super) fn keeps(&self, ssrc: u32) -> bool {
        self.ssrcs.is_empty() || self.ssrcs.contains(&ssrc)
    }
}
