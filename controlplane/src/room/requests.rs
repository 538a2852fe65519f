//! The way from one client's socket to its room.

use livekit_protocol::SignalRequest;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::message::RoomMessage;
use crate::participant::ParticipantId;
use crate::participant::signal::ConnectionId;

/// A socket's end of the room's mailbox; none of a session that was refused, to which nobody
/// listens. The room is told when it drops: the socket closed.
#[derive(Debug)]
pub struct Requests(Option<Way>);

#[derive(Debug)]
struct Way {
    mailbox: mpsc::Sender<RoomMessage>,
    participant: ParticipantId,
    connection: ConnectionId,
}

impl Requests {
    pub(super) fn new(
        mailbox: mpsc::Sender<RoomMessage>,
        participant: ParticipantId,
        connection: ConnectionId,
    ) -> Self {
        Self(Some(Way {
            mailbox,
            participant,
            connection,
        }))
    }

    pub(crate) fn to_nobody() -> Self {
        Self(None)
    }

    /// Waits for a place in the room's mailbox. False when the room has ended.
    pub async fn send(&self, request: Box<SignalRequest>) -> bool {
        match &self.0 {
            Some(way) => way.mailbox.send(way.message(request)).await.is_ok(),
            None => false,
        }
    }

    /// The request again, if the mailbox has no place for it now. What a room that has ended is sent
    /// is lost: what it still has to say comes by the responses.
    pub(crate) fn try_send(&self, request: Box<SignalRequest>) -> Result<(), Box<SignalRequest>> {
        let Some(way) = &self.0 else {
            return Ok(());
        };
        match way.mailbox.try_reserve() {
            Ok(place) => {
                place.send(way.message(request));
                Ok(())
            }
            Err(TrySendError::Full(())) => Err(request),
            Err(TrySendError::Closed(())) => Ok(()),
        }
    }

    /// Waits until the mailbox has a place, or the room has ended.
    pub(crate) async fn ready(&self) {
        if let Some(way) = &self.0 {
            // The place is given back at once.
            let _ = way.mailbox.reserve().await;
        }
    }
}

impl Way {
    fn message(&self, request: Box<SignalRequest>) -> RoomMessage {
        RoomMessage::Request {
            participant: self.participant,
            connection: self.connection,
            request,
        }
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        let Some(way) = self.0.take() else {
            return;
        };
        let closed = RoomMessage::SignalClosed {
            participant: way.participant,
            connection: way.connection,
        };
        // A room that ended needs no news; one that has to catch up gets it later. When the runtime
        // ends, so does the room.
        if let Err(TrySendError::Full(closed)) = way.mailbox.try_send(closed)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { way.mailbox.send(closed).await });
        }
    }
}
