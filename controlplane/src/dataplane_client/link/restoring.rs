//! What the data plane tells first, gathered until it is complete.

use std::collections::BTreeSet;

use millrace_shared::ids::ShardId;
use millrace_shared::link::{Event, ToControlplane};

use crate::room::Restored;

#[derive(Debug)]
pub(super) struct Restoring {
    shards: usize,
    token: u64,
    told: Restored,
    /// Of shards whose part is complete already, while another one's is not.
    news: Vec<Event>,
    greeted: BTreeSet<ShardId>,
    complete: BTreeSet<ShardId>,
}

impl Restoring {
    pub(super) fn new(shards: u16, token: u64) -> Self {
        Self {
            shards: shards.into(),
            token,
            told: Restored::default(),
            news: Vec::new(),
            greeted: BTreeSet::new(),
            complete: BTreeSet::new(),
        }
    }

    pub(super) fn take(&mut self, message: ToControlplane) {
        match message {
            ToControlplane::Memo { key, memo } => self.told.memos.push((key, memo)),
            ToControlplane::Event(Event::Hello(hello)) => {
                if self.greeted.insert(hello.shard) {
                    self.told.hellos.push(*hello);
                }
            }
            ToControlplane::Event(Event::Snapshot(part)) if part.token == self.token => {
                let shard = part.shard;
                let transports = part.transports.into_iter();
                self.told
                    .transports
                    .extend(transports.map(|transport| (shard, transport)));
                if part.last {
                    self.complete.insert(shard);
                }
            }
            ToControlplane::Event(event) => self.news.push(event),
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.complete.len() >= self.shards && self.greeted.len() >= self.shards
    }

    /// What there was, and what happened since.
    pub(super) fn finish(self) -> (Restored, Vec<Event>) {
        (self.told, self.news)
    }
}
