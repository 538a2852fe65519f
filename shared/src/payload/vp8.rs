//! VP8 payload descriptor (RFC 7741 §4.2) and the start of the frame header (RFC 6386 §9.1).

use super::{PayloadError, PictureId};
use crate::wire::bytes::{ByteReader, ByteWriter};

const EXTENDED_BIT: u8 = 0x80;
const NON_REFERENCE_BIT: u8 = 0x20;
const START_BIT: u8 = 0x10;
const PARTITION_MASK: u8 = 0x07;
// Of the second byte.
const PICTURE_ID_BIT: u8 = 0x80;
const TL0_PIC_IDX_BIT: u8 = 0x40;
const TEMPORAL_BIT: u8 = 0x20;
const KEY_IDX_BIT: u8 = 0x10;
// Of the byte that temporal layer and key index share.
const LAYER_SYNC_BIT: u8 = 0x20;
const KEY_IDX_MASK: u8 = 0x1f;

#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Vp8Descriptor {
    /// N: no other frame needs this one.
    pub non_reference: bool,
    /// S: the packet starts a partition.
    pub partition_start: bool,
    /// PID, 0..=7.
    pub partition: u8,
    pub picture_id: Option<PictureId>,
    pub tl0_pic_idx: Option<u8>,
    pub temporal: Option<Vp8Temporal>,
    /// 0..=31.
    pub key_idx: Option<u8>,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Vp8Temporal {
    /// TID, 0..=3.
    pub id: u8,
    /// Y: needs frames of the lowest temporal layer only, so forwarding may go up to this layer.
    pub layer_sync: bool,
}

impl Vp8Descriptor {
    /// Length on the wire.
    pub const fn encoded_len(&self) -> usize {
        let picture_id = match self.picture_id {
            None => 0,
            Some(PictureId { long: false, .. }) => 1,
            Some(PictureId { long: true, .. }) => 2,
        };
        let tl0_pic_idx = self.tl0_pic_idx.is_some() as usize;
        let temporal = self.has_temporal_byte() as usize;
        let extension = picture_id + tl0_pic_idx + temporal;
        if extension == 0 { 1 } else { 2 + extension }
    }

    const fn has_temporal_byte(&self) -> bool {
        self.temporal.is_some() || self.key_idx.is_some()
    }

    fn read(reader: &mut ByteReader<'_>) -> Option<Self> {
        let first = reader.u8()?;
        let mut descriptor = Self {
            non_reference: first & NON_REFERENCE_BIT != 0,
            partition_start: first & START_BIT != 0,
            partition: first & PARTITION_MASK,
            ..Self::default()
        };
        if first & EXTENDED_BIT == 0 {
            return Some(descriptor);
        }
        let present = reader.u8()?;
        if present & PICTURE_ID_BIT != 0 {
            descriptor.picture_id = Some(PictureId::read(reader)?);
        }
        if present & TL0_PIC_IDX_BIT != 0 {
            descriptor.tl0_pic_idx = Some(reader.u8()?);
        }
        if present & (TEMPORAL_BIT | KEY_IDX_BIT) != 0 {
            let shared = reader.u8()?;
            let temporal = Vp8Temporal {
                id: shared >> 6,
                layer_sync: shared & LAYER_SYNC_BIT != 0,
            };
            // RFC 7741 §4.2: without its bit, either half is to be ignored.
            descriptor.temporal = (present & TEMPORAL_BIT != 0).then_some(temporal);
            descriptor.key_idx = (present & KEY_IDX_BIT != 0).then_some(shared & KEY_IDX_MASK);
        }
        Some(descriptor)
    }
}

/// A packet's payload, split behind the descriptor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vp8View<'a> {
    pub descriptor: Vp8Descriptor,
    /// Length of the descriptor as it was received.
    pub descriptor_len: usize,
    /// The VP8 bitstream.
    pub frame: &'a [u8],
}

impl<'a> Vp8View<'a> {
    pub fn parse(payload: &'a [u8]) -> Result<Self, PayloadError> {
        let mut reader = ByteReader::new(payload);
        let descriptor = Vp8Descriptor::read(&mut reader).ok_or(PayloadError::Truncated)?;
        let frame = reader.rest();
        Ok(Self {
            descriptor,
            descriptor_len: payload.len() - frame.len(),
            frame,
        })
    }

    /// The first packet of a frame.
    pub const fn frame_start(&self) -> bool {
        self.descriptor.partition_start && self.descriptor.partition == 0
    }

    /// The first packet of a key frame.
    pub fn keyframe_start(&self) -> bool {
        // RFC 6386 §9.1: the lowest bit of the frame tag is 0 for key frames.
        self.frame_start() && self.frame.first().is_some_and(|tag| tag & 1 == 0)
    }

    /// Width and height, from the first packet of a key frame.
    pub fn size(&self) -> Option<(u16, u16)> {
        if !self.keyframe_start() {
            return None;
        }
        let mut reader = ByteReader::new(self.frame);
        reader.take(3)?;
        // RFC 6386 §9.1: the start code, then two bits of scale above each dimension.
        if reader.array() != Some([0x9d, 0x01, 0x2a]) {
            return None;
        }
        let width = u16::from_le_bytes(reader.array()?) & 0x3fff;
        let height = u16::from_le_bytes(reader.array()?) & 0x3fff;
        Some((width, height))
    }
}

/// Writes a descriptor; `None` if `out` is too small. The picture id takes the length that it says
/// it has, so a 7-bit one can be turned into one of 15 bits.
pub fn write_descriptor(out: &mut [u8], descriptor: &Vp8Descriptor) -> Option<usize> {
    let mut writer = ByteWriter::new(out);
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    let extended = descriptor.encoded_len() > 1;
    writer.u8(bit(extended, EXTENDED_BIT)
        | bit(descriptor.non_reference, NON_REFERENCE_BIT)
        | bit(descriptor.partition_start, START_BIT)
        | (descriptor.partition & PARTITION_MASK))?;
    if !extended {
        return Some(writer.len());
    }
    writer.u8(bit(descriptor.picture_id.is_some(), PICTURE_ID_BIT)
        | bit(descriptor.tl0_pic_idx.is_some(), TL0_PIC_IDX_BIT)
        | bit(descriptor.temporal.is_some(), TEMPORAL_BIT)
        | bit(descriptor.key_idx.is_some(), KEY_IDX_BIT))?;
    match descriptor.picture_id {
        None => {}
        Some(PictureId { value, long: true }) => writer.u16(value | 0x8000)?,
        Some(PictureId { value, long: false }) => {
            let [_, low] = value.to_be_bytes();
            writer.u8(low & 0x7f)?;
        }
    }
    if let Some(tl0_pic_idx) = descriptor.tl0_pic_idx {
        writer.u8(tl0_pic_idx)?;
    }
    if descriptor.has_temporal_byte() {
        let temporal = descriptor.temporal.unwrap_or_default();
        let key_idx = descriptor.key_idx.unwrap_or_default();
        writer.u8((temporal.id << 6)
            | bit(temporal.layer_sync, LAYER_SYNC_BIT)
            | (key_idx & KEY_IDX_MASK))?;
    }
    Some(writer.len())
}

/// Overwrites, in a received payload, those of the three fields that it has; the descriptor keeps
/// its length, and a 7-bit picture id the low bits of `picture_id`. `None` if the payload is no
/// VP8.
pub fn rewrite(payload: &mut [u8], picture_id: u16, tl0_pic_idx: u8, key_idx: u8) -> Option<()> {
    let view = Vp8View::parse(payload).ok()?;
    let len = view.descriptor_len;
    let received = view.descriptor;
    let descriptor = Vp8Descriptor {
        picture_id: received.picture_id.map(|id| PictureId {
            value: picture_id,
            ..id
        }),
        tl0_pic_idx: received.tl0_pic_idx.map(|_| tl0_pic_idx),
        key_idx: received.key_idx.map(|_| key_idx),
        ..received
    };
    // An extension without any field is longer than what we would write; nothing is to be
    // rewritten in it.
    if descriptor.encoded_len() != len {
        return Some(());
    }
    write_descriptor(payload.get_mut(..len)?, &descriptor).map(|_| ())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// First packet of a key frame of 640x360 from Chromium: X, S; I, L, T, K; 15-bit picture id.
    const KEYFRAME: [u8; 17] = [
        0x90, 0xf0, 0x92, 0x34, 0x07, 0x25, // descriptor
        0x50, 0x20, 0x01, 0x9d, 0x01, 0x2a, // frame tag, start code
        0x80, 0x02, 0x68, 0x01, 0x00, // 640, 360
    ];

    const DESCRIPTOR: Vp8Descriptor = Vp8Descriptor {
        non_reference: false,
        partition_start: true,
        partition: 0,
        picture_id: Some(PictureId {
            value: 0x1234,
            long: true,
        }),
        tl0_pic_idx: Some(7),
        temporal: Some(Vp8Temporal {
            id: 0,
            layer_sync: true,
        }),
        key_idx: Some(5),
    };

    #[test]
    fn key_frame_of_a_browser() {
        let view = Vp8View::parse(&KEYFRAME).unwrap();
        assert_eq!(view.descriptor, DESCRIPTOR);
        assert_eq!(view.descriptor_len, 6);
        assert_eq!(view.descriptor.encoded_len(), 6);
        assert!(view.keyframe_start());
        assert_eq!(view.size(), Some((640, 360)));
        assert_eq!(view.frame, &KEYFRAME[6..]);
    }

    #[test]
    fn key_frames_start_once() {
        let keyframe_start = |payload: &[u8]| Vp8View::parse(payload).unwrap().keyframe_start();
        assert!(keyframe_start(&[0x10, 0x00]));
        assert!(!keyframe_start(&[0x10, 0x01]), "inter frame");
        assert!(!keyframe_start(&[0x00, 0x00]), "continuation");
        assert!(!keyframe_start(&[0x11, 0x00]), "second partition");
        assert!(!keyframe_start(&[0x10]), "nothing behind the descriptor");
        assert_eq!(Vp8View::parse(&[0x10, 0x00]).unwrap().size(), None);
    }

    #[test]
    fn every_truncation_of_the_descriptor_is_refused() {
        for len in 0..6 {
            assert_eq!(
                Vp8View::parse(&KEYFRAME[..len]),
                Err(PayloadError::Truncated),
                "{len}"
            );
        }
        assert_eq!(Vp8View::parse(&KEYFRAME[..12]).unwrap().size(), None);
    }

    #[test]
    fn rewriting_keeps_the_rest() {
        let mut payload = KEYFRAME;
        rewrite(&mut payload, 0x7fff, 0xab, 0x1f).unwrap();
        let mut expected = KEYFRAME;
        expected[2..6].copy_from_slice(&[0xff, 0xff, 0xab, 0x3f]);
        assert_eq!(payload, expected);

        // Seven bits, without the other two.
        let mut payload = [0x80, 0x80, 0x01, 0xee];
        rewrite(&mut payload, 0x1234, 1, 1).unwrap();
        assert_eq!(payload, [0x80, 0x80, 0x34, 0xee]);

        // Extended, but empty; and not extended.
        for original in [[0x90, 0x00, 0xff], [0x10, 0xff, 0xff]] {
            let mut payload = original;
            rewrite(&mut payload, 0x1234, 1, 1).unwrap();
            assert_eq!(payload, original);
        }
        assert_eq!(rewrite(&mut [0x80], 1, 1, 1), None);
    }

    #[test]
    fn a_short_picture_id_becomes_long() {
        let received = Vp8View::parse(&[0x90, 0x80, 0x7f, 0x00])
            .unwrap()
            .descriptor;
        let picture_id = Some(PictureId {
            value: 0x80,
            long: true,
        });
        let mut out = [0; 8];
        let len = write_descriptor(
            &mut out,
            &Vp8Descriptor {
                picture_id,
                ..received
            },
        )
        .unwrap();
        assert_eq!(out[..len], [0x90, 0x80, 0x80, 0x80]);
    }

    fn descriptor() -> impl Strategy<Value = Vp8Descriptor> {
        let picture_id = proptest::option::of(prop_oneof![
            (0u16..0x80).prop_map(|value| PictureId { value, long: false }),
            (0u16..0x8000).prop_map(|value| PictureId { value, long: true }),
        ]);
        let temporal = proptest::option::of((0u8..4, any::<bool>()))
            .prop_map(|temporal| temporal.map(|(id, layer_sync)| Vp8Temporal { id, layer_sync }));
        (
            any::<(bool, bool)>(),
            0u8..8,
            picture_id,
            any::<Option<u8>>(),
            temporal,
            proptest::option::of(0u8..32),
        )
            .prop_map(
                |(bits, partition, picture_id, tl0_pic_idx, temporal, key_idx)| Vp8Descriptor {
                    non_reference: bits.0,
                    partition_start: bits.1,
                    partition,
                    picture_id,
                    tl0_pic_idx,
                    temporal,
                    key_idx,
                },
            )
    }

    proptest! {
        #[test]
        fn descriptors_parse_back(descriptor in descriptor(), frame in vec(any::<u8>(), 0..9)) {
            let mut out = [0; 32];
            let len = write_descriptor(&mut out, &descriptor).unwrap();
            prop_assert_eq!(len, descriptor.encoded_len());
            prop_assert_eq!(write_descriptor(&mut out[..len - 1], &descriptor), None);
            let end = len + frame.len();
            out[len..end].copy_from_slice(&frame);
            let view = Vp8View::parse(&out[..end]).unwrap();
            prop_assert_eq!(view.descriptor, descriptor);
            prop_assert_eq!(view.descriptor_len, len);
            prop_assert_eq!(view.frame, frame);
        }

        #[test]
        fn noise_never_panics(mut payload in vec(any::<u8>(), 0..24), fields: (u16, u8, u8)) {
            if let Ok(view) = Vp8View::parse(&payload) {
                view.size();
            }
            let before = payload.clone();
            if rewrite(&mut payload, fields.0, fields.1, fields.2).is_some() {
                let old = Vp8View::parse(&before).unwrap();
                let new = Vp8View::parse(&payload).unwrap();
                prop_assert_eq!(old.frame, new.frame);
                prop_assert_eq!(old.keyframe_start(), new.keyframe_start());
            }
        }
    }
}
