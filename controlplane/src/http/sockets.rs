use std::sync::Arc;

use tokio::sync::watch;

use super::refusals::{Limit, Refusals};

/// Counts open signaling sockets, so that a shutdown can wait for their last messages, and what was
/// refused to peers.
#[derive(Clone, Debug)]
pub struct Sockets {
    open: Arc<watch::Sender<usize>>,
    refusals: Arc<Refusals>,
}

impl Default for Sockets {
    fn default() -> Self {
        Self {
            open: Arc::new(watch::Sender::new(0)),
            refusals: Arc::default(),
        }
    }
}

/// One open socket; dropping it counts it out.
#[derive(Debug)]
pub(super) struct OpenSocket(Sockets);

impl Sockets {
    pub(super) fn open(&self) -> OpenSocket {
        self.open.send_modify(|count| *count += 1);
        OpenSocket(self.clone())
    }

    pub fn count(&self) -> usize {
        *self.open.borrow()
    }

    /// Waits until none is open.
    pub async fn drained(&self) {
        // An error means there is no sender left, and we are one.
        let _ = self.open.subscribe().wait_for(|count| *count == 0).await;
    }

    pub(super) fn refused(&self, limit: Limit) {
        self.refusals.count(limit);
    }

    pub(super) fn refusals(&self, limit: Limit) -> u64 {
        self.refusals.of(limit)
    }
}

impl OpenSocket {
    pub(super) fn refused(&self, limit: Limit) {
        self.0.refused(limit);
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.0.open.send_modify(|count| *count -= 1);
    }
}
