//! Bounds the DATA chunks that an association has sent or queued and the peer has not acknowledged,
//! and the time that looking at them takes.
//!
//! The library bounds nothing of what we send. For each packet of the peer it walks over all chunks
//! under way, for each acknowledgement once more, and it keeps a chunk until everything before it
//! is acknowledged too (RFC 9260 §6.2.1). A peer that stops acknowledging small messages, or
//! acknowledges all but the first by gaps, would keep a shard busy: a hundred thousand of ten bytes
//! fit where a thousand full chunks do.

use std::collections::VecDeque;

use super::association::CHUNK_LEN;
use super::chunk::{data_tsns, is_after, is_exact, sacks};
use crate::bucket::Bucket;
use crate::drop::DropReason;
use crate::limits::{
    DATA_MESSAGE_LEN_MAX, SCTP_CHUNKS_FEW, SCTP_CHUNKS_OUTSTANDING_MAX, SCTP_CHUNKS_WALKED,
};
use crate::time::Timestamp;

const _: () = assert!(DATA_MESSAGE_LEN_MAX <= u32::MAX as usize);

#[derive(Debug, Default)]
pub(super) struct Outstanding {
    /// Lengths of messages that may still be queued, the oldest first: the library tells how many
    /// bytes are neither sent nor acknowledged, and what is queued is the youngest of them.
    lens: VecDeque<u32>,
    bytes: usize,
    chunks: usize,
    under_way: Option<UnderWay>,
    walked: Bucket,
    /// The same for packets that carry data: who acknowledges much can still send.
    walked_for_data: Bucket,
}

/// TSNs of what was sent.
#[derive(Copy, Clone, Debug)]
struct UnderWay {
    last: u32,
    /// All up to here are acknowledged.
    acknowledged: u32,
}

impl Outstanding {
    /// Forgets the oldest messages, so that no more than `buffered` bytes are outstanding.
    pub(super) fn settle(&mut self, buffered: usize) {
        while self.bytes > buffered
            && let Some(len) = self.lens.front().map(|len| *len as usize)
            && self.bytes - len >= buffered
        {
            self.lens.pop_front();
            self.bytes -= len;
            self.chunks -= chunks_of(len);
        }
    }

    /// Whether a message of `len` bytes may follow. So many chunks may be queued while fewer are under
    /// way, so twice as many may be under way in the end.
    pub(super) fn has_room(&self, len: usize) -> bool {
        self.chunks + chunks_of(len) <= SCTP_CHUNKS_OUTSTANDING_MAX
            && self.chunks_under_way() < SCTP_CHUNKS_OUTSTANDING_MAX
    }

    pub(super) fn queued(&mut self, len: usize) {
        self.lens.push_back(u32::try_from(len).unwrap_or(u32::MAX));
        self.bytes += len;
        self.chunks += chunks_of(len);
    }

    /// Reads the TSNs of a packet of ours.
    pub(super) fn sent(&mut self, packet: &[u8]) {
        for tsn in data_tsns(packet) {
            let under_way = self.under_way.get_or_insert(UnderWay {
                last: tsn,
                acknowledged: tsn.wrapping_sub(1),
            });
            if is_after(tsn, under_way.last) {
                under_way.last = tsn;
            }
        }
    }

    /// Whether the library may spend its time on a packet of the peer, while so many streams are
    /// being reset: each of them is one walk more.
    pub(super) fn admit(
        &mut self,
        now: Timestamp,
        packet: &[u8],
        resetting: usize,
    ) -> Result<(), DropReason> {
        if !is_exact(packet) {
            return Err(DropReason::SctpMalformed);
        }
        let mut walks = 1 + resetting;
        for sack in sacks(packet) {
            // Who receives in order reports in order; overlapping blocks would be walked each.
            if !sack.is_ordered() {
                return Err(DropReason::SctpMalformed);
            }
            walks += 1;
        }
        let chunks = u32::try_from(walks * (1 + self.chunks_under_way())).unwrap_or(u32::MAX);
        let walked = match data_tsns(packet).next() {
            Some(_) => &mut self.walked_for_data,
            None => &mut self.walked,
        };
        if !walked.take(now, SCTP_CHUNKS_WALKED, chunks) {
            return Err(DropReason::SctpRate);
        }
        Ok(())
    }

    /// Reads the acknowledgements of a packet of the peer which the library has taken.
    pub(super) fn received(&mut self, packet: &[u8]) {
        for sack in sacks(packet) {
            let Some(under_way) = &mut self.under_way else {
                return;
            };
            if is_after(sack.cumulative_tsn, under_way.acknowledged) {
                under_way.acknowledged = sack.cumulative_tsn;
            }
            // The end of a message that was given up has a TSN and is never sent.
            if is_after(under_way.acknowledged, under_way.last) {
                under_way.last = under_way.acknowledged;
            }
        }
    }

    /// Whether a walk over what is under way costs as much as sending a message.
    pub(super) fn is_much(&self) -> bool {
        self.chunks_under_way() > SCTP_CHUNKS_FEW
    }

    fn chunks_under_way(&self) -> usize {
        self.under_way
            .map_or(0, |it| it.last.wrapping_sub(it.acknowledged) as usize)
    }
}

fn chunks_of(len: usize) -> usize {
    len.div_ceil(CHUNK_LEN).max(1)
}
