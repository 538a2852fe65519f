//! The control plane's side of the link: which shards there are, and commands to them. Over a
//! socket [`link`] carries it.

pub mod link;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use millrace_shared::ids::{MemoKey, ShardId};
use millrace_shared::link::{
    Command, CommandSink, Fingerprint, Hello, IceCredentials, LocalAddress,
};
use rand::Rng;
use rand::distr::Alphanumeric;
use tokio::sync::watch;

/// Random part of a ufrag: 16 characters of 62 are 95 bits. RFC 8445 §5.3 asks for 24 bits.
const UFRAG_RANDOM_LEN: usize = 16;
/// 32 characters of 62 are 190 bits. RFC 8445 §5.3 asks for 128.
const PWD_LEN: usize = 32;

/// What a shard said of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shard {
    pub id: ShardId,
    /// Best first, loopback last.
    pub addresses: Vec<LocalAddress>,
    pub fingerprint: Fingerprint,
    /// How packets reach the kernel, a colon, and why so.
    pub backend: String,
}

/// Sends commands and knows the shards. Cheap to clone.
#[derive(Clone)]
pub struct DataplaneClient {
    sink: Arc<dyn CommandSink>,
    shards: Arc<watch::Sender<BTreeMap<ShardId, Shard>>>,
    /// Transports of each shard, those included that are yet to be added.
    placed: Arc<Mutex<BTreeMap<ShardId, usize>>>,
}

impl std::fmt::Debug for DataplaneClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataplaneClient")
            .field("shards", &*self.shards.borrow())
            .finish_non_exhaustive()
    }
}

impl DataplaneClient {
    pub fn new(sink: Arc<dyn CommandSink>) -> Self {
        let (shards, _) = watch::channel(BTreeMap::new());
        Self {
            sink,
            shards: Arc::new(shards),
            placed: Arc::default(),
        }
    }

    /// The shard with the fewest transports.
    pub fn emptiest(&self) -> Option<ShardId> {
        let placed = lock(&self.placed);
        let transports = |shard: &ShardId| placed.get(shard).copied().unwrap_or(0);
        self.shard_ids().into_iter().min_by_key(transports)
    }

    pub fn note_placed(&self, shard: ShardId) {
        *lock(&self.placed).entry(shard).or_default() += 1;
    }

    pub fn note_gone(&self, shard: ShardId) {
        if let Some(transports) = lock(&self.placed).get_mut(&shard) {
            *transports = transports.saturating_sub(1);
        }
    }

    pub fn send(&self, shard: ShardId, command: Command) {
        self.sink.send(shard, command);
    }

    /// Takes in a shard, or its new addresses after it restarted.
    pub fn hello(&self, hello: Hello) {
        let shard = Shard {
            id: hello.shard,
            addresses: hello.addresses,
            fingerprint: hello.fingerprint,
            backend: hello.backend,
        };
        self.shards.send_modify(|shards| {
            shards.insert(shard.id, shard);
        });
    }

    /// All shards are gone.
    pub(crate) fn lost(&self) {
        self.shards.send_modify(BTreeMap::clear);
    }

    pub(crate) fn shard_count(&self) -> usize {
        self.shards.borrow().len()
    }

    /// Whether memos outlive this process.
    pub(crate) fn remembers(&self) -> bool {
        self.sink.remembers()
    }

    pub(crate) fn remember(&self, key: MemoKey, memo: Bytes) {
        self.sink.remember(key, memo);
    }

    pub(crate) fn forget(&self, key: MemoKey) {
        self.sink.forget(key);
    }

    /// Waits until `count` shards have said hello.
    pub async fn ready(&self, count: usize) {
        let mut shards = self.shards.subscribe();
        // The sender lives in `self`, so the wait ends only by the condition.
        let _ = shards.wait_for(|shards| shards.len() >= count).await;
    }

    pub fn shard(&self, id: ShardId) -> Option<Shard> {
        self.shards.borrow().get(&id).cloned()
    }

    pub fn backends(&self) -> BTreeMap<ShardId, String> {
        let shards = self.shards.borrow();
        let backend = |(id, shard): (&ShardId, &Shard)| (*id, shard.backend.clone());
        shards.iter().map(backend).collect()
    }

    pub fn shard_ids(&self) -> Vec<ShardId> {
        self.shards.borrow().keys().copied().collect()
    }
}

/// A panic while the lock was held left plain counts behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// New local credentials on `shard`: the ufrag begins with the shard's number, so that a packet
/// that reaches another shard can be sent on.
pub fn ice_credentials(shard: ShardId) -> IceCredentials {
    IceCredentials {
        ufrag: format!("{}x{}", shard.0, random_alphanumeric(UFRAG_RANDOM_LEN)),
        pwd: random_alphanumeric(PWD_LEN),
    }
}

fn random_alphanumeric(len: usize) -> String {
    rand::rng()
        .sample_iter(Alphanumeric)
        .take(len)
        .map(char::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 8839 §5.4: a ufrag has 4 to 256 ice-chars, a password 22 to 256.
    #[test]
    fn credentials_are_valid_and_name_their_shard() {
        let ice = ice_credentials(ShardId(7));
        assert!(ice.ufrag.starts_with("7x"));
        assert!(ice.ufrag.len() >= 4 && ice.pwd.len() >= 22);
        assert!(ice.ufrag.chars().all(|c| c.is_ascii_alphanumeric()));
        assert_ne!(ice, ice_credentials(ShardId(7)));
    }
}
