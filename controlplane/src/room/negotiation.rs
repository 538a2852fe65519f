//! Offers and answers of a participant's connections.

use std::time::Duration;

use livekit_protocol as proto;
use millrace_shared::ids::Mid;
use millrace_shared::link::{AddTransport, Command, MediaKind, SetRemote};
use proto::signal_response::Message;
use tokio::time::Instant;

use super::actor::Room;
use super::join::data_publish;
use super::timer::Timer;
use crate::dataplane_client::ice_credentials;
use crate::negotiate::{Answer, LocalTransport, RemoteDescription, answer};
use crate::participant::transport::{SectionCount, Transport};
use crate::participant::{CloseReason, Participant, ParticipantId};

/// An offer that no answer follows means that the client is stuck (LiveKit: 15 s).
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

impl Room {
    /// The client offers on its publisher's connection.
    pub(super) fn publisher_offer(&mut self, id: ParticipantId, offer: &proto::SessionDescription) {
        let Some(participant) = self.participant(id) else {
            return;
        };
        let remote = match RemoteDescription::parse(&offer.sdp) {
            Ok(remote) => remote,
            Err(error) => {
                tracing::warn!(participant_sid = participant.sid, %error, "unusable offer");
                self.full_reconnect(id, CloseReason::NegotiationFailed);
                return;
            }
        };
        self.open_publisher(id, &remote);
        self.unpublish_ended(id, &remote);
        let (plans, sections) = self.plan_sections(id, &remote);
        let Some(local) = self.local(id, |p| &p.publisher.transport) else {
            return;
        };
        let Some(participant) = self.participant_mut(id) else {
            return;
        };
        let settled = match answer(&remote, &plans, &local, &mut participant.publisher.session) {
            Ok(settled) => settled,
            Err(error) => {
                tracing::warn!(participant_sid = participant.sid, %error, "no answer to an offer");
                self.full_reconnect(id, CloseReason::NegotiationFailed);
                return;
            }
        };
        participant.publisher.sections = sections;
        participant.publisher.requested = SectionCount::default();
        participant.publisher.dirty = false;
        self.set_remote(id, remote.set_remote(self.publisher_id(id)));
        self.take_settled(id, &settled);
        self.send_answer(id, offer.id, settled);
        self.claim_sections(id);
        self.request_sections(id, false);
    }

    fn publisher_id(&self, id: ParticipantId) -> millrace_shared::ids::TransportId {
        self.participant(id)
            .map(|p| p.publisher.transport.id)
            .unwrap_or_default()
    }

    /// Makes the publisher's transport known to its shard, and gives it new credentials when the
    /// client restarted ICE.
    fn open_publisher(&mut self, id: ParticipantId, remote: &RemoteDescription) {
        let group = self.group;
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let data_publish = data_publish(participant);
        let primary = !participant.subscriber_primary;
        let transport = &mut participant.publisher.transport;
        let command = if !transport.added {
            transport.added = true;
            Command::AddTransport(Box::new(AddTransport {
                transport: transport.id,
                group,
                label: participant.identity.clone(),
                ice: transport.ice.clone(),
                data_publish,
                data_receive: primary,
                open_data_channels: false,
            }))
        } else if transport
            .remote
            .as_ref()
            .is_some_and(|known| known.ice != remote.ice)
        {
            // RFC 8839 §4.4.1.1.1: new credentials in an offer restart ICE; ours change, too.
            transport.ice = ice_credentials(transport.shard);
            Command::RestartIce {
                transport: transport.id,
                ice: transport.ice.clone(),
            }
        } else {
            return;
        };
        self.command(command);
    }

    /// Makes the subscriber's transport known to its shard.
    pub(super) fn open_subscriber(&mut self, id: ParticipantId) {
        let group = self.group;
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let primary = participant.subscriber_primary;
        let label = participant.identity.clone();
        let data_publish = millrace_shared::link::DataPublish {
            allowed: false,
            ..data_publish(participant)
        };
        let Some(subscriber) = &mut participant.subscriber else {
            return;
        };
        if subscriber.transport.added {
            return;
        }
        subscriber.transport.added = true;
        let command = Command::AddTransport(Box::new(AddTransport {
            transport: subscriber.transport.id,
            group,
            label,
            ice: subscriber.transport.ice.clone(),
            data_publish,
            data_receive: primary,
            open_data_channels: primary,
        }));
        self.command(command);
    }

    pub(super) fn set_remote(&mut self, id: ParticipantId, remote: SetRemote) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let transport = participant
            .transports_mut()
            .find(|transport| transport.id == remote.transport);
        let Some(transport) = transport else {
            return;
        };
        if transport.remote.as_ref() != Some(&remote) {
            transport.remote = Some(remote.clone());
            self.command(Command::SetRemote(Box::new(remote)));
        }
    }

    fn send_answer(&mut self, id: ParticipantId, offer_id: u32, settled: Answer) {
        let Some(participant) = self.participant_mut(id) else {
            return;
        };
        // With two connections the map would name tracks of the other one.
        let mid_to_track_id = if participant.single_connection {
            named(settled.mid_to_track)
        } else {
            Default::default()
        };
        participant.send(Message::Answer(proto::SessionDescription {
            r#type: "answer".into(),
            sdp: settled.sdp,
            id: offer_id,
            mid_to_track_id,
        }));
    }

    /// Negotiates every connection that changed in this batch.
    pub(super) fn negotiate_changed(&mut self) {
        for id in std::mem::take(&mut self.to_negotiate) {
            let Some(participant) = self.participant(id) else {
                continue;
            };
            if participant.single_connection {
                // Before its first offer the client will offer anyway.
                if participant.publisher.dirty && !participant.publisher.sections.is_empty() {
                    self.request_sections(id, true);
                    if let Some(participant) = self.participant_mut(id) {
                        participant.publisher.dirty = false;
                    }
                }
            } else {
                self.offer(id);
            }
        }
    }

    /// Offers what the subscriber's connection has become, unless an answer is still out.
    fn offer(&mut self, id: ParticipantId) {
        let wanted = self.participant(id).is_some_and(|participant| {
            participant.signal.is_open()
                && participant.subscriber.as_ref().is_some_and(|subscriber| {
                    subscriber.restart
                        || (subscriber.offerer.needs_offer() && !subscriber.in_flight)
                })
        });
        if !wanted {
            return;
        }
        self.open_subscriber(id);
        let local = self.local(id, |p| match &p.subscriber {
            Some(subscriber) => &subscriber.transport,
            None => &p.publisher.transport,
        });
        let (Some(local), Some(participant)) = (local, self.participants.get_mut(&id)) else {
            return;
        };
        let Some(subscriber) = &mut participant.subscriber else {
            return;
        };
        let sdp = subscriber.offerer.offer(&local);
        subscriber.offer_id = subscriber.offer_id.wrapping_add(1).max(1);
        subscriber.in_flight = true;
        subscriber.restart = false;
        let offer_id = subscriber.offer_id;
        let mid_to_track_id = named(subscriber.offerer.mid_to_track());
        participant.send(Message::Offer(proto::SessionDescription {
            r#type: "offer".into(),
            sdp,
            id: offer_id,
            mid_to_track_id,
        }));
        let at = Instant::now() + ANSWER_WITHIN;
        self.timers.set(at, Timer::Answer(id, offer_id));
    }

    /// The client answers our offer.
    pub(super) fn subscriber_answer(
        &mut self,
        id: ParticipantId,
        description: &proto::SessionDescription,
    ) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let Some(subscriber) = &mut participant.subscriber else {
            return;
        };
        let stale = description.id != 0 && description.id != subscriber.offer_id;
        if stale || !subscriber.in_flight {
            tracing::debug!(
                participant_sid = participant.sid,
                id = description.id,
                "answer to no offer of ours"
            );
            return;
        }
        let transport = subscriber.transport.id;
        let applied = RemoteDescription::parse(&description.sdp).and_then(|remote| {
            let negotiated = subscriber.offerer.apply_answer(&remote)?;
            Ok((remote.set_remote(transport), negotiated))
        });
        let (remote, negotiated) = match applied {
            Ok(applied) => applied,
            Err(error) => {
                tracing::warn!(participant_sid = participant.sid, %error, "unusable answer");
                self.full_reconnect(id, CloseReason::NegotiationFailed);
                return;
            }
        };
        subscriber.in_flight = false;
        self.set_remote(id, remote);
        for config in negotiated.send {
            self.down_track_settled(id, config);
        }
        for down in negotiated.unsupported {
            self.codec_unsupported(down);
        }
        self.to_negotiate.insert(id);
    }

    /// No answer came. A client without a socket cannot answer; its resume offers anew.
    pub(super) fn answer_overdue(&mut self, id: ParticipantId, offer_id: u32) {
        let overdue = self.participant(id).is_some_and(|participant| {
            participant.signal.is_open()
                && participant
                    .subscriber
                    .as_ref()
                    .is_some_and(|s| s.in_flight && s.offer_id == offer_id)
        });
        if overdue {
            self.full_reconnect(id, CloseReason::NegotiationFailed);
        }
    }

    /// Our side of a transport for a description.
    fn local(
        &self,
        id: ParticipantId,
        transport: impl Fn(&Participant) -> &Transport,
    ) -> Option<LocalTransport> {
        let transport = transport(self.participant(id)?);
        let shard = self.shared.dataplane.shard(transport.shard)?;
        Some(LocalTransport {
            ice: transport.ice.clone(),
            fingerprint: shard.fingerprint,
            candidates: shard.addresses,
        })
    }
}

fn named(mids: Vec<(Mid, String)>) -> std::collections::HashMap<String, String> {
    mids.into_iter()
        .map(|(mid, track_sid)| (mid.to_string(), track_sid))
        .collect()
}

pub(super) const fn media_kind(kind: proto::TrackType) -> MediaKind {
    match kind {
        proto::TrackType::Video => MediaKind::Video,
        proto::TrackType::Audio | proto::TrackType::Data => MediaKind::Audio,
    }
}
