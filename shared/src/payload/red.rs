//! Redundant audio (RFC 2198 §3).

use super::PayloadError;
use crate::ids::Pt;
use crate::wire::bytes::ByteReader;

const FOLLOWED_BIT: u8 = 0x80;

/// An earlier frame, sent again.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct RedBlock<'a> {
    pub pt: Pt,
    /// How much older it is than the packet, in ticks of the media clock: 14 bits.
    pub age_ticks: u16,
    pub data: &'a [u8],
}

/// Payload whose block lengths have been checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RedView<'a> {
    pub primary_pt: Pt,
    /// Where the primary encoding starts in the payload.
    pub primary_offset: usize,
    /// The frame that the packet is about.
    pub primary: &'a [u8],
    headers: &'a [u8],
    blocks: &'a [u8],
}

impl<'a> RedView<'a> {
    pub fn parse(payload: &'a [u8]) -> Result<Self, PayloadError> {
        let mut reader = ByteReader::new(payload);
        let mut blocks_len = 0;
        let primary_pt = loop {
            let first = reader.u8().ok_or(PayloadError::Truncated)?;
            if first & FOLLOWED_BIT == 0 {
                break Pt(first);
            }
            let [_, len] = split(reader.u24().ok_or(PayloadError::Truncated)?);
            blocks_len += usize::from(len);
        };
        let body = reader.rest();
        let headers_len = payload.len() - body.len();
        let (blocks, primary) = body
            .split_at_checked(blocks_len)
            .ok_or(PayloadError::Truncated)?;
        Ok(Self {
            primary_pt,
            primary_offset: headers_len + blocks_len,
            primary,
            headers: payload.get(..headers_len).unwrap_or_default(),
            blocks,
        })
    }

    /// The earlier frames, oldest first as senders order them.
    pub fn redundant(&self) -> impl Iterator<Item = RedBlock<'a>> + Clone + 'a {
        let mut blocks = ByteReader::new(self.blocks);
        // The primary's header of one byte is the incomplete chunk at the end.
        let (headers, _) = self.headers.as_chunks();
        headers.iter().map_while(move |[first, a, b, c]| {
            let [age_ticks, len] = split(u32::from_be_bytes([0, *a, *b, *c]));
            Some(RedBlock {
                pt: Pt(first & !FOLLOWED_BIT),
                age_ticks,
                data: blocks.take(usize::from(len))?,
            })
        })
    }
}

/// Timestamp offset in 14 bits and block length in 10.
fn split(bits: u32) -> [u16; 2] {
    [bits >> 10, bits & 0x3ff].map(|bits| u16::try_from(bits).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Two earlier frames, 40 and 20 ms old, and the primary, all Opus as payload type 111.
    const TWICE: [u8; 16] = [
        0xef, 0x1e, 0x00, 0x02, // 1920 ticks, 2 bytes
        0xef, 0x0f, 0x00, 0x03, // 960 ticks, 3 bytes
        0x6f, 0x78, 0x01, 0x78, 0x02, 0x02, 0x78, 0x03,
    ];

    #[test]
    fn chromium_sends_two_earlier_frames() {
        let view = RedView::parse(&TWICE).unwrap();
        assert_eq!((view.primary_pt, view.primary_offset), (Pt(111), 14));
        assert_eq!(view.primary, [0x78, 0x03]);
        let pt = Pt(111);
        assert!(view.redundant().eq([
            RedBlock {
                pt,
                age_ticks: 1920,
                data: &[0x78, 0x01]
            },
            RedBlock {
                pt,
                age_ticks: 960,
                data: &[0x78, 0x02, 0x02]
            },
        ]));
    }

    #[test]
    fn primary_alone_and_truncations() {
        let view = RedView::parse(&[0x6f, 0x78]).unwrap();
        assert_eq!((view.primary_offset, view.primary), (1, &[0x78][..]));
        assert_eq!(view.redundant().count(), 0);
        for len in 0..14 {
            assert_eq!(
                RedView::parse(&TWICE[..len]),
                Err(PayloadError::Truncated),
                "{len}"
            );
        }
        assert!(RedView::parse(&TWICE[..14]).unwrap().primary.is_empty());
    }

    proptest! {
        #[test]
        fn noise_never_panics(payload in vec(any::<u8>(), 0..64)) {
            if let Ok(view) = RedView::parse(&payload) {
                prop_assert_eq!(&payload[view.primary_offset..], view.primary);
                let blocks: usize = view.redundant().map(|block| block.data.len()).sum();
                let headers = view.redundant().count() * 4 + 1;
                prop_assert_eq!(headers + blocks, view.primary_offset);
            }
        }
    }
}
