//! CPU time, as the kernel accounts it.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Of the calling thread, user and kernel.
///
/// # Panics
/// Never on Linux, which has had this clock since 2.6.12.
pub fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("the thread's clock");
    Duration::from(time)
}
