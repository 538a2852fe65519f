//! A set of shards.

use millrace_shared::ids::ShardId;
use millrace_shared::limits::SHARDS_MAX;

/// Iterated in the order of their numbers: the same on every run.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct ShardSet(u64);

const _: () = assert!(SHARDS_MAX <= u64::BITS as usize);

impl ShardSet {
    /// One beyond [`SHARDS_MAX`] does not exist, and is not taken.
    pub fn insert(&mut self, shard: ShardId) {
        self.0 |= bit(shard);
    }

    pub fn remove(&mut self, shard: ShardId) {
        self.0 &= !bit(shard);
    }

    pub fn contains(self, shard: ShardId) -> bool {
        self.0 & bit(shard) != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }
}

impl Iterator for ShardSet {
    type Item = ShardId;

    /// Takes the lowest number out.
    fn next(&mut self) -> Option<ShardId> {
        let number = u16::try_from(self.0.trailing_zeros()).ok()?;
        if self.0 == 0 {
            return None;
        }
        self.0 &= self.0 - 1;
        Some(ShardId(number))
    }
}

fn bit(shard: ShardId) -> u64 {
    1_u64.checked_shl(shard.0.into()).unwrap_or(0)
}
