//! The publishing side: what we ask the server for and offer it.

use livekit_protocol as proto;
use millrace_shared::link::{ExtIds, ExtKind};
use rand::Rng as _;

use super::TrackSpec;
use crate::media::packetize::VideoCodec;
use crate::sdp::{Codec, Description, Line, Offered, SectionKind};
use crate::stream::publisher::PublishedTrack;

/// libwebrtc's usual numbers.
const OPUS: Codec = (111, "opus/48000/2", "minptime=10;useinbandfec=1", None);
const VP8: Codec = (96, "VP8/90000", "", Some(97));
const H264: Codec = (
    102,
    "H264/90000",
    "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
    Some(103),
);
const AUDIO_EXTS: [(u8, ExtKind); 4] = [
    (1, ExtKind::AudioLevel),
    (2, ExtKind::AbsSendTime),
    (3, ExtKind::TransportCc),
    (4, ExtKind::Mid),
];
const VIDEO_EXTS: [(u8, ExtKind); 5] = [
    (2, ExtKind::AbsSendTime),
    (3, ExtKind::TransportCc),
    (4, ExtKind::Mid),
    (10, ExtKind::Rid),
    (11, ExtKind::RepairedRid),
];
/// LiveKit's clients name their encodings so, the smallest first.
pub(super) const RIDS: [&str; 3] = ["q", "h", "f"];

/// A track on its way to being published.
#[derive(Debug)]
pub(super) struct Publication {
    spec: TrackSpec,
    /// By which request and offer are matched.
    pub(super) cid: String,
    /// The server knows it.
    pub(super) registered: bool,
    ssrcs: Vec<(u32, u32)>,
}

impl Publication {
    pub(super) fn new(spec: TrackSpec) -> Self {
        let encodings = spec.source.encodings_len();
        let mut rng = rand::rng();
        Self {
            cid: format!("track-{}", spec.number),
            registered: false,
            ssrcs: (0..encodings)
                .map(|_| (rng.random::<u32>() | 1, rng.random::<u32>() & !1))
                .collect(),
            spec,
        }
    }

    pub(super) fn request(&self) -> proto::AddTrackRequest {
        let codec = self.spec.source.video_codec();
        let (kind, source) = match (codec, self.spec.screen) {
            (None, false) => (proto::TrackType::Audio, proto::TrackSource::Microphone),
            (None, true) => (
                proto::TrackType::Audio,
                proto::TrackSource::ScreenShareAudio,
            ),
            (Some(_), false) => (proto::TrackType::Video, proto::TrackSource::Camera),
            (Some(_), true) => (proto::TrackType::Video, proto::TrackSource::ScreenShare),
        };
        let mut request = proto::AddTrackRequest {
            cid: self.cid.clone(),
            name: self.cid.clone(),
            r#type: kind.into(),
            source: source.into(),
            ..proto::AddTrackRequest::default()
        };
        if let Some(codec) = codec {
            self.describe_video(&mut request, codec);
        }
        request
    }

    fn describe_video(&self, request: &mut proto::AddTrackRequest, codec: VideoCodec) {
        let pictures = self.spec.source.pictures();
        let qualities = [
            proto::VideoQuality::Low,
            proto::VideoQuality::Medium,
            proto::VideoQuality::High,
        ];
        // A single encoding is the high one, as in LiveKit's clients.
        let first = if pictures.len() == 1 { 2 } else { 0 };
        request.layers = pictures
            .iter()
            .zip(&qualities[first..])
            .map(|((width, height, bitrate), quality)| proto::VideoLayer {
                quality: (*quality).into(),
                width: u32::from(*width),
                height: u32::from(*height),
                bitrate: *bitrate,
                ..proto::VideoLayer::default()
            })
            .collect();
        if let Some(largest) = request.layers.last() {
            (request.width, request.height) = (largest.width, largest.height);
        }
        request.simulcast_codecs = vec![proto::SimulcastCodec {
            codec: match codec {
                VideoCodec::Vp8 => "vp8".to_owned(),
                VideoCodec::H264 => "h264".to_owned(),
            },
            cid: self.cid.clone(),
            layers: request.layers.clone(),
            ..proto::SimulcastCodec::default()
        }];
    }

    pub(super) fn offered(&self) -> Offered {
        let (kind, codec) = self.codec();
        let (.., rtx_pt) = codec;
        Offered {
            kind,
            track: self.cid.clone(),
            codec,
            ssrcs: (self.ssrcs[0].0, rtx_pt.map(|_| self.ssrcs[0].1)),
            rids: self.rids(),
            exts: exts(kind),
        }
    }

    /// The track as section `index` of the server's answer accepts it; `None` if it does not.
    pub(super) fn published(&self, index: usize, answer: &Description) -> Option<PublishedTrack> {
        let section = answer.sections.get(index).filter(|it| !it.rejected)?;
        let (_, (pt, _, _, rtx_pt)) = self.codec();
        let mut ids = ExtIds::default();
        for (id, uri) in &section.exts {
            if let Some(kind) = ExtKind::from_uri(uri) {
                ids.set(kind, *id);
            }
        }
        let accepts = |pt: u8| section.codecs.iter().any(|codec| codec.pt == pt);
        Some(PublishedTrack {
            number: self.spec.number,
            source: self.spec.source.clone(),
            mid: section.mid.clone(),
            pt,
            rtx_pt: rtx_pt.filter(|pt| accepts(*pt)),
            ssrcs: self.ssrcs.clone(),
            rids: self.rids(),
            ids,
            audience: self.spec.audience.clone(),
            seed: u64::from(self.spec.number).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        })
    }

    fn rids(&self) -> Vec<&'static str> {
        match self.ssrcs.len() {
            1 => Vec::new(),
            count => RIDS[..count.min(RIDS.len())].to_vec(),
        }
    }

    fn codec(&self) -> (SectionKind, Codec) {
        match self.spec.source.video_codec() {
            None => (SectionKind::Audio, OPUS),
            Some(VideoCodec::Vp8) => (SectionKind::Video, VP8),
            Some(VideoCodec::H264) => (SectionKind::Video, H264),
        }
    }
}

/// A section for something that the server may send.
pub(super) fn receiving(kind: SectionKind) -> Line {
    Line::Receive {
        kind,
        codecs: match kind {
            SectionKind::Audio => vec![OPUS],
            SectionKind::Video | SectionKind::Application => vec![VP8, H264],
        },
        exts: exts(kind),
    }
}

fn exts(kind: SectionKind) -> Vec<(u8, ExtKind)> {
    match kind {
        SectionKind::Audio => AUDIO_EXTS.to_vec(),
        SectionKind::Video | SectionKind::Application => VIDEO_EXTS.to_vec(),
    }
}
