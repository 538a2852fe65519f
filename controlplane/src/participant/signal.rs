//! The way to one client: a bounded queue of responses that its signal socket drains.

use livekit_protocol as proto;
use proto::signal_response::Message;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Responses waiting for one socket. A join into a room of a thousand is one message, so this is
/// some seconds of a busy room. A client that falls further behind loses its socket and resumes.
pub(crate) const RESPONSES_MAX: usize = 512;
/// Requests waiting for the room; the socket is not read while they wait.
pub(crate) const REQUESTS_MAX: usize = 64;

/// Number of one signal connection of a participant; a resume opens the next.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// Sends to the client while it has a socket.
#[derive(Debug)]
pub(crate) struct Signal {
    connection: ConnectionId,
    responses: Option<mpsc::Sender<proto::SignalResponse>>,
    overflowed: bool,
}

impl Signal {
    pub(crate) fn new(
        connection: ConnectionId,
        responses: mpsc::Sender<proto::SignalResponse>,
    ) -> Self {
        Self {
            connection,
            responses: Some(responses),
            overflowed: false,
        }
    }

    pub(crate) fn connection(&self) -> ConnectionId {
        self.connection
    }

    pub(crate) fn is_open(&self) -> bool {
        self.responses.is_some()
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
        let Some(responses) = &self.responses else {
            return;
        };
        let response = proto::SignalResponse {
            message: Some(message),
        };
        match responses.try_send(response) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                self.overflowed = true;
                self.responses = None;
            }
            Err(TrySendError::Closed(_)) => self.responses = None,
        }
    }

    /// Ends the socket after what is queued.
    pub(crate) fn close(&mut self) {
        self.responses = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_does_not_read_loses_its_socket() {
        let (tx, mut rx) = mpsc::channel(2);
        let mut signal = Signal::new(ConnectionId(1), tx);
        for _ in 0..3 {
            signal.send(Message::Pong(1));
        }
        assert!(signal.overflowed() && !signal.is_open());
        assert!(rx.try_recv().is_ok() && rx.try_recv().is_ok());
        assert!(matches!(
            rx.try_recv(),
            Err(mpsc::error::TryRecvError::Disconnected)
        ));
    }
}
