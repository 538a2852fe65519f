//! The doorbell: other threads wake a parked one with it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sys;

/// Running, and nobody has rung since it last looked.
const AWAKE: u32 = 0;
/// Rung; the next park returns at once.
const RUNG: u32 = 1;
/// Parked or about to park; ringing must write to the eventfd.
const PARKED: u32 = 2;

/// Wakes the thread that parks on it. Clones ring the same bell. Ringing a thread that is awake
/// costs one atomic swap.
///
/// A thread that drains its queues, and then parks, misses nothing as long as others first push
/// and then ring: every change of the state is a read-modify-write of one word, so a ring comes
/// either before the parking thread's exchange, which then fails and publishes the push, or after
/// it, and then sees `PARKED` and writes to the eventfd.
#[derive(Clone, Debug)]
pub struct Doorbell(Arc<Bell>);

#[derive(Debug)]
struct Bell {
    state: AtomicU32,
    eventfd: OwnedFd,
}

impl Doorbell {
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Bell {
            state: AtomicU32::new(AWAKE),
            eventfd: sys::eventfd()?,
        })))
    }

    /// Makes the thread's current or next park return.
    pub fn ring(&self) {
        if self.0.state.swap(RUNG, Ordering::AcqRel) == PARKED {
            sys::eventfd_add(self.as_fd());
        }
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.eventfd.as_fd()
    }

    /// Announces a park. False if the bell was rung meanwhile: then do not park.
    pub(crate) fn begin_park(&self) -> bool {
        let begun =
            self.0
                .state
                .compare_exchange(AWAKE, PARKED, Ordering::AcqRel, Ordering::Acquire);
        if begun.is_err() {
            self.end_park();
        }
        begun.is_ok()
    }

    pub(crate) fn end_park(&self) {
        self.0.state.swap(AWAKE, Ordering::AcqRel);
    }

    /// Takes the eventfd's count, when it is known to be readable.
    pub(crate) fn take(&self) {
        sys::eventfd_take(self.as_fd());
    }
}
