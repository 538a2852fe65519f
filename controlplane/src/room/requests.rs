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

    /// Waits for a place and sends what waits in it; the future may be dropped. Who only learned that
    /// there is a place would find it taken by the next who waits.
    pub(crate) async fn send_waiting(&self, waiting: &mut Option<Box<SignalRequest>>) {
        let Some(way) = &self.0 else {
            *waiting = None;
            return;
        };
        let place = way.mailbox.reserve().await;
        // A room that ended gets nothing any more.
        if let Some(request) = waiting.take()
            && let Ok(place) = place
        {
            place.send(way.message(request));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn way(mailbox: &mpsc::Sender<RoomMessage>, participant: u32) -> Requests {
        let connection = ConnectionId(u64::from(participant));
        Requests::new(mailbox.clone(), ParticipantId(participant), connection)
    }

    fn sender(message: Option<RoomMessage>) -> (u32, bool) {
        match message {
            Some(RoomMessage::Request { participant, .. }) => (participant.0, false),
            Some(RoomMessage::SignalClosed { participant, .. }) => (participant.0, true),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn who_waits_for_a_full_mailbox_gets_the_place() {
        let (mailbox, mut room) = mpsc::channel(1);
        let ways: Vec<Requests> = (0..3).map(|n| way(&mailbox, n)).collect();
        assert!(ways[0].try_send(Box::default()).is_ok());
        let mut waiting: Vec<_> = ways
            .iter()
            .skip(1)
            .map(|way| way.try_send(Box::default()).err())
            .collect();
        assert!(waiting.iter().all(Option::is_some));
        let [first, second] = &mut waiting[..] else {
            panic!("two wait");
        };
        let read = async {
            let mut senders = Vec::new();
            for _ in 0..3 {
                senders.push(sender(room.recv().await));
            }
            senders
        };
        let (_, _, senders) = tokio::join!(
            ways[1].send_waiting(first),
            ways[2].send_waiting(second),
            read
        );
        assert_eq!(senders, [(0, false), (1, false), (2, false)]);
        assert_eq!(waiting, [None, None]);
    }

    #[tokio::test]
    async fn the_room_hears_once_and_last_that_a_socket_closed() {
        let (mailbox, mut room) = mpsc::channel(1);
        let requests = way(&mailbox, 7);
        assert!(requests.try_send(Box::default()).is_ok());
        drop((requests, mailbox));
        assert_eq!(sender(room.recv().await), (7, false));
        assert_eq!(sender(room.recv().await), (7, true));
        assert!(room.recv().await.is_none());
    }

    #[tokio::test]
    async fn nobody_waits_for_a_room_that_ended() {
        let (mailbox, room) = mpsc::channel(1);
        let requests = way(&mailbox, 7);
        drop(room);
        let mut waiting = Some(Box::default());
        requests.send_waiting(&mut waiting).await;
        Requests::to_nobody().send_waiting(&mut waiting).await;
        assert_eq!(waiting, None);
        assert!(!requests.send(Box::default()).await);
    }
}
