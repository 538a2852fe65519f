//! Memory that the kernel reads and writes while requests are in flight.
#![expect(unsafe_code, reason = "mapped memory")]

use std::io;
use std::ptr::{self, NonNull};

/// An anonymous mapping at an address that never changes.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

impl Mapping {
    /// Present from the start.
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        Self::with(len, libc::MAP_POPULATE)
    }

    /// Present as far as it was used.
    pub(crate) fn untouched(len: usize) -> io::Result<Self> {
        Self::with(len, 0)
    }

    fn with(len: usize, flags: libc::c_int) -> io::Result<Self> {
        assert!(len > 0, "an empty mapping");
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory in
        // use.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { base, len })
    }

    /// The address of the byte at `offset`, of which `len` bytes lie in the mapping.
    pub(crate) fn at(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(
            offset <= self.len && len <= self.len - offset,
            "outside the mapping"
        );
        // SAFETY: the assertion keeps the result within this mapping.
        unsafe { self.base.as_ptr().add(offset) }
    }

    /// The bytes themselves.
    ///
    /// # Safety
    /// No request in flight may read or write them while the slice lives.
    pub(crate) unsafe fn slice_mut(&mut self, offset: usize, len: usize) -> &mut [u8] {
        let base = self.at(offset, len);
        // SAFETY: `at` has checked the bounds, mapped memory is initialised, `&mut self` excludes
        // other slices of ours, and the caller excludes the kernel.
        unsafe { std::slice::from_raw_parts_mut(base, len) }
    }

    #[cfg(test)]
    pub(crate) fn resident_len(&self) -> usize {
        const PAGE_LEN: usize = 4_096;
        let mut pages = vec![0_u8; self.len.div_ceil(PAGE_LEN)];
        // SAFETY: the mapping begins at a page, and there is a byte for each of its pages, of which
        // none is smaller than that.
        let result = unsafe {
            libc::mincore(
                self.base.as_ptr().cast(),
                self.len,
                pages.as_mut_ptr().cast(),
            )
        };
        assert_eq!(result, 0);
        pages.iter().filter(|page| **page & 1 == 1).count() * PAGE_LEN
    }

    /// Never unmaps, for when the kernel may still write.
    pub(crate) fn leak(&mut self) {
        self.len = 0;
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        // SAFETY: base and length are those of mmap. Owners drop a mapping only after every
        // request on it has completed, or leak it.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
