//! The io_uring backend: one ring of one thread, multishot receives into buffers that the kernel
//! picks, sends straight from the arena, and parking in the ring itself.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

use millrace_shared::ice::Tuple;

use crate::address::{Arrived, CONTROL_LEN, NAME_LEN, decode_control, decode_name};
use crate::buffers::{Buffers, Filled};
use crate::doorbell::Doorbell;
use crate::interface::{
    Datagram, NetCounters, NetIo, Receive, ReceiveCounters, TrainHint, Transmit,
};
use crate::open::Config;
use crate::outbox::{self, Flush, Outbox};
use crate::queue::{Completion, Queue};
use crate::socket::Socket;
use crate::sys;
use crate::train::Ready;

/// io_uring_recvmsg_out, which the kernel writes before name, control and payload: four u32,
/// the lengths of name, control and payload, and the flags.
const OUT_LEN: usize = 16;
const PAYLOAD_AT: usize = OUT_LEN + NAME_LEN + CONTROL_LEN;

/// Where io_uring was refused.
#[derive(Debug)]
pub(crate) struct RingDenied {
    pub(crate) step: &'static str,
    pub(crate) source: io::Error,
}

impl RingDenied {
    fn at(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { step, source }
    }
}

pub(crate) struct RingIo {
    // `tx` holds the queue and drops before `rx`, whose buffers the kernel writes to.
    tx: RingTx,
    rx: RingRx,
    doorbell: Doorbell,
    drain_max: usize,
    wakes: u64,
}

impl RingIo {
    pub(crate) fn new(
        config: &Config,
        sockets: Rc<[Socket]>,
        doorbell: Doorbell,
    ) -> Result<Self, RingDenied> {
        let count = config.receive_buffers.max(8).next_power_of_two();
        // Every request may complete once, and a receive once more per buffer.
        let completions = count + config.trains + 2 * (sockets.len() + 1);
        let submissions = config.trains_per_submission + sockets.len() + 1;
        let mut queue =
            Queue::new(submissions, completions).map_err(RingDenied::at("io_uring_setup"))?;
        let fds = sockets.iter().map(Socket::as_fd).chain([doorbell.as_fd()]);
        let fds: Vec<_> = fds.map(|fd| fd.as_raw_fd()).collect();
        queue
            .register_files(&fds)
            .map_err(RingDenied::at("registering files"))?;
        let outbox = Outbox::new(config, Rc::clone(&sockets))
            .map_err(RingDenied::at("allocating send buffers"))?;
        // SAFETY: `tx`, with the queue, is declared before `rx`, with the buffers, and `drop`
        // cancels or leaks; until both are in place nothing can fail.
        #[expect(unsafe_code, reason = "the drop order is decided here")]
        let buffers =
            unsafe { queue.register_buffers(count as u16, PAYLOAD_AT + config.datagram_len_max) }
                .map_err(RingDenied::at("registering receive buffers"))?;
        let mut io = Self {
            tx: RingTx {
                queue,
                outbox,
                arrivals: VecDeque::with_capacity(count),
                armed: vec![false; sockets.len()],
                bell_armed: false,
                receive_refused: None,
                starved: 0,
                receive_errors: 0,
            },
            rx: RingRx {
                arrivals: VecDeque::with_capacity(count),
                buffers,
                lent: None,
                sockets,
                woken_at: Duration::ZERO,
                counters: ReceiveCounters::default(),
            },
            doorbell,
            drain_max: config.drain_max,
            wakes: 0,
        };
        io.arm();
        // Reception is what old kernels and filters refuse last, and at once.
        io.tx.enter().map_err(RingDenied::at("submitting"))?;
        match io.tx.receive_refused {
            None => Ok(io),
            Some(errno) => Err(RingDenied {
                step: "receiving",
                source: io::Error::from_raw_os_error(errno),
            }),
        }
    }

    pub(crate) fn memory_len(&self) -> usize {
        self.rx.buffers.memory_len() + self.tx.outbox.trains.memory_len()
    }

    /// Asks for what is not being waited for: datagrams, as long as there are buffers for them,
    /// and the doorbell. A multishot receive ends when buffers run out, on errors, on empty
    /// datagrams, and whenever the kernel sees fit.
    fn arm(&mut self) {
        let taken = self.tx.arrivals.len() + self.rx.arrivals.len();
        let free = self.rx.buffers.count() - taken - usize::from(self.rx.lent.is_some());
        if free > 0 {
            self.tx.arm_receives();
        }
        self.tx.arm_bell();
    }

    fn take_arrivals(&mut self) {
        self.rx.arrivals.extend(self.tx.arrivals.drain(..));
    }

    /// Lets the kernel finish what it has put off until we enter it. One entry yields at most 33
    /// datagrams of a socket; a drain should not be shorter than the trains that could form of it.
    fn drain(&mut self) {
        const ENTRIES_MAX: usize = 32;
        for _ in 0..ENTRIES_MAX {
            self.take_arrivals();
            let enough = self.rx.arrivals.len() >= self.drain_max;
            if enough || !self.tx.queue.has_deferred() {
                return;
            }
            self.tx.enter_or_log();
        }
    }

    fn wait(&mut self, timeout: Option<Duration>) {
        self.take_arrivals();
        self.wakes += 1;
        let wait = self.rx.arrivals.is_empty() && timeout != Some(Duration::ZERO);
        if wait && self.doorbell.begin_park() {
            // What the submission completed may need arming again, the doorbell above all.
            self.arm();
            self.tx.wait(timeout);
            self.doorbell.end_park();
        }
        self.drain();
        self.rx.woken_at = sys::since_1970();
    }
}

impl NetIo for RingIo {
    fn split(&mut self) -> (&mut dyn Receive, &mut dyn Transmit) {
        self.take_arrivals();
        (&mut self.rx, &mut self.tx)
    }

    fn submit(&mut self) {
        self.arm();
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
            receive: ReceiveCounters {
                starved: self.tx.starved,
                errors: self.rx.counters.errors + self.tx.receive_errors,
                ..self.rx.counters
            },
            send: self.tx.outbox.counters,
            syscalls: self.tx.outbox.syscalls + self.tx.queue.syscalls,
            wakes: self.wakes,
        }
    }
}

impl Drop for RingIo {
    fn drop(&mut self) {
        if !self.tx.queue.cancel_all() {
            // Rather lose the memory than have the kernel write to what replaces it.
            self.tx.outbox.trains.leak();
            self.tx.queue.leak();
            self.rx.buffers.leak();
        }
    }
}

/// A datagram in its buffer.
struct Arrival {
    filled: Filled,
    socket: u16,
}

struct RingRx {
    arrivals: VecDeque<Arrival>,
    buffers: Buffers,
    /// The buffer of the datagram handed out last; it returns to the kernel on the next call.
    lent: Option<Filled>,
    sockets: Rc<[Socket]>,
    /// When the last park returned, since 1970.
    woken_at: Duration,
    counters: ReceiveCounters,
}

/// Lengths in a filled buffer.
struct Layout {
    control_len: usize,
    payload_len: usize,
    truncated: bool,
}

impl Layout {
    fn of(buffer: &[u8]) -> Option<Self> {
        let word = |index: usize| {
            let bytes = buffer.get(4 * index..)?.first_chunk()?;
            Some(u32::from_ne_bytes(*bytes))
        };
        let room = buffer.len().checked_sub(PAYLOAD_AT)?;
        Some(Self {
            control_len: (word(1)? as usize).min(CONTROL_LEN),
            payload_len: (word(2)? as usize).min(room),
            truncated: word(3)? & libc::MSG_TRUNC as u32 != 0,
        })
    }
}

impl Receive for RingRx {
    fn receive(&mut self) -> Option<Datagram<'_>> {
        let (filled, bound, layout, remote) = loop {
            if let Some(filled) = self.lent.take() {
                self.buffers.give(filled);
            }
            let Arrival { filled, socket } = self.arrivals.pop_front()?;
            let bytes = self.buffers.bytes(&filled);
            let layout = Layout::of(bytes);
            let remote = bytes.get(OUT_LEN..).and_then(decode_name);
            let filled = self.lent.insert(filled);
            if let (Some(layout), Some(remote)) = (layout, remote) {
                break (
                    &*filled,
                    self.sockets[usize::from(socket)].bound,
                    layout,
                    remote,
                );
            }
            self.counters.errors += 1;
        };
        self.counters.datagrams += 1;
        self.counters.bytes += layout.payload_len as u64;
        self.counters.truncated += u64::from(layout.truncated);
        let (head, payload) = self.buffers.bytes(filled).split_at_mut(PAYLOAD_AT);
        let control = &head[OUT_LEN + NAME_LEN..][..layout.control_len];
        let Arrived { local, at } = decode_control(control, bound);
        Some(Datagram {
            remote,
            local,
            payload: &mut payload[..layout.payload_len],
            truncated: layout.truncated,
            waited: at.map_or(Duration::ZERO, |at| self.woken_at.saturating_sub(at)),
        })
    }
}

struct RingTx {
    // The queue closes before the memory that its requests read goes.
    queue: Queue,
    outbox: Outbox,
    /// Datagrams that came up while the receiving half was lent out.
    arrivals: VecDeque<Arrival>,
    armed: Vec<bool>,
    bell_armed: bool,
    /// The errno of a receive that the kernel does not know how to do.
    receive_refused: Option<i32>,
    starved: u64,
    receive_errors: u64,
}

impl RingTx {
    fn arm_receives(&mut self) {
        for (armed, socket) in self.armed.iter_mut().zip(0..) {
            *armed = *armed || self.queue.receive(socket);
        }
    }

    fn arm_bell(&mut self) {
        self.bell_armed = self.bell_armed || self.queue.read_bell();
    }

    /// Submits what is queued and takes what has completed, without waiting.
    fn enter(&mut self) -> io::Result<()> {
        let result = self.queue.submit();
        self.reap();
        result
    }

    fn enter_or_log(&mut self) {
        if let Err(error) = self.enter() {
            tracing::error!(%error, "io_uring_enter");
        }
    }

    fn wait(&mut self, timeout: Option<Duration>) {
        if let Err(error) = self.queue.wait(timeout) {
            tracing::error!(%error, "io_uring_enter");
        }
        self.reap();
    }

    fn reap(&mut self) {
        while let Some(completion) = self.queue.next_completion(&self.outbox.trains) {
            match completion {
                Completion::Sent { train, result } => self.outbox.settle(train, result),
                Completion::Bell => self.bell_armed = false,
                Completion::Received {
                    socket,
                    outcome,
                    ended,
                } => {
                    self.armed[usize::from(socket)] &= !ended;
                    match outcome {
                        Ok(filled) => self.arrivals.push_back(Arrival { filled, socket }),
                        Err(errno) => self.receive_failed(errno),
                    }
                }
            }
        }
    }

    fn receive_failed(&mut self, errno: i32) {
        match errno {
            libc::ENOBUFS => self.starved += 1,
            libc::EINVAL | libc::EOPNOTSUPP | libc::EPERM => {
                self.receive_refused = Some(errno);
                self.receive_errors += 1;
            }
            _ => self.receive_errors += 1,
        }
    }
}

impl Flush for RingTx {
    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn flush(&mut self, ready: Ready) {
        loop {
            let mut queued = 0;
            while queued < self.outbox.batch_len
                && let Some(train) = self.outbox.trains.next_ready(ready)
            {
                if self.queue.send(train, &mut self.outbox.trains) {
                    queued += 1;
                } else {
                    self.outbox.settle(train, -libc::EAGAIN);
                }
            }
            if self.queue.has_unsubmitted() {
                self.enter_or_log();
            }
            if queued == 0 {
                return;
            }
            self.outbox.counters.submissions += 1;
        }
    }
}

impl Transmit for RingTx {
    fn reserve(&mut self, path: &Tuple, hint: &mut TrainHint, len: usize) -> Option<&mut [u8]> {
        outbox::reserve(self, path, hint, len)
    }
}
