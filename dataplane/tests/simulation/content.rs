//! What publishers send: every payload says where it comes from and what it needs, so that an
//! oracle can tell a packet that arrived from one that should have.

use millrace_shared::payload::vp8::{Vp8Descriptor, Vp8View, write_descriptor};

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

    fn write(&self, out: &mut [u8]) {
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
    fn read(bytes: &[u8]) -> Option<Self> {
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
