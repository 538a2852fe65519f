//! Dependency descriptor header extension (RTP Payload Format For AV1, appendix A.8): the fields
//! of every packet. Layers are in the templates, which are not read here.

use super::PayloadError;
use crate::wire::bytes::ByteReader;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct DependencyDescriptor {
    pub frame_start: bool,
    pub frame_end: bool,
    /// 0..=63, relative to the offset of the structure in force.
    pub template_id: u8,
    pub frame_number: u16,
    /// A template dependency structure is attached: the packet starts a coded video sequence.
    pub structure_attached: bool,
    /// A mask of the decode targets still sent is attached. Without one, a new structure makes all
    /// of its targets active.
    pub active_decode_targets: bool,
}

impl DependencyDescriptor {
    pub fn parse(ext: &[u8]) -> Result<Self, PayloadError> {
        let mut reader = ByteReader::new(ext);
        let first = reader.u8().ok_or(PayloadError::Truncated)?;
        let frame_number = reader.u16().ok_or(PayloadError::Truncated)?;
        // A.8.2: anything behind the mandatory fields begins with five flags.
        let flags = reader.u8().unwrap_or_default();
        Ok(Self {
            frame_start: first & 0x80 != 0,
            frame_end: first & 0x40 != 0,
            template_id: first & 0x3f,
            frame_number,
            structure_attached: flags & 0x80 != 0,
            active_decode_targets: flags & 0x40 != 0,
        })
    }

    /// The first packet of a key frame: decoding can start here.
    pub const fn keyframe_start(&self) -> bool {
        self.structure_attached && self.frame_start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mandatory_fields() {
        let descriptor = DependencyDescriptor::parse(&[0x83, 0x12, 0x34]).unwrap();
        assert_eq!(
            descriptor,
            DependencyDescriptor {
                frame_start: true,
                frame_end: false,
                template_id: 3,
                frame_number: 0x1234,
                structure_attached: false,
                active_decode_targets: false,
            }
        );
        assert!(!descriptor.keyframe_start());
    }

    #[test]
    fn extended_fields() {
        // A key frame in one packet, with a structure of one template.
        let key = [0xc0, 0x00, 0x01, 0x80, 0x00, 0x02, 0x04, 0xec, 0x20];
        let descriptor = DependencyDescriptor::parse(&key).unwrap();
        assert!(descriptor.keyframe_start() && descriptor.frame_end);
        let targets = DependencyDescriptor::parse(&[0x40, 0x00, 0x02, 0x40, 0x80]).unwrap();
        assert!(targets.active_decode_targets && !targets.keyframe_start());
        for len in 0..3 {
            assert_eq!(
                DependencyDescriptor::parse(&key[..len]),
                Err(PayloadError::Truncated)
            );
        }
    }
}
