//! Opening the network of a thread: sockets first, then the best backend that the host allows.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use millrace_shared::limits::{DATAGRAM_RECEIVE_LEN_MAX, TRAIN_PACKETS_MAX};

use crate::doorbell::Doorbell;
use crate::interface::NetIo;
use crate::mmsg::MmsgIo;
use crate::ring::{RingDenied, RingIo};
use crate::socket::{Socket, SocketOptions};
use crate::sys;
use crate::train::TRAIN_LEN_MAX;

#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Backend {
    /// The ring, or what replaces it where io_uring is denied.
    #[default]
    Auto,
    /// io_uring, or an error.
    Ring,
    /// sendmmsg and recvmmsg.
    Mmsg,
}

/// Sockets and pools of one thread.
#[derive(Clone, Debug)]
pub struct Config {
    pub backend: Backend,
    /// One socket each. Those with port 0 share the port that the first of them gets. A missing
    /// IPv6 is noted, not an error, for an unspecified address.
    pub bind: Vec<SocketAddr>,
    /// Several threads bind the same port and the kernel spreads remotes over them.
    pub reuse_port: bool,
    /// Asked of the kernel for each direction of each socket.
    pub socket_buffer_len: usize,
    /// Datagrams that one drain delivers, about: a train is what one drain delivers for one
    /// destination, and timers wait for its end. Longer ones leave the rest to the next.
    pub drain_max: usize,
    /// Of the ring; at least 8, rounded up to a power of two.
    pub receive_buffers: usize,
    pub datagram_len_max: usize,
    /// Trains waiting or in flight. A packet to more destinations than that pushes out trains
    /// which the next packet could have joined: with 300 listeners 1,024 instead of 256 took 11 %
    /// off the CPU time of a packet, and with 1,150 viewers 4,096 instead of 1,024 took 36 %. Memory is
    /// touched as it is used.
    pub trains: usize,
    /// Bytes of one train.
    pub train_len: usize,
    /// 1 turns segmentation offload off.
    pub train_packets_max: usize,
    /// Complete trains that accumulate before they are handed to the kernel. 8 to 32 cost the same
    /// per packet, 128 raised the median latency from 2.2 to 3.6 ms.
    pub trains_per_submission: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            backend: Backend::Auto,
            bind: Vec::new(),
            reuse_port: false,
            socket_buffer_len: 8 << 20,
            drain_max: 128,
            receive_buffers: 1024,
            datagram_len_max: DATAGRAM_RECEIVE_LEN_MAX,
            trains: 4096,
            train_len: TRAIN_PACKETS_MAX * DATAGRAM_RECEIVE_LEN_MAX,
            train_packets_max: TRAIN_PACKETS_MAX,
            trains_per_submission: 32,
        }
    }
}

impl Config {
    /// All addresses of the host, IPv4 and IPv6, on one port.
    pub fn on_port(port: u16) -> Self {
        Self {
            bind: vec![
                (Ipv4Addr::UNSPECIFIED, port).into(),
                (Ipv6Addr::UNSPECIFIED, port).into(),
            ],
            ..Self::default()
        }
    }

    fn assert_consistent(&self) {
        assert!(!self.bind.is_empty(), "no address to bind");
        assert!(self.drain_max > 0);
        assert!((1..=1 << 15).contains(&self.receive_buffers));
        assert!((1..=1 << 14).contains(&self.trains));
        assert!((1..=self.trains).contains(&self.trains_per_submission));
        assert!((1..=TRAIN_LEN_MAX).contains(&self.train_len));
        // UDP_MAX_SEGMENTS of the oldest kernels with UDP_SEGMENT.
        assert!((1..=64).contains(&self.train_packets_max));
        assert!((1..=65_535).contains(&self.datagram_len_max));
    }
}

/// What was opened, for the log and for candidates.
#[derive(Clone, Debug)]
pub struct BackendFacts {
    /// `io_uring` or `sendmmsg`.
    pub name: &'static str,
    /// One sentence: why this backend.
    pub reason: String,
    /// One address for each socket.
    pub bound: Vec<SocketAddr>,
    /// Buffers in user space.
    pub memory_len: usize,
    /// What is missing and what to do about it, a sentence each.
    pub notes: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    #[error(
        "UDP port {} on {} is in use by another process: stop it (`ss -lunp 'sport = :{}'` names \
         it) or choose another port",
        .0.port(), .0.ip(), .0.port()
    )]
    PortInUse(SocketAddr),
    #[error(
        "UDP port {} on {} may not be bound: ports below 1024 need CAP_NET_BIND_SERVICE or a lower \
         net.ipv4.ip_unprivileged_port_start",
        .0.port(), .0.ip()
    )]
    PortForbidden(SocketAddr),
    #[error("{0} is not an address of this host: bind one that `ip address` lists, or 0.0.0.0")]
    AddressUnknown(SocketAddr),
    #[error("cannot open a UDP socket on {addr}: {source}")]
    Socket { addr: SocketAddr, source: io::Error },
    #[error("the io_uring backend was asked for, but {0}")]
    RingDenied(String),
    #[error("cannot allocate network buffers: {0}")]
    Memory(io::Error),
}

/// Opens sockets and backend. To be called on the thread that will use them: the ring belongs to
/// the thread that makes it, and the thread's timer slack is set to 1 us.
pub fn open(
    config: &Config,
    doorbell: &Doorbell,
) -> Result<(Box<dyn NetIo>, BackendFacts), OpenError> {
    config.assert_consistent();
    sys::tighten_timer_slack();
    let mut notes = Vec::new();
    let sockets = open_sockets(config, &mut notes)?;
    let mut config = config.clone();
    if config.train_packets_max > 1 && !sockets.iter().all(Socket::segments) {
        config.train_packets_max = 1;
        notes.push("this kernel has no UDP segmentation offload (Linux 4.18 has)".to_owned());
    }
    let bound = sockets.iter().map(|socket| socket.bound).collect();
    let (io, name, reason, memory_len) = open_backend(&config, &sockets.into(), doorbell)?;
    let facts = BackendFacts {
        name,
        reason,
        bound,
        memory_len,
        notes,
    };
    Ok((io, facts))
}

/// Whether the addresses can be bound by nobody else but us: sockets that share a port
/// (`reuse_port`) do not notice that another process has it.
pub fn ensure_free(config: &Config) -> Result<(), OpenError> {
    open_sockets(config, &mut Vec::new()).map(|_| ())
}

type Opened = (Box<dyn NetIo>, &'static str, String, usize);

fn open_backend(
    config: &Config,
    sockets: &Rc<[Socket]>,
    doorbell: &Doorbell,
) -> Result<Opened, OpenError> {
    let reason = match config.backend {
        Backend::Mmsg => "the configuration asks for it".to_owned(),
        asked @ (Backend::Auto | Backend::Ring) => {
            match RingIo::new(config, Rc::clone(sockets), doorbell.clone()) {
                Ok(io) => {
                    let memory_len = io.memory_len();
                    let reason = "the kernel allows io_uring with every feature needed".to_owned();
                    return Ok((Box::new(io), "io_uring", reason, memory_len));
                }
                Err(denied) if asked == Backend::Ring => {
                    return Err(OpenError::RingDenied(explain(&denied)));
                }
                Err(denied) => explain(&denied),
            }
        }
    };
    let io =
        MmsgIo::new(config, Rc::clone(sockets), doorbell.clone()).map_err(OpenError::Memory)?;
    let memory_len = io.memory_len();
    Ok((Box::new(io), "sendmmsg", reason, memory_len))
}

/// The likely cause of a denial and what would lift it.
fn explain(denied: &RingDenied) -> String {
    let RingDenied { step, source } = denied;
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .is_ok_and(|setting| setting.trim() != "0");
    let cause = match source.raw_os_error() {
        Some(libc::ENOSYS) => "this kernel was built without io_uring",
        Some(libc::EPERM) if disabled => {
            "the sysctl kernel.io_uring_disabled forbids it; set it to 0"
        }
        Some(libc::EPERM | libc::EACCES) => {
            "a seccomp filter forbids it, as container runtimes do by default; run with a profile \
             that allows io_uring_setup, io_uring_enter and io_uring_register"
        }
        Some(libc::EINVAL) => "this kernel is older than Linux 6.1",
        Some(libc::ENOMEM) => {
            "locked memory is limited; raise `ulimit -l` (LimitMEMLOCK= in systemd)"
        }
        Some(libc::EMFILE | libc::ENFILE) => "no descriptors are left; raise `ulimit -n`",
        _ => "the cause is unknown",
    };
    format!("io_uring was refused ({step}: {source}): {cause}")
}

/// A killed process leaves its sockets to its ring, and the kernel ends a ring some time after the
/// process: a restart at once finds its own port in use.
const PORT_RELEASE_WAIT: Duration = Duration::from_secs(2);
const PORT_RELEASE_POLL: Duration = Duration::from_millis(10);

fn open_sockets(config: &Config, notes: &mut Vec<String>) -> Result<Vec<Socket>, OpenError> {
    // With port 0, the port that the first socket gets may be taken for the next address.
    const ATTEMPTS: usize = 16;
    let started = Instant::now();
    let mut attempt = 0;
    loop {
        attempt += 1;
        notes.clear();
        match try_open_sockets(config, notes) {
            Err(OpenError::PortInUse(addr)) if !config.bind.contains(&addr) => {
                if attempt == ATTEMPTS {
                    return Err(OpenError::PortInUse(addr));
                }
            }
            Err(OpenError::PortInUse(_)) if started.elapsed() < PORT_RELEASE_WAIT => {
                std::thread::sleep(PORT_RELEASE_POLL);
            }
            result => return result,
        }
    }
}

fn try_open_sockets(config: &Config, notes: &mut Vec<String>) -> Result<Vec<Socket>, OpenError> {
    let options = SocketOptions {
        reuse_port: config.reuse_port,
        buffer_len: config.socket_buffer_len,
    };
    let mut sockets = Vec::with_capacity(config.bind.len());
    let mut shared_port = 0;
    let mut granted_len = usize::MAX;
    for asked in &config.bind {
        let mut addr = *asked;
        if addr.port() == 0 {
            addr.set_port(shared_port);
        }
        let optional = addr.is_ipv6() && addr.ip().is_unspecified() && config.bind.len() > 1;
        match Socket::open(addr, options) {
            Ok(socket) => {
                if asked.port() == 0 {
                    shared_port = socket.bound.port();
                }
                granted_len = granted_len.min(socket.receive_buffer_len().unwrap_or(0));
                sockets.push(socket);
            }
            Err(error) if optional && lacks_ipv6(&error) => {
                notes.push(format!(
                    "this host has no IPv6 ({error}); serving IPv4 only"
                ));
            }
            Err(error) => return Err(open_error(addr, error)),
        }
    }
    if sockets.is_empty() {
        return Err(OpenError::AddressUnknown(config.bind[0]));
    }
    if granted_len < config.socket_buffer_len {
        notes.push(format!(
            "socket buffers are {} kB instead of {} kB and may overflow in bursts; raise \
             net.core.rmem_max and net.core.wmem_max, or grant CAP_NET_ADMIN",
            granted_len >> 10,
            config.socket_buffer_len >> 10
        ));
    }
    Ok(sockets)
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT)
    )
}

fn open_error(addr: SocketAddr, error: io::Error) -> OpenError {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => OpenError::PortInUse(addr),
        Some(libc::EACCES) => OpenError::PortForbidden(addr),
        Some(libc::EADDRNOTAVAIL) => OpenError::AddressUnknown(addr),
        _ => OpenError::Socket {
            addr,
            source: error,
        },
    }
}
