//! What participants hear of each other.
//!
//! News of those who publish goes out at once, everything else in batches, so that a big audience
//! that comes and goes does not keep every client busy.

use std::time::Duration;

use livekit_protocol as proto;
use proto::signal_response::Message;
use tokio::time::Instant;

use super::actor::Room;
use super::timer::Timer;
use crate::participant::signal::EncodedResponse;
use crate::participant::{CloseReason, Participant, ParticipantId};

/// Time over which changes of the room's own description are gathered.
const ROOM_UPDATE_GATHER: Duration = Duration::from_secs(5);
/// Departures kept for clients that were away when they happened (LiveKit: 128).
const DEPARTED_MAX: usize = 128;

/// An update that waits for its batch, by the participant's identity.
#[derive(Clone, Debug)]
pub(super) struct QueuedUpdate {
    info: proto::ParticipantInfo,
    /// Clients that tell sessions of one identity apart need not hear of it.
    skippable: bool,
}

/// Somebody who left.
#[derive(Debug)]
pub(super) struct Departed {
    at: Instant,
    info: proto::ParticipantInfo,
}

/// How an update goes out.
#[derive(Copy, Clone, Default)]
pub(super) struct Broadcast {
    /// Do not wait for a batch.
    pub(super) immediate: bool,
    /// The participant itself has to hear it in any case.
    pub(super) to_self: bool,
}

impl Room {
    /// Tells the room what changed about a participant.
    pub(super) fn broadcast(&mut self, id: ParticipantId, how: Broadcast) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let info = participant.info();
        let hidden = participant.hidden();
        let sent = !hidden && self.publish_update(info.clone(), None, how.immediate);
        if how.to_self
            && !sent
            && let Some(participant) = self.participants.get_mut(&id)
        {
            send_update(participant, vec![info]);
        }
    }

    /// Tells the room that somebody, who is out of its list already, left.
    pub(super) fn broadcast_departure(&mut self, participant: &Participant) {
        if participant.hidden() {
            return;
        }
        let info = participant.info();
        // Without metadata and the like, which may be half a megabyte for each.
        self.departed.push_back(Departed {
            at: Instant::now(),
            info: proto::ParticipantInfo {
                sid: info.sid.clone(),
                identity: info.identity.clone(),
                version: info.version,
                state: info.state,
                ..Default::default()
            },
        });
        if self.departed.len() > DEPARTED_MAX {
            self.departed.pop_front();
        }
        self.publish_update(info, participant.close_reason, false);
    }

    /// Sends or queues an update; says whether it was sent.
    fn publish_update(
        &mut self,
        info: proto::ParticipantInfo,
        close_reason: Option<CloseReason>,
        immediate: bool,
    ) -> bool {
        let mut at_once = immediate || info.is_publisher;
        let mut updates = Vec::new();
        if let Some(mut queued) = self.queued_updates.shift_remove(&info.identity) {
            if queued.info.sid != info.sid {
                if newer(&queued.info, &info) {
                    self.queued_updates
                        .insert(queued.info.identity.clone(), queued);
                    return false;
                }
                // Another session took the identity: both go out together.
                at_once = true;
                queued.info.state = proto::participant_info::State::Disconnected.into();
                queued.skippable = true;
                updates.push(queued);
            }
        } else if let Some(current) = self.by_identity(&info.identity)
            && let Some(current) = self.participants.get(&current)
            && current.sid != info.sid
            && newer(&current.info(), &info)
        {
            // News of a session that has been replaced.
            return false;
        }
        let update = QueuedUpdate {
            skippable: close_reason == Some(CloseReason::DuplicateIdentity),
            info,
        };
        if !at_once {
            self.queued_updates
                .insert(update.info.identity.clone(), update);
            if !self.updates_timer_set {
                self.updates_timer_set = true;
                let wait = Duration::from_millis(self.settings.update_batch_ms);
                self.timers.set(Instant::now() + wait, Timer::Updates);
            }
            return false;
        }
        updates.push(update);
        self.send_updates(&updates);
        true
    }

    pub(super) fn flush_updates(&mut self) {
        self.updates_timer_set = false;
        let updates: Vec<_> = std::mem::take(&mut self.queued_updates)
            .into_values()
            .collect();
        self.send_updates(&updates);
    }

    fn send_updates(&mut self, updates: &[QueuedUpdate]) {
        let full = encode_updates(updates.iter());
        let filtered = if updates.iter().any(|update| update.skippable) {
            encode_updates(updates.iter().filter(|update| !update.skippable))
        } else {
            full.clone()
        };
        for participant in self.participants.everybody_mut() {
            let list = if participant.client.supports_identity_based_reconnection() {
                &filtered
            } else {
                &full
            };
            if participant.is_ready()
                && let Some(list) = list
            {
                participant.send_encoded(list);
            }
        }
    }

    /// Everybody else, for somebody who joins.
    pub(super) fn others(&self, identity: &str) -> Vec<proto::ParticipantInfo> {
        self.participants
            .values()
            .filter(|p| !p.hidden() && p.identity != identity)
            .map(Participant::info)
            .collect()
    }

    /// Who left after `since`, as far back as we remember.
    pub(super) fn departed_since(&self, since: Instant) -> Vec<proto::ParticipantInfo> {
        self.departed
            .iter()
            .filter(|departed| departed.at >= since)
            .map(|departed| departed.info.clone())
            .collect()
    }

    /// The room's own description changed.
    pub(super) fn room_changed(&mut self, immediate: bool) {
        if immediate {
            self.flush_room_update();
        } else if !self.room_update_timer_set {
            self.room_update_timer_set = true;
            let at = Instant::now() + ROOM_UPDATE_GATHER;
            self.timers.set(at, Timer::RoomUpdate);
        }
    }

    pub(super) fn flush_room_update(&mut self) {
        self.room_update_timer_set = false;
        let update = EncodedResponse::new(Message::RoomUpdate(proto::RoomUpdate {
            room: Some(self.to_proto()),
        }));
        for participant in self.participants.everybody_mut() {
            if participant.is_ready() {
                participant.send_encoded(&update);
            }
        }
    }
}

pub(super) fn send_update(participant: &mut Participant, infos: Vec<proto::ParticipantInfo>) {
    if !infos.is_empty() {
        participant.send(Message::Update(proto::ParticipantUpdate {
            participants: infos,
        }));
    }
}

/// None when there is nothing to tell.
fn encode_updates<'a>(updates: impl Iterator<Item = &'a QueuedUpdate>) -> Option<EncodedResponse> {
    let participants: Vec<_> = updates.map(|update| update.info.clone()).collect();
    (!participants.is_empty())
        .then(|| EncodedResponse::new(Message::Update(proto::ParticipantUpdate { participants })))
}

/// Whether session `a` of an identity joined after session `b`.
fn newer(a: &proto::ParticipantInfo, b: &proto::ParticipantInfo) -> bool {
    (a.joined_at_ms, &a.sid) > (b.joined_at_ms, &b.sid)
}
