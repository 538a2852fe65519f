//! Bounds the DATA chunks that an association stores.
//!
//! The library bounds their bytes, not their number, and takes time in proportion to their number
//! for each further one: a peer that sends fragments of one byte and never the last would keep a
//! shard busy. So chunks are counted here: those that come in, less those of the messages that come
//! out. Duplicates make the count too high, until an outgoing SACK says that nothing is stored.

use super::chunk::{data_tsns, is_after, sacks};
use crate::limits::{SCTP_CHUNKS_WAITING_MAX, SCTP_RECEIVE_WINDOW};

#[derive(Debug, Default)]
pub(super) struct Backlog {
    chunks: usize,
    /// The last TSN up to which we acknowledged everything: what is older is no news.
    acknowledged: Option<u32>,
}

impl Backlog {
    /// Counts the DATA chunks of a packet from the peer.
    pub(super) fn received(&mut self, packet: &[u8]) {
        let news = data_tsns(packet).filter(|tsn| {
            let acknowledged = self.acknowledged;
            acknowledged.is_none_or(|acknowledged| is_after(*tsn, acknowledged))
        });
        self.chunks += news.count();
    }

    /// A message of so many chunks has left.
    pub(super) fn delivered(&mut self, chunks: usize) {
        self.chunks = self.chunks.saturating_sub(chunks);
    }

    /// Reads the acknowledgements of a packet of ours.
    pub(super) fn sent(&mut self, packet: &[u8]) {
        for sack in sacks(packet) {
            self.acknowledged = Some(sack.cumulative_tsn);
            if usize::try_from(sack.window).is_ok_and(|window| window >= SCTP_RECEIVE_WINDOW) {
                self.chunks = 0;
            }
        }
    }

    pub(super) fn is_exceeded(&self) -> bool {
        self.chunks > SCTP_CHUNKS_WAITING_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::super::chunk::{DATA, SACK, packet, sack_value};
    use super::*;

    fn data(tsn: u32) -> Vec<u8> {
        let mut value = tsn.to_be_bytes().to_vec();
        value.extend_from_slice(&[0; 9]);
        value
    }

    fn sack(tsn: u32, window: usize) -> Vec<u8> {
        packet(&[(SACK, &sack_value(tsn, window, &[]))])
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
}
