//! The way to one client: a bounded queue of responses that its signal socket drains.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use livekit_protocol as proto;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use proto::signal_response::Message;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};

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
/// bytes. A queue of messages would also be large while it is empty: tokio makes room for 32 at a
/// time, at 900 bytes each.
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

/// A socket's end of its responses.
#[derive(Debug)]
pub struct Responses {
    queue: mpsc::Receiver<EncodedResponse>,
    bytes: Arc<AtomicUsize>,
}

impl Responses {
    /// The next one; none when the room closed the session and everything was taken.
    pub async fn recv(&mut self) -> Option<EncodedResponse> {
        let response = self.queue.recv().await?;
        Some(self.taken(response))
    }

    /// What waits now.
    pub fn try_recv(&mut self) -> Result<EncodedResponse, TryRecvError> {
        let response = self.queue.try_recv()?;
        Ok(self.taken(response))
    }

    fn taken(&self, response: EncodedResponse) -> EncodedResponse {
        self.bytes.fetch_sub(response.0.len(), Ordering::Relaxed);
        response
    }
}

/// Sends to the client while it has a socket; by default it has none.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    connection: ConnectionId,
    queue: Option<mpsc::Sender<EncodedResponse>>,
    /// Encoded bytes of what the queue holds.
    bytes: Arc<AtomicUsize>,
    overflowed: bool,
}

impl Signal {
    pub(crate) fn new(connection: ConnectionId) -> (Self, Responses) {
        Self::with_places(connection, RESPONSES_MAX)
    }

    /// With a queue of so many responses.
    pub(crate) fn with_places(connection: ConnectionId, places: usize) -> (Self, Responses) {
        let (sender, queue) = mpsc::channel(places);
        let bytes = Arc::new(AtomicUsize::new(0));
        let signal = Self {
            connection,
            queue: Some(sender),
            bytes: Arc::clone(&bytes),
            overflowed: false,
        };
        (signal, Responses { queue, bytes })
    }

    pub(crate) fn connection(&self) -> ConnectionId {
        self.connection
    }

    pub(crate) fn is_open(&self) -> bool {
        self.queue.is_some()
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
        let Some(queue) = &self.queue else {
            return;
        };
        let len = response.0.len();
        let held = self.bytes.fetch_add(len, Ordering::Relaxed);
        let sent = if held > 0 && held + len > RESPONSES_BYTES_MAX {
            Err(TrySendError::Full(()))
        } else {
            queue
                .try_send(response.clone())
                .map_err(|error| match error {
                    TrySendError::Full(_) => TrySendError::Full(()),
                    TrySendError::Closed(_) => TrySendError::Closed(()),
                })
        };
        match sent {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                self.overflowed = true;
                self.queue = None;
            }
            Err(TrySendError::Closed(_)) => self.queue = None,
        }
    }

    /// Ends the socket after what is queued.
    pub(crate) fn close(&mut self) {
        self.queue = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_does_not_read_loses_its_socket() {
        let (mut signal, mut rx) = Signal::with_places(ConnectionId(1), 2);
        for _ in 0..3 {
            signal.send(Message::Pong(1));
        }
        assert!(signal.overflowed() && !signal.is_open());
        assert!(rx.try_recv().is_ok() && rx.try_recv().is_ok());
        assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
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
        let (mut signal, mut rx) = Signal::new(ConnectionId(1));
        signal.send(long(2 * RESPONSES_BYTES_MAX));
        assert!(signal.is_open(), "alone it may be of any length");
        assert!(rx.try_recv().is_ok());
        for _ in 0..7 {
            signal.send(long(RESPONSES_BYTES_MAX / 8));
        }
        assert!(signal.is_open());
        assert!(rx.try_recv().is_ok());
        signal.send(long(RESPONSES_BYTES_MAX / 8));
        assert!(signal.is_open(), "one was taken");
        signal.send(long(RESPONSES_BYTES_MAX / 8));
        assert!(signal.overflowed() && !signal.is_open());
    }
}
