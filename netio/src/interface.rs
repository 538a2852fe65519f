//! The interface: what a shard asks of the network. Implemented by the ring, by
//! sendmmsg/recvmmsg, and by the simulation.

use std::net::SocketAddr;
use std::time::Duration;

use millrace_shared::ice::Tuple;

/// A received UDP payload and where it came from. Valid until the next one is asked for.
#[derive(Debug)]
pub struct Datagram<'a> {
    pub remote: SocketAddr,
    /// The address the sender wrote to, with the socket's port.
    pub local: SocketAddr,
    /// Mutable, because SRTP is decrypted in place.
    pub payload: &'a mut [u8],
    /// The datagram was longer than the receive buffer; the rest of it is lost.
    pub truncated: bool,
    /// How long it had been with the kernel when [`NetIo::park`] returned; zero if that is unknown.
    pub waited: Duration,
}

impl Datagram<'_> {
    /// The way a reply takes.
    pub fn tuple(&self) -> Tuple {
        Tuple {
            local: self.local,
            remote: self.remote,
        }
    }
}

/// A caller's memory of the train it last appended to, one per destination. It names the train by
/// index and generation, so that a stale one is recognised.
#[derive(Default, Copy, Clone, PartialEq, Eq, Debug)]
pub struct TrainHint {
    index: u16,
    generation: u32,
}

impl TrainHint {
    /// Generation 0 is that of [`TrainHint::default`] and names no train.
    pub const fn new(index: u16, generation: u32) -> Self {
        Self { index, generation }
    }

    pub const fn index(self) -> u16 {
        self.index
    }

    pub const fn generation(self) -> u32 {
        self.generation
    }
}

/// The receiving half of [`NetIo::split`].
pub trait Receive {
    /// The next datagram that has arrived. `None` once all are taken that one drain delivered;
    /// never more in a row than there are receive buffers.
    fn receive(&mut self) -> Option<Datagram<'_>>;
}

/// The sending half of [`NetIo::split`].
pub trait Transmit {
    /// Room for a datagram of exactly `len` bytes to `path`, to be filled before the next call;
    /// what it holds until then is undefined. It joins the train that `hint` remembers when it
    /// fits, otherwise it opens a new one. The source address is pinned to `path.local`, which a
    /// host with several addresses would otherwise choose by route; an unspecified one leaves it
    /// to the kernel. Datagrams reserved with one hint leave in order.
    ///
    /// `None`, counted, when the arena is full even after a submission, or when no socket serves
    /// `path.local`.
    fn reserve(&mut self, path: &Tuple, hint: &mut TrainHint, len: usize) -> Option<&mut [u8]>;
}

/// The network of one thread.
pub trait NetIo {
    /// Both halves at once: a datagram is forwarded while its receive buffer is borrowed.
    fn split(&mut self) -> (&mut dyn Receive, &mut dyn Transmit);

    /// Sends all waiting trains in the order in which they were opened.
    fn submit(&mut self);

    /// Submits, then waits until a datagram has arrived, the doorbell was rung, or `timeout` has
    /// passed; `None` is no timeout. May return early.
    fn park(&mut self, timeout: Option<Duration>);

    /// Waits as [`Self::park`] does, but leaves the trains open for what comes next.
    /// In memory there is nothing to wait for.
    fn linger(&mut self, _timeout: Duration) {}

    fn counters(&self) -> NetCounters;
}

/// Totals since the sockets were opened.
#[derive(Default, Copy, Clone, PartialEq, Eq, Debug)]
pub struct NetCounters {
    pub receive: ReceiveCounters,
    pub send: SendCounters,
    pub syscalls: u64,
    /// Returns from a wait.
    pub wakes: u64,
}

#[derive(Default, Copy, Clone, PartialEq, Eq, Debug)]
pub struct ReceiveCounters {
    pub datagrams: u64,
    pub bytes: u64,
    /// Longer than a receive buffer.
    pub truncated: u64,
    /// The kernel found no free receive buffer and left datagrams in the socket.
    pub starved: u64,
    /// Errors of the socket, such as an ICMP message; reception goes on.
    pub errors: u64,
}

#[derive(Default, Copy, Clone, PartialEq, Eq, Debug)]
pub struct SendCounters {
    pub datagrams: u64,
    pub bytes: u64,
    /// Messages the kernel took: trains, and datagrams sent singly.
    pub trains: u64,
    /// Batches of trains handed to the kernel.
    pub submissions: u64,
    /// Trains that segmentation offload refused and that were sent singly.
    pub gso_refused: u64,
    /// Reservations refused because every train was in use.
    pub arena_full: u64,
    /// Reservations refused because no socket serves their local address, or of no usable length.
    pub path_unserved: u64,
    pub errors: SendErrors,
}

/// Datagrams the kernel refused, by reason.
#[derive(Default, Copy, Clone, PartialEq, Eq, Debug)]
pub struct SendErrors {
    /// The send buffer is full (EAGAIN), or the device's queue (ENOBUFS).
    pub full: u64,
    /// Larger than the path takes (EMSGSIZE).
    pub message_size: u64,
    /// No route, no neighbour, network down, or the port was refused.
    pub unreachable: u64,
    /// Forbidden by the firewall (EPERM, EACCES).
    pub denied: u64,
    pub other: u64,
}

impl SendErrors {
    pub fn total(&self) -> u64 {
        self.full + self.message_size + self.unreachable + self.denied + self.other
    }
}
