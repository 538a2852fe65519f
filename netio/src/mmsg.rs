//! The backend without io_uring: sendmmsg, recvmmsg and ppoll. It serves hosts that deny io_uring
//! and is the control for every claim about the ring.

use std::io;
use std::ptr;
use std::rc::Rc;
use std::time::Duration;

use crate::address::{CONTROL_LEN, NAME_LEN, decode_local, decode_name};
use crate::doorbell::Doorbell;
use crate::interface::{
    Datagram, NetCounters, NetIo, Path, Receive, ReceiveCounters, TrainHint, Transmit,
};
use crate::memory::Mapping;
use crate::open::Config;
use crate::outbox::{self, Flush, Outbox, last_errno};
use crate::socket::Socket;
use crate::train::Ready;

/// Datagrams of one recvmmsg. 16 and 64 cost the same within 6 %.
const RECEIVE_BATCH: usize = 64;
const PAYLOAD_AT: usize = NAME_LEN + CONTROL_LEN;

pub(crate) struct MmsgIo {
    rx: MmsgRx,
    tx: MmsgTx,
    polled: Vec<libc::pollfd>,
    doorbell: Doorbell,
    wakes: u64,
    polls: u64,
}

impl MmsgIo {
    pub(crate) fn new(
        config: &Config,
        sockets: Rc<[Socket]>,
        doorbell: Doorbell,
    ) -> io::Result<Self> {
        let fds = sockets.iter().map(Socket::fd).chain([doorbell.fd()]);
        let polled = fds
            .map(|fd| libc::pollfd {
                fd,
                events: libc::POLLIN,
                revents: 0,
            })
            .collect();
        Ok(Self {
            rx: MmsgRx::new(config, Rc::clone(&sockets))?,
            tx: MmsgTx::new(config, sockets)?,
            polled,
            doorbell,
            wakes: 0,
            polls: 0,
        })
    }

    pub(crate) fn memory_len(&self) -> usize {
        self.rx.stride * RECEIVE_BATCH + self.tx.outbox.trains.memory_len()
    }

    fn poll(&mut self, timeout: Option<Duration>) {
        let timeout = timeout.map(|timeout| libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
        self.polls += 1;
        let fds = &mut self.polled;
        // SAFETY: the array lives across the call and its length is passed; `timeout` is null or a
        // live timespec.
        let ready = unsafe {
            libc::ppoll(
                fds.as_mut_ptr(),
                fds.len() as libc::nfds_t,
                timeout,
                ptr::null(),
            )
        };
        if ready < 0 {
            return;
        }
        // An error is taken from a socket by reading it.
        for (drained, polled) in self.rx.drained.iter_mut().zip(&self.polled) {
            *drained = polled.revents == 0;
        }
        if self.polled.last().is_some_and(|bell| bell.revents != 0) {
            self.doorbell.take();
        }
    }
}

impl NetIo for MmsgIo {
    fn split(&mut self) -> (&mut dyn Receive, &mut dyn Transmit) {
        self.rx.left = self.rx.left_max;
        (&mut self.rx, &mut self.tx)
    }

    fn submit(&mut self) {
        self.tx.flush(Ready::All);
    }

    fn park(&mut self, timeout: Option<Duration>) {
        self.submit();
        self.wakes += 1;
        let unread = self.rx.has_unread();
        if unread || timeout == Some(Duration::ZERO) || !self.doorbell.begin_park() {
            self.poll(Some(Duration::ZERO));
        } else {
            self.poll(timeout);
            self.doorbell.end_park();
        }
    }

    fn counters(&self) -> NetCounters {
        NetCounters {
            receive: self.rx.counters,
            send: self.tx.outbox.counters,
            syscalls: self.rx.syscalls + self.tx.outbox.syscalls + self.polls,
            wakes: self.wakes,
        }
    }
}

struct MmsgRx {
    sockets: Rc<[Socket]>,
    /// Each buffer: name, control, payload.
    buffers: Mapping,
    stride: usize,
    headers: Vec<libc::mmsghdr>,
    iovs: Vec<libc::iovec>,
    /// Socket of the last batch, its datagrams, and how many of them are taken.
    socket: usize,
    filled: usize,
    taken: usize,
    /// Sockets that had nothing left when last asked.
    drained: Vec<bool>,
    /// Datagrams that may still be taken before the next split, so that a flood does not hold the
    /// thread's timers.
    left: usize,
    left_max: usize,
    counters: ReceiveCounters,
    syscalls: u64,
}

impl MmsgRx {
    fn new(config: &Config, sockets: Rc<[Socket]>) -> io::Result<Self> {
        let stride = (PAYLOAD_AT + config.datagram_len_max).next_multiple_of(64);
        let buffers = Mapping::new(stride * RECEIVE_BATCH)?;
        let mut iovs: Vec<libc::iovec> = (0..RECEIVE_BATCH)
            .map(|index| libc::iovec {
                iov_base: buffers
                    .at(index * stride + PAYLOAD_AT, config.datagram_len_max)
                    .cast(),
                iov_len: config.datagram_len_max,
            })
            .collect();
        let headers = iovs
            .iter_mut()
            .enumerate()
            .map(|(index, iov)| {
                // SAFETY: a zeroed message header is a valid, empty one.
                let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
                let message = &mut header.msg_hdr;
                message.msg_name = buffers.at(index * stride, NAME_LEN).cast();
                message.msg_control = buffers.at(index * stride + NAME_LEN, CONTROL_LEN).cast();
                message.msg_iov = iov;
                message.msg_iovlen = 1;
                header
            })
            .collect();
        Ok(Self {
            drained: vec![true; sockets.len()],
            socket: sockets.len() - 1,
            sockets,
            buffers,
            stride,
            headers,
            iovs,
            filled: 0,
            taken: 0,
            left: config.receive_buffers,
            left_max: config.receive_buffers,
            counters: ReceiveCounters::default(),
            syscalls: 0,
        })
    }

    fn has_unread(&self) -> bool {
        self.taken < self.filled || self.drained.iter().any(|drained| !drained)
    }

    /// Reads the next socket that may have something. False if none has.
    fn fill(&mut self) -> bool {
        let count = self.sockets.len();
        let following = (1..=count).map(|step| (self.socket + step) % count);
        let Some(socket) = following.into_iter().find(|socket| !self.drained[*socket]) else {
            return false;
        };
        self.socket = socket;
        self.taken = 0;
        self.filled = 0;
        for header in &mut self.headers {
            header.msg_hdr.msg_namelen = NAME_LEN as libc::socklen_t;
            header.msg_hdr.msg_controllen = CONTROL_LEN as _;
        }
        self.syscalls += 1;
        let wanted = RECEIVE_BATCH.min(self.left);
        debug_assert_eq!(self.iovs.len(), self.headers.len());
        // SAFETY: at least `wanted` headers, whose pointers lead into the buffer mapping and to
        // `iovs`, all alive and not otherwise borrowed; the kernel is done with them on return.
        let received = unsafe {
            libc::recvmmsg(
                self.sockets[socket].fd(),
                self.headers.as_mut_ptr(),
                wanted as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        match usize::try_from(received) {
            Ok(received) => {
                self.filled = received;
                self.drained[socket] = received < wanted;
            }
            Err(_) if last_errno() == libc::EAGAIN => self.drained[socket] = true,
            // Reported once and then gone; a lasting one must not hold the thread here.
            Err(_) => {
                self.counters.errors += 1;
                self.left -= 1;
            }
        }
        true
    }
}

impl Receive for MmsgRx {
    fn receive(&mut self) -> Option<Datagram<'_>> {
        let (index, remote) = loop {
            while self.taken == self.filled {
                if self.left == 0 || !self.fill() {
                    return None;
                }
            }
            if self.left == 0 {
                return None;
            }
            let index = self.taken;
            self.taken += 1;
            self.left -= 1;
            // SAFETY: recvmmsg has returned, so the kernel no longer writes to the buffers.
            let name = unsafe { self.buffers.slice_mut(index * self.stride, NAME_LEN) };
            if let Some(remote) = decode_name(name) {
                break (index, remote);
            }
            self.counters.errors += 1;
        };
        let header = &self.headers[index];
        let truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        let len = (header.msg_len as usize).min(self.iovs[index].iov_len);
        let control_len = header.msg_hdr.msg_controllen.min(CONTROL_LEN);
        // SAFETY: as above.
        let buffer = unsafe {
            self.buffers
                .slice_mut(index * self.stride, PAYLOAD_AT + len)
        };
        let (head, payload) = buffer.split_at_mut(PAYLOAD_AT);
        let control = &head[NAME_LEN..NAME_LEN + control_len];
        self.counters.datagrams += 1;
        self.counters.bytes += len as u64;
        self.counters.truncated += u64::from(truncated);
        Some(Datagram {
            remote,
            local: decode_local(control, self.sockets[self.socket].bound),
            payload,
            truncated,
        })
    }
}

struct MmsgTx {
    outbox: Outbox,
    /// One batch: trains, and their messages in the same order.
    indices: Vec<u16>,
    messages: Vec<libc::mmsghdr>,
}

impl MmsgTx {
    fn new(config: &Config, sockets: Rc<[Socket]>) -> io::Result<Self> {
        let outbox = Outbox::new(config, sockets)?;
        Ok(Self {
            indices: Vec::with_capacity(outbox.batch_len()),
            messages: Vec::with_capacity(outbox.batch_len()),
            outbox,
        })
    }

    /// Sends the batch; trains of one socket that follow each other go in one call.
    fn send_batch(&mut self) {
        self.outbox.counters.submissions += 1;
        let mut at = 0;
        while let Some(first) = self.indices.get(at) {
            let socket = self.outbox.trains.train(*first).socket;
            let same = |index: &&u16| self.outbox.trains.train(**index).socket == socket;
            let run = self.indices[at..].iter().take_while(same).count();
            self.outbox.syscalls += 1;
            let messages = &mut self.messages[at..at + run];
            // SAFETY: `run` messages, whose pointers lead into the arena; their trains are in
            // flight, so nothing writes to them, and the kernel is done with them on return.
            let sent = unsafe {
                libc::sendmmsg(
                    self.outbox.sockets[usize::from(socket)].fd(),
                    messages.as_mut_ptr(),
                    run as libc::c_uint,
                    libc::MSG_DONTWAIT as _,
                )
            };
            // An error is reported only when it meets the first message of a call.
            let (settled, result) = match usize::try_from(sent) {
                Ok(sent) if sent > 0 => (sent, 0),
                _ => (1, -last_errno()),
            };
            for index in &self.indices[at..at + settled] {
                self.outbox.settle(*index, result);
            }
            at += settled;
        }
        self.indices.clear();
        self.messages.clear();
    }
}

impl Flush for MmsgTx {
    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn flush(&mut self, ready: Ready) {
        loop {
            while self.indices.len() < self.outbox.batch_len()
                && let Some(index) = self.outbox.trains.next_ready(ready)
            {
                let message = self.outbox.trains.message(index);
                // SAFETY: the message is initialised and lies in the arena; it is copied.
                let msg_hdr = unsafe { *message };
                self.indices.push(index);
                self.messages.push(libc::mmsghdr {
                    msg_hdr,
                    msg_len: 0,
                });
            }
            if self.indices.is_empty() {
                return;
            }
            self.send_batch();
        }
    }
}

impl Transmit for MmsgTx {
    fn reserve(&mut self, path: &Path, hint: &mut TrainHint, len: usize) -> Option<&mut [u8]> {
        outbox::reserve(self, path, hint, len)
    }
}
