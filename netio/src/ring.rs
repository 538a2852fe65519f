//! The io_uring backend: one ring of one thread, multishot receives into buffers that the kernel
//! picks, sends straight from the arena, and parking in the ring itself.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::rc::Rc;
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use crate::address::{CONTROL_LEN, NAME_LEN, decode_local, decode_name};
use crate::buffers::{BUFFER_GROUP, Buffers};
use crate::doorbell::Doorbell;
use crate::interface::{
    Datagram, NetCounters, NetIo, Path, Receive, ReceiveCounters, TrainHint, Transmit,
};
use crate::memory::Mapping;
use crate::open::Config;
use crate::outbox::{self, Flush, Outbox};
use crate::socket::Socket;
use crate::train::Ready;

/// io_uring_recvmsg_out, which the kernel writes before name, control and payload: four u32,
/// of which the last two are payload length and flags.
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
    // `tx` holds the ring and drops before `rx`, whose buffers the ring writes to. Dropping first
    // cancels and drains, so that nothing is in flight by then.
    tx: RingTx,
    rx: RingRx,
}

impl RingIo {
    pub(crate) fn new(
        config: &Config,
        sockets: Rc<[Socket]>,
        doorbell: Doorbell,
    ) -> Result<Self, RingDenied> {
        let tx = RingTx::new(config, Rc::clone(&sockets), doorbell)?;
        let count = config.receive_buffers.max(8).next_power_of_two() as u16;
        let buffers = Buffers::register(
            &tx.ring.submitter(),
            count,
            PAYLOAD_AT + config.datagram_len_max,
        )
        .map_err(RingDenied::at("registering receive buffers"))?;
        let rx = RingRx {
            arrivals: VecDeque::with_capacity(buffers.count()),
            buffers,
            lent: None,
            sockets,
            counters: ReceiveCounters::default(),
        };
        let mut io = Self { tx, rx };
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
        self.take_arrivals();
        self.tx.wakes += 1;
        let wait = self.rx.arrivals.is_empty() && timeout != Some(Duration::ZERO);
        if wait && self.tx.doorbell.begin_park() {
            // What the submission completed may need arming again, the doorbell above all.
            self.arm();
            self.tx.wait(timeout);
            self.tx.doorbell.end_park();
        } else {
            self.tx.run_deferred();
        }
    }

    fn counters(&self) -> NetCounters {
        NetCounters {
            receive: ReceiveCounters {
                starved: self.tx.starved,
                errors: self.rx.counters.errors + self.tx.receive_errors,
                ..self.rx.counters
            },
            send: self.tx.outbox.counters,
            syscalls: self.tx.outbox.syscalls,
            wakes: self.tx.wakes,
        }
    }
}

impl Drop for RingIo {
    fn drop(&mut self) {
        if !self.tx.cancel_all() {
            // Rather lose the memory than have the kernel write to what replaces it.
            self.tx.outbox.trains.leak();
            self.tx.bell_count.leak();
            self.rx.buffers.leak();
        }
        // The kernel tears a ring down later, in the background; until then it would hold the
        // sockets, and with them the port. Failing means just that.
        let _ = self.tx.ring.submitter().unregister_files();
    }
}

/// A datagram that the kernel has written to a buffer.
struct Arrival {
    buffer: u16,
    socket: u16,
    len: usize,
}

struct RingRx {
    arrivals: VecDeque<Arrival>,
    buffers: Buffers,
    /// The buffer of the datagram handed out last; it returns to the kernel on the next call.
    lent: Option<u16>,
    sockets: Rc<[Socket]>,
    counters: ReceiveCounters,
}

/// Where things lie in a filled buffer.
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
        let (arrival, layout, remote) = loop {
            if let Some(buffer) = self.lent.take() {
                self.buffers.give(buffer);
            }
            let arrival = self.arrivals.pop_front()?;
            self.lent = Some(arrival.buffer);
            // SAFETY: an arrival is a buffer reported as filled; it was not given back yet.
            let bytes = unsafe { self.buffers.lent(arrival.buffer, arrival.len) };
            let remote = bytes.get(OUT_LEN..).and_then(decode_name);
            if let (Some(layout), Some(remote)) = (Layout::of(bytes), remote) {
                break (arrival, layout, remote);
            }
            self.counters.errors += 1;
        };
        self.counters.datagrams += 1;
        self.counters.bytes += layout.payload_len as u64;
        self.counters.truncated += u64::from(layout.truncated);
        // SAFETY: as above.
        let bytes = unsafe { self.buffers.lent(arrival.buffer, arrival.len) };
        let (head, payload) = bytes.split_at_mut(PAYLOAD_AT);
        let control = &head[OUT_LEN + NAME_LEN..][..layout.control_len];
        Some(Datagram {
            remote,
            local: decode_local(control, self.sockets[usize::from(arrival.socket)].bound),
            payload: &mut payload[..layout.payload_len],
            truncated: layout.truncated,
        })
    }
}

/// What a request was, in its user data: never a pointer.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Tag {
    op: Op,
    /// Train or socket.
    slot: u16,
    generation: u32,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Op {
    Send = 1,
    Receive = 2,
    Bell = 3,
}

impl Tag {
    fn pack(self) -> u64 {
        (self.op as u64) << 48 | u64::from(self.slot) << 32 | u64::from(self.generation)
    }

    fn unpack(bits: u64) -> Self {
        Self {
            op: match bits >> 48 {
                1 => Op::Send,
                2 => Op::Receive,
                3 => Op::Bell,
                other => unreachable!("no request has operation {other}"),
            },
            slot: (bits >> 32) as u16,
            generation: bits as u32,
        }
    }
}

struct RingTx {
    // The ring closes before the memory behind it goes.
    ring: IoUring,
    outbox: Outbox,
    /// Read by the kernel while a receive is armed.
    receive_header: Box<libc::msghdr>,
    /// Eight bytes that the doorbell's read writes to.
    bell_count: Mapping,
    doorbell: Doorbell,
    /// Datagrams reaped while the receiving half was lent out.
    arrivals: VecDeque<Arrival>,
    armed: Vec<bool>,
    bell_armed: bool,
    /// Requests without their last completion; never more than the completion queue holds.
    in_flight: usize,
    /// The errno of a receive that the kernel does not know how to do.
    receive_refused: Option<i32>,
    starved: u64,
    receive_errors: u64,
    wakes: u64,
}

impl RingTx {
    fn new(config: &Config, sockets: Rc<[Socket]>, doorbell: Doorbell) -> Result<Self, RingDenied> {
        let receive_buffers = config.receive_buffers.max(8).next_power_of_two();
        // Every request may complete once, and every receive buffer once more.
        let completions = receive_buffers + config.trains + 2 * (sockets.len() + 1);
        let submissions = config.trains_per_submission + sockets.len() + 1;
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(completions.next_power_of_two() as u32)
            .build(submissions.next_power_of_two() as u32)
            .map_err(RingDenied::at("io_uring_setup"))?;
        let fds: Vec<_> = sockets
            .iter()
            .map(Socket::fd)
            .chain([doorbell.fd()])
            .collect();
        ring.submitter()
            .register_files(&fds)
            .map_err(RingDenied::at("registering files"))?;
        let memory = RingDenied::at("allocating send buffers");
        // SAFETY: a zeroed message header is a valid, empty one.
        let mut receive_header: Box<libc::msghdr> = Box::new(unsafe { mem::zeroed() });
        receive_header.msg_namelen = NAME_LEN as libc::socklen_t;
        receive_header.msg_controllen = CONTROL_LEN as _;
        Ok(Self {
            ring,
            armed: vec![false; sockets.len()],
            outbox: Outbox::new(config, sockets).map_err(memory)?,
            receive_header,
            bell_count: Mapping::new(size_of::<u64>())
                .map_err(RingDenied::at("allocating the doorbell"))?,
            doorbell,
            arrivals: VecDeque::with_capacity(receive_buffers),
            bell_armed: false,
            in_flight: 0,
            receive_refused: None,
            starved: 0,
            receive_errors: 0,
            wakes: 0,
        })
    }

    fn arm_receives(&mut self) {
        for socket in 0..self.armed.len() {
            if self.armed[socket] {
                continue;
            }
            let header = &raw const *self.receive_header;
            let entry = opcode::RecvMsgMulti::new(Fixed(socket as u32), header, BUFFER_GROUP);
            let tag = Tag {
                op: Op::Receive,
                slot: socket as u16,
                generation: 0,
            };
            // SAFETY: the header is boxed and never changes; buffers come from the registered
            // group. Both outlive the request (see Drop).
            self.armed[socket] = unsafe { self.push(entry.build(), tag) };
        }
    }

    fn arm_bell(&mut self) {
        if self.bell_armed {
            return;
        }
        let count = self.bell_count.at(0, size_of::<u64>());
        let file = Fixed(self.armed.len() as u32);
        let entry = opcode::Read::new(file, count, size_of::<u64>() as u32);
        let tag = Tag {
            op: Op::Bell,
            slot: 0,
            generation: 0,
        };
        // SAFETY: the eight bytes are written by this one read at a time and outlive it.
        self.bell_armed = unsafe { self.push(entry.build(), tag) };
    }

    /// Queues a request. False if the kernel takes no more for now.
    ///
    /// # Safety
    /// Everything the request points to stays valid, and untouched by us, until its completion.
    unsafe fn push(&mut self, entry: squeue::Entry, tag: Tag) -> bool {
        let entry = entry.user_data(tag.pack());
        if self.ring.submission().is_full() && self.enter().is_err() {
            return false;
        }
        // SAFETY: vouched for by the caller.
        let pushed = unsafe { self.ring.submission().push(&entry) }.is_ok();
        self.in_flight += usize::from(pushed);
        debug_assert!(self.in_flight <= self.ring.params().cq_entries() as usize);
        pushed
    }

    /// Submits what is queued and takes what has completed, without waiting.
    fn enter(&mut self) -> io::Result<()> {
        self.outbox.syscalls += 1;
        let result = self.ring.submit();
        self.reap();
        match result {
            // The kernel is short of memory or completions are in its way: reaped just now.
            Err(error) if !is_passing(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Submits what is queued and waits for a completion.
    fn wait(&mut self, timeout: Option<Duration>) {
        self.outbox.syscalls += 1;
        let result = match timeout {
            None => self.ring.submit_and_wait(1),
            Some(timeout) => {
                let timespec = Timespec::from(timeout);
                let args = SubmitArgs::new().timespec(&timespec);
                self.ring.submitter().submit_with_args(1, &args)
            }
        };
        if let Err(error) = result
            && error.raw_os_error() != Some(libc::ETIME)
            && !is_passing(&error)
        {
            tracing::error!(%error, "io_uring_enter");
        }
        self.reap();
    }

    /// Lets the kernel finish what it has put off until we enter it.
    fn run_deferred(&mut self) {
        let submission = self.ring.submission();
        if submission.taskrun() || !submission.is_empty() || submission.cq_overflow() {
            drop(submission);
            // An error shows again, and is logged, in `wait`.
            let _ = self.enter();
        }
    }

    fn reap(&mut self) {
        let Self {
            ring,
            outbox,
            arrivals,
            ..
        } = self;
        for completion in ring.completion() {
            let tag = Tag::unpack(completion.user_data());
            let more = cqueue::more(completion.flags());
            self.in_flight -= usize::from(!more);
            let result = completion.result();
            match tag.op {
                Op::Send => {
                    assert_eq!(outbox.trains.generation(tag.slot), tag.generation);
                    outbox.settle(tag.slot, result);
                }
                Op::Bell => self.bell_armed = false,
                Op::Receive => {
                    self.armed[usize::from(tag.slot)] &= more;
                    let buffer = cqueue::buffer_select(completion.flags());
                    if let (Some(buffer), Ok(len)) = (buffer, usize::try_from(result)) {
                        arrivals.push_back(Arrival {
                            buffer,
                            socket: tag.slot,
                            len,
                        });
                        continue;
                    }
                    match -result {
                        libc::ENOBUFS => self.starved += 1,
                        libc::ECANCELED => {}
                        errno @ (libc::EINVAL | libc::EOPNOTSUPP | libc::EPERM) => {
                            self.receive_refused = Some(errno);
                            self.receive_errors += 1;
                        }
                        _ => self.receive_errors += 1,
                    }
                }
            }
        }
    }

    /// Cancels every request and waits for the last completion. False if that takes too long.
    fn cancel_all(&mut self) -> bool {
        const PATIENCE: Duration = Duration::from_millis(10);
        const ROUNDS: usize = 100;
        for _ in 0..ROUNDS {
            if self.in_flight == 0 {
                return true;
            }
            let timeout = Some(Timespec::from(PATIENCE));
            // Fails when there is nothing left to cancel; completions decide.
            let _ = self
                .ring
                .submitter()
                .register_sync_cancel(timeout, CancelBuilder::any());
            self.wait(Some(PATIENCE));
        }
        self.in_flight == 0
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)
    )
}

impl Flush for RingTx {
    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn flush(&mut self, ready: Ready) {
        loop {
            let mut queued = 0;
            while queued < self.outbox.batch_len()
                && let Some(index) = self.outbox.trains.next_ready(ready)
            {
                let socket = self.outbox.trains.train(index).socket;
                let message = self.outbox.trains.message(index);
                // Without MSG_DONTWAIT a full send buffer would park the request in the kernel
                // and hold the train.
                let entry = opcode::SendMsg::new(Fixed(socket.into()), message)
                    .flags(libc::MSG_DONTWAIT as u32);
                let tag = Tag {
                    op: Op::Send,
                    slot: index,
                    generation: self.outbox.trains.generation(index),
                };
                // SAFETY: message and payload lie in the arena, and a train in flight is not
                // written to until `settle` has its completion.
                if unsafe { self.push(entry.build(), tag) } {
                    queued += 1;
                } else {
                    self.outbox.settle(index, -libc::EAGAIN);
                }
            }
            let unsubmitted = !self.ring.submission().is_empty();
            if unsubmitted {
                // What cannot be submitted now stays queued for the next call.
                let _ = self.enter();
            }
            if queued == 0 {
                return;
            }
            self.outbox.counters.submissions += 1;
        }
    }
}

impl Transmit for RingTx {
    fn reserve(&mut self, path: &Path, hint: &mut TrainHint, len: usize) -> Option<&mut [u8]> {
        outbox::reserve(self, path, hint, len)
    }
}
