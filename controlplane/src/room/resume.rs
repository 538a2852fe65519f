//! A client that comes back to its session over a new signal socket.

use std::collections::HashMap;
use std::time::Duration;

use livekit_protocol as proto;
use millrace_shared::link::Command;
use proto::signal_response::Message;
use tokio::time::Instant;

use super::actor::Room;
use super::admission::refuse_resume;
use super::broadcast::send_update;
use super::message::{JoinParams, SignalSession};
use crate::dataplane_client::ice_credentials;
use crate::participant::transport::LinkState;
use crate::participant::{CloseReason, ParticipantId};

/// How long a simulated failure waits for its resume, and how often it strikes (LiveKit: 5 s, 3).
const SIMULATED_WITHIN: Duration = Duration::from_secs(5);
const SIMULATED_TIMES: u32 = 3;

impl Room {
    /// Takes a participant over to a new socket. Who is unknown here, or lost a transport for
    /// good, is told to join anew: that is the first message it gets.
    pub(super) fn resume(
        &mut self,
        existing: Option<ParticipantId>,
        params: &JoinParams,
    ) -> SignalSession {
        let refused = || refuse_resume(&params.client_info);
        let Some(id) = existing else {
            return refused();
        };
        let Some(participant) = self.participant(id) else {
            return refused();
        };
        let another =
            !params.participant_sid.is_empty() && params.participant_sid != participant.sid;
        let gone = participant
            .transports()
            .any(|t| t.state == LinkState::Closed);
        if another || gone {
            return refused();
        }
        let heard_at = participant.heard_at();
        let (signal, session) = self.connect_signal(id);
        let room_sid = self.sid.clone();
        let Some(participant) = self.participant_mut(id) else {
            return refused();
        };
        participant.signal.close();
        participant.signal = signal;
        participant.asked_at = Instant::now();
        tracing::info!(
            participant = participant.identity,
            participant_sid = participant.sid,
            reason = params.reconnect_reason,
            "participant resumed"
        );
        let session = SignalSession {
            room_sid,
            participant_sid: participant.sid.clone(),
            ..session
        };
        let identity = participant.identity.clone();
        self.shared.counters.resumed();
        if self.simulated.strikes_before(&identity) {
            self.close_signal(id);
            return session;
        }
        self.send_resumed(id, heard_at);
        self.silence_speakers(id);
        self.restart_subscriber(id);
        self.refresh_token(id);
        if let Some(state) = params.v1.as_ref().and_then(|v1| v1.sync_state.as_ref()) {
            self.sync_state(id, state);
        }
        if let Some(offer) = params
            .v1
            .as_ref()
            .and_then(|v1| v1.publisher_offer.as_ref())
            && !offer.sdp.is_empty()
        {
            self.publisher_offer(id, offer);
        }
        if self.simulated.strikes_after(&identity) {
            self.close_signal(id);
        }
        session
    }

    fn close_signal(&mut self, id: ParticipantId) {
        if let Some(participant) = self.participant_mut(id) {
            participant.signal.close();
            let connection = participant.signal.connection();
            self.signal_closed(id, connection);
        }
    }

    /// What the client missed, in LiveKit's order.
    fn send_resumed(&mut self, id: ParticipantId, heard_at: Instant) {
        let server_info = self.server_info();
        let departed = self.departed_since(heard_at);
        // The client's own entry is among them: it may have changed.
        let everybody = self.others("");
        let room = self.to_proto();
        let Some(participant) = self.participant_mut(id) else {
            return;
        };
        let own = participant.hidden().then(|| participant.info());
        if participant.client.supports_reconnect_response() {
            let last_message_seq = participant.reliable_sequence;
            participant.send(Message::Reconnect(proto::ReconnectResponse {
                server_info: Some(server_info),
                last_message_seq,
                ..Default::default()
            }));
            if participant.client.supports_disconnected_update() {
                send_update(participant, departed);
            }
        }
        send_update(participant, everybody.into_iter().chain(own).collect());
        participant.send(Message::RoomUpdate(proto::RoomUpdate { room: Some(room) }));
    }

    /// New ICE credentials for the connection on which we offer. On the other one the client
    /// restarts itself.
    fn restart_subscriber(&mut self, id: ParticipantId) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let Some(subscriber) = &mut participant.subscriber else {
            return;
        };
        if !subscriber.transport.added {
            return;
        }
        subscriber.restart = true;
        // The old offer's answer may never come, and must not count for the new one.
        subscriber.in_flight = false;
        subscriber.transport.ice = ice_credentials(subscriber.transport.shard);
        let command = Command::RestartIce {
            transport: subscriber.transport.id,
            ice: subscriber.transport.ice.clone(),
        };
        self.command(command);
        self.to_negotiate.insert(id);
    }

    /// The client says what it believes; where we cannot follow it joins anew.
    pub(super) fn sync_state(&mut self, id: ParticipantId, state: &proto::SyncState) {
        let Some(participant) = self.participant(id) else {
            return;
        };
        let unknown = state.publish_tracks.iter().any(|published| {
            let Some(info) = &published.track else {
                return true;
            };
            let pending = participant.pending.iter().flat_map(|t| &t.infos);
            participant.published_by_sid(&info.sid).is_none()
                && !pending.into_iter().any(|pending| pending.sid == info.sid)
        });
        if unknown || !state.publish_data_tracks.is_empty() {
            self.full_reconnect(id, CloseReason::PublicationError);
            return;
        }
        let disabled = proto::UpdateTrackSettings {
            track_sids: state.track_sids_disabled.clone(),
            disabled: true,
            ..Default::default()
        };
        self.track_settings(id, &disabled);
        if let Some(update) = &state.subscription {
            self.update_subscriptions(
                id,
                &update.track_sids,
                &update.participant_tracks,
                update.subscribe,
            );
        }
        self.replay_data(id, &state.datachannel_receive_states);
    }

    /// Reliable messages that the client missed while it was away.
    fn replay_data(&mut self, id: ParticipantId, received: &[proto::DataChannelReceiveState]) {
        if received.is_empty() {
            return;
        }
        let Some(participant) = self.participant(id) else {
            return;
        };
        self.command(Command::ReplayData {
            transport: participant.primary().id,
            last_sequences: received
                .iter()
                .map(|state| (state.publisher_sid.clone(), state.last_seq))
                .collect(),
        });
    }
}

/// Resumes that fail because a client asked for it, by identity.
#[derive(Debug, Default)]
pub(super) struct SimulatedResumes {
    after: HashMap<String, Instant>,
    before: HashMap<String, (Instant, u32)>,
}

impl SimulatedResumes {
    pub(super) fn after_messages(&mut self, identity: &str) {
        let until = Instant::now() + SIMULATED_WITHIN;
        self.after.insert(identity.to_owned(), until);
    }

    pub(super) fn before_messages(&mut self, identity: &str) {
        let until = Instant::now() + SIMULATED_WITHIN;
        self.before.insert(identity.to_owned(), (until, 0));
    }

    fn strikes_after(&mut self, identity: &str) -> bool {
        self.after
            .remove(identity)
            .is_some_and(|until| Instant::now() < until)
    }

    fn strikes_before(&mut self, identity: &str) -> bool {
        let Some((until, times)) = self.before.get_mut(identity) else {
            return false;
        };
        let strikes = Instant::now() < *until;
        *times += 1;
        if !strikes || *times >= SIMULATED_TIMES {
            self.before.remove(identity);
        }
        strikes
    }
}
