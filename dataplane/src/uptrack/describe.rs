//! What forwarding has to know of a packet's payload.

use millrace_shared::limits::TEMPORAL_LAYERS_MAX;
use millrace_shared::link::Codec;
use millrace_shared::payload::av1::Av1AggregationHeader;
use millrace_shared::payload::dependency_descriptor::DependencyDescriptor;
use millrace_shared::payload::vp8::Vp8View;
use millrace_shared::payload::vp9::Vp9Descriptor;
use millrace_shared::payload::{h264, h265};

use crate::packet::{Vp8Fields, Vp8PictureId};

#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Description {
    /// Decoding can start here. A key frame whose parameter sets have packets of their own has
    /// several of these, all of one media time.
    pub keyframe_start: bool,
    pub temporal: u8,
    pub vp8: Option<Vp8Fields>,
}

/// Describes a payload. One that its codec's rules do not explain is taken for a delta frame's: it
/// reaches those who watch already, and nobody starts with it. End-to-end encryption leaves what
/// is read here in the clear.
pub fn describe(codec: Codec, payload: &[u8], descriptor: Option<&[u8]>) -> Description {
    match codec {
        Codec::Vp8 => vp8(payload),
        Codec::Vp9 => vp9(payload),
        Codec::H264 => Description::delta_or_key(h264::keyframe_start(payload)),
        Codec::H265 => Description::delta_or_key(h265::keyframe_start(payload)),
        Codec::Av1 => av1(payload, descriptor),
        Codec::Opus | Codec::Red | Codec::Pcmu | Codec::Pcma => Description::default(),
    }
}

impl Description {
    fn delta_or_key(keyframe_start: bool) -> Self {
        Self {
            keyframe_start,
            ..Self::default()
        }
    }
}

fn vp8(payload: &[u8]) -> Description {
    let Ok(view) = Vp8View::parse(payload) else {
        return Description::default();
    };
    let descriptor = view.descriptor;
    let temporal = descriptor.temporal.unwrap_or_default();
    Description {
        keyframe_start: view.keyframe_start(),
        temporal: temporal_layer(temporal.id),
        vp8: Some(Vp8Fields {
            picture_id: descriptor.picture_id.map(|id| Vp8PictureId {
                value: id.value,
                long: id.long,
            }),
            tl0_pic_idx: descriptor.tl0_pic_idx,
            key_idx: descriptor.key_idx,
            layer_sync: temporal.layer_sync,
        }),
    }
}

fn vp9(payload: &[u8]) -> Description {
    let Ok(descriptor) = Vp9Descriptor::parse(payload) else {
        return Description::default();
    };
    Description {
        keyframe_start: descriptor.keyframe_start(),
        temporal: temporal_layer(descriptor.temporal()),
        vp8: None,
    }
}

/// The dependency descriptor is readable where the payload is encrypted; without it the payload
/// itself says where a sequence starts.
fn av1(payload: &[u8], descriptor: Option<&[u8]>) -> Description {
    let descriptor = descriptor.and_then(|ext| DependencyDescriptor::parse(ext).ok());
    Description::delta_or_key(match descriptor {
        Some(descriptor) => descriptor.keyframe_start(),
        None => Av1AggregationHeader::parse(payload).is_ok_and(|header| header.keyframe_start()),
    })
}

/// A layer above those we tell apart goes with the highest of them.
fn temporal_layer(id: u8) -> u8 {
    id.min(TEMPORAL_LAYERS_MAX as u8 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vp8_fields() {
        // X, S; I L T K; picture id 0x1234, TL0PICIDX 5, temporal layer 2 with sync, key index 3.
        let payload = [0x90, 0xf0, 0x92, 0x34, 5, 0xa3, 0x01];
        let described = describe(Codec::Vp8, &payload, None);
        let expected = Description {
            keyframe_start: false,
            temporal: 2,
            vp8: Some(Vp8Fields {
                picture_id: Some(Vp8PictureId {
                    value: 0x1234,
                    long: true,
                }),
                tl0_pic_idx: Some(5),
                key_idx: Some(3),
                layer_sync: true,
            }),
        };
        assert_eq!(described, expected);
        assert!(describe(Codec::Vp8, &[0x10, 0x00], None).keyframe_start);
        assert_eq!(describe(Codec::Vp8, &[], None), Description::default());
    }

    #[test]
    fn key_frames_of_the_other_codecs() {
        let starts = |codec, payload: &[u8]| describe(codec, payload, None).keyframe_start;
        // Layer index with temporal 7: told as 3.
        assert!(starts(Codec::Vp9, &[0x28, 0xe0, 0]));
        assert_eq!(describe(Codec::Vp9, &[0x28, 0xe0, 0], None).temporal, 3);
        assert!(!starts(Codec::Vp9, &[0x68, 0xe0, 0]));
        assert!(starts(Codec::H264, &[0x67, 0x42]));
        assert!(!starts(Codec::H264, &[0x41, 0x9a]));
        assert!(starts(Codec::H265, &[0x40, 0x01, 0x0c]));
        assert!(starts(Codec::Av1, &[0x18]));
        assert!(!starts(Codec::Opus, &[0x67, 0x42]));
    }

    #[test]
    fn the_dependency_descriptor_overrules_the_av1_payload() {
        let described = |descriptor: &[u8]| describe(Codec::Av1, &[0x18], Some(descriptor));
        assert!(!described(&[0x80, 0, 1]).keyframe_start);
        assert!(described(&[0x80, 0, 1, 0x80]).keyframe_start);
        assert!(described(&[0x80]).keyframe_start, "unreadable");
    }
}
