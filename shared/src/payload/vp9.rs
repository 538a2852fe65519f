//! VP9 payload descriptor (RFC 9628 §4.2).

use super::{PayloadError, PictureId};
use crate::wire::bytes::ByteReader;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Vp9Descriptor {
    pub picture_id: Option<PictureId>,
    /// P: needs an earlier picture of its own layer.
    pub inter_picture: bool,
    /// F: references are listed in each packet, and there is no TL0PICIDX.
    pub flexible: bool,
    /// B: first packet of a frame, which is one spatial layer of a picture.
    pub frame_start: bool,
    /// E: last packet of a frame.
    pub frame_end: bool,
    /// Z: no higher spatial layer of a later picture needs this frame.
    pub not_inter_layer_reference: bool,
    pub layer: Option<Vp9Layer>,
    pub tl0_pic_idx: Option<u8>,
    /// From a scalability structure (V), if the packet has one: 1..=8.
    pub spatial_layers: Option<u8>,
    /// Length on the wire.
    pub len: usize,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Vp9Layer {
    /// TID, 0..=7.
    pub temporal: u8,
    /// SID, 0..=7.
    pub spatial: u8,
    /// U: from here on, forwarding may go up to this temporal layer.
    pub switching_up: bool,
    /// D: needs the spatial layer below.
    pub inter_layer: bool,
}

impl Vp9Descriptor {
    pub fn parse(payload: &[u8]) -> Result<Self, PayloadError> {
        let mut reader = ByteReader::new(payload);
        Self::read(&mut reader)
            .map(|descriptor| Self {
                len: payload.len() - reader.rest().len(),
                ..descriptor
            })
            .ok_or(PayloadError::Truncated)
    }

    /// SID, or 0 without layers.
    pub fn spatial(&self) -> u8 {
        self.layer.map_or(0, |layer| layer.spatial)
    }

    /// TID, or 0 without layers.
    pub fn temporal(&self) -> u8 {
        self.layer.map_or(0, |layer| layer.temporal)
    }

    /// The first packet of a key picture: decoding can start here.
    pub fn keyframe_start(&self) -> bool {
        !self.inter_picture
            && self.frame_start
            && self
                .layer
                .is_none_or(|layer| layer.spatial == 0 && !layer.inter_layer)
    }

    fn read(reader: &mut ByteReader<'_>) -> Option<Self> {
        let first = reader.u8()?;
        let bit = |bit: u8| first & bit != 0;
        let mut descriptor = Self {
            picture_id: None,
            inter_picture: bit(0x40),
            flexible: bit(0x10),
            frame_start: bit(0x08),
            frame_end: bit(0x04),
            not_inter_layer_reference: bit(0x01),
            layer: None,
            tl0_pic_idx: None,
            spatial_layers: None,
            len: 0,
        };
        if bit(0x80) {
            descriptor.picture_id = Some(PictureId::read(reader)?);
        }
        if bit(0x20) {
            let layer = reader.u8()?;
            descriptor.layer = Some(Vp9Layer {
                temporal: layer >> 5,
                switching_up: layer & 0x10 != 0,
                spatial: (layer >> 1) & 0x07,
                inter_layer: layer & 0x01 != 0,
            });
            if !descriptor.flexible {
                descriptor.tl0_pic_idx = Some(reader.u8()?);
            }
        }
        if descriptor.flexible && descriptor.inter_picture {
            skip_references(reader)?;
        }
        if bit(0x02) {
            descriptor.spatial_layers = Some(skip_structure(reader)?);
        }
        Some(descriptor)
    }
}

/// RFC 9628 §4.2: up to three references, each saying whether another one follows.
fn skip_references(reader: &mut ByteReader<'_>) -> Option<()> {
    for _ in 0..3 {
        if reader.u8()? & 1 == 0 {
            break;
        }
    }
    Some(())
}

/// Scalability structure (RFC 9628 §4.2.1); returns its number of spatial layers.
fn skip_structure(reader: &mut ByteReader<'_>) -> Option<u8> {
    let first = reader.u8()?;
    let spatial_layers = (first >> 5) + 1;
    if first & 0x10 != 0 {
        reader.take(usize::from(spatial_layers) * 4)?;
    }
    if first & 0x08 != 0 {
        for _ in 0..reader.u8()? {
            let references = (reader.u8()? >> 2) & 0x03;
            reader.take(usize::from(references))?;
        }
    }
    Some(spatial_layers)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn key_picture_of_two_spatial_layers() {
        let payload = [
            0xaa, 0x81, 0x23, 0x00, 0x09, // I L B V; picture id; layer 0; TL0PICIDX
            0x38, 0x01, 0x40, 0x00, 0xb4, 0x02, 0x80, 0x01, 0x68, // N_S 1, Y, G; sizes
            0x02, 0x04, 0x01, 0x38, 0x02, 0x03, // N_G 2: one reference, two references
            0x82, 0x49, 0x83,
        ];
        let descriptor = Vp9Descriptor::parse(&payload).unwrap();
        assert_eq!(
            descriptor.picture_id,
            Some(PictureId {
                value: 0x123,
                long: true
            })
        );
        assert_eq!(descriptor.tl0_pic_idx, Some(9));
        assert_eq!(descriptor.spatial_layers, Some(2));
        assert_eq!(descriptor.len, 20);
        assert!(descriptor.keyframe_start());
        assert!(descriptor.frame_start && !descriptor.frame_end && !descriptor.flexible);
    }

    #[test]
    fn layers_of_a_key_picture() {
        // The layer above: P=0, B=1, but SID 1 with D.
        let above = Vp9Descriptor::parse(&[0xac, 0x05, 0x53, 0x01]).unwrap();
        assert_eq!(
            above.layer,
            Some(Vp9Layer {
                temporal: 2,
                spatial: 1,
                switching_up: true,
                inter_layer: true
            })
        );
        assert_eq!((above.spatial(), above.temporal()), (1, 2));
        assert!(!above.keyframe_start());
        assert!(above.frame_end);
        // A delta picture, a continuation, and a key picture without any layers.
        assert!(!Vp9Descriptor::parse(&[0x48]).unwrap().keyframe_start());
        assert!(!Vp9Descriptor::parse(&[0x04]).unwrap().keyframe_start());
        assert!(Vp9Descriptor::parse(&[0x08]).unwrap().keyframe_start());
    }

    #[test]
    fn flexible_mode_lists_references() {
        // I P L F B E Z; 7-bit id; layer byte without TL0PICIDX; two references.
        let payload = [0xfd, 0x11, 0x20, 0x03, 0x04, 0xff];
        let descriptor = Vp9Descriptor::parse(&payload).unwrap();
        assert_eq!(
            descriptor.picture_id,
            Some(PictureId {
                value: 0x11,
                long: false
            })
        );
        assert_eq!(descriptor.tl0_pic_idx, None);
        assert!(descriptor.not_inter_layer_reference);
        assert_eq!(descriptor.len, 5);
        // RFC 9628 §4.2: never more than three.
        let endless = [0x50, 0x01, 0x01, 0x01, 0x01, 0x01];
        assert_eq!(Vp9Descriptor::parse(&endless).unwrap().len, 4);
        for len in 0..5 {
            assert_eq!(
                Vp9Descriptor::parse(&payload[..len]),
                Err(PayloadError::Truncated)
            );
        }
    }

    proptest! {
        #[test]
        fn noise_never_panics(payload in vec(any::<u8>(), 0..64)) {
            if let Ok(descriptor) = Vp9Descriptor::parse(&payload) {
                prop_assert!(descriptor.len <= payload.len());
            }
        }
    }
}
