//! Takes io_uring away from a thread or a process as hosts do, so that what replaces it is tested
//! on hosts that allow it. No part of the library: its tests and the launcher include it.
#![expect(unsafe_code, reason = "prctl, setrlimit and capset take pointers")]

use std::io;

/// Makes io_uring_setup fail with EPERM for the calling thread and all that it starts, for ever:
/// the filter of container runtimes.
pub(crate) fn deny_io_uring() -> io::Result<()> {
    let step = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let denied = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let mut filter = [
        // The system call's number is the first word of seccomp_data.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            libc::SYS_io_uring_setup as u32,
        ),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, denied),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: a prctl without pointers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    // SAFETY: the program and its filter live across the call, which copies them.
    check(unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    })
}

/// Lets this process lock so many bytes, and takes the calling thread's right to lock more.
pub(crate) fn limit_locked_memory(bytes: u64) -> io::Result<()> {
    const CAP_IPC_LOCK: u32 = 14;
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: bytes,
    };
    // SAFETY: the kernel reads a live structure.
    check(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) })?;
    give_up_capability(CAP_IPC_LOCK)
}

/// Takes from the calling thread what lets it use io_uring where kernel.io_uring_disabled is 1.
pub(crate) fn become_unprivileged() -> io::Result<()> {
    const CAP_SYS_ADMIN: u32 = 21;
    give_up_capability(CAP_SYS_ADMIN)
}

/// `_LINUX_CAPABILITY_VERSION_3` and its two words of each set.
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[derive(Copy, Clone, Default)]
#[repr(C)]
struct CapabilityWord {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Also from what the thread will execute; not having it is fine.
fn give_up_capability(capability: u32) -> io::Result<()> {
    let bit = 1_u32 << capability;
    // SAFETY: prctls without pointers. Without CAP_SETPCAP the thread has no such right either.
    unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    let mut header = CapabilityHeader {
        version: 0x2008_0522,
        pid: 0,
    };
    let mut words = [CapabilityWord::default(); 2];
    // SAFETY: header and both words live across the call, which fills the words.
    let got = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) };
    check(got as i32)?;
    for set in [
        &mut words[0].effective,
        &mut words[0].permitted,
        &mut words[0].inheritable,
    ] {
        *set &= !bit;
    }
    // SAFETY: as above; the call reads the words.
    let set = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, words.as_ptr()) };
    check(set as i32)
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
