//! What the control plane lets us keep for the one that comes after it. Nothing of it is read.

use std::collections::BTreeMap;

use bytes::Bytes;
use millrace_shared::ids::MemoKey;
use millrace_shared::limits::{MEMO_LEN_MAX, MEMOS_BYTES_MAX};

#[derive(Debug, Default)]
pub(super) struct Memos {
    by_key: BTreeMap<MemoKey, Bytes>,
    bytes: usize,
    refused: u64,
}

impl Memos {
    /// Keeps it in place of an older one. One for which there is no room is refused and counted;
    /// the older one goes all the same, for it is no longer true.
    pub(super) fn remember(&mut self, key: MemoKey, memo: Bytes) {
        self.forget(key);
        let bytes = self.bytes + memo.len();
        if memo.len() > MEMO_LEN_MAX || bytes > MEMOS_BYTES_MAX {
            if self.refused == 0 {
                tracing::warn!(
                    len = memo.len(),
                    kept = self.bytes,
                    "no room for a memo: whom it is about will not outlive the control plane"
                );
            }
            self.refused += 1;
            return;
        }
        self.bytes = bytes;
        self.by_key.insert(key, memo);
    }

    pub(super) fn forget(&mut self, key: MemoKey) {
        if let Some(memo) = self.by_key.remove(&key) {
            self.bytes -= memo.len();
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (MemoKey, &Bytes)> {
        self.by_key.iter().map(|(key, memo)| (*key, memo))
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Memos that found no room.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_what_is_kept() {
        let mut memos = Memos::default();
        memos.remember(MemoKey(1), Bytes::from_static(b"four"));
        memos.remember(MemoKey(1), Bytes::from_static(b"eleven more"));
        memos.remember(MemoKey(2), Bytes::from_static(b"x"));
        memos.forget(MemoKey(3));
        assert_eq!((memos.len(), memos.bytes()), (2, 12));
        memos.forget(MemoKey(1));
        assert_eq!((memos.len(), memos.bytes()), (1, 1));
    }

    #[test]
    fn what_is_too_long_is_refused_and_takes_the_old_one_along() {
        let mut memos = Memos::default();
        memos.remember(MemoKey(1), Bytes::from_static(b"old"));
        memos.remember(MemoKey(1), vec![0; MEMO_LEN_MAX + 1].into());
        assert_eq!((memos.len(), memos.bytes(), memos.refused()), (0, 0, 1));
    }

    #[test]
    fn all_together_have_a_limit() {
        let mut memos = Memos::default();
        let memo = Bytes::from(vec![0; MEMO_LEN_MAX]);
        let fit = MEMOS_BYTES_MAX / MEMO_LEN_MAX;
        for key in 0..=fit as u64 {
            memos.remember(MemoKey(key), memo.clone());
        }
        assert_eq!((memos.len(), memos.refused()), (fit, 1));
    }
}
