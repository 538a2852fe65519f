//! The backend without io_uring: sendmmsg, recvmmsg and ppoll. It serves hosts that deny io_uring
//! and is the control for every claim about the ring.

use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

use millrace_shared::ice::Tuple;

use crate::address::{Arrived, decode_control, decode_name};
use crate::batch::{ReceiveBatch, SendBatch};
use crate::doorbell::Doorbell;
use crate::interface::{
    Datagram, NetCounters, NetIo, Receive, ReceiveCounters, TrainHint, Transmit,
};
use crate::open::Config;
use crate::outbox::{self, Flush, Outbox};
use crate::socket::Socket;
use crate::sys;
use crate::train::Ready;

/// Datagrams of one recvmmsg. 16 and 64 cost the same within 6 %.
const RECEIVE_BATCH: usize = 64;

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
        let fds = sockets.iter().map(Socket::as_fd).chain([doorbell.as_fd()]);
        let polled = fds
            .map(|fd| libc::pollfd {
                fd: fd.as_raw_fd(),
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
        self.rx.batch.memory_len() + self.tx.outbox.trains.memory_len()
    }

    fn poll(&mut self, timeout: Option<Duration>) {
        self.polls += 1;
        if !sys::poll(&mut self.polled, timeout) {
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

    fn wait(&mut self, timeout: Option<Duration>) {
        self.wakes += 1;
        let unread = self.rx.has_unread();
        if unread || timeout == Some(Duration::ZERO) || !self.doorbell.begin_park() {
            self.poll(Some(Duration::ZERO));
        } else {
            self.poll(timeout);
            self.doorbell.end_park();
        }
        self.rx.woken_at = sys::since_1970();
    }
}

impl NetIo for MmsgIo {
    fn split(&mut self) -> (&mut dyn Receive, &mut dyn Transmit) {
        self.rx.left = self.rx.drain_max;
        (&mut self.rx, &mut self.tx)
    }

    fn submit(&mut self) {
        self.tx.flush(Ready::All);
    }

    fn park(&mut self, timeout: Option<Duration>) {
        self.submit();
        self.wait(timeout);
    }

    fn linger(&mut self, timeout: Duration) {
        self.wait(Some(timeout));
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
    batch: ReceiveBatch,
    /// Socket of the batch, its datagrams, and how many of them are taken.
    socket: usize,
    filled: usize,
    taken: usize,
    /// Sockets that had nothing left when last asked.
    drained: Vec<bool>,
    /// Datagrams that may still be taken before the next split.
    left: usize,
    drain_max: usize,
    /// When the last park returned, since 1970.
    woken_at: Duration,
    counters: ReceiveCounters,
    syscalls: u64,
}

impl MmsgRx {
    fn new(config: &Config, sockets: Rc<[Socket]>) -> io::Result<Self> {
        Ok(Self {
            drained: vec![true; sockets.len()],
            socket: sockets.len() - 1,
            sockets,
            batch: ReceiveBatch::new(RECEIVE_BATCH, config.datagram_len_max)?,
            filled: 0,
            taken: 0,
            left: config.drain_max,
            drain_max: config.drain_max,
            woken_at: Duration::ZERO,
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
        let mut following = (1..=count).map(|step| (self.socket + step) % count);
        let Some(socket) = following.find(|socket| !self.drained[*socket]) else {
            return false;
        };
        self.socket = socket;
        self.taken = 0;
        self.filled = 0;
        self.syscalls += 1;
        let wanted = self.batch.len().min(self.left);
        match self.batch.fill(self.sockets[socket].as_fd(), wanted) {
            Ok(received) => {
                self.filled = received;
                self.drained[socket] = received < wanted;
            }
            Err(libc::EAGAIN) => self.drained[socket] = true,
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
            if let Some(remote) = decode_name(self.batch.message(index).name) {
                break (index, remote);
            }
            self.counters.errors += 1;
        };
        let bound = self.sockets[self.socket].bound;
        let message = self.batch.message(index);
        self.counters.datagrams += 1;
        self.counters.bytes += message.payload.len() as u64;
        self.counters.truncated += u64::from(message.truncated);
        let Arrived { local, at } = decode_control(message.control, bound);
        Some(Datagram {
            remote,
            local,
            payload: message.payload,
            truncated: message.truncated,
            waited: at.map_or(Duration::ZERO, |at| self.woken_at.saturating_sub(at)),
        })
    }
}

struct MmsgTx {
    outbox: Outbox,
    batch: SendBatch,
}

impl MmsgTx {
    fn new(config: &Config, sockets: Rc<[Socket]>) -> io::Result<Self> {
        let outbox = Outbox::new(config, sockets)?;
        Ok(Self {
            batch: SendBatch::new(outbox.batch_len),
            outbox,
        })
    }

    /// Sends the batch; trains of one socket that follow each other go in one call.
    fn send_batch(&mut self) {
        let Self { outbox, batch } = self;
        outbox.counters.submissions += 1;
        let mut at = 0;
        while let Some(first) = batch.indices().get(at) {
            let socket = outbox.trains.train(*first).socket;
            let run = batch.indices()[at..]
                .iter()
                .take_while(|index| outbox.trains.train(**index).socket == socket)
                .count();
            outbox.syscalls += 1;
            let fd = outbox.sockets[usize::from(socket)].as_fd();
            // An error is reported only when it meets the first message of a call.
            let (settled, result) = match batch.send(fd, at..at + run) {
                Ok(0) => (1, -libc::EAGAIN),
                Ok(sent) => (sent, 0),
                Err(errno) => (1, -errno),
            };
            for index in &batch.indices()[at..at + settled] {
                outbox.settle(*index, result);
            }
            at += settled;
        }
        batch.clear();
    }
}

impl Flush for MmsgTx {
    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn flush(&mut self, ready: Ready) {
        loop {
            let trains = &mut self.outbox.trains;
            while self.batch.indices().len() < self.outbox.batch_len
                && let Some(index) = trains.next_ready(ready)
            {
                self.batch.push(index, trains);
            }
            if self.batch.indices().is_empty() {
                return;
            }
            self.send_batch();
        }
    }
}

impl Transmit for MmsgTx {
    fn reserve(&mut self, path: &Tuple, hint: &mut TrainHint, len: usize) -> Option<&mut [u8]> {
        outbox::reserve(self, path, hint, len)
    }
}
