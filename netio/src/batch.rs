//! Messages of sendmmsg and recvmmsg.
#![expect(unsafe_code, reason = "message headers hold pointers")]

use std::io;
use std::mem;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::address::{CONTROL_LEN, NAME_LEN};
use crate::memory::Mapping;
use crate::sys::last_errno;
use crate::train::Trains;

const PAYLOAD_AT: usize = NAME_LEN + CONTROL_LEN;

/// Buffers for one recvmmsg, each of them name, control, payload.
pub(crate) struct ReceiveBatch {
    buffers: Mapping,
    stride: usize,
    payload_len_max: usize,
    headers: Vec<libc::mmsghdr>,
    /// `headers` point to these.
    _iovs: Vec<libc::iovec>,
}

/// What recvmmsg wrote for one datagram.
pub(crate) struct ReceivedMessage<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) control: &'a [u8],
    pub(crate) payload: &'a mut [u8],
    pub(crate) truncated: bool,
}

impl ReceiveBatch {
    pub(crate) fn new(count: usize, payload_len_max: usize) -> io::Result<Self> {
        let stride = (PAYLOAD_AT + payload_len_max).next_multiple_of(64);
        let buffers = Mapping::new(stride * count)?;
        let payload_at = |index| buffers.at(index * stride + PAYLOAD_AT, payload_len_max);
        let mut iovs: Vec<libc::iovec> = (0..count)
            .map(|index| libc::iovec {
                iov_base: payload_at(index).cast(),
                iov_len: payload_len_max,
            })
            .collect();
        let headers = (0..count)
            .zip(&mut iovs)
            .map(|(index, iov)| {
                // SAFETY: a zeroed message header is a valid, empty one.
                let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
                let message = &mut header.msg_hdr;
                message.msg_name = buffers.at(index * stride, NAME_LEN).cast();
                message.msg_control = buffers.at(index * stride + NAME_LEN, CONTROL_LEN).cast();
                message.msg_iov = iov;
                message.msg_iovlen = 1;
                header
            })
            .collect();
        Ok(Self {
            buffers,
            stride,
            payload_len_max,
            headers,
            _iovs: iovs,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.headers.len()
    }

    pub(crate) fn memory_len(&self) -> usize {
        self.stride * self.len()
    }

    /// Reads what a socket has, at most `count` datagrams; returns how many, or an errno.
    pub(crate) fn fill(&mut self, fd: BorrowedFd<'_>, count: usize) -> Result<usize, i32> {
        let headers = &mut self.headers[..count];
        for header in &mut *headers {
            header.msg_hdr.msg_namelen = NAME_LEN as libc::socklen_t;
            header.msg_hdr.msg_controllen = CONTROL_LEN as _;
        }
        // SAFETY: `count` headers, whose pointers lead into the mapping and to the iovs, all alive
        // and not otherwise borrowed; the kernel is done with them on return.
        let received = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                headers.as_mut_ptr(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        usize::try_from(received).map_err(|_| last_errno())
    }

    /// One of the datagrams of the last [`ReceiveBatch::fill`].
    pub(crate) fn message(&mut self, index: usize) -> ReceivedMessage<'_> {
        let header = &self.headers[index];
        let len = (header.msg_len as usize).min(self.payload_len_max);
        let control_len = header.msg_hdr.msg_controllen.min(CONTROL_LEN);
        let truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        let offset = index * self.stride;
        // SAFETY: the kernel accesses the mapping only during `fill`.
        let buffer = unsafe { self.buffers.slice_mut(offset, PAYLOAD_AT + len) };
        let (head, payload) = buffer.split_at_mut(PAYLOAD_AT);
        let (name, control) = head.split_at(NAME_LEN);
        ReceivedMessage {
            name,
            control: &control[..control_len],
            payload,
            truncated,
        }
    }
}

/// Trains in flight, and their messages in the same order.
pub(crate) struct SendBatch {
    indices: Vec<u16>,
    messages: Vec<libc::mmsghdr>,
}

impl SendBatch {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            indices: Vec::with_capacity(count),
            messages: Vec::with_capacity(count),
        }
    }

    pub(crate) fn indices(&self) -> &[u16] {
        &self.indices
    }

    /// Adds a train in flight; it is released only after the batch was sent.
    pub(crate) fn push(&mut self, index: u16, trains: &mut Trains) {
        let message = trains.message(index);
        // SAFETY: the message is initialised and lies in the arena; it is copied.
        let msg_hdr = unsafe { *message };
        self.indices.push(index);
        self.messages.push(libc::mmsghdr {
            msg_hdr,
            msg_len: 0,
        });
    }

    /// Sends a part of the batch; returns how many messages the kernel took, or the errno of the
    /// first.
    pub(crate) fn send(&mut self, fd: BorrowedFd<'_>, part: Range<usize>) -> Result<usize, i32> {
        let messages = &mut self.messages[part];
        // SAFETY: live messages, whose pointers lead into the arena; their trains are in flight,
        // so nothing writes to them, and the kernel is done with them on return.
        let sent = unsafe {
            libc::sendmmsg(
                fd.as_raw_fd(),
                messages.as_mut_ptr(),
                messages.len() as libc::c_uint,
                libc::MSG_DONTWAIT as _,
            )
        };
        usize::try_from(sent).map_err(|_| last_errno())
    }

    pub(crate) fn clear(&mut self) {
        self.indices.clear();
        self.messages.clear();
    }
}
