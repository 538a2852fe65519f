//! The two queues of io_uring: typed requests in, typed completions out. Everything a request
//! points to is owned here or by the arena, so that it outlives the request.
#![expect(unsafe_code, reason = "requests hold pointers")]

use std::io;
use std::mem;
use std::os::fd::RawFd;
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use crate::address::{CONTROL_LEN, NAME_LEN};
use crate::buffers::{BUFFER_GROUP, Buffers, Filled};
use crate::memory::Mapping;
use crate::train::Trains;

/// A finished step of a request.
#[derive(Debug)]
pub(crate) enum Completion {
    /// The train was sent, or not: a length or a negative errno.
    Sent {
        train: u16,
        result: i32,
    },
    /// `ended` if nothing is armed on the socket any more.
    Received {
        socket: u16,
        outcome: Result<Filled, i32>,
        ended: bool,
    },
    Bell,
}

/// What a request was, in its user data: never a pointer.
#[derive(Copy, Clone, Debug)]
struct Tag {
    op: Op,
    /// Train or socket.
    slot: u16,
    generation: u32,
}

#[derive(Copy, Clone, Debug)]
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

pub(crate) struct Queue {
    // Closes before the memory behind it goes.
    ring: IoUring,
    /// Room for name and control that every receive asks for; never changes.
    receive_header: Box<libc::msghdr>,
    /// Eight bytes that the doorbell's read writes to.
    bell_count: Mapping,
    bell_file: u32,
    /// Requests without their last completion; never more than the completion queue holds.
    in_flight: usize,
    pub(crate) syscalls: u64,
}

impl Queue {
    pub(crate) fn new(submissions: usize, completions: usize) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(completions.next_power_of_two() as u32)
            .build(submissions.next_power_of_two() as u32)?;
        // SAFETY: a zeroed message header is a valid, empty one.
        let mut receive_header: Box<libc::msghdr> = Box::new(unsafe { mem::zeroed() });
        receive_header.msg_namelen = NAME_LEN as libc::socklen_t;
        receive_header.msg_controllen = CONTROL_LEN as _;
        Ok(Self {
            ring,
            receive_header,
            bell_count: Mapping::new(size_of::<u64>())?,
            bell_file: 0,
            in_flight: 0,
            syscalls: 0,
        })
    }

    /// Sockets, which requests then name by index, followed by the doorbell.
    pub(crate) fn register_files(&mut self, fds: &[RawFd]) -> io::Result<()> {
        self.bell_file = fds.len() as u32 - 1;
        self.ring.submitter().register_files(fds)
    }

    /// # Safety
    /// This queue drops before the buffers, after [`Queue::cancel_all`] has returned true; or the
    /// buffers are leaked.
    pub(crate) unsafe fn register_buffers(&self, count: u16, len: usize) -> io::Result<Buffers> {
        // SAFETY: vouched for by the caller.
        unsafe { Buffers::register(&self.ring.submitter(), count, len) }
    }

    /// Arms reception on a socket that has none armed. False if the queue takes no more for now,
    /// here and below.
    pub(crate) fn receive(&mut self, socket: u16) -> bool {
        let header = &raw const *self.receive_header;
        let entry = opcode::RecvMsgMulti::new(Fixed(socket.into()), header, BUFFER_GROUP);
        let tag = Tag {
            op: Op::Receive,
            slot: socket,
            generation: 0,
        };
        // SAFETY: the header is boxed and never changes; buffers come from the registered group.
        unsafe { self.push(entry.build(), tag) }
    }

    /// Waits for the doorbell, when nothing does.
    pub(crate) fn read_bell(&mut self) -> bool {
        let count = self.bell_count.at(0, size_of::<u64>());
        let len = size_of::<u64>() as u32;
        let entry = opcode::Read::new(Fixed(self.bell_file), count, len);
        let tag = Tag {
            op: Op::Bell,
            slot: 0,
            generation: 0,
        };
        // SAFETY: the eight bytes are owned by the queue and never read.
        unsafe { self.push(entry.build(), tag) }
    }

    /// Sends a train that is in flight, and stays so until its completion.
    pub(crate) fn send(&mut self, train: u16, trains: &mut Trains) -> bool {
        let socket = trains.train(train).socket;
        let message = trains.message(train);
        // Without MSG_DONTWAIT a full send buffer would park the request in the kernel and hold
        // the train.
        let flags = libc::MSG_DONTWAIT as u32;
        let entry = opcode::SendMsg::new(Fixed(socket.into()), message).flags(flags);
        let tag = Tag {
            op: Op::Send,
            slot: train,
            generation: trains.generation(train),
        };
        // SAFETY: message and payload lie in the arena, which writes to no train in flight; the
        // generation in the tag is checked when it is released.
        unsafe { self.push(entry.build(), tag) }
    }

    /// # Safety
    /// Everything the request points to stays valid, and untouched by us, until its completion.
    unsafe fn push(&mut self, entry: squeue::Entry, tag: Tag) -> bool {
        let entry = entry.user_data(tag.pack());
        if self.ring.submission().is_full() && self.submit().is_err() {
            return false;
        }
        // SAFETY: vouched for by the caller.
        let pushed = unsafe { self.ring.submission().push(&entry) }.is_ok();
        self.in_flight += usize::from(pushed);
        debug_assert!(self.in_flight <= self.ring.params().cq_entries() as usize);
        pushed
    }

    pub(crate) fn has_unsubmitted(&mut self) -> bool {
        !self.ring.submission().is_empty()
    }

    /// Whether the kernel has completions that only entering it brings forth.
    pub(crate) fn has_deferred(&mut self) -> bool {
        let submission = self.ring.submission();
        submission.taskrun() || submission.cq_overflow()
    }

    /// Submits without waiting. Not an error: interruption, and the kernel being short of memory
    /// or of room for completions; what it did not take stays queued.
    pub(crate) fn submit(&mut self) -> io::Result<()> {
        self.syscalls += 1;
        passing(self.ring.submit(), &[])
    }

    /// Submits and waits for a completion.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.syscalls += 1;
        let result = match timeout {
            None => self.ring.submit_and_wait(1),
            Some(timeout) => {
                let timespec = Timespec::from(timeout);
                let args = SubmitArgs::new().timespec(&timespec);
                self.ring.submitter().submit_with_args(1, &args)
            }
        };
        passing(result, &[libc::ETIME])
    }

    pub(crate) fn next_completion(&mut self, trains: &Trains) -> Option<Completion> {
        let completion = self.ring.completion().next()?;
        let tag = Tag::unpack(completion.user_data());
        let ended = !cqueue::more(completion.flags());
        self.in_flight -= usize::from(ended);
        let result = completion.result();
        Some(match tag.op {
            Op::Send => {
                assert_eq!(trains.generation(tag.slot), tag.generation);
                Completion::Sent {
                    train: tag.slot,
                    result,
                }
            }
            Op::Bell => Completion::Bell,
            Op::Receive => {
                let buffer = cqueue::buffer_select(completion.flags());
                let outcome = match (buffer, usize::try_from(result)) {
                    // SAFETY: reported by this completion, which is consumed here.
                    (Some(id), Ok(len)) => Ok(unsafe { Filled::reported(id, len) }),
                    _ => Err(-result),
                };
                Completion::Received {
                    socket: tag.slot,
                    outcome,
                    ended,
                }
            }
        })
    }

    /// Cancels every request and waits for the last completion. False if that takes too long.
    pub(crate) fn cancel_all(&mut self) -> bool {
        const PATIENCE: Duration = Duration::from_millis(10);
        const ROUNDS: usize = 100;
        for _ in 0..ROUNDS {
            if self.in_flight == 0 {
                break;
            }
            let timeout = Some(Timespec::from(PATIENCE));
            // Fails when there is nothing left to cancel; completions decide.
            let _ = self
                .ring
                .submitter()
                .register_sync_cancel(timeout, CancelBuilder::any());
            let _ = self.wait(Some(PATIENCE));
            for completion in self.ring.completion() {
                self.in_flight -= usize::from(!cqueue::more(completion.flags()));
            }
        }
        // The kernel tears a ring down later, in the background; until then it would hold the
        // sockets, and with them the port.
        let _ = self.ring.submitter().unregister_files();
        self.in_flight == 0
    }

    /// Never unmaps, for when the kernel may still write.
    pub(crate) fn leak(&mut self) {
        self.bell_count.leak();
        let copy = Box::new(*self.receive_header);
        Box::leak(mem::replace(&mut self.receive_header, copy));
    }
}

fn passing(result: io::Result<usize>, also: &[i32]) -> io::Result<()> {
    match result {
        Err(error)
            if !matches!(
                error.raw_os_error(),
                Some(errno) if also.contains(&errno)
                    || matches!(errno, libc::EINTR | libc::EAGAIN | libc::EBUSY)
            ) =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}
