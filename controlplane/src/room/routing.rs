//! Brings each event of the data plane to the room it is about.
//!
//! Every id carries its room's index in the upper half, so no map of ids is needed.

use std::collections::HashMap;
use std::sync::Arc;

use millrace_shared::link::Event;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::message::{RoomMessage, RoomReports};
use super::registry::Shared;

const INDEX_SHIFT: u32 = 32;

/// The id number `number` of room `index`.
pub(crate) const fn id(index: u32, number: u32) -> u64 {
    ((index as u64) << INDEX_SHIFT) | number as u64
}

/// The room whose id this is.
pub(crate) const fn index_of(id: u64) -> u32 {
    (id >> INDEX_SHIFT) as u32
}

/// The number of an id within its room.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the lower half is what is asked for"
)]
pub(crate) const fn number_of(id: u64) -> u32 {
    id as u32
}

/// Runs until the data plane is gone.
pub(crate) async fn run(shared: Arc<Shared>, mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        let id = match &event {
            Event::PairSelected { transport, .. }
            | Event::Connected { transport }
            | Event::Disconnected { transport }
            | Event::Closed { transport, .. }
            | Event::TransportMoved { transport, .. }
            | Event::UpTrackStarted { transport, .. }
            | Event::DownTrackStarted { transport, .. } => transport.0,
            Event::Speakers { group, .. } => group.0,
            _ => {
                take(&shared, event);
                continue;
            }
        };
        let Some(mailbox) = shared.room_by_index(index_of(id)) else {
            // The room ended while the event was on its way.
            continue;
        };
        if matches!(event, Event::Speakers { .. }) {
            offer(&shared, &mailbox, RoomMessage::Event(event));
        } else {
            // A room never waits for anybody, so a full mailbox empties.
            let _ = mailbox.send(RoomMessage::Event(event)).await;
        }
    }
}

/// Events that concern the node, or many rooms.
fn take(shared: &Shared, event: Event) {
    match event {
        Event::Hello(hello) => {
            tracing::info!(
                shard = hello.shard.0,
                backend = hello.backend,
                addresses = ?hello.addresses,
                "shard is ready"
            );
            shared.dataplane.hello(*hello);
        }
        Event::Metrics { shard, metrics } => shared.set_shard_metrics(shard, *metrics),
        Event::Reports {
            up,
            down,
            transports,
            ..
        } => {
            let mut rooms: HashMap<u32, RoomReports> = HashMap::new();
            for report in up {
                rooms
                    .entry(index_of(report.0.0))
                    .or_default()
                    .up
                    .push(report);
            }
            for report in down {
                rooms
                    .entry(index_of(report.0.0))
                    .or_default()
                    .down
                    .push(report);
            }
            for report in transports {
                let room = rooms.entry(index_of(report.transport.0)).or_default();
                room.transports.push(report);
            }
            for (index, reports) in rooms {
                if let Some(mailbox) = shared.room_by_index(index) {
                    offer(shared, &mailbox, RoomMessage::Reports(reports));
                }
            }
        }
        _ => {}
    }
}

/// What the next message of its kind makes good is dropped when the room is behind.
fn offer(shared: &Shared, mailbox: &mpsc::Sender<RoomMessage>, message: RoomMessage) {
    if let Err(TrySendError::Full(_)) = mailbox.try_send(message) {
        shared.counters.report_dropped();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_their_room() {
        assert_eq!(index_of(id(7, u32::MAX)), 7);
        assert_eq!(index_of(id(u32::MAX, 1)), u32::MAX);
        assert_ne!(id(7, 1), id(8, 1));
        assert_eq!(number_of(id(7, 12)), 12);
    }
}
