//! The send arena: trains of datagrams to one destination each, laid out as segmentation offload
//! wants them, in memory that the kernel reads.
#![expect(unsafe_code, reason = "the kernel reads the arena")]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use millrace_shared::ice::Tuple;

use crate::address::{CONTROL_LEN, NAME_LEN, encode_control, encode_name};
use crate::interface::TrainHint;
use crate::memory::Mapping;
use crate::sys::last_errno;

/// A UDP payload holds 65,507 bytes; the rest is kept free for what the path adds.
pub(crate) const TRAIN_LEN_MAX: usize = 65_000;
/// Space before each train's payload.
const HEADER_SPACE: usize = 256;
const CACHE_LINE: usize = 64;

/// What sendmsg reads besides the payload. The pointers in it point into the same header and to
/// the payload behind it.
#[repr(C)]
struct Header {
    message: libc::msghdr,
    iov: libc::iovec,
    name: [u8; NAME_LEN],
    control: [u8; CONTROL_LEN],
}

const _: () = assert!(size_of::<Header>() <= HEADER_SPACE);
const _: () = assert!(std::mem::offset_of!(Header, control) % align_of::<libc::cmsghdr>() == 0);
const _: () = assert!(align_of::<Header>() <= CACHE_LINE);

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum State {
    Free,
    /// Takes datagrams.
    Open,
    /// Waits for submission and takes none: full, or closed by a shorter datagram.
    Complete,
    /// The kernel may read it.
    InFlight,
}

#[derive(Copy, Clone, Debug)]
pub(crate) struct Train {
    state: State,
    /// Never 0, which is the generation of hints that name no train.
    generation: u32,
    path: Tuple,
    pub(crate) socket: u16,
    pub(crate) len: usize,
    segment_len: usize,
    pub(crate) packets: usize,
    packets_max: usize,
}

/// Room for one datagram.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Place {
    index: u16,
    offset: usize,
    len: usize,
}

/// Which trains a submission takes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Ready {
    Complete,
    All,
}

#[derive(Debug)]
pub(crate) struct Trains {
    memory: Mapping,
    trains: Vec<Train>,
    stride: usize,
    train_len: usize,
    free: Vec<u16>,
    /// Opened trains in order, with generations: those submitted early stay behind as stale.
    opened: VecDeque<(u16, u32)>,
    complete: VecDeque<u16>,
}

impl Trains {
    pub(crate) fn new(count: usize, train_len: usize) -> io::Result<Self> {
        assert!(train_len <= TRAIN_LEN_MAX);
        let last = u16::try_from(count - 1).expect("configuration limits the count of trains");
        let stride = (HEADER_SPACE + train_len).next_multiple_of(CACHE_LINE);
        let unspecified = ([0, 0, 0, 0], 0).into();
        let train = Train {
            state: State::Free,
            generation: 1,
            path: Tuple {
                local: unspecified,
                remote: unspecified,
            },
            socket: 0,
            len: 0,
            segment_len: 0,
            packets: 0,
            packets_max: 0,
        };
        Ok(Self {
            memory: Mapping::untouched(stride * count)?,
            trains: vec![train; count],
            stride,
            train_len,
            free: (0..=last).rev().collect(),
            opened: VecDeque::with_capacity(2 * count),
            complete: VecDeque::with_capacity(count),
        })
    }

    pub(crate) fn memory_len(&self) -> usize {
        self.stride * self.trains.len()
    }

    pub(crate) fn train_len(&self) -> usize {
        self.train_len
    }

    pub(crate) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    pub(crate) fn complete_count(&self) -> usize {
        self.complete.len()
    }

    pub(crate) fn train(&self, index: u16) -> &Train {
        &self.trains[usize::from(index)]
    }

    pub(crate) fn generation(&self, index: u16) -> u32 {
        self.train(index).generation
    }

    /// Appends to the train that `hint` names, if that is still open, goes to `path` and fits. If it
    /// does not, the train is complete: one that is opened with the same hint must not leave before.
    pub(crate) fn join(&mut self, path: &Tuple, hint: TrainHint, len: usize) -> Option<Place> {
        let train = self.trains.get_mut(usize::from(hint.index()))?;
        if train.state != State::Open || train.generation != hint.generation() {
            return None;
        }
        let fits =
            train.path == *path && len <= train.segment_len && train.len + len <= self.train_len;
        if !fits {
            train.state = State::Complete;
            self.complete.push_back(hint.index());
            return None;
        }
        let place = Place {
            index: hint.index(),
            offset: train.len,
            len,
        };
        train.len += len;
        train.packets += 1;
        // Only the last segment of a train may be shorter than the others.
        if len < train.segment_len || train.packets == train.packets_max {
            train.state = State::Complete;
            self.complete.push_back(hint.index());
        }
        Some(place)
    }

    /// Opens a train with room for its first datagram. `None` if all are in use.
    pub(crate) fn open(
        &mut self,
        socket: u16,
        path: &Tuple,
        len: usize,
        packets_max: usize,
    ) -> Option<(Place, TrainHint)> {
        assert!(len <= self.train_len, "a datagram longer than a train");
        let index = self.free.pop()?;
        let train = &mut self.trains[usize::from(index)];
        train.path = *path;
        train.socket = socket;
        train.len = len;
        train.segment_len = len;
        train.packets = 1;
        train.packets_max = packets_max;
        train.state = State::Open;
        let generation = train.generation;
        if packets_max == 1 {
            train.state = State::Complete;
            self.complete.push_back(index);
        }
        self.remember_opened(index, generation);
        let place = Place {
            index,
            offset: 0,
            len,
        };
        Some((place, TrainHint::new(index, generation)))
    }

    pub(crate) fn bytes(&mut self, place: Place) -> &mut [u8] {
        let offset = self.offset(place.index) + HEADER_SPACE + place.offset;
        // SAFETY: `place` was made for a train that waits for its submission, and that only
        // happens through `&mut self`, later than the returned borrow.
        unsafe { self.memory.slice_mut(offset, place.len) }
    }

    /// Takes the next train to submit and hands its message to the caller, who passes it to the
    /// kernel. From now on the train is in flight, until [`Trains::release`].
    pub(crate) fn next_ready(&mut self, ready: Ready) -> Option<u16> {
        let index = match ready {
            Ready::Complete => self.complete.pop_front()?,
            Ready::All => loop {
                let (index, generation) = self.opened.pop_front()?;
                if self.is_waiting(index, generation) {
                    break index;
                }
            },
        };
        if ready == Ready::All && self.train(index).state == State::Complete {
            self.complete.retain(|complete| *complete != index);
        }
        self.trains[usize::from(index)].state = State::InFlight;
        Some(index)
    }

    /// The message of a train in flight, whole.
    pub(crate) fn message(&mut self, index: u16) -> *const libc::msghdr {
        let train = self.trains[usize::from(index)];
        self.fill_header(index, 0..train.len, train.packets > 1)
    }

    /// Sends one datagram of a train whose request has completed, for when offload refused the
    /// train. The error is an errno.
    pub(crate) fn send_single(
        &mut self,
        fd: BorrowedFd<'_>,
        index: u16,
        packet: usize,
    ) -> Result<usize, i32> {
        let train = self.trains[usize::from(index)];
        let start = packet * train.segment_len;
        let end = train.len.min(start + train.segment_len);
        let message = self.fill_header(index, start..end, false);
        // SAFETY: every pointer in the message leads into the arena, which is not touched before
        // the call returns.
        let sent = unsafe { libc::sendmsg(fd.as_raw_fd(), message, libc::MSG_DONTWAIT) };
        usize::try_from(sent).map_err(|_| last_errno())
    }

    /// Frees a train whose request has completed.
    pub(crate) fn release(&mut self, index: u16) {
        let train = &mut self.trains[usize::from(index)];
        debug_assert_eq!(train.state, State::InFlight);
        train.state = State::Free;
        train.generation = train.generation.checked_add(1).unwrap_or(1);
        self.free.push(index);
    }

    pub(crate) fn remote(&self, index: u16) -> std::net::IpAddr {
        self.train(index).path.remote.ip()
    }

    /// Never unmaps, for when the kernel may still read.
    pub(crate) fn leak(&mut self) {
        self.memory.leak();
    }

    fn is_waiting(&self, index: u16, generation: u32) -> bool {
        let train = self.train(index);
        train.generation == generation && matches!(train.state, State::Open | State::Complete)
    }

    /// Stale entries are swept before the queue would grow.
    fn remember_opened(&mut self, index: u16, generation: u32) {
        if self.opened.len() == self.opened.capacity() {
            let mut opened = std::mem::take(&mut self.opened);
            opened.retain(|(index, generation)| self.is_waiting(*index, *generation));
            self.opened = opened;
        }
        self.opened.push_back((index, generation));
    }

    fn offset(&self, index: u16) -> usize {
        usize::from(index) * self.stride
    }

    fn header(&self, index: u16) -> *mut Header {
        self.memory.at(self.offset(index), HEADER_SPACE).cast()
    }

    /// Writes all of it for each message: to do once what never changes would touch a page of each
    /// train at the start, and most of them are for rooms that few nodes have.
    fn fill_header(
        &mut self,
        index: u16,
        payload: std::ops::Range<usize>,
        segmented: bool,
    ) -> *const libc::msghdr {
        let train = *self.train(index);
        debug_assert_eq!(train.state, State::InFlight);
        let segment_len = if segmented {
            u16::try_from(train.segment_len).ok()
        } else {
            None
        };
        let base = self
            .memory
            .at(self.offset(index) + HEADER_SPACE, self.train_len);
        let header = self.header(index);
        // SAFETY: the header is aligned to a cache line and lies in the mapping with all its bytes,
        // which are zero at first, as is valid for each field; the train's request is not with the
        // kernel yet, or completed, so nobody else accesses it; the payload range ends within the
        // train.
        unsafe {
            (*header).message.msg_name = (&raw mut (*header).name).cast();
            (*header).message.msg_control = (&raw mut (*header).control).cast();
            (*header).message.msg_iov = &raw mut (*header).iov;
            (*header).message.msg_iovlen = 1;
            let header = &mut *header;
            header.message.msg_namelen = encode_name(&train.path.remote, &mut header.name) as _;
            let control_len = encode_control(&train.path.local, segment_len, &mut header.control);
            header.message.msg_controllen = control_len as _;
            header.iov.iov_base = base.add(payload.start).cast();
            header.iov.iov_len = payload.end - payload.start;
        }
        // SAFETY: as above; only the address is taken.
        unsafe { &raw const (*header).message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(port: u16) -> Tuple {
        Tuple {
            local: ([127, 0, 0, 1], 1).into(),
            remote: ([127, 0, 0, 1], port).into(),
        }
    }

    #[test]
    fn trains_in_flight_are_neither_lent_nor_joined() {
        let mut trains = Trains::new(2, 3_000).unwrap();
        let (_, first) = trains.open(0, &path(1), 100, 8).unwrap();
        assert!(trains.join(&path(1), first, 100).is_some());
        let sent = trains.next_ready(Ready::All).unwrap();
        assert_eq!(sent, first.index());
        assert!(trains.join(&path(1), first, 100).is_none());
        assert!(trains.open(0, &path(1), 100, 8).is_some());
        assert!(!trains.has_room());
        assert!(trains.open(0, &path(1), 100, 8).is_none());
        trains.release(sent);
        let (_, second) = trains.open(0, &path(1), 100, 8).unwrap();
        // The same slot, another train.
        assert_eq!(second.index(), first.index());
        assert!(trains.join(&path(1), first, 100).is_none());
    }

    #[test]
    fn memory_is_touched_as_it_is_used() {
        let mut trains = Trains::new(1_024, 12_000).unwrap();
        assert_eq!(trains.memory.resident_len(), 0);
        let (place, hint) = trains.open(0, &path(1), 100, 8).unwrap();
        trains.bytes(place).fill(1);
        assert_eq!(trains.next_ready(Ready::All), Some(hint.index()));
        trains.message(hint.index());
        // A page, or a huge one where the kernel gives those to everybody.
        let resident_len = trains.memory.resident_len();
        assert!((1..=2 << 20).contains(&resident_len), "{resident_len}");
        trains.release(hint.index());
        // The next one takes the same memory.
        let (_, next) = trains.open(0, &path(2), 100, 8).unwrap();
        assert_eq!(next.index(), hint.index());
    }

    #[test]
    fn a_train_ends_where_its_memory_ends() {
        let mut trains = Trains::new(1, 250).unwrap();
        let (place, hint) = trains.open(0, &path(1), 100, 8).unwrap();
        trains.bytes(place).fill(1);
        let place = trains.join(&path(1), hint, 100).unwrap();
        assert_eq!(trains.bytes(place).len(), 100);
        assert_eq!(trains.complete_count(), 0);
        assert!(trains.join(&path(1), hint, 100).is_none());
        assert_eq!(trains.complete_count(), 1);
        assert!(trains.join(&path(1), hint, 50).is_none());
    }

    /// Most of all where the later train completes first.
    #[test]
    fn what_does_not_fit_its_train_leaves_after_it() {
        for (port, len) in [(1, 200), (2, 100)] {
            let mut trains = Trains::new(4, 3_000).unwrap();
            let (_, first) = trains.open(0, &path(1), 100, 8).unwrap();
            assert!(trains.join(&path(port), first, len).is_none());
            let (_, second) = trains.open(0, &path(port), len, 8).unwrap();
            assert!(trains.join(&path(port), second, 50).is_some());
            assert_eq!(trains.next_ready(Ready::Complete), Some(first.index()));
            assert_eq!(trains.next_ready(Ready::Complete), Some(second.index()));
            assert_eq!(trains.next_ready(Ready::All), None);
        }
    }

    #[test]
    fn complete_trains_leave_before_open_ones_only_when_asked() {
        let mut trains = Trains::new(4, 3_000).unwrap();
        let (_, open) = trains.open(0, &path(1), 100, 8).unwrap();
        let (_, complete) = trains.open(0, &path(2), 100, 1).unwrap();
        assert_eq!(trains.next_ready(Ready::Complete), Some(complete.index()));
        assert_eq!(trains.next_ready(Ready::Complete), None);
        let (_, last) = trains.open(0, &path(3), 100, 1).unwrap();
        assert_eq!(trains.next_ready(Ready::All), Some(open.index()));
        assert_eq!(trains.next_ready(Ready::All), Some(last.index()));
        assert_eq!(trains.next_ready(Ready::All), None);
        assert_eq!(trains.complete_count(), 0);
    }
}
