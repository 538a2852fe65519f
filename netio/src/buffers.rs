//! Receive buffers that the kernel picks from by itself: a provided-buffer ring
//! (io_uring_register_buf_ring(3)).
#![expect(unsafe_code, reason = "memory shared with the kernel")]

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use crate::memory::Mapping;

/// The group's number; a ring has one group.
pub(crate) const BUFFER_GROUP: u16 = 0;

/// A buffer that the kernel has filled and left to us, until it is given back.
#[derive(Debug)]
pub(crate) struct Filled {
    id: u16,
    len: usize,
}

impl Filled {
    /// # Safety
    /// A completion has reported this buffer, and nothing else was made of that completion.
    pub(crate) unsafe fn reported(id: u16, len: usize) -> Self {
        Self { id, len }
    }
}

/// The buffers. Those of which no [`Filled`] exists belong to the kernel.
pub(crate) struct Buffers {
    entries: Mapping,
    memory: Mapping,
    count: u16,
    len: usize,
    stride: usize,
    tail: u16,
}

impl Buffers {
    /// `count` is a power of two.
    ///
    /// # Safety
    /// The ring of `submitter` is closed, with nothing in flight, before the buffers drop; or they
    /// are leaked.
    pub(crate) unsafe fn register(
        submitter: &Submitter<'_>,
        count: u16,
        len: usize,
    ) -> io::Result<Self> {
        assert!(count.is_power_of_two());
        let entries = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let address = entries.at(0, 0) as u64;
        let stride = len.next_multiple_of(64);
        let memory = Mapping::new(usize::from(count) * stride)?;
        // SAFETY: a page-aligned mapping of `count` entries, zeroed, so that its tail is 0, which
        // lives as long as the caller vouches for.
        unsafe { submitter.register_buf_ring_with_flags(address, count, BUFFER_GROUP, 0)? };
        let mut buffers = Self {
            entries,
            memory,
            count,
            len,
            stride,
            tail: 0,
        };
        for id in 0..count {
            buffers.give(Filled { id, len: 0 });
        }
        Ok(buffers)
    }

    pub(crate) fn count(&self) -> usize {
        usize::from(self.count)
    }

    pub(crate) fn memory_len(&self) -> usize {
        self.count() * (self.stride + size_of::<BufRingEntry>())
    }

    pub(crate) fn bytes(&mut self, filled: &Filled) -> &mut [u8] {
        let offset = usize::from(filled.id) * self.stride;
        // SAFETY: the kernel does not write to a filled buffer before it gets it back, which
        // takes the `Filled` away.
        unsafe { self.memory.slice_mut(offset, filled.len.min(self.len)) }
    }

    /// Back to the kernel.
    pub(crate) fn give(&mut self, filled: Filled) {
        let Filled { id, .. } = filled;
        let slot = usize::from(self.tail & (self.count - 1)) * size_of::<BufRingEntry>();
        let address = self.memory.at(usize::from(id) * self.stride, self.stride);
        let entry = self.entries.at(slot, size_of::<BufRingEntry>());
        let first = self.entries.at(0, size_of::<BufRingEntry>());
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the slot lies in the mapping and behind the published tail, so the kernel does
        // not read it; there are as many slots as buffers, so it is free. The tail is a field of
        // the first entry that the entry's setters leave alone; it is shared with the kernel,
        // hence atomic, and released after the entry is written.
        unsafe {
            let entry = &mut *entry.cast::<BufRingEntry>();
            entry.set_addr(address as u64);
            entry.set_len(self.len as u32);
            entry.set_bid(id);
            let tail = BufRingEntry::tail(first.cast()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    /// Never unmaps, for when the kernel may still write.
    pub(crate) fn leak(&mut self) {
        self.entries.leak();
        self.memory.leak();
    }
}
