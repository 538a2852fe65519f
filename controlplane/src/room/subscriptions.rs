//! Who gets which track: wishes, permissions, and the copies that come of them.

use std::time::Duration;

use livekit_protocol as proto;
use millrace_shared::limits::DOWN_TRACKS_PER_TRANSPORT_MAX;
use proto::signal_response::Message;
use tokio::time::Instant;

use super::actor::Room;
use super::negotiation::media_kind;
use super::timer::Timer;
use crate::participant::subscribe::{SubscriberPermissions, Subscription};
use crate::participant::{Participant, ParticipantId};

/// A wish for a track that does not come is given up (LiveKit: 1 min, longer than a publisher's
/// ICE may take to fail).
pub(super) const NOT_FOUND_AFTER: Duration = Duration::from_secs(60);
/// Longest sid that a client may name: ours have 17 characters. What it names is kept.
const TRACK_SID_LEN_MAX: usize = 64;
/// Wishes and settings kept for one participant; of these only
/// [`DOWN_TRACKS_PER_TRANSPORT_MAX`] can have copies.
const SUBSCRIPTIONS_MAX: usize = 2 * DOWN_TRACKS_PER_TRANSPORT_MAX;

impl Room {
    /// Everything that is published, for who wants everything.
    pub(super) fn subscribe_to_existing(&mut self, id: ParticipantId) {
        if !self.participant(id).is_some_and(|p| p.auto_subscribe) {
            return;
        }
        let tracks: Vec<String> = self
            .participants
            .iter()
            .filter(|(other, _)| **other != id)
            .flat_map(|(_, other)| other.published.values())
            .filter(|track| track.announced)
            .map(|track| track.sid().to_owned())
            .collect();
        for track in tracks {
            self.subscribe(id, &track);
        }
    }

    pub(super) fn update_subscriptions(
        &mut self,
        id: ParticipantId,
        track_sids: &[String],
        participant_tracks: &[proto::ParticipantTracks],
        subscribe: bool,
    ) {
        let of_participants = participant_tracks.iter().flat_map(|p| &p.track_sids);
        for sid in track_sids.iter().chain(of_participants) {
            if subscribe {
                self.subscribe(id, sid);
            } else {
                self.unsubscribe(id, sid);
            }
        }
    }

    pub(super) fn subscribe(&mut self, id: ParticipantId, track_sid: &str) {
        let Some(subscription) = self.subscription(id, track_sid) else {
            return;
        };
        subscription.want(true, Instant::now());
        self.reconcile(id, track_sid);
    }

    pub(super) fn unsubscribe(&mut self, id: ParticipantId, track_sid: &str) {
        let known = self
            .participant_mut(id)
            .and_then(|p| p.subscriptions.get_mut(track_sid));
        if let Some(subscription) = known {
            subscription.want(false, Instant::now());
            self.reconcile(id, track_sid);
        }
    }

    /// The record of this track, made if there is none yet and room for one.
    pub(super) fn subscription(
        &mut self,
        id: ParticipantId,
        track_sid: &str,
    ) -> Option<&mut Subscription> {
        let participant = self.participants.get_mut(&id)?;
        let full = participant.subscriptions.len() >= SUBSCRIPTIONS_MAX;
        let unusable = full || track_sid.len() > TRACK_SID_LEN_MAX;
        if unusable && !participant.subscriptions.contains_key(track_sid) {
            return None;
        }
        // One timer for all that is missing: a client may ask faster than timers run out.
        let missing = !self.track_sids.contains_key(track_sid);
        if missing && !std::mem::replace(&mut participant.awaits_tracks, true) {
            let at = Instant::now() + NOT_FOUND_AFTER;
            self.timers.set(at, Timer::NotFound(id));
        }
        let subscription = participant
            .subscriptions
            .entry(track_sid.to_owned())
            .or_insert_with(|| Subscription::new(Instant::now()));
        Some(subscription)
    }

    /// Makes what there is what is wanted and permitted.
    pub(super) fn reconcile(&mut self, id: ParticipantId, track_sid: &str) {
        let Some(participant) = self.participant(id) else {
            return;
        };
        let Some(subscription) = participant.subscriptions.get(track_sid) else {
            return;
        };
        let has_copy = subscription.down.is_some();
        if !subscription.wanted || !participant.grant().subscribes() {
            if has_copy {
                self.detach(id, track_sid);
            }
            self.drop_if_over(id, track_sid);
            return;
        }
        let Some(permitted) = self.permitted(id, track_sid) else {
            // Not there (yet).
            return;
        };
        self.tell_permission(id, track_sid, permitted);
        match (permitted, has_copy) {
            (true, false) => self.attach(id, track_sid),
            (false, true) => self.detach(id, track_sid),
            _ => {}
        }
    }

    fn drop_if_over(&mut self, id: ParticipantId, track_sid: &str) {
        let Some(participant) = self.participant_mut(id) else {
            return;
        };
        let over = participant
            .subscriptions
            .get(track_sid)
            .is_some_and(Subscription::is_over);
        if over {
            participant.subscriptions.shift_remove(track_sid);
        }
    }

    /// Whether the publisher lets this participant have the track; none if there is no such
    /// track.
    fn permitted(&self, id: ParticipantId, track_sid: &str) -> Option<bool> {
        let subscriber = self.participant(id)?;
        let (owner, publisher) = self.publisher_of(track_sid)?;
        if owner == id {
            return None;
        }
        // Recorders cannot know whom to ask.
        Some(
            subscriber.is_recorder()
                || publisher
                    .permissions
                    .allows(&subscriber.identity, track_sid),
        )
    }

    pub(super) fn publisher_of(&self, track_sid: &str) -> Option<(ParticipantId, &Participant)> {
        let track = self.track_sids.get(track_sid)?;
        let owner = *self.track_owners.get(track)?;
        Some((owner, self.participant(owner)?))
    }

    fn tell_permission(&mut self, id: ParticipantId, track_sid: &str, permitted: bool) {
        let Some((_, publisher)) = self.publisher_of(track_sid) else {
            return;
        };
        let update = proto::SubscriptionPermissionUpdate {
            participant_sid: publisher.sid.clone(),
            track_sid: track_sid.to_owned(),
            allowed: permitted,
        };
        let Some(participant) = self.participant_mut(id) else {
            return;
        };
        let Some(subscription) = participant.subscriptions.get_mut(track_sid) else {
            return;
        };
        if subscription.permitted.replace(permitted) != Some(permitted) {
            participant.send(Message::SubscriptionPermissionUpdate(update));
        }
    }

    pub(super) fn subscription_kind(
        &self,
        id: ParticipantId,
        track_sid: &str,
    ) -> Option<millrace_shared::link::MediaKind> {
        let subscription = self.participant(id)?.subscriptions.get(track_sid)?;
        Some(media_kind(subscription.down.as_ref()?.kind))
    }

    pub(super) fn respond_subscription(
        &mut self,
        id: ParticipantId,
        track_sid: String,
        error: proto::SubscriptionError,
    ) {
        if let Some(participant) = self.participant_mut(id) {
            participant.send(Message::SubscriptionResponse(proto::SubscriptionResponse {
                track_sid,
                err: error.into(),
            }));
        }
    }

    /// Gives up wishes and settings for tracks that did not come.
    pub(super) fn still_not_found(&mut self, id: ParticipantId) {
        let now = Instant::now();
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        participant.awaits_tracks = false;
        let (overdue, waiting): (Vec<_>, Vec<_>) = participant
            .subscriptions
            .iter()
            .filter(|(sid, _)| !self.track_sids.contains_key(*sid))
            .map(|(sid, s)| (sid.clone(), s.since + NOT_FOUND_AFTER, s.wanted))
            .partition(|(_, at, _)| *at <= now);
        if let Some(next) = waiting.iter().map(|(_, at, _)| *at).min() {
            participant.awaits_tracks = true;
            self.timers.set(next, Timer::NotFound(id));
        }
        for (track_sid, _, wanted) in overdue {
            if wanted {
                self.unsubscribe(id, &track_sid);
                let error = proto::SubscriptionError::SeTrackNotfound;
                self.respond_subscription(id, track_sid, error);
            } else {
                self.drop_if_over(id, &track_sid);
            }
        }
    }

    /// The publisher says who may subscribe.
    pub(super) fn subscription_permission(
        &mut self,
        id: ParticipantId,
        request: &proto::SubscriptionPermission,
    ) {
        let identity_of_sid = |sid: &str| self.by_sid(sid).map(|p| p.identity.clone());
        let Some(permissions) = SubscriberPermissions::parse(request, identity_of_sid) else {
            tracing::debug!("subscription permission that names nobody");
            return;
        };
        let Some(participant) = self.participant_mut(id) else {
            return;
        };
        participant.permissions = permissions;
        let tracks: Vec<String> = participant
            .published
            .values()
            .map(|track| track.sid().to_owned())
            .collect();
        let others: Vec<ParticipantId> = self.participants.keys().copied().collect();
        for track in &tracks {
            for other in &others {
                self.reconcile(*other, track);
            }
        }
    }

    /// The right to subscribe changed.
    pub(super) fn reconcile_all(&mut self, id: ParticipantId) {
        let sids: Vec<String> = self
            .participant(id)
            .map_or_else(Vec::new, |p| p.subscriptions.keys().cloned().collect());
        for sid in sids {
            self.reconcile(id, &sid);
        }
    }
}
