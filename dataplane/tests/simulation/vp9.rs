//! VP9 as browsers send it (RFC 9628): pictures of one temporal layer each, and of one or several
//! spatial layers that go in one stream.

use millrace_shared::payload::vp9::Vp9Descriptor;

use crate::content::Content;
use crate::encoder::Temporal;

/// How a publisher makes it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Vp9Shape {
    /// Each packet says what its picture refers to, and there is no TL0PICIDX.
    pub(crate) flexible: bool,
    /// In one stream.
    pub(crate) spatial_layers: u8,
    /// Upper spatial layers need those below in every picture, and not in key pictures alone.
    pub(crate) inter_layer: bool,
}

impl Vp9Shape {
    pub(crate) const PLAIN: Self = Self {
        flexible: false,
        spatial_layers: 1,
        inter_layer: false,
    };
}

/// What the descriptors of a picture say beside what its content says.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Vp9Picture {
    pub(crate) shape: Vp9Shape,
    pub(crate) temporal: Temporal,
    /// 15 bits.
    pub(crate) id: u16,
    pub(crate) tl0: u8,
}

impl Vp9Picture {
    /// A payload with `len` bytes behind its descriptor.
    pub(crate) fn payload(&self, content: &Content, len: usize) -> Vec<u8> {
        let mut payload = self.descriptor(content);
        let tl0 = self.has_layers() && !self.shape.flexible;
        payload.push(sum(&payload, tl0));
        let at = payload.len();
        payload.resize(at + len.max(Content::BODY_LEN_MIN), 0);
        content.write(&mut payload[at..]);
        payload
    }

    /// Without layers of either kind libwebrtc leaves their indices away.
    fn has_layers(&self) -> bool {
        self.temporal != Temporal::None || self.shape.spatial_layers > 1
    }

    /// Of the spatial layers each has some of the picture's packets, at least one.
    fn spatial(&self, index: u8, count: u8) -> u8 {
        (u16::from(index) * u16::from(self.shape.spatial_layers) / u16::from(count)) as u8
    }

    // RFC 9628 §4.2.
    fn descriptor(&self, content: &Content) -> Vec<u8> {
        let (index, count, key) = (content.index, content.count, content.is_key());
        let shape = self.shape;
        let spatial = self.spatial(index, count);
        let starts = index == 0 || self.spatial(index - 1, count) != spatial;
        let ends = content.is_last() || self.spatial(index + 1, count) != spatial;
        let between_layers = key || shape.inter_layer;
        let structure = key && index == 0;
        let flags = [
            true,
            !key,
            self.has_layers(),
            shape.flexible,
            starts,
            ends,
            structure,
            !between_layers || spatial + 1 == shape.spatial_layers,
        ];
        let first = flags.iter().fold(0, |bits, bit| bits << 1 | u8::from(*bit));
        let [high, low] = self.id.to_be_bytes();
        let mut bytes = vec![first, 0x80 | high, low];
        if self.has_layers() {
            // U: libwebrtc does not know it where it is flexible.
            let switching_up = u8::from(!shape.flexible);
            let inter_layer = u8::from(spatial > 0 && between_layers);
            bytes.push(content.temporal << 5 | switching_up << 4 | spatial << 1 | inter_layer);
            bytes.extend((!shape.flexible).then_some(self.tl0));
        }
        if shape.flexible && !key {
            bytes.push(((content.frame - content.needs) as u8) << 1);
        }
        if structure {
            self.write_structure(&mut bytes);
        }
        bytes
    }

    // RFC 9628 §4.2.1: sizes of the spatial layers, and where nothing else tells references, those.
    fn write_structure(&self, bytes: &mut Vec<u8>) {
        let layers = self.shape.spatial_layers;
        bytes.push((layers - 1) << 5 | 0x10 | u8::from(!self.shape.flexible) << 3);
        for layer in 0..u16::from(layers) {
            for size in [320_u16 << layer, 180 << layer] {
                bytes.extend(size.to_be_bytes());
            }
        }
        if self.shape.flexible {
            return;
        }
        // Temporal layer and distance of the reference.
        let pictures: &[(u8, u8)] = match self.temporal {
            Temporal::Three => &[(0, 4), (2, 1), (1, 2), (2, 1)],
            Temporal::Two => &[(0, 2), (1, 1)],
            Temporal::None | Temporal::Chained => &[(0, 1)],
        };
        bytes.push(pictures.len() as u8);
        for (temporal, distance) in pictures {
            bytes.extend([temporal << 5 | 0x14, *distance]);
        }
    }
}

/// What a payload carries; `None` where it is not what a publisher wrote. Picture id and TL0PICIDX
/// are judged apart.
pub(crate) fn read(payload: &[u8]) -> Option<(Content, Vp9Descriptor)> {
    let descriptor = Vp9Descriptor::parse(payload).ok()?;
    let (head, body) = payload.split_at_checked(descriptor.len)?;
    let (told, rest) = body.split_first()?;
    let content = Content::read(rest)?;
    let starts = content.is_key() && content.index == 0;
    let same = *told == sum(head, descriptor.tl0_pic_idx.is_some())
        && descriptor.keyframe_start() == starts
        && descriptor.temporal() == content.temporal;
    same.then_some((content, descriptor))
}

/// Of a descriptor but for the picture id and TL0PICIDX, which stands behind the layer indices.
fn sum(descriptor: &[u8], tl0: bool) -> u8 {
    let bytes = descriptor.iter().enumerate();
    let counted = bytes.filter(|(at, _)| match at {
        1 | 2 => false,
        4 => !tl0,
        _ => true,
    });
    counted.fold(0x5a, |sum: u8, (_, byte)| sum.rotate_left(1) ^ byte)
}
