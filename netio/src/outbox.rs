//! What both backends share on the way out: which socket and train a datagram goes to, and what
//! the kernel's answer means.

use std::io;
use std::net::IpAddr;
use std::rc::Rc;

use millrace_shared::ice::Tuple;

use crate::interface::{SendCounters, TrainHint};
use crate::open::Config;
use crate::socket::Socket;
use crate::train::{Ready, Trains};

#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) trains: Trains,
    pub(crate) sockets: Rc<[Socket]>,
    pub(crate) counters: SendCounters,
    gso_refusals: GsoRefusals,
    packets_max: usize,
    /// Trains of one submission.
    pub(crate) batch_len: usize,
    pub(crate) syscalls: u64,
}

/// A backend's way to send what waits in its outbox.
pub(crate) trait Flush {
    fn outbox(&mut self) -> &mut Outbox;
    fn flush(&mut self, ready: Ready);
}

/// [`crate::Transmit::reserve`] for both backends.
pub(crate) fn reserve<'a>(
    tx: &'a mut impl Flush,
    path: &Tuple,
    hint: &mut TrainHint,
    len: usize,
) -> Option<&'a mut [u8]> {
    if len == 0 || len > tx.outbox().trains.train_len() {
        debug_assert!(false, "a datagram of {len} bytes");
        tx.outbox().counters.path_unserved += 1;
        return None;
    }
    let place = match tx.outbox().trains.join(path, *hint, len) {
        Some(place) => place,
        None => {
            let socket = tx.outbox().socket_for(path)?;
            if tx.outbox().batch_is_due() {
                tx.flush(Ready::Complete);
            }
            if !tx.outbox().trains.has_room() {
                tx.flush(Ready::All);
            }
            let (place, opened) = tx.outbox().open(socket, path, len)?;
            *hint = opened;
            place
        }
    };
    Some(tx.outbox().trains.bytes(place))
}

impl Outbox {
    pub(crate) fn new(config: &Config, sockets: Rc<[Socket]>) -> io::Result<Self> {
        Ok(Self {
            trains: Trains::new(config.trains, config.train_len)?,
            sockets,
            counters: SendCounters::default(),
            gso_refusals: GsoRefusals::default(),
            packets_max: config.train_packets_max,
            batch_len: config.trains_per_submission,
            syscalls: 0,
        })
    }

    /// The kernel has answered the request of a train: `result` is a length or a negative errno.
    pub(crate) fn settle(&mut self, index: u16, result: i32) {
        let train = *self.trains.train(index);
        if result >= 0 {
            self.count_sent(train.packets, train.len);
        } else if train.packets > 1 && may_be_offload(-result) {
            self.send_singly(index, train.packets);
        } else {
            self.count_errors(-result, train.packets);
        }
        self.trains.release(index);
    }

    fn socket_for(&mut self, path: &Tuple) -> Option<u16> {
        let found = self.sockets.iter().position(|socket| {
            socket.serves(&path.local) && path.local.is_ipv4() == path.remote.is_ipv4()
        });
        if found.is_none() {
            self.counters.path_unserved += 1;
        }
        found.and_then(|index| u16::try_from(index).ok())
    }

    fn batch_is_due(&self) -> bool {
        self.trains.complete_count() >= self.batch_len
    }

    fn open(
        &mut self,
        socket: u16,
        path: &Tuple,
        len: usize,
    ) -> Option<(crate::train::Place, TrainHint)> {
        let packets_max = if self.gso_refusals.contains(path.remote.ip()) {
            1
        } else {
            self.packets_max
        };
        let opened = self.trains.open(socket, path, len, packets_max);
        if opened.is_none() {
            self.counters.arena_full += 1;
        }
        opened
    }

    /// The train's datagrams one by one. If any passes, offload was at fault and later datagrams
    /// of this destination form no trains.
    fn send_singly(&mut self, index: u16, packets: usize) {
        self.counters.gso_refused += 1;
        let socket = usize::from(self.trains.train(index).socket);
        let mut passed = false;
        for packet in 0..packets {
            self.syscalls += 1;
            let fd = self.sockets[socket].as_fd();
            match self.trains.send_single(fd, index, packet) {
                Ok(len) => {
                    passed = true;
                    self.count_sent(1, len);
                }
                Err(errno) => self.count_errors(errno, 1),
            }
        }
        if passed {
            self.gso_refusals.insert(self.trains.remote(index));
            tracing::debug!(
                remote = %self.trains.remote(index),
                "segmentation offload fails on this path; sending singly"
            );
        }
    }

    fn count_sent(&mut self, packets: usize, len: usize) {
        self.counters.trains += 1;
        self.counters.datagrams += packets as u64;
        self.counters.bytes += len as u64;
    }

    fn count_errors(&mut self, errno: i32, packets: usize) {
        let errors = &mut self.counters.errors;
        let counter = match errno {
            libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => &mut errors.full,
            libc::EMSGSIZE => &mut errors.message_size,
            libc::EPERM | libc::EACCES => &mut errors.denied,
            libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::ENETDOWN
            | libc::EHOSTDOWN
            | libc::ECONNREFUSED
            | libc::EADDRNOTAVAIL => &mut errors.unreachable,
            _ => &mut errors.other,
        };
        *counter += packets as u64;
    }
}

/// EIO: the device computes no checksums, or transforms packets (IPsec). EMSGSIZE, EINVAL: the
/// segments do not suit the path, or sockets with checksums off.
fn may_be_offload(errno: i32) -> bool {
    matches!(errno, libc::EIO | libc::EMSGSIZE | libc::EINVAL)
}

/// Destinations whose path refuses segmentation offload, in a table of fixed size: one that falls
/// out of it costs another refused train.
#[derive(Debug)]
struct GsoRefusals {
    slots: [Option<IpAddr>; Self::SLOTS],
    any: bool,
}

impl Default for GsoRefusals {
    fn default() -> Self {
        Self {
            slots: [None; Self::SLOTS],
            any: false,
        }
    }
}

impl GsoRefusals {
    const SLOTS: usize = 256;

    fn contains(&self, ip: IpAddr) -> bool {
        self.any && self.slots[Self::slot(ip)] == Some(ip)
    }

    fn insert(&mut self, ip: IpAddr) {
        self.any = true;
        self.slots[Self::slot(ip)] = Some(ip);
    }

    fn slot(ip: IpAddr) -> usize {
        let bits = match ip {
            IpAddr::V4(v4) => u64::from(v4.to_bits()),
            IpAddr::V6(v6) => {
                let [high, low] = [v6.to_bits() >> 64, v6.to_bits() & u128::from(u64::MAX)];
                (high ^ low.rotate_left(17)) as u64
            }
        };
        // Fibonacci hashing: the top bits depend on every bit of the address.
        (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % Self::SLOTS
    }
}
