//! A control plane that starts anew takes back what the data plane kept: rooms and participants
//! from the memos, their transports as the shards say they are. Clients then resume.
//!
//! The shards are right about media, the memos about everything else. A transport that no memo
//! knows is removed; a participant whose transports are gone has left.

mod media;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use millrace_shared::ids::{MemoKey, ShardId, TransportId};
use millrace_shared::link::{Command, Hello, Progress, TransportState};
use proto::participant_info::State;
use tokio::sync::mpsc;
use tokio::time::Instant;

use livekit_protocol as proto;

use super::actor::Room;
use super::join::{TOKEN_REFRESH_INTERVAL, VERIFY_AFTER};
use super::leave::RESUME_WITHIN;
use super::memo::{self, ROOM, RoomMemo};
use super::registry::{Rooms, Shared};
use super::routing;
use super::subscriptions::NOT_FOUND_AFTER;
use super::timer::Timer;
use crate::participant::transport::{LinkState, SectionUse, Transport};
use crate::participant::{CloseReason, Participant, ParticipantId};

/// Numbers left out where the last ones given may have found no memo any more: SSRCs of a
/// transport, ids and versions of descriptions. One batch gives some hundred at most.
const SKIPPED: u32 = 4096;

/// What the data plane told.
#[derive(Debug, Default)]
pub struct Restored {
    pub hellos: Vec<Hello>,
    pub memos: Vec<(MemoKey, Bytes)>,
    pub transports: Vec<(ShardId, TransportState)>,
}

/// Transports that nobody has claimed yet.
type Unclaimed = HashMap<TransportId, (ShardId, TransportState)>;

#[derive(Debug, Default)]
struct RoomMemos {
    room: Option<RoomMemo>,
    participants: BTreeMap<ParticipantId, Participant>,
}

/// What the shards know of a participant's media.
#[derive(Debug, Default)]
struct MediaState {
    transports: Vec<TransportState>,
    last_number: u32,
}

impl Rooms {
    /// Takes everything back, then counts as ready.
    pub fn restore(&self, restored: Restored) {
        let Restored {
            hellos,
            memos,
            transports,
        } = restored;
        let shared = &self.shared;
        let mut last_index = 0;
        let mut unclaimed: Unclaimed = HashMap::new();
        for (shard, state) in transports {
            last_index = last_index.max(routing::index_of(state.transport.0));
            let known = unclaimed.get(&state.transport);
            if known.is_none_or(|(_, known)| later(state.progress, known.progress)) {
                unclaimed.insert(state.transport, (shard, state));
            }
        }
        let total = unclaimed.len();
        let mut rooms = 0;
        let mut participants = 0;
        for (index, memos) in sorted(shared, memos) {
            last_index = last_index.max(index);
            let Some(memo) = memos.room else {
                forget(shared, index, memos.participants.keys().copied());
                continue;
            };
            rooms += 1;
            participants += shared.take_back(index, memo, memos.participants, &mut unclaimed);
        }
        shared.skip_indices(last_index);
        let removed = unclaimed.len();
        for (transport, (shard, _)) in unclaimed {
            shared
                .dataplane
                .send(shard, Command::RemoveTransport { transport });
        }
        for hello in hellos {
            shared.dataplane.hello(hello);
        }
        if total + rooms > 0 {
            tracing::info!(
                rooms,
                participants,
                transports = total - removed,
                removed,
                "taken back from the data plane"
            );
        }
    }
}

/// Of one that is changing its shard both may tell: whether one's word is later than the other's.
fn later(one: Progress, other: Progress) -> bool {
    let rank = |progress| match progress {
        Progress::Moving => 0,
        Progress::New => 1,
        Progress::Connected | Progress::Silent | Progress::Closed => 2,
    };
    rank(one) > rank(other)
}

/// The memos by room. What cannot be read is forgotten: its clients join anew.
fn sorted(shared: &Shared, memos: Vec<(MemoKey, Bytes)>) -> BTreeMap<u32, RoomMemos> {
    let mut rooms: BTreeMap<u32, RoomMemos> = BTreeMap::new();
    let mut unreadable = 0_u32;
    for (key, memo) in memos {
        let index = routing::index_of(key.0);
        let id = ParticipantId(routing::number_of(key.0));
        let room = rooms.entry(index).or_default();
        if id == ROOM {
            room.room = memo::decode(&memo);
            if room.room.is_some() {
                continue;
            }
        } else if let Some(participant) = memo::participant(&memo) {
            room.participants.insert(id, participant);
            continue;
        }
        unreadable += 1;
        shared.dataplane.forget(key);
    }
    if unreadable > 0 {
        tracing::warn!(
            memos = unreadable,
            "memos of another release cannot be read: their clients join anew"
        );
    }
    rooms
}

fn forget(shared: &Shared, index: u32, participants: impl Iterator<Item = ParticipantId>) {
    for id in participants {
        shared.dataplane.forget(memo::key(index, id));
    }
}

impl Shared {
    /// Makes a room again; returns how many participants it has.
    fn take_back(
        self: &Arc<Self>,
        index: u32,
        memo: RoomMemo,
        participants: BTreeMap<ParticipantId, Participant>,
        unclaimed: &mut Unclaimed,
    ) -> usize {
        let (name, shard) = (memo.name.clone(), memo.shard);
        let mut count = 0;
        self.start_room(index, &name, shard, |mailbox| {
            let mut room = Room::restored(Arc::clone(self), index, memo, mailbox);
            let mut media = Vec::new();
            let mut gone = Vec::new();
            for (id, participant) in participants {
                for transport in participant.transports() {
                    self.dataplane.note_placed(transport.counted_at);
                }
                match claim(&participant, unclaimed) {
                    Some(state) => {
                        room.insert_restored(id, participant, &state);
                        media.push((id, state));
                    }
                    None => gone.push((id, participant)),
                }
            }
            count = media.len();
            for (id, participant) in gone {
                room.left_unseen(id, participant);
            }
            for (id, state) in media {
                room.reconcile_media(id, &state);
            }
            room.settle_restored();
            room
        });
        count
    }
}

/// The transports of a participant, all of them or none: without one of them it has to join anew.
fn claim(participant: &Participant, unclaimed: &mut Unclaimed) -> Option<MediaState> {
    let added: Vec<TransportId> = participant
        .transports()
        .filter(|transport| transport.added)
        .map(|transport| transport.id)
        .collect();
    let known = added.iter().all(|id| {
        unclaimed
            .get(id)
            .is_some_and(|(_, state)| state.progress != Progress::Closed)
    });
    let states: Vec<TransportState> = added
        .iter()
        .filter_map(|id| known.then(|| unclaimed.remove(id)).flatten())
        .map(|(_, state)| state)
        .collect();
    // Who was never connected has nothing to resume.
    let connected = states
        .iter()
        .any(|state| matches!(state.progress, Progress::Connected | Progress::Silent));
    if !connected {
        return None;
    }
    let mut last_number = 0;
    for state in &states {
        let ids = std::iter::once(state.transport.0)
            .chain(state.up.iter().map(|up| up.track.0))
            .chain(state.down.iter().map(|down| down.0));
        last_number = ids.map(routing::number_of).fold(last_number, u32::max);
    }
    Some(MediaState {
        transports: states,
        last_number,
    })
}

impl Room {
    fn restored(
        shared: Arc<Shared>,
        index: u32,
        memo: RoomMemo,
        mailbox: mpsc::WeakSender<super::message::RoomMessage>,
    ) -> Self {
        let mut room = Self::blank(shared, index, memo.shard, mailbox, &memo.name);
        room.sid = memo.sid;
        room.empty_timeout_s = memo.empty_timeout_s;
        room.departure_timeout_s = memo.departure_timeout_s;
        room.max_participants = memo.max_participants;
        room.metadata = memo.metadata;
        room.created_at = memo.created_at;
        room.trailer = memo.trailer;
        room
    }

    /// Enters a participant into the room's lists as it was.
    fn insert_restored(
        &mut self,
        id: ParticipantId,
        mut participant: Participant,
        state: &MediaState,
    ) {
        self.numbers_used(id.0.max(state.last_number).max(highest(&participant)));
        participant.restored = true;
        participant.ssrcs.skip(SKIPPED);
        participant.publisher.session.skip(SKIPPED.into());
        if let Some(subscriber) = &mut participant.subscriber {
            subscriber.offerer.skip_versions(SKIPPED.into());
            subscriber.offer_id = subscriber.offer_id.wrapping_add(SKIPPED);
        }
        // What others have seen of it may be newer than its memo.
        participant.touch();
        for transport in participant.transports_mut() {
            if let Some(known) = state
                .transports
                .iter()
                .find(|t| t.transport == transport.id)
            {
                restore_transport(transport, known);
            }
        }
        for transport in participant.transports() {
            self.transports.insert(transport.id, id);
        }
        self.identities.insert(participant.identity.clone(), id);
        self.sids.insert(participant.sid.clone(), id);
        for track in participant.published.values() {
            self.track_owners.insert(track.track, id);
            if track.announced {
                self.track_sids.insert(track.info.sid.clone(), track.track);
            }
            self.shared.counters.published(track.info.r#type(), 1);
        }
        for (track_sid, subscription) in &participant.subscriptions {
            if let Some(down) = &subscription.down {
                self.down_tracks.insert(down.down, (id, track_sid.clone()));
                if down.bound {
                    self.shared.counters.subscribed(down.kind, 1);
                }
            }
        }
        self.shared.counters.participants(1);
        self.participants.insert(id, participant);
        self.set_restored_timers(id);
    }

    fn set_restored_timers(&mut self, id: ParticipantId) {
        let now = Instant::now();
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let connection = participant.signal.connection();
        self.timers
            .set(now + RESUME_WITHIN, Timer::SignalGone(id, connection));
        self.timers
            .set(now + TOKEN_REFRESH_INTERVAL, Timer::RefreshToken(id));
        if !participant.is_active() {
            self.timers.set(now + VERIFY_AFTER, Timer::Verify(id));
        }
        participant.awaits_tracks = !participant.subscriptions.is_empty();
        if participant.awaits_tracks {
            self.timers.set(now + NOT_FOUND_AFTER, Timer::NotFound(id));
        }
    }

    /// It left while nobody listened. Who resumes has to hear of it.
    fn left_unseen(&mut self, id: ParticipantId, mut participant: Participant) {
        participant.state = State::Disconnected;
        participant.close_reason = Some(CloseReason::SignalClosed);
        participant.touch();
        self.numbers_used(id.0.max(highest(&participant)));
        tracing::info!(
            room = self.name,
            participant = participant.identity,
            participant_sid = participant.sid,
            "participant left while there was no control plane"
        );
        self.broadcast_departure(&participant);
        for track in participant.published.values() {
            self.source_removed(track.sid());
        }
        self.shared.dataplane.forget(memo::key(self.index, id));
    }

    fn settle_restored(&mut self) {
        self.memos.room_changed = true;
        if self.participants.values().all(Participant::is_dependent) {
            self.left = (!self.participants.is_empty()).then(Instant::now);
            self.watch_emptiness();
        }
        tracing::info!(
            room = self.name,
            room_sid = self.sid,
            participants = self.participants.len(),
            "room taken back"
        );
    }
}

fn restore_transport(transport: &mut Transport, state: &TransportState) {
    transport.pair = state.pair;
    transport.ever_connected |= !matches!(state.progress, Progress::New | Progress::Moving);
    transport.state = match state.progress {
        Progress::New | Progress::Moving => LinkState::New,
        Progress::Connected => LinkState::Connected,
        Progress::Silent => LinkState::Disconnected,
        Progress::Closed => LinkState::Closed,
    };
}

/// The highest number of an id that this participant's memo names.
fn highest(participant: &Participant) -> u32 {
    let transports = participant.transports().map(|transport| transport.id.0);
    let published = participant.published.keys().map(|track| track.0);
    let sections = participant
        .publisher
        .sections
        .values()
        .filter_map(|section| match section {
            SectionUse::Receive(section) => Some(section.track.0),
            _ => None,
        });
    let downs = participant
        .subscriptions
        .values()
        .filter_map(|subscription| Some(subscription.down.as_ref()?.down.0));
    transports
        .chain(published)
        .chain(sections)
        .chain(downs)
        .map(routing::number_of)
        .max()
        .unwrap_or_default()
}
