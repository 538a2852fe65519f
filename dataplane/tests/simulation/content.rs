//! What publishers send: every payload says where it comes from and what it needs, so that an
//! oracle can tell a packet that arrived from one that should have.

use millrace_shared::ids::Pt;
use millrace_shared::payload::red::RedView;
use millrace_shared::payload::vp8::{Vp8Descriptor, Vp8View, write_descriptor};
use millrace_shared::payload::vp9::Vp9Descriptor;

/// What stands before the content of an H.264 key frame's first packet: an aggregate (RFC 6184
/// §5.7.1) of both parameter sets, as libwebrtc sends them.
const PARAMETER_SETS: [u8; 13] = [
    0x78, 0, 4, 0x67, 0x42, 0xc0, 0x1f, 0, 4, 0x68, 0xce, 0x3c, 0x80,
];
const IDR: u8 = 0x65;
const SLICE: u8 = 0x41;
const SEI: u8 = 0x66;
/// The first byte of a slice: of a picture's first one the highest bit is set (first_mb_in_slice).
const SLICE_START: u8 = 0x9a;
/// Between packets of audio, in ticks.
const AUDIO_TICKS: u16 = 960;

/// What stands before the content and runs on from picture to picture.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Descriptor {
    None,
    Vp8(Vp8Descriptor),
    Vp9(Vp9Descriptor),
}

/// Where a payload comes from.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Content {
    pub(crate) track: u16,
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
    /// Counts the frames of an encoding.
    pub(crate) frame: u32,
    /// The frame without which this one cannot be decoded: itself where it needs none.
    pub(crate) needs: u32,
    /// Of the packets of its frame.
    pub(crate) index: u8,
    pub(crate) count: u8,
    /// The publisher's extended sequence number.
    pub(crate) seq: u64,
    pub(crate) captured_us: u64,
}

impl Content {
    const LEN: usize = 2 + 1 + 1 + 4 + 4 + 1 + 1 + 8 + 8;
    /// The shortest payload behind a descriptor.
    pub(crate) const BODY_LEN_MIN: usize = 1 + Self::LEN;

    pub(crate) fn is_key(&self) -> bool {
        self.needs == self.frame
    }

    pub(crate) fn is_last(&self) -> bool {
        self.index + 1 == self.count
    }

    /// Fills the bytes behind it: those of no two packets of a track are alike.
    fn filler(&self) -> u8 {
        (self.seq as u8).wrapping_mul(31) ^ self.spatial ^ (self.track as u8).rotate_left(4)
    }

    pub(crate) fn write(&self, out: &mut [u8]) {
        let mut fields = Vec::with_capacity(Self::LEN);
        fields.extend_from_slice(&self.track.to_be_bytes());
        fields.extend_from_slice(&[self.spatial, self.temporal]);
        fields.extend_from_slice(&self.frame.to_be_bytes());
        fields.extend_from_slice(&self.needs.to_be_bytes());
        fields.extend_from_slice(&[self.index, self.count]);
        fields.extend_from_slice(&self.seq.to_be_bytes());
        fields.extend_from_slice(&self.captured_us.to_be_bytes());
        out[..Self::LEN].copy_from_slice(&fields);
        out[Self::LEN..].fill(self.filler());
    }

    /// `None` where the bytes are not those that a publisher wrote.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (fields, rest) = bytes.split_at_checked(Self::LEN)?;
        let word = |at: usize| {
            u32::from_be_bytes([fields[at], fields[at + 1], fields[at + 2], fields[at + 3]])
        };
        let long = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
        let content = Self {
            track: u16::from_be_bytes([fields[0], fields[1]]),
            spatial: fields[2],
            temporal: fields[3],
            frame: word(4),
            needs: word(8),
            index: fields[12],
            count: fields[13],
            seq: long(14),
            captured_us: long(22),
        };
        let filler = content.filler();
        rest.iter().all(|byte| *byte == filler).then_some(content)
    }

    /// An audio payload of `len` bytes.
    pub(crate) fn audio(&self, len: usize) -> Vec<u8> {
        let mut payload = vec![0; len.max(Self::LEN)];
        self.write(&mut payload);
        payload
    }

    /// A VP8 payload with `len` bytes behind its descriptor.
    pub(crate) fn vp8(&self, descriptor: &Vp8Descriptor, len: usize) -> Vec<u8> {
        let len = len.max(Self::BODY_LEN_MIN);
        let mut payload = vec![0; descriptor.encoded_len() + len];
        let at = write_descriptor(&mut payload, descriptor).unwrap();
        // RFC 6386 §9.1: the lowest bit of the frame tag is 0 for key frames.
        payload[at] = u8::from(!self.is_key());
        self.write(&mut payload[at + 1..]);
        payload
    }

    /// An H.264 payload with `len` bytes behind its headers. Key frames have a packet of parameter
    /// sets; slices that need several packets are fragments.
    pub(crate) fn h264(&self, len: usize) -> Vec<u8> {
        let mut payload = self.h264_headers(len.max(Self::LEN));
        let at = payload.len();
        payload.resize(at + len.max(Self::LEN), 0);
        self.write(&mut payload[at..]);
        payload
    }

    fn h264_headers(&self, len: usize) -> Vec<u8> {
        if self.is_key() && self.index == 0 {
            // Behind the parameter sets the slice, or, where that has packets of its own, a message.
            let unit = match self.count {
                1 => &[IDR, SLICE_START][..],
                _ => &[SEI],
            };
            let unit_len = (unit.len() + len) as u16;
            return [&PARAMETER_SETS, &unit_len.to_be_bytes()[..], unit].concat();
        }
        let slice = if self.is_key() { IDR } else { SLICE };
        // The slice's packets: all but the one of parameter sets.
        let first = u8::from(self.is_key());
        if self.count - first == 1 {
            return vec![slice, SLICE_START];
        }
        let (start, end) = (self.index == first, self.is_last());
        let fragment = u8::from(start) << 7 | u8::from(end) << 6 | (slice & 0x1f);
        let mut headers = vec![(slice & 0xe0) | 28, fragment];
        headers.extend(start.then_some(SLICE_START));
        headers
    }

    pub(crate) fn of_h264(payload: &[u8]) -> Option<Self> {
        let at = match payload.first()? & 0x1f {
            24 => {
                let unit = payload.get(PARAMETER_SETS.len() + 2)?;
                PARAMETER_SETS.len() + if *unit == SEI { 3 } else { 4 }
            }
            28 => 2 + usize::from(payload.get(1)? >> 7),
            _ => 2,
        };
        let content = Self::read(payload.get(at..)?)?;
        (payload == content.h264(payload.len() - at)).then_some(content)
    }

    /// RFC 2198 §3: audio with the packet before it once more, if there is one.
    pub(crate) fn red(pt: Pt, before: &[u8], primary: &[u8]) -> Vec<u8> {
        if before.is_empty() {
            return [&[pt.0], primary].concat();
        }
        let bits = u32::from(AUDIO_TICKS) << 10 | before.len() as u32;
        let [_, head @ ..] = bits.to_be_bytes();
        [&[0x80 | pt.0], &head[..], &[pt.0], before, primary].concat()
    }

    /// `pt` is what its blocks are to carry.
    pub(crate) fn of_red(payload: &[u8], pt: Pt) -> Option<Self> {
        let view = RedView::parse(payload).ok()?;
        let content = Self::read(view.primary)?;
        let repeats = view.redundant().all(|block| {
            let before = Self::read(block.data);
            (block.pt, block.age_ticks) == (pt, AUDIO_TICKS)
                && before
                    .is_some_and(|it| (it.track, it.frame + 1) == (content.track, content.frame))
        });
        (view.primary_pt == pt && repeats).then_some(content)
    }

    pub(crate) fn of_audio(payload: &[u8]) -> Option<Self> {
        Self::read(payload)
    }

    pub(crate) fn of_vp8(payload: &[u8]) -> Option<(Self, Vp8Descriptor)> {
        let view = Vp8View::parse(payload).ok()?;
        let (tag, rest) = view.frame.split_first()?;
        let content = Self::read(rest)?;
        let starts = content.index == 0;
        let told = (*tag == u8::from(!content.is_key())) && view.frame_start() == starts;
        told.then_some((content, view.descriptor))
    }
}
