//! Bounds the DATA chunks that an association has sent or queued and the peer has not acknowledged.
//!
//! The library bounds nothing of what we send, and each time it is asked for packets it walks over
//! all chunks that are under way. A peer that stops acknowledging small messages would keep a
//! shard busy: a hundred thousand of ten bytes fit where a thousand full chunks do.
//!
//! It tells acknowledged bytes, not chunks, so the oldest messages are taken for acknowledged. A peer
//! that acknowledges later ones by gaps and never the first gets around this: docs/reliability.md.

use std::collections::VecDeque;

use super::association::CHUNK_LEN;
use crate::limits::{DATA_MESSAGE_LEN_MAX, SCTP_CHUNKS_OUTSTANDING_MAX};

const _: () = assert!(DATA_MESSAGE_LEN_MAX <= u32::MAX as usize);

#[derive(Debug, Default)]
pub(super) struct Outstanding {
    /// Lengths of messages, the oldest first. Channels are acknowledged in about this order.
    lens: VecDeque<u32>,
    bytes: usize,
    chunks: usize,
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

    /// Whether a message of `len` bytes may follow.
    pub(super) fn has_room(&self, len: usize) -> bool {
        self.chunks + chunks_of(len) <= SCTP_CHUNKS_OUTSTANDING_MAX
    }

    pub(super) fn sent(&mut self, len: usize) {
        self.lens.push_back(u32::try_from(len).unwrap_or(u32::MAX));
        self.bytes += len;
        self.chunks += chunks_of(len);
    }
}

fn chunks_of(len: usize) -> usize {
    len.div_ceil(CHUNK_LEN).max(1)
}
