//! NACK, PLI (RFC 4585) and FIR (RFC 5104).

use super::{RtcpError, feedback_ssrcs};
use crate::ids::Ssrc;
use crate::time::SeqNo;
use crate::wire::bytes::ByteReader;

/// Generic NACK (RFC 4585 §6.2.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Nack<'a> {
    pub sender_ssrc: Ssrc,
    pub media_ssrc: Ssrc,
    entries: &'a [[u8; 4]],
}

impl<'a> Nack<'a> {
    pub(super) fn parse(mut body: ByteReader<'a>) -> Result<Self, RtcpError> {
        let [sender_ssrc, media_ssrc] = feedback_ssrcs(&mut body)?;
        let (entries, _) = body.rest().as_chunks();
        Ok(Self {
            sender_ssrc,
            media_ssrc,
            entries,
        })
    }

    /// The packets asked for: at most 17 for every four bytes of the packet.
    pub fn seqs(&self) -> impl Iterator<Item = SeqNo> + Clone + 'a {
        self.entries.iter().flat_map(|[p0, p1, b0, b1]| {
            let first = SeqNo(u16::from_be_bytes([*p0, *p1]));
            let following = u16::from_be_bytes([*b0, *b1]);
            let bits = (0..16).filter(move |bit| following & (1 << bit) != 0);
            std::iter::once(first).chain(bits.map(move |bit| first.wrapping_add(bit + 1)))
        })
    }
}

/// Picture loss indication (RFC 4585 §6.3.1).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Pli {
    pub sender_ssrc: Ssrc,
    pub media_ssrc: Ssrc,
}

impl Pli {
    pub(super) fn parse(mut body: ByteReader<'_>) -> Result<Self, RtcpError> {
        let [sender_ssrc, media_ssrc] = feedback_ssrcs(&mut body)?;
        Ok(Self {
            sender_ssrc,
            media_ssrc,
        })
    }
}

/// Full intra request (RFC 5104 §4.3.1). Which sources it is about stands in its entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fir<'a> {
    pub sender_ssrc: Ssrc,
    entries: &'a [[u8; 8]],
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct FirEntry {
    pub media_ssrc: Ssrc,
    /// Counts requests; the same number again is a repetition.
    pub request_seq: u8,
}

impl<'a> Fir<'a> {
    pub(super) fn parse(mut body: ByteReader<'a>) -> Result<Self, RtcpError> {
        let [sender_ssrc, _] = feedback_ssrcs(&mut body)?;
        let (entries, _) = body.rest().as_chunks();
        Ok(Self {
            sender_ssrc,
            entries,
        })
    }

    pub fn entries(&self) -> impl Iterator<Item = FirEntry> + Clone + 'a {
        self.entries
            .iter()
            .map(|[s0, s1, s2, s3, request_seq, ..]| FirEntry {
                media_ssrc: Ssrc(u32::from_be_bytes([*s0, *s1, *s2, *s3])),
                request_seq: *request_seq,
            })
    }
}
