//! The way to one client: a bounded queue of responses that its signal socket drains.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::Bytes;
use livekit_protocol as proto;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use proto::signal_response::Message;
use tokio::time::Instant;

/// Responses waiting for one socket. A join into a room of a thousand is one message, so this is
/// some seconds of a busy room. A client that falls further behind loses its socket and resumes.
pub(crate) const RESPONSES_MAX: usize = 512;
/// Their bytes, as encoded: eight participants with the longest metadata. One message may be larger,
/// if nothing else waits: a join into a full room is.
pub(crate) const RESPONSES_BYTES_MAX: usize = 4 << 20;

/// Number of one signal connection of a participant; a resume opens the next.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// A response as protobuf. What goes to many is written once, and all their queues hold the same
/// bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EncodedResponse(Bytes);

impl EncodedResponse {
    pub(crate) fn new(message: Message) -> Self {
        let response = proto::SignalResponse {
            message: Some(message),
        };
        Self(response.encode_to_vec().into())
    }

    /// A join's response, with the others' descriptions as they were encoded before: a room of a
    /// thousand is not described anew for everybody who comes.
    pub(crate) fn join(join: proto::JoinResponse, others: &[Bytes]) -> Self {
        const JOIN: u32 = 1;
        const OTHER_PARTICIPANTS: u32 = 3;
        let head = join.encode_to_vec();
        let others_len: usize = others
            .iter()
            .map(|other| 1 + encoded_len_varint(other.len() as u64) + other.len())
            .sum();
        let join_len = (head.len() + others_len) as u64;
        let mut response = Vec::with_capacity(head.len() + others_len + 16);
        encode_key(JOIN, WireType::LengthDelimited, &mut response);
        encode_varint(join_len, &mut response);
        // The parts of a message lie one behind the other, in any order.
        response.extend_from_slice(&head);
        for other in others {
            encode_key(OTHER_PARTICIPANTS, WireType::LengthDelimited, &mut response);
            encode_varint(other.len() as u64, &mut response);
            response.extend_from_slice(other);
        }
        Self(response.into())
    }

    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The response again, for those who want it in another form.
    pub fn decode(&self) -> proto::SignalResponse {
        // Our own writing can be read.
        proto::SignalResponse::decode(self.0.clone()).unwrap_or_default()
    }
}

/// What a socket has not taken yet. tokio's channel keeps room for 32 responses and more, which is 1
/// to 4 kB of a participant to whom nothing happens; this one keeps nothing while it is empty.
#[derive(Debug, Default)]
struct Queue {
    responses: VecDeque<EncodedResponse>,
    /// Encoded bytes of them.
    bytes: usize,
    /// The room sends no more.
    ended: bool,
    /// The socket takes no more.
    abandoned: bool,
    reader: Option<Waker>,
    /// When the socket last answered its client without the room.
    heard_at: Option<Instant>,
}

impl Queue {
    fn push(&mut self, response: &EncodedResponse, places: usize) -> Result<(), Refused> {
        let bytes = self.bytes + response.0.len();
        if self.abandoned {
            return Err(Refused::Abandoned);
        }
        if self.responses.len() >= places || self.bytes > 0 && bytes > RESPONSES_BYTES_MAX {
            return Err(Refused::Full);
        }
        self.responses.push_back(response.clone());
        self.bytes = bytes;
        self.wake();
        Ok(())
    }

    fn pop(&mut self) -> Option<EncodedResponse> {
        let response = self.responses.pop_front()?;
        self.bytes -= response.0.len();
        if self.responses.is_empty() {
            self.responses = VecDeque::new();
        }
        Some(response)
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// Why a response was not queued.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Refused {
    Full,
    Abandoned,
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    // Nothing panics while it is held.
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A socket's end of its responses.
#[derive(Debug)]
pub struct Responses(Arc<Mutex<Queue>>);

impl Responses {
    /// The next one; none when the room closed the session and everything was taken.
    pub async fn recv(&mut self) -> Option<EncodedResponse> {
        poll_fn(|cx| {
            let mut queue = lock(&self.0);
            match queue.pop() {
                None if !queue.ended => {
                    queue.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
                response => Poll::Ready(response),
            }
        })
        .await
    }

    /// Tells the room that the client is there, without waking it.
    pub(crate) fn note_heard(&self, now: Instant) {
        lock(&self.0).heard_at = Some(now);
    }

    /// What waits now; none when nothing does.
    pub fn try_recv(&mut self) -> Option<EncodedResponse> {
        lock(&self.0).pop()
    }
}

impl Drop for Responses {
    fn drop(&mut self) {
        let mut queue = lock(&self.0);
        queue.abandoned = true;
        queue.responses = VecDeque::new();
        queue.reader = None;
    }
}

/// A room's note that some client's queue overflowed: to look at each of a thousand after every
/// message would cost more than the message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overflow(Arc<AtomicBool>);

impl Overflow {
    fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether there was one since it was last asked.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// The room's end.
#[derive(Debug)]
struct Sender {
    queue: Arc<Mutex<Queue>>,
    places: usize,
    overflow: Overflow,
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut queue = lock(&self.queue);
        queue.ended = true;
        queue.wake();
    }
}

/// Sends to the client while it has a socket; by default it has none.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    connection: ConnectionId,
    sender: Option<Sender>,
    overflowed: bool,
    /// [`Queue::heard_at`] of a socket that is closed.
    heard_at: Option<Instant>,
}

impl Signal {
    pub(crate) fn new(connection: ConnectionId, overflow: Overflow) -> (Self, Responses) {
        Self::with_places(connection, overflow, RESPONSES_MAX)
    }

    /// With a queue of so many responses.
    pub(crate) fn with_places(
        connection: ConnectionId,
        overflow: Overflow,
        places: usize,
    ) -> (Self, Responses) {
        let queue = Arc::default();
        let responses = Responses(Arc::clone(&queue));
        let signal = Self {
            connection,
            sender: Some(Sender {
                queue,
                places,
                overflow,
            }),
            overflowed: false,
            heard_at: None,
        };
        (signal, responses)
    }

    pub(crate) fn connection(&self) -> ConnectionId {
        self.connection
    }

    pub(crate) fn is_open(&self) -> bool {
        self.sender.is_some()
    }

    /// Whether the queue overflowed and the socket was given up for it.
    pub(crate) fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// The overflow is dealt with.
    pub(crate) fn acknowledge_overflow(&mut self) {
        self.overflowed = false;
    }

    /// Queues `message`. What finds no socket is dropped: the client learns the state when it
    /// resumes.
    pub(crate) fn send(&mut self, message: Message) {
        if self.is_open() {
            self.send_encoded(&EncodedResponse::new(message));
        }
    }

    /// The same for what others are sent, too.
    pub(crate) fn send_encoded(&mut self, response: &EncodedResponse) {
        let Some(sender) = &self.sender else {
            return;
        };
        let sent = lock(&sender.queue).push(response, sender.places);
        if let Err(refused) = sent {
            if refused == Refused::Full {
                sender.overflow.note();
                self.overflowed = true;
            }
            self.close();
        }
    }

    /// Ends the socket after what is queued.
    pub(crate) fn close(&mut self) {
        self.heard_at = self.heard_at();
        self.sender = None;
    }

    /// When the socket last answered its client without the room.
    pub(crate) fn heard_at(&self) -> Option<Instant> {
        match &self.sender {
            Some(sender) => lock(&sender.queue).heard_at,
            None => self.heard_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::task::Context;

    use super::*;

    #[test]
    fn a_client_that_does_not_read_loses_its_socket() {
        let overflow = Overflow::default();
        let (mut signal, mut rx) = Signal::with_places(ConnectionId(1), overflow.clone(), 2);
        for _ in 0..3 {
            signal.send(Message::Pong(1));
        }
        assert!(signal.overflowed() && !signal.is_open());
        assert!(overflow.take() && !overflow.take());
        assert!(rx.try_recv().is_some() && rx.try_recv().is_some());
        let mut recv = std::pin::pin!(rx.recv());
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(recv.as_mut().poll(&mut cx), Poll::Ready(None));
    }

    #[tokio::test]
    async fn a_waiting_socket_hears_of_each_response_and_of_the_end() {
        let (mut signal, mut rx) = Signal::new(ConnectionId(1), Overflow::default());
        let socket = tokio::spawn(async move {
            let mut count = 0;
            while rx.recv().await.is_some() {
                count += 1;
            }
            count
        });
        for _ in 0..3 {
            tokio::task::yield_now().await;
            signal.send(Message::Pong(1));
        }
        tokio::task::yield_now().await;
        drop(signal);
        assert_eq!(socket.await.unwrap(), 3);
    }

    #[test]
    fn a_socket_that_is_gone_is_no_overflow_and_an_empty_queue_holds_nothing() {
        let (mut signal, mut rx) = Signal::new(ConnectionId(1), Overflow::default());
        for _ in 0..100 {
            signal.send(Message::Pong(1));
        }
        while rx.try_recv().is_some() {}
        assert_eq!(lock(&rx.0).responses.capacity(), 0);
        drop(rx);
        signal.send(Message::Pong(1));
        assert!(!signal.is_open() && !signal.overflowed());
    }

    #[test]
    fn a_join_with_encoded_others_is_the_same_as_one_with_their_descriptions() {
        for count in [0, 1, 300] {
            let others: Vec<_> = (0..count)
                .map(|n| proto::ParticipantInfo {
                    identity: "x".repeat(n),
                    joined_at: 7,
                    ..Default::default()
                })
                .collect();
            let encoded: Vec<Bytes> = others.iter().map(|it| it.encode_to_vec().into()).collect();
            let mut join = proto::JoinResponse {
                server_version: "1".into(),
                ping_interval: 5,
                ..Default::default()
            };
            let response = EncodedResponse::join(join.clone(), &encoded);
            join.other_participants = others;
            assert_eq!(response.decode().message, Some(Message::Join(join)));
        }
    }

    fn long(len: usize) -> Message {
        Message::RefreshToken("x".repeat(len))
    }

    #[test]
    fn long_responses_are_counted_by_their_bytes() {
        let (mut signal, mut rx) = Signal::new(ConnectionId(1), Overflow::default());
        signal.send(long(2 * RESPONSES_BYTES_MAX));
        assert!(signal.is_open(), "alone it may be of any length");
        assert!(rx.try_recv().is_some());
        for _ in 0..7 {
            signal.send(long(RESPONSES_BYTES_MAX / 8));
        }
        assert!(signal.is_open());
        assert!(rx.try_recv().is_some());
        signal.send(long(RESPONSES_BYTES_MAX / 8));
        assert!(signal.is_open(), "one was taken");
        signal.send(long(RESPONSES_BYTES_MAX / 8));
        assert!(signal.overflowed() && !signal.is_open());
    }
}
