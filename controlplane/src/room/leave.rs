//! How sessions end: by the client, by the server, by a lost socket or a lost transport.

use std::time::Duration;

use livekit_protocol as proto;
use millrace_shared::ids::TransportId;
use millrace_shared::link::{CloseReason as LinkCloseReason, Command};
use proto::leave_request::Action;
use proto::participant_info::State;
use proto::signal_response::Message;
use tokio::time::Instant;

use super::actor::Room;
use super::timer::Timer;
use crate::participant::close::leave_request;
use crate::participant::signal::ConnectionId;
use crate::participant::transport::LinkState;
use crate::participant::{CloseReason, Participant, ParticipantId};

/// How long a client without signal socket and without media may take to come back. JavaScript
/// retries at 0, 0.3, 1.5, 4.2 and 9 s after the loss.
pub(super) const RESUME_WITHIN: Duration = Duration::from_secs(15);
/// A transport that is silent for 10 s is called disconnected; 5 s later it has failed (LiveKit's
/// ICE timeouts).
const FAILED_AFTER_SILENCE: Duration = Duration::from_secs(5);
/// How long a client whose transport is gone may take to come back before it is removed (LiveKit:
/// 5 s). Until then others do not hear that it left.
const TRANSPORT_GONE_GRACE: Duration = Duration::from_secs(5);

impl Room {
    /// Ends a session and tells client and room.
    pub(super) fn remove(&mut self, id: ParticipantId, reason: CloseReason) {
        self.end(id, reason, Some(Action::Disconnect));
    }

    /// Ends a session; the client is told nothing, or was told already.
    pub(super) fn remove_untold(&mut self, id: ParticipantId, reason: CloseReason) {
        self.end(id, reason, None);
    }

    /// Ends a session whose state went wrong; the client is to join anew.
    pub(super) fn full_reconnect(&mut self, id: ParticipantId, reason: CloseReason) {
        self.end(id, reason, Some(Action::Reconnect));
    }

    /// Ends a session while the whole room ends: there is nobody to tell but its client.
    pub(super) fn remove_silently(&mut self, id: ParticipantId, reason: CloseReason) {
        if let Some(participant) = self.take_out(id, reason, Some(reason.action())) {
            self.drop_media(&participant);
            for track in participant.published.values() {
                self.shared.counters.published(track.info.r#type(), -1);
            }
        }
    }

    fn end(&mut self, id: ParticipantId, reason: CloseReason, told: Option<Action>) {
        let Some(participant) = self.take_out(id, reason, told) else {
            return;
        };
        self.withdraw_tracks(&participant);
        self.drop_media(&participant);
        self.speakers.forget(&participant.sid);
        self.quality.forget(&participant.sid);
        if self.participants.values().all(Participant::is_dependent) && self.left.is_none() {
            self.left = Some(Instant::now());
            self.watch_emptiness();
        }
        self.broadcast_departure(&participant);
        self.room_changed(participant.is_recorder());
    }

    /// Takes a participant out of the room's lists and says goodbye on its signal socket.
    fn take_out(
        &mut self,
        id: ParticipantId,
        reason: CloseReason,
        told: Option<Action>,
    ) -> Option<Participant> {
        let mut participant = self.participants.shift_remove(&id)?;
        if self.identities.get(&participant.identity) == Some(&id) {
            self.identities.remove(&participant.identity);
        }
        self.sids.remove(&participant.sid);
        self.to_negotiate.remove(&id);
        participant.close_reason = Some(reason);
        if let Some(action) = told {
            send_leave(&mut participant, reason.disconnect_reason(), action);
        }
        participant.signal.close();
        participant.state = State::Disconnected;
        participant.touch();
        self.shared.counters.participants(-1);
        let pair = participant.primary().pair;
        tracing::info!(
            room = self.name,
            participant = participant.identity,
            participant_sid = participant.sid,
            ?reason,
            connected = participant.ever_connected(),
            pair = pair.map(|pair| format!("{} <- {}", pair.local, pair.remote)),
            "participant left"
        );
        Some(participant)
    }

    /// Removes what the data plane holds of a participant.
    fn drop_media(&mut self, participant: &Participant) {
        for transport in participant.transports() {
            self.transports.remove(&transport.id);
            self.shared.dataplane.note_gone(transport.counted_at);
            if transport.added {
                let command = Command::RemoveTransport {
                    transport: transport.id,
                };
                self.shared.dataplane.send(transport.shard, command);
            }
        }
        for down in participant
            .subscriptions
            .values()
            .filter_map(|s| s.down.as_ref())
        {
            self.down_tracks.remove(&down.down);
            self.quality.forget_down(down.down);
            if down.bound {
                self.shared.counters.subscribed(down.kind, -1);
            }
        }
    }

    pub(super) fn signal_closed(&mut self, id: ParticipantId, connection: ConnectionId) {
        let Some(participant) = self.participant_mut(id) else {
            return;
        };
        if participant.signal.connection() != connection {
            // A resume replaced it.
            return;
        }
        participant.signal.close();
        if participant.ever_connected() {
            let at = Instant::now() + RESUME_WITHIN;
            self.timers.set(at, Timer::SignalGone(id, connection));
        } else {
            self.remove_untold(id, CloseReason::SignalClosed);
        }
    }

    /// Media that still flows keeps a participant; it hears and is heard.
    pub(super) fn signal_still_gone(&mut self, id: ParticipantId, connection: ConnectionId) {
        let Some(participant) = self.participant(id) else {
            return;
        };
        if participant.signal.connection() != connection {
            return;
        }
        if participant.primary().is_connected() {
            let at = Instant::now() + RESUME_WITHIN;
            self.timers.set(at, Timer::SignalGone(id, connection));
        } else {
            self.remove_untold(id, CloseReason::SignalClosed);
        }
    }

    /// Closes the sockets of clients that did not read.
    pub(super) fn drop_overflowed(&mut self) {
        if !self.overflow.take() {
            return;
        }
        let overflowed: Vec<_> = self
            .participants
            .iter()
            .filter(|(_, p)| p.signal.overflowed())
            .map(|(id, p)| (*id, p.signal.connection()))
            .collect();
        for (id, connection) in overflowed {
            self.shared.counters.signal_overflowed();
            if let Some(participant) = self.participant_mut(id) {
                tracing::warn!(
                    participant_sid = participant.sid,
                    "signal socket closed: the client does not read"
                );
                participant.signal.acknowledge_overflow();
            }
            self.signal_closed(id, connection);
        }
    }

    /// A transport went silent. It may come back by itself.
    pub(super) fn transport_silent(&mut self, id: ParticipantId, transport: TransportId) {
        self.set_link_state(id, transport, LinkState::Disconnected);
        let at = Instant::now() + FAILED_AFTER_SILENCE;
        self.timers.set(at, Timer::Silent(id, transport));
    }

    /// Still silent: the client is asked to resume, which restarts ICE.
    pub(super) fn still_silent(&mut self, id: ParticipantId, transport: TransportId) {
        let silent = self.participant(id).is_some_and(|participant| {
            let mut transports = participant.transports();
            transports.any(|t| t.id == transport && t.state == LinkState::Disconnected)
        });
        if silent {
            self.ask_to_come_back(id, Action::Resume, RESUME_WITHIN);
        }
    }

    /// A transport ended for good: only a new session can have media again.
    pub(super) fn transport_closed(
        &mut self,
        id: ParticipantId,
        transport: TransportId,
        reason: LinkCloseReason,
    ) {
        self.set_link_state(id, transport, LinkState::Closed);
        match reason {
            LinkCloseReason::FingerprintMismatch => {
                self.full_reconnect(id, CloseReason::NegotiationFailed);
            }
            // To come back at once would not help.
            LinkCloseReason::ShardFull => self.remove(id, CloseReason::NoCapacity),
            _ => self.ask_to_come_back(id, Action::Reconnect, TRANSPORT_GONE_GRACE),
        }
    }

    /// Asks the client to come back, closes its socket, and waits.
    fn ask_to_come_back(&mut self, id: ParticipantId, action: Action, within: Duration) {
        let Some(participant) = self.participant_mut(id) else {
            return;
        };
        if participant.client.supports_leave_action() {
            let reason = proto::DisconnectReason::ConnectionTimeout;
            send_leave(participant, reason, action);
        }
        participant.signal.close();
        let connection = participant.signal.connection();
        let at = Instant::now() + within;
        self.timers.set(at, Timer::TransportGone(id, connection));
    }

    pub(super) fn transport_still_gone(&mut self, id: ParticipantId, connection: ConnectionId) {
        let gone = self.participant(id).is_some_and(|participant| {
            let resumed = participant.signal.connection() != connection;
            !resumed && participant.transports().any(is_gone)
        });
        if gone {
            self.remove(id, CloseReason::TransportFailed);
        }
    }

    pub(super) fn set_link_state(
        &mut self,
        id: ParticipantId,
        transport: TransportId,
        state: LinkState,
    ) {
        let Some(participant) = self.participant_mut(id) else {
            return;
        };
        if let Some(transport) = participant.transports_mut().find(|t| t.id == transport) {
            transport.state = state;
        }
    }
}

fn is_gone(transport: &crate::participant::transport::Transport) -> bool {
    matches!(transport.state, LinkState::Disconnected | LinkState::Closed)
}

pub(super) fn send_leave(
    participant: &mut Participant,
    reason: proto::DisconnectReason,
    action: Action,
) {
    let supports_action = participant.client.supports_leave_action();
    if let Some(leave) = leave_request(reason, action, supports_action) {
        participant.send(Message::Leave(leave));
    }
}
