//! Subscribers' copies of tracks: planned, negotiated, adjusted, taken away.

use livekit_protocol as proto;
use millrace_shared::ids::DownTrackId;
use millrace_shared::limits::DOWN_TRACKS_PER_TRANSPORT_MAX;
use millrace_shared::link::{Command, DownTrackConfig};
use proto::signal_response::Message;

use super::actor::Room;
use super::negotiation::media_kind;
use crate::negotiate::SendPlan;
use crate::participant::ParticipantId;
use crate::participant::subscribe::{DownTrack, layer_of, settings_default};

impl Room {
    /// Plans a copy; negotiation brings it to life.
    pub(super) fn attach(&mut self, id: ParticipantId, track_sid: &str) {
        let Some((_, publisher)) = self.publisher_of(track_sid) else {
            return;
        };
        let Some(track) = publisher.published_by_sid(track_sid) else {
            return;
        };
        let kind = track.info.r#type();
        let (track, publisher_sid) = (track.track, publisher.sid.clone());
        if !self.has_capacity(id, kind) {
            return;
        }
        let first = self
            .participant(id)
            .is_some_and(|p| !p.is_subscribed_to(&publisher_sid));
        let down = DownTrackId(self.new_id());
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        self.down_tracks.insert(down, (id, track_sid.to_owned()));
        let down = DownTrack {
            down,
            track,
            publisher_sid: publisher_sid.clone(),
            kind,
            ssrc: participant.ssrcs.next(),
            rtx_ssrc: participant.ssrcs.next(),
            bound: false,
        };
        if let Some(subscription) = participant.subscriptions.get_mut(track_sid) {
            subscription.down = Some(down);
        }
        if participant.single_connection {
            participant.publisher.dirty = true;
        } else if let Some(plan) = self.send_plan(id, track_sid)
            && let Some(participant) = self.participants.get_mut(&id)
            && let Some(subscriber) = &mut participant.subscriber
        {
            subscriber.offerer.add(plan);
        }
        self.to_negotiate.insert(id);
        if first {
            self.subscribed_to(id, &publisher_sid);
        }
    }

    pub(super) fn has_capacity(&self, id: ParticipantId, kind: proto::TrackType) -> bool {
        let Some(participant) = self.participant(id) else {
            return false;
        };
        let copies = || {
            participant
                .subscriptions
                .values()
                .filter_map(|s| s.down.as_ref())
        };
        let limit = match kind {
            proto::TrackType::Video => self.settings.subscription_limit_video,
            proto::TrackType::Audio | proto::TrackType::Data => {
                self.settings.subscription_limit_audio
            }
        };
        let of_kind = copies().filter(|down| down.kind == kind).count();
        copies().count() < DOWN_TRACKS_PER_TRANSPORT_MAX && (limit == 0 || of_kind < limit)
    }

    /// How a copy is to be offered or answered.
    pub(super) fn send_plan(&self, id: ParticipantId, track_sid: &str) -> Option<SendPlan> {
        let participant = self.participant(id)?;
        let subscription = participant.subscriptions.get(track_sid)?;
        let down = subscription.down.as_ref()?;
        let (_, publisher) = self.publisher_of(track_sid)?;
        let info = &publisher.published_by_sid(track_sid)?.info;
        let received = publisher
            .publisher
            .received(down.track)?
            .received
            .as_ref()?;
        let default = settings_default(participant.adaptive_stream);
        let settings = subscription.settings.as_ref().unwrap_or(&default);
        let (max_layer, paused) = layer_of(settings, info);
        Some(SendPlan {
            down: down.down,
            track: down.track,
            kind: media_kind(down.kind),
            stream_id: format!("{}|{track_sid}", publisher.sid),
            track_sid: track_sid.to_owned(),
            ssrc: down.ssrc,
            rtx_ssrc: down.rtx_ssrc,
            source: received.codecs.clone(),
            stereo: info
                .audio_features
                .contains(&proto::AudioTrackFeature::TfStereo.into()),
            max_layer,
            paused,
        })
    }

    /// Negotiation accepted a copy: the data plane sends it.
    pub(super) fn down_track_settled(&mut self, id: ParticipantId, mut config: DownTrackConfig) {
        let Some((_, track_sid)) = self.down_tracks.get(&config.down).cloned() else {
            return;
        };
        // The wish may have changed while the answer was on its way.
        if let Some(plan) = self.send_plan(id, &track_sid) {
            config.max_layer = plan.max_layer;
            config.paused = plan.paused;
        }
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let Some(transport) = participant.sending_transport().map(|t| t.id) else {
            return;
        };
        let subscription = participant.subscriptions.get_mut(&track_sid);
        let Some(down) = subscription.and_then(|s| s.down.as_mut()) else {
            return;
        };
        if !down.bound {
            down.bound = true;
            self.shared.counters.subscribed(down.kind, 1);
        }
        self.command(Command::SetDownTrack {
            transport,
            config: Box::new(config),
        });
        self.tell_publisher(id, &track_sid);
    }

    /// The subscriber cannot decode what the publisher sends.
    pub(super) fn codec_unsupported(&mut self, down: DownTrackId) {
        let Some((id, track_sid)) = self.down_tracks.get(&down).cloned() else {
            return;
        };
        self.unsubscribe(id, &track_sid);
        self.respond_subscription(id, track_sid, proto::SubscriptionError::SeCodecUnsupported);
    }

    /// Tells the publisher that somebody hears or sees its track, once and when it is true.
    pub(super) fn tell_publisher(&mut self, id: ParticipantId, track_sid: &str) {
        let Some(subscriber) = self.participant(id) else {
            return;
        };
        let connected = subscriber
            .sending_transport()
            .is_some_and(|t| t.ever_connected);
        if subscriber.hidden() || !connected {
            return;
        }
        let Some((owner, _)) = self.publisher_of(track_sid) else {
            return;
        };
        let Some(publisher) = self.participant_mut(owner) else {
            return;
        };
        let tells = publisher.client.supports_track_subscribed();
        let Some(track) = publisher.published_by_sid_mut(track_sid) else {
            return;
        };
        if !std::mem::replace(&mut track.ever_subscribed, true) && tells {
            publisher.send(Message::TrackSubscribed(proto::TrackSubscribed {
                track_sid: track_sid.to_owned(),
            }));
        }
    }

    /// Tells all publishers of a subscriber whose connection stands now.
    pub(super) fn tell_publishers(&mut self, id: ParticipantId) {
        let Some(participant) = self.participant(id) else {
            return;
        };
        let bound: Vec<String> = participant
            .subscriptions
            .iter()
            .filter(|(_, s)| s.down.as_ref().is_some_and(|down| down.bound))
            .map(|(sid, _)| sid.clone())
            .collect();
        for track_sid in bound {
            self.tell_publisher(id, &track_sid);
        }
    }

    /// Takes a copy away; the wish stays as it is.
    pub(super) fn detach(&mut self, id: ParticipantId, track_sid: &str) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let Some(subscription) = participant.subscriptions.get_mut(track_sid) else {
            return;
        };
        let Some(down) = subscription.down.take() else {
            return;
        };
        self.down_tracks.remove(&down.down);
        let transport = participant.sending_transport().map(|t| t.id);
        if participant.single_connection {
            participant.publisher.free(track_sid, media_kind(down.kind));
            participant.publisher.dirty = true;
        } else if let Some(subscriber) = &mut participant.subscriber {
            subscriber.offerer.remove(down.down);
        }
        let last = !participant.is_subscribed_to(&down.publisher_sid);
        if down.bound {
            self.shared.counters.subscribed(down.kind, -1);
        }
        if let Some(transport) = transport.filter(|_| down.bound) {
            self.command(Command::RemoveDownTrack {
                transport,
                down: down.down,
            });
        }
        self.quality.forget_down(down.down);
        self.to_negotiate.insert(id);
        if last {
            self.unsubscribed_from(id, &down.publisher_sid);
        }
        self.take_up_waiting(id);
    }

    /// A copy went: one that a limit kept waiting may have its place.
    pub(super) fn take_up_waiting(&mut self, id: ParticipantId) {
        let limited = self.settings.subscription_limit_audio > 0
            || self.settings.subscription_limit_video > 0;
        if !limited {
            return;
        }
        let waiting: Vec<String> = self.participant(id).map_or_else(Vec::new, |participant| {
            let subscriptions = participant.subscriptions.iter();
            subscriptions
                .filter(|(_, s)| s.wanted && s.down.is_none())
                .map(|(sid, _)| sid.clone())
                .collect()
        });
        for track_sid in waiting {
            self.reconcile(id, &track_sid);
        }
    }

    /// A track is gone: all copies and wishes for it end.
    pub(super) fn source_removed(&mut self, track_sid: &str) {
        let subscribers: Vec<ParticipantId> = self
            .participants
            .iter()
            .filter(|(_, p)| p.subscriptions.contains_key(track_sid))
            .map(|(id, _)| *id)
            .collect();
        for id in subscribers {
            self.detach(id, track_sid);
            if let Some(participant) = self.participant_mut(id) {
                participant.subscriptions.shift_remove(track_sid);
            }
        }
    }

    pub(super) fn track_settings(
        &mut self,
        id: ParticipantId,
        settings: &proto::UpdateTrackSettings,
    ) {
        for sid in &settings.track_sids {
            if let Some(subscription) = self.subscription(id, sid) {
                subscription.settings = Some(proto::UpdateTrackSettings {
                    track_sids: Vec::new(),
                    ..settings.clone()
                });
                self.apply_settings(id, sid);
            }
        }
    }

    /// Brings the settings of a copy to the data plane.
    pub(super) fn apply_settings(&mut self, id: ParticipantId, track_sid: &str) {
        let Some(plan) = self.send_plan(id, track_sid) else {
            return;
        };
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        if let Some(subscriber) = &mut participant.subscriber {
            subscriber
                .offerer
                .set_layer(plan.down, plan.max_layer, plan.paused);
        }
        let bound = participant
            .subscriptions
            .get(track_sid)
            .and_then(|s| s.down.as_ref())
            .is_some_and(|down| down.bound);
        let transport = participant.sending_transport().map(|t| t.id);
        if bound && let Some(transport) = transport {
            self.command(Command::SetDownTrackLayer {
                transport,
                down: plan.down,
                max_layer: plan.max_layer,
                paused: plan.paused,
            });
        }
    }
}
