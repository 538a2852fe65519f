//! Packets with a mark that says who sent them and when.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use millrace_shared::ids::{Pt, Ssrc};
use millrace_shared::payload::PictureId;
use millrace_shared::payload::vp8::{Vp8Descriptor, Vp8Temporal, write_descriptor};
use millrace_shared::time::{Epoch, ExtSeq, RtpTime, SeqNo, Timestamp};
use millrace_shared::wire::rtp::{HEADER_LEN_MIN, RtpHeader, RtpView, write_header};

pub(crate) const VIDEO_PT: Pt = Pt(96);
pub(crate) const RTX_PT: Pt = Pt(97);
pub(crate) const SSRC: Ssrc = Ssrc(0x1111_1111);
pub(crate) const RTX_SSRC: Ssrc = Ssrc(0x2222_2222);

const MAGIC: [u8; 8] = *b"hostile!";
const MARK_LEN: usize = MAGIC.len() + 8 + 8;
/// Of a packet's payload, as a video's packets have it.
const PAYLOAD_LEN: usize = 1_000;

static EPOCH: LazyLock<Epoch> = LazyLock::new(|| Epoch {
    instant: Instant::now(),
    since_1900: Duration::ZERO,
});

/// The whole process has one clock, so that latency is a difference.
pub(crate) fn epoch() -> Epoch {
    *EPOCH
}

pub(crate) fn now() -> Timestamp {
    EPOCH.timestamp(Instant::now())
}

/// Who sent a packet, and when.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Mark {
    pub(crate) publisher: u64,
    pub(crate) sent_at: Timestamp,
}

impl Mark {
    pub(crate) fn now(publisher: u64) -> Self {
        Self {
            publisher,
            sent_at: now(),
        }
    }

    pub(crate) fn write(self, out: &mut [u8]) {
        let Some(at) = out.len().checked_sub(MARK_LEN) else {
            return;
        };
        let (magic, rest) = out[at..].split_at_mut(MAGIC.len());
        magic.copy_from_slice(&MAGIC);
        rest[..8].copy_from_slice(&self.publisher.to_be_bytes());
        rest[8..].copy_from_slice(&self.sent_at.as_nanos().to_be_bytes());
    }

    /// Of a whole packet of RTP, which the node may have padded.
    pub(crate) fn of_packet(rtp: &[u8]) -> Option<Self> {
        Self::read(RtpView::parse(rtp).ok()?.payload())
    }

    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let mark = payload.last_chunk::<MARK_LEN>()?;
        let (magic, rest) = mark.split_first_chunk::<8>()?;
        let (publisher, sent_at) = rest.split_first_chunk::<8>()?;
        (*magic == MAGIC).then_some(())?;
        Some(Self {
            publisher: u64::from_be_bytes(*publisher),
            sent_at: Timestamp::from_nanos(u64::from_be_bytes(*sent_at.first_chunk()?)),
        })
    }
}

/// A VP8 stream of key frames of one packet each, so that every packet can be the first.
#[derive(Clone, Debug)]
pub(crate) struct Video {
    pub(crate) next: ExtSeq,
    rtp_time: RtpTime,
    picture: u16,
    pub(crate) payload_len: usize,
}

impl Video {
    pub(crate) fn new(first: u16) -> Self {
        Self {
            next: ExtSeq::first(SeqNo(first)),
            rtp_time: RtpTime(90_000),
            picture: 1,
            payload_len: PAYLOAD_LEN,
        }
    }

    /// A number that is never sent.
    pub(crate) fn lose(&mut self) {
        self.next = ExtSeq(self.next.0 + 1);
    }

    /// The next packet and its extended number.
    pub(crate) fn packet(&mut self, mark: Mark) -> (Vec<u8>, ExtSeq) {
        let seq = self.next;
        self.lose();
        self.rtp_time = self.rtp_time.wrapping_add(1_800);
        self.picture = (self.picture + 1) & 0x7fff;
        let header = RtpHeader {
            marker: true,
            pt: VIDEO_PT,
            seq: seq.seq(),
            timestamp: self.rtp_time,
            ssrc: SSRC,
        };
        let mut bytes = vec![0; HEADER_LEN_MIN + self.payload_len];
        let written = write_header(&mut bytes, &header, &[]);
        debug_assert_eq!(written, Some(HEADER_LEN_MIN));
        let payload = &mut bytes[HEADER_LEN_MIN..];
        let descriptor = Vp8Descriptor {
            partition_start: true,
            picture_id: Some(PictureId {
                value: self.picture,
                long: true,
            }),
            tl0_pic_idx: Some((self.picture & 0xff) as u8),
            temporal: Some(Vp8Temporal::default()),
            ..Vp8Descriptor::default()
        };
        let len = write_descriptor(payload, &descriptor).unwrap_or(0);
        // RFC 6386 §9.1: bit 0 clear is a key frame; then the start code and a size.
        payload[len..len + 10].copy_from_slice(&[0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x40, 1, 0xf0, 0]);
        mark.write(payload);
        (bytes, seq)
    }

    /// The packet of `original` once more, on the RTX stream (RFC 4588 §4).
    pub(crate) fn again(original: &[u8], rtx_seq: ExtSeq) -> Vec<u8> {
        let (header, payload) = original.split_at(HEADER_LEN_MIN);
        let mut bytes = header.to_vec();
        bytes[1] = 0x80 | RTX_PT.0;
        bytes[2..4].copy_from_slice(&rtx_seq.seq().0.to_be_bytes());
        bytes[8..12].copy_from_slice(&RTX_SSRC.0.to_be_bytes());
        bytes.extend_from_slice(&header[2..4]);
        bytes.extend_from_slice(payload);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use millrace_shared::wire::rtp::pad;

    use super::*;

    #[test]
    fn a_mark_survives_its_packet() {
        let mark = Mark {
            publisher: 7,
            sent_at: Timestamp::from_millis(12),
        };
        let (bytes, seq) = Video::new(65_535).packet(mark);
        assert_eq!(seq.seq(), SeqNo(65_535));
        assert_eq!(Mark::read(&bytes), Some(mark));
        assert_eq!(Mark::read(&bytes[..50]), None);

        let len = bytes.len();
        let mut padded = bytes;
        padded.resize(len + 5, 0);
        assert_eq!(pad(&mut padded, len, 5), Some(len + 5));
        assert_eq!(Mark::of_packet(&padded), Some(mark));
    }
}
