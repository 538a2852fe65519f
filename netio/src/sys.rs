//! System calls as safe functions: options, addresses, the eventfd, polling.
#![expect(unsafe_code, reason = "system calls")]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::address::{NAME_LEN, decode_name, encode_name};

pub(crate) fn last_errno() -> i32 {
    io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO)
}

pub(crate) fn udp_socket(family: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    owned(unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })
}

pub(crate) fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = size_of::<i32>() as libc::socklen_t;
    let value = &raw const value;
    // SAFETY: the kernel reads `len` bytes of a live integer.
    let status = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value.cast(), len) };
    succeeded(status)
}

pub(crate) fn option(fd: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<i32> {
    let mut value = 0i32;
    let mut len = size_of::<i32>() as libc::socklen_t;
    let out = (&raw mut value).cast();
    // SAFETY: the kernel writes at most `len` bytes into a live integer.
    let status = unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, out, &raw mut len) };
    succeeded(status).map(|()| value)
}

pub(crate) fn bind(fd: BorrowedFd<'_>, addr: &SocketAddr) -> io::Result<()> {
    let mut name = [0; NAME_LEN];
    let len = encode_name(addr, &mut name) as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes of `name`, which is longer.
    succeeded(unsafe { libc::bind(fd.as_raw_fd(), name.as_ptr().cast(), len) })
}

pub(crate) fn local_addr(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let mut name = [0u8; NAME_LEN];
    let mut len = NAME_LEN as libc::socklen_t;
    let out = name.as_mut_ptr().cast();
    // SAFETY: the kernel writes at most `len` bytes into `name`.
    succeeded(unsafe { libc::getsockname(fd.as_raw_fd(), out, &raw mut len) })?;
    decode_name(&name).ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
}

/// Without EFD_NONBLOCK: a read in the ring would complete with EAGAIN instead of waiting.
pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })
}

/// A failure means a full counter, which wakes just as well.
pub(crate) fn eventfd_add(fd: BorrowedFd<'_>) {
    let one = 1u64;
    let len = size_of::<u64>();
    // SAFETY: reads the eight bytes of a live integer.
    unsafe { libc::write(fd.as_raw_fd(), (&raw const one).cast(), len) };
}

/// Waits unless the counter is known to be readable.
pub(crate) fn eventfd_take(fd: BorrowedFd<'_>) {
    let mut count = 0u64;
    let len = size_of::<u64>();
    // SAFETY: writes eight bytes into a live integer.
    unsafe { libc::read(fd.as_raw_fd(), (&raw mut count).cast(), len) };
}

/// Waits until one of `polled` is ready. False if interrupted.
pub(crate) fn poll(polled: &mut [libc::pollfd], timeout: Option<Duration>) -> bool {
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    let count = polled.len() as libc::nfds_t;
    // SAFETY: `count` live elements; `timeout` is null or a live timespec.
    unsafe { libc::ppoll(polled.as_mut_ptr(), count, timeout, ptr::null()) >= 0 }
}

/// The clock of the kernel's time stamps. Zero before 1970.
pub(crate) fn since_1970() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

/// The default slack of 50 us would delay every wake-up of this thread for a deadline.
pub(crate) fn tighten_timer_slack() {
    const SLACK_NS: libc::c_ulong = 1_000;
    // SAFETY: takes no pointers; it cannot fail with a positive value.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, SLACK_NS) };
}

fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor just made, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn succeeded(status: i32) -> io::Result<()> {
    if status < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
