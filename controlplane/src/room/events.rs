//! What the data plane reports of a room's transports and tracks.

use millrace_shared::ids::{ShardId, TransportId};
use millrace_shared::link::{CandidatePair, Event};
use proto::participant_info::State;

use livekit_protocol as proto;

use super::actor::Room;
use super::broadcast::Broadcast;
use super::message::RoomReports;
use crate::participant::ParticipantId;
use crate::participant::transport::LinkState;

impl Room {
    pub(super) fn event(&mut self, event: Event) {
        match event {
            Event::PairSelected { transport, pair } => {
                self.of(transport, |room, id| {
                    room.pair_selected(id, transport, pair)
                });
            }
            Event::Connected { transport } => {
                self.of(transport, |room, id| room.connected(id, transport));
            }
            Event::Disconnected { transport } => {
                self.of(transport, |room, id| room.transport_silent(id, transport));
            }
            Event::Closed { transport, reason } => {
                self.of(transport, |room, id| {
                    room.transport_closed(id, transport, reason)
                });
            }
            Event::TransportMoved { transport, shard } => {
                self.of(transport, |room, id| room.moved(id, transport, shard));
            }
            Event::UpTrackStarted {
                transport,
                track,
                pt,
                ..
            } => self.of(transport, |room, id| room.up_track_started(id, track, pt)),
            Event::Speakers { levels, .. } => self.speaker_levels(&levels),
            // The rest is not for one room, or only counted.
            _ => {}
        }
    }

    /// Calls `then` with the owner of a transport that still exists.
    fn of(&mut self, transport: TransportId, then: impl FnOnce(&mut Self, ParticipantId)) {
        if let Some(id) = self.transports.get(&transport).copied() {
            then(self, id);
        }
    }

    fn moved(&mut self, id: ParticipantId, transport: TransportId, shard: ShardId) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        if let Some(transport) = participant.transports_mut().find(|t| t.id == transport) {
            let before = std::mem::replace(&mut transport.counted_at, shard);
            self.shared.dataplane.note_gone(before);
            self.shared.dataplane.note_placed(shard);
        }
    }

    fn pair_selected(&mut self, id: ParticipantId, transport: TransportId, pair: CandidatePair) {
        let Some(participant) = self.participant_mut(id) else {
            return;
        };
        let Some(transport) = participant.transports_mut().find(|t| t.id == transport) else {
            return;
        };
        transport.pair = Some(pair);
        if transport.state == LinkState::Disconnected {
            transport.state = if transport.ever_connected {
                LinkState::Connected
            } else {
                LinkState::New
            };
        }
    }

    pub(super) fn connected(&mut self, id: ParticipantId, transport: TransportId) {
        let Some(participant) = self.participant_mut(id) else {
            return;
        };
        let primary = participant.primary().id == transport;
        let sending = participant
            .sending_transport()
            .is_some_and(|t| t.id == transport);
        let Some(transport) = participant.transports_mut().find(|t| t.id == transport) else {
            return;
        };
        transport.state = LinkState::Connected;
        transport.ever_connected = true;
        let pair = transport.pair;
        if primary && !participant.is_active() {
            participant.state = State::Active;
            participant.touch();
            let connect_ms = participant
                .joined_at
                .elapsed()
                .unwrap_or_default()
                .as_millis();
            tracing::info!(
                participant = participant.identity,
                participant_sid = participant.sid,
                pair = pair.map(|pair| format!("{} <- {}", pair.local, pair.remote)),
                connect_ms = u64::try_from(connect_ms).unwrap_or(u64::MAX),
                "participant active"
            );
            self.shared.counters.connected();
            self.broadcast(id, Broadcast::default());
            self.subscribe_to_existing(id);
        }
        if sending {
            self.tell_publishers(id);
        }
        self.announce_ready(id);
    }

    pub(super) fn reports(&mut self, reports: &RoomReports) {
        for report in &reports.transports {
            let Some(id) = self.transports.get(&report.transport).copied() else {
                continue;
            };
            if let Some(participant) = self.participant_mut(id)
                && participant.publisher.transport.id == report.transport
            {
                participant.reliable_sequence = report.reliable_sequence;
            }
        }
        self.rate_quality(reports);
    }
}
