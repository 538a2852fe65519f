use std::sync::Arc;

use tokio::sync::watch;

/// Counts open signaling sockets, so that a shutdown can wait for their last messages.
#[derive(Clone, Debug)]
pub struct Sockets(Arc<watch::Sender<usize>>);

impl Default for Sockets {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

/// One open socket; dropping it counts it out.
#[derive(Debug)]
pub(super) struct OpenSocket(Sockets);

impl Sockets {
    pub(super) fn open(&self) -> OpenSocket {
        self.0.send_modify(|count| *count += 1);
        OpenSocket(self.clone())
    }

    pub fn count(&self) -> usize {
        *self.0.borrow()
    }

    /// Waits until none is open.
    pub async fn drained(&self) {
        // An error means there is no sender left, and we are one.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}
