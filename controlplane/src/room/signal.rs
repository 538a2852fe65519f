//! Requests of a client, each to its place.

use livekit_protocol as proto;
use proto::request_response::{Reason, Request};
use proto::signal_request::Message as SignalMessage;
use proto::signal_response::Message;
use tokio::time::Instant;

use super::actor::Room;
use super::broadcast::Broadcast;
use crate::participant::known;
use crate::participant::publish::set_audio_features;
use crate::participant::signal::ConnectionId;
use crate::participant::{CloseReason, ParticipantId};

impl Room {
    pub(super) fn request(
        &mut self,
        id: ParticipantId,
        connection: ConnectionId,
        request: proto::SignalRequest,
    ) {
        let Some(participant) = self.participants.receiver_mut(&id) else {
            return;
        };
        if participant.signal.connection() != connection {
            // From a socket that a resume replaced.
            return;
        }
        participant.asked_at = Instant::now();
        let Some(message) = request.message else {
            return;
        };
        match message {
            SignalMessage::Offer(offer) => self.publisher_offer(id, &offer),
            SignalMessage::Answer(answer) => self.subscriber_answer(id, &answer),
            SignalMessage::AddTrack(request) => self.add_track(id, request),
            SignalMessage::Mute(mute) => self.mute(id, mute),
            SignalMessage::Subscription(update) => self.update_subscriptions(
                id,
                &update.track_sids,
                &update.participant_tracks,
                update.subscribe,
            ),
            SignalMessage::TrackSetting(settings) => self.track_settings(id, &settings),
            SignalMessage::Leave(leave) => {
                self.remove(id, CloseReason::of_leave(leave.reason()));
            }
            SignalMessage::SubscriptionPermission(request) => {
                self.subscription_permission(id, &request);
            }
            SignalMessage::SyncState(state) => self.sync_state(id, &state),
            SignalMessage::Simulate(scenario) => self.simulate(id, &scenario),
            SignalMessage::UpdateMetadata(update) => self.update_own_metadata(id, update),
            SignalMessage::UpdateAudioTrack(update) => self.update_audio_track(id, update),
            SignalMessage::UpdateVideoTrack(update) => self.update_video_track(id, update),
            // RFC 8445 §2.5: a lite agent learns the client's addresses from its checks.
            SignalMessage::Trickle(_) => {}
            SignalMessage::PublishDataTrackRequest(request) => {
                let request = Request::PublishDataTrack(request);
                self.respond(
                    id,
                    0,
                    Reason::NotAllowed,
                    "data tracks are not enabled",
                    request,
                );
            }
            SignalMessage::UnpublishDataTrackRequest(request) => {
                let request = Request::UnpublishDataTrack(request);
                self.respond(id, 0, Reason::NotFound, "", request);
            }
            // The socket answers pings. Blobs are not offered; layers are told by the media.
            _ => {}
        }
    }

    pub(super) fn send_to(&mut self, id: ParticipantId, message: Message) {
        if let Some(participant) = self.participant_mut(id) {
            participant.send(message);
        }
    }

    /// Tells a client what became of its request.
    pub(super) fn respond(
        &mut self,
        id: ParticipantId,
        request_id: u32,
        reason: Reason,
        message: &str,
        request: Request,
    ) {
        let Some(participant) = self.participant_mut(id) else {
            return;
        };
        let understood = participant.client.supports_track_subscribed()
            && (reason != Reason::Ok || participant.client.supports_non_error_response());
        if understood {
            participant.send(Message::RequestResponse(proto::RequestResponse {
                request_id,
                reason: reason.into(),
                message: message.to_owned(),
                request: Some(request),
            }));
        }
    }

    fn mute(&mut self, id: ParticipantId, mute: proto::MuteTrackRequest) {
        if self.set_muted(id, &mute.sid, mute.muted).is_none() {
            self.respond(id, 0, Reason::NotFound, "", Request::Mute(mute));
        }
    }

    fn update_audio_track(&mut self, id: ParticipantId, mut update: proto::UpdateLocalAudioTrack) {
        known::audio_features(&mut update.features);
        let found = self.update_track(id, &update.track_sid, |info| {
            set_audio_features(info, &update.features);
        });
        if !found {
            let request = Request::UpdateAudioTrack(update);
            self.respond(id, 0, Reason::NotFound, "", request);
        }
    }

    fn update_video_track(&mut self, id: ParticipantId, update: proto::UpdateLocalVideoTrack) {
        let found = self.update_track(id, &update.track_sid, |info| {
            info.width = update.width;
            info.height = update.height;
        });
        if !found {
            let request = Request::UpdateVideoTrack(update);
            self.respond(id, 0, Reason::NotFound, "", request);
            return;
        }
        // Which layer fills an element depends on the track's size.
        let subscribers: Vec<ParticipantId> = self
            .participants
            .iter()
            .filter(|(_, p)| p.subscriptions.contains_key(&update.track_sid))
            .map(|(id, _)| *id)
            .collect();
        for subscriber in subscribers {
            self.apply_settings(subscriber, &update.track_sid);
        }
    }

    /// Changes a track's description and tells the room; says whether there is such a track.
    fn update_track(
        &mut self,
        id: ParticipantId,
        sid: &str,
        change: impl FnOnce(&mut proto::TrackInfo),
    ) -> bool {
        let Some(participant) = self.participant_mut(id) else {
            return false;
        };
        let Some(info) = participant.track_info_mut(sid) else {
            return false;
        };
        change(info);
        if participant
            .published_by_sid(sid)
            .is_some_and(|track| track.announced)
        {
            participant.touch();
            let how = Broadcast {
                to_self: true,
                ..Default::default()
            };
            self.broadcast(id, how);
        }
        true
    }
}
