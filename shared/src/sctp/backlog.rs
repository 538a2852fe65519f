//! Bounds the DATA chunks that an association stores.
//!
//! The library bounds their bytes, not their number, and takes time in proportion to their number
//! for each further one: a peer that sends fragments of one byte and never the last would keep a
//! shard busy. So chunks are counted here: those that come in, less those of the messages that come
//! out. Duplicates make the count too high, until an outgoing SACK says that nothing is stored.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use crate::limits::{SCTP_CHUNKS_WAITING_MAX, SCTP_RECEIVE_WINDOW};

/// RFC 9260 §3.1.
const COMMON_HEADER_LEN: usize = 12;
const CHUNK_HEADER_LEN: usize = 4;
const DATA: u8 = 0;
const INIT: u8 = 1;
const SACK: u8 = 3;

#[derive(Debug, Default)]
pub(super) struct Backlog {
    chunks: usize,
    /// The last TSN up to which we acknowledged everything: what is older is no news.
    acknowledged: Option<u32>,
}

impl Backlog {
    /// Counts the DATA chunks of a packet from the peer.
    pub(super) fn received(&mut self, packet: &[u8]) {
        for chunk in chunks(packet) {
            let Some(([DATA, ..], value)) = chunk.split_first_chunk::<CHUNK_HEADER_LEN>() else {
                continue;
            };
            let Some(tsn) = value.first_chunk().map(|it| u32::from_be_bytes(*it)) else {
                continue;
            };
            let news = self
                .acknowledged
                .is_none_or(|at| tsn.wrapping_sub(at).cast_signed() > 0);
            self.chunks += usize::from(news);
        }
    }

    /// A message of so many chunks has left.
    pub(super) fn delivered(&mut self, chunks: usize) {
        self.chunks = self.chunks.saturating_sub(chunks);
    }

    /// Reads the acknowledgements of a packet of ours.
    pub(super) fn sent(&mut self, packet: &[u8]) {
        for chunk in chunks(packet) {
            if let Some(([SACK, ..], value)) = chunk.split_first_chunk::<CHUNK_HEADER_LEN>()
                && let Some([a, b, c, d, e, f, g, h]) = value.first_chunk::<8>()
            {
                self.acknowledged = Some(u32::from_be_bytes([*a, *b, *c, *d]));
                let window = u32::from_be_bytes([*e, *f, *g, *h]);
                if usize::try_from(window).is_ok_and(|window| window >= SCTP_RECEIVE_WINDOW) {
                    self.chunks = 0;
                }
            }
        }
    }

    pub(super) fn is_exceeded(&self) -> bool {
        self.chunks > SCTP_CHUNKS_WAITING_MAX
    }
}

/// Whether the packet is an INIT, which always comes alone.
pub(super) fn is_init(packet: &[u8]) -> bool {
    packet.get(COMMON_HEADER_LEN) == Some(&INIT)
}

/// The chunks of a packet with their headers, as far as it is well-formed.
fn chunks(packet: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = packet.get(COMMON_HEADER_LEN..).unwrap_or_default();
    std::iter::from_fn(move || {
        let [_, _, high, low] = *rest.first_chunk::<CHUNK_HEADER_LEN>()?;
        let len = usize::from(u16::from_be_bytes([high, low])).max(CHUNK_HEADER_LEN);
        let chunk = rest.get(..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(chunks: &[(u8, &[u8])]) -> Vec<u8> {
        let mut packet = vec![0; COMMON_HEADER_LEN];
        for (chunk_type, value) in chunks {
            let len = u16::try_from(CHUNK_HEADER_LEN + value.len()).unwrap();
            packet.extend_from_slice(&[*chunk_type, 0]);
            packet.extend_from_slice(&len.to_be_bytes());
            packet.extend_from_slice(value);
            packet.resize(packet.len().next_multiple_of(4), 0);
        }
        packet
    }

    fn data(tsn: u32) -> Vec<u8> {
        let mut value = tsn.to_be_bytes().to_vec();
        value.extend_from_slice(&[0; 9]);
        value
    }

    fn sack(tsn: u32, window: usize) -> Vec<u8> {
        let mut value = tsn.to_be_bytes().to_vec();
        value.extend_from_slice(&u32::try_from(window).unwrap().to_be_bytes());
        value.extend_from_slice(&[0; 4]);
        packet(&[(SACK, &value)])
    }

    #[test]
    fn counts_data_until_it_is_delivered_or_known_to_be_gone() {
        let mut backlog = Backlog::default();
        backlog.received(&packet(&[
            (DATA, &data(5)),
            (SACK, &[0; 12]),
            (DATA, &data(6)),
        ]));
        assert_eq!(backlog.chunks, 2);
        backlog.delivered(1);
        assert_eq!(backlog.chunks, 1);
        backlog.sent(&sack(6, SCTP_RECEIVE_WINDOW - 9));
        assert_eq!(backlog.chunks, 1);
        backlog.received(&packet(&[(DATA, &data(6))]));
        assert_eq!(backlog.chunks, 1, "a duplicate");
        backlog.received(&packet(&[(DATA, &data(7))]));
        assert_eq!(backlog.chunks, 2);
        backlog.sent(&sack(7, SCTP_RECEIVE_WINDOW));
        assert_eq!(backlog.chunks, 0);
    }

    #[test]
    fn malformed_packets_end_the_walk() {
        for len in 0..40 {
            let _ = chunks(&vec![0; len]).count();
            let _ = chunks(&vec![0xff; len]).count();
        }
        assert!(!is_init(&[]));
    }
}
