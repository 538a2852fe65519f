//! How a media thread waits.

use std::thread;
use std::time::Duration;

use millrace_netio::NetIo;

/// Waits until `left` has passed or something comes. After a look that found packets the next one
/// waits for `interval`: each wake-up costs as much as some ten packets, and since the kernel notes
/// when they arrive, they may lie. What we have to send ourselves is due at `left` and not delayed.
pub(super) fn wait(io: &mut dyn NetIo, left: Duration, found: bool, interval: Duration) {
    let pause = if found {
        left.min(interval)
    } else {
        Duration::ZERO
    };
    if !pause.is_zero() {
        thread::sleep(pause);
    }
    io.park(Some(left.saturating_sub(pause)));
}
