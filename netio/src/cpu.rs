//! Which CPUs this process may use, and staying on one.

#![expect(unsafe_code, reason = "affinity masks are C structures")]

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

/// CPUs of the calling thread's affinity mask, ascending: `taskset` and cgroups are respected.
pub fn allowed_cpus() -> Vec<usize> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    let len = size_of::<libc::cpu_set_t>();
    // SAFETY: the kernel writes at most `len` bytes to a live set of that size; 0 is this thread.
    let result = unsafe { libc::sched_getaffinity(0, len, set.as_mut_ptr()) };
    if result != 0 {
        return Vec::new();
    }
    // SAFETY: zeroed, which is a valid set, and then written by the kernel.
    let set = unsafe { set.assume_init() };
    let limit = usize::try_from(libc::CPU_SETSIZE).unwrap_or(0);
    (0..limit)
        // SAFETY: reads a bit of a live set, below its size.
        .filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) })
        .collect()
}

/// Keeps the calling thread on `cpu`.
pub fn pin_to_cpu(cpu: usize) -> io::Result<()> {
    if cpu >= usize::try_from(libc::CPU_SETSIZE).unwrap_or(0) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: zeroed bytes are a valid, empty set.
    let set = unsafe { set.assume_init_mut() };
    // SAFETY: sets a bit of a live set, below its size.
    unsafe { libc::CPU_SET(cpu, set) };
    // SAFETY: the kernel reads a live set of the size given; 0 is this thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// CPU time of the calling thread, kernel included.
pub fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes to a live timespec.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    debug_assert_eq!(status, 0, "every Linux has the clock");
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Whether this host allows io_uring at all. glommio starts with it or not at all.
pub fn ring_allowed() -> bool {
    io_uring::IoUring::new(2).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_is_allowed_one_cpu() {
        let cpu = *allowed_cpus().last().unwrap();
        std::thread::spawn(move || {
            pin_to_cpu(cpu).unwrap();
            assert_eq!(allowed_cpus(), [cpu]);
        })
        .join()
        .unwrap();
        assert!(pin_to_cpu(1 << 20).is_err());
    }
}
