//! Receive buffers that the kernel picks from by itself: a provided-buffer ring
//! (io_uring_register_buf_ring(3)).

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use crate::memory::Mapping;

/// The group's number; this ring has one group.
pub(crate) const BUFFER_GROUP: u16 = 0;

/// Buffers by number. Those not lent to us belong to the kernel.
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
    pub(crate) fn register(submitter: &Submitter<'_>, count: u16, len: usize) -> io::Result<Self> {
        assert!(count.is_power_of_two());
        let entries = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let address = entries.at(0, 0) as u64;
        let stride = len.next_multiple_of(64);
        let memory = Mapping::new(usize::from(count) * stride)?;
        // SAFETY: a page-aligned mapping of `count` entries, zeroed, so that its tail is 0; its
        // owner outlives the ring (see the drop order of RingIo).
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
            buffers.give(id);
        }
        Ok(buffers)
    }

    pub(crate) fn count(&self) -> usize {
        usize::from(self.count)
    }

    pub(crate) fn memory_len(&self) -> usize {
        self.count() * (self.stride + size_of::<BufRingEntry>())
    }

    /// Hands a buffer to the kernel, which took it from the ring before or never had it.
    pub(crate) fn give(&mut self, id: u16) {
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

    /// The buffer's first `len` bytes.
    ///
    /// # Safety
    /// The kernel has reported the buffer as filled, and it was not given back since.
    pub(crate) unsafe fn lent(&mut self, id: u16, len: usize) -> &mut [u8] {
        let len = len.min(self.len);
        // SAFETY: the caller vouches that the kernel no longer writes to it.
        unsafe { self.memory.slice_mut(usize::from(id) * self.stride, len) }
    }

    /// Never unmaps, for when the kernel may still write.
    pub(crate) fn leak(&mut self) {
        self.entries.leak();
        self.memory.leak();
    }
}
