//! Frames cut into RTP payloads: VP8 (RFC 7741) and H.264 (RFC 6184).

use millrace_shared::payload::PictureId;
use millrace_shared::payload::vp8::{Vp8Descriptor, write_descriptor};

use super::Stamp;
use super::picture::Frame;

/// Payload bytes of one packet, as libwebrtc cuts frames: 1200 less what header, extensions, SRTP
/// and RTX may add.
pub const PAYLOAD_LEN_MAX: usize = 1100;
/// Frame tag, start code and dimensions (RFC 6386 §9.1).
const VP8_KEY_HEADER_LEN: usize = 10;

/// RFC 6184 §5.2 and §5.4.
mod nal {
    pub(super) const SLICE: u8 = 1;
    pub(super) const IDR: u8 = 5;
    pub(super) const STAP_A: u8 = 24;
    pub(super) const FU_A: u8 = 28;
    /// nal_ref_idc of a unit that others need.
    pub(super) const REFERENCE: u8 = 0x60;
}

/// Parameter sets of constrained baseline, 1280 by 720, as x264 writes them.
const SPS: [u8; 15] = [
    0x67, 0x42, 0xc0, 0x1f, 0xd9, 0x00, 0x50, 0x05, 0xbb, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00,
];
const PPS: [u8; 4] = [0x68, 0xcb, 0x83, 0xcb];

#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum VideoCodec {
    #[default]
    Vp8,
    H264,
}

/// Where a payload's bytes come from.
#[derive(Copy, Clone, Debug)]
pub enum Bits<'a> {
    /// Noise of the frame's length.
    Made,
    /// A recorded frame: for H.264 one NAL unit.
    Recorded(&'a [u8]),
}

/// One packet of a frame, in the buffer that was passed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Payload {
    pub len: usize,
    /// Bytes at the beginning that a server may rewrite.
    pub descriptor_len: usize,
    /// The last of its frame.
    pub marker: bool,
}

/// Cuts one frame. Each call of [`Self::next_payload`] writes a payload with room for a stamp.
#[derive(Debug)]
pub struct Cut<'a> {
    codec: VideoCodec,
    frame: Frame,
    bits: Bits<'a>,
    size: (u16, u16),
    picture_id: u16,
    tl0_pic_idx: u8,
    offset: usize,
    /// Offset of the first byte sent.
    start: usize,
    parameter_sets_due: bool,
}

impl<'a> Cut<'a> {
    pub fn new(codec: VideoCodec, frame: Frame, bits: Bits<'a>, size: (u16, u16)) -> Self {
        let made = matches!(bits, Bits::Made);
        // RFC 6184 §5.8: fragments leave out the unit's first byte, which their headers carry.
        let single = frame.len + Stamp::LEN <= PAYLOAD_LEN_MAX;
        let fragmented = codec == VideoCodec::H264 && !made && !single;
        Self {
            codec,
            frame,
            bits,
            size,
            picture_id: 0,
            tl0_pic_idx: 0,
            offset: usize::from(fragmented),
            start: usize::from(fragmented),
            parameter_sets_due: codec == VideoCodec::H264 && frame.key && made,
        }
    }

    /// VP8's counters of this frame.
    pub fn with_picture_id(mut self, picture_id: u16, tl0_pic_idx: u8) -> Self {
        self.picture_id = picture_id & 0x7fff;
        self.tl0_pic_idx = tl0_pic_idx;
        self
    }

    /// The next payload into `out`, of at least [`PAYLOAD_LEN_MAX`] bytes; `None` after the last.
    pub fn next_payload(&mut self, out: &mut [u8]) -> Option<Payload> {
        if std::mem::take(&mut self.parameter_sets_due) {
            return self.parameter_sets(out);
        }
        if self.offset >= self.frame.len {
            return None;
        }
        let descriptor_len = match self.codec {
            VideoCodec::Vp8 => self.vp8_descriptor(out)?,
            VideoCodec::H264 if self.is_single_unit() => 0,
            VideoCodec::H264 => 2,
        };
        let room = PAYLOAD_LEN_MAX - Stamp::LEN - descriptor_len;
        let rest = self.frame.len - self.offset;
        // Packets of one frame are of about one length, as libwebrtc splits it.
        let len = rest.div_ceil(rest.div_ceil(room));
        let marker = len == rest;
        if self.codec == VideoCodec::H264 && !self.is_single_unit() {
            self.fu_a_header(out, marker);
        }
        self.fill(&mut out[descriptor_len..descriptor_len + len]);
        self.offset += len;
        Some(Payload {
            len: descriptor_len + len + Stamp::LEN,
            // Nothing of H.264 is rewritten, but a server may look at its headers.
            descriptor_len,
            marker,
        })
    }

    /// A recorded unit that fits one packet goes as it is (RFC 6184 §5.6).
    fn is_single_unit(&self) -> bool {
        matches!(self.bits, Bits::Recorded(_))
            && self.codec == VideoCodec::H264
            && self.frame.len + Stamp::LEN <= PAYLOAD_LEN_MAX
    }

    fn vp8_descriptor(&self, out: &mut [u8]) -> Option<usize> {
        let descriptor = Vp8Descriptor {
            partition_start: self.offset == 0,
            picture_id: Some(PictureId {
                value: self.picture_id,
                long: true,
            }),
            tl0_pic_idx: Some(self.tl0_pic_idx),
            temporal: Some(Default::default()),
            ..Vp8Descriptor::default()
        };
        write_descriptor(out, &descriptor)
    }

    fn parameter_sets(&self, out: &mut [u8]) -> Option<Payload> {
        // RFC 6184 §5.7.1: each unit behind its length.
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&[nal::REFERENCE | nal::STAP_A]);
        for unit in [&SPS[..], &PPS[..]] {
            put(&[0, u8::try_from(unit.len()).ok()?]);
            put(unit);
        }
        // The stamp would be read as a unit's length: one more unit, of a type that is ignored.
        let stamp_unit_len = u8::try_from(1 + Stamp::LEN).ok()?;
        put(&[0, stamp_unit_len, 30]);
        Some(Payload {
            len: at + Stamp::LEN,
            descriptor_len: 0,
            marker: false,
        })
    }

    fn fu_a_header(&self, out: &mut [u8], last: bool) {
        let kind = match (self.bits, self.frame.key) {
            (Bits::Recorded(unit), _) => unit.first().map_or(nal::SLICE, |first| first & 0x1f),
            (Bits::Made, true) => nal::IDR,
            (Bits::Made, false) => nal::SLICE,
        };
        // RFC 6184 §5.8: start and end of the unit, and its type.
        let first = self.offset == self.start;
        let start = if first { 0x80 } else { 0 };
        // A unit in one fragment would need both bits, which is forbidden: it has no end bit.
        let end = if last && !first { 0x40 } else { 0 };
        out[0] = nal::REFERENCE | nal::FU_A;
        out[1] = start | end | kind;
    }

    fn fill(&self, out: &mut [u8]) {
        match self.bits {
            Bits::Recorded(bits) => {
                let end = (self.offset + out.len()).min(bits.len());
                let part = bits.get(self.offset..end).unwrap_or_default();
                out[..part.len()].copy_from_slice(part);
                out[part.len()..].fill(0);
            }
            Bits::Made => {
                noise(out, self.offset);
                if self.offset == 0 {
                    self.first_bytes(out);
                }
            }
        }
    }

    /// What servers look at: VP8's frame tag and dimensions, or the beginning of a slice.
    fn first_bytes(&self, out: &mut [u8]) {
        match (self.codec, self.frame.key) {
            // RFC 6386 §9.1: bit 0 of the tag is 0 for a key frame; bit 4 shows the frame.
            (VideoCodec::Vp8, true) if out.len() >= VP8_KEY_HEADER_LEN => {
                out[..6].copy_from_slice(&[0x10, 0x00, 0x00, 0x9d, 0x01, 0x2a]);
                out[6..8].copy_from_slice(&self.size.0.to_le_bytes());
                out[8..10].copy_from_slice(&self.size.1.to_le_bytes());
            }
            (VideoCodec::Vp8, _) => out[0] = 0x11,
            // ITU-T H.264 §7.3.3: first_mb_in_slice is 0, as a single set bit.
            (VideoCodec::H264, _) => out[0] = 0x88,
        }
    }
}

/// Bytes that look random to a compressor; made once.
fn noise(out: &mut [u8], offset: usize) {
    static NOISE: std::sync::OnceLock<[u8; 4096]> = std::sync::OnceLock::new();
    let noise = NOISE.get_or_init(|| {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        std::array::from_fn(|_| {
            // xorshift64 (Marsaglia 2003).
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        })
    });
    let start = offset % (noise.len() - PAYLOAD_LEN_MAX);
    let len = out.len().min(PAYLOAD_LEN_MAX);
    out[..len].copy_from_slice(&noise[start..start + len]);
}

#[cfg(test)]
mod tests {
    use millrace_shared::payload::h264;
    use millrace_shared::payload::vp8::Vp8View;

    use super::*;

    fn payloads(codec: VideoCodec, key: bool, len: usize) -> Vec<(Vec<u8>, Payload)> {
        let frame = Frame { key, len };
        let mut cut = Cut::new(codec, frame, Bits::Made, (640, 360)).with_picture_id(300, 9);
        let mut out = [0; PAYLOAD_LEN_MAX];
        let mut payloads = Vec::new();
        while let Some(payload) = cut.next_payload(&mut out) {
            payloads.push((out[..payload.len].to_vec(), payload));
        }
        payloads
    }

    #[test]
    fn vp8_key_frames_are_found_and_measured() {
        let payloads = payloads(VideoCodec::Vp8, true, 5000);
        assert_eq!(payloads.len(), 5);
        let first = Vp8View::parse(&payloads[0].0).unwrap();
        assert!(first.keyframe_start());
        assert_eq!(first.size(), Some((640, 360)));
        assert_eq!(first.descriptor.picture_id.unwrap().value, 300);
        assert_eq!(first.descriptor_len, payloads[0].1.descriptor_len);
        assert!(!Vp8View::parse(&payloads[1].0).unwrap().frame_start());
        let markers: Vec<_> = payloads.iter().map(|(_, it)| it.marker).collect();
        assert_eq!(markers, [false, false, false, false, true]);
    }

    #[test]
    fn vp8_delta_frames_are_no_key_frames() {
        let payloads = payloads(VideoCodec::Vp8, false, 1500);
        let first = Vp8View::parse(&payloads[0].0).unwrap();
        assert!(first.frame_start());
        assert!(!first.keyframe_start());
    }

    #[test]
    fn h264_key_frames_begin_with_parameter_sets() {
        let key = payloads(VideoCodec::H264, true, 3000);
        assert_eq!(key[0].0[0] & 0x1f, nal::STAP_A);
        assert!(h264::keyframe_start(&key[0].0));
        assert!(!h264::keyframe_start(&key[1].0), "the slice itself");
        assert!(!h264::keyframe_start(&key[2].0));
        let delta = payloads(VideoCodec::H264, false, 3000);
        assert!(
            !delta
                .iter()
                .any(|(payload, _)| h264::keyframe_start(payload))
        );
    }

    #[test]
    fn recorded_units_are_sent_whole_or_in_fragments() {
        let cut = |unit: &[u8]| {
            let frame = Frame {
                key: true,
                len: unit.len(),
            };
            let mut cut = Cut::new(VideoCodec::H264, frame, Bits::Recorded(unit), (0, 0));
            let mut out = [0; PAYLOAD_LEN_MAX];
            let mut payloads = Vec::new();
            while let Some(payload) = cut.next_payload(&mut out) {
                payloads.push(out[..payload.len - Stamp::LEN].to_vec());
            }
            payloads
        };
        assert_eq!(cut(&SPS), [SPS.to_vec()]);
        let mut unit = vec![0x7; 3000];
        unit[0] = 0x65;
        let fragments = cut(&unit);
        let heads: Vec<_> = fragments.iter().map(|it| it[1]).collect();
        assert_eq!(heads, [0x85, 0x05, 0x45]);
        let carried: usize = fragments.iter().map(|it| it.len() - 2).sum();
        assert_eq!(carried, unit.len() - 1);
    }

    #[test]
    fn every_payload_holds_its_part_of_the_frame_and_a_stamp() {
        for codec in [VideoCodec::Vp8, VideoCodec::H264] {
            for len in [60, 1000, 1100, 2201, 40_000] {
                let payloads = payloads(codec, false, len);
                let carried: usize = payloads
                    .iter()
                    .map(|(_, it)| it.len - it.descriptor_len - Stamp::LEN)
                    .sum();
                assert_eq!(carried, len, "{codec:?} {len}");
                assert!(payloads.iter().all(|(_, it)| it.len <= PAYLOAD_LEN_MAX));
                assert!(payloads.last().unwrap().1.marker);
            }
        }
    }
}
