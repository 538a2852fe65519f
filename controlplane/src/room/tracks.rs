//! The life of a published track: announced, muted, withdrawn.

use livekit_protocol as proto;
use millrace_shared::ids::{Pt, TrackId};
use millrace_shared::link::{Codec, Command};
use proto::signal_response::Message;

use super::actor::Room;
use super::broadcast::Broadcast;
use crate::negotiate::{RemoteDescription, mime_of_codec};
use crate::participant::publish::PublishedTrack;
use crate::participant::transport::SectionUse;
use crate::participant::{Participant, ParticipantId};

impl Room {
    /// Announces tracks as soon as they can be had: once their connection stands. A track need not
    /// send for that; agents, for one, wait for a listener before they speak. Pion's clients say
    /// by their first video packet which codec it is.
    pub(super) fn announce_ready(&mut self, id: ParticipantId) {
        let Some(participant) = self.participant(id) else {
            return;
        };
        if !participant.publisher.transport.is_connected() {
            return;
        }
        let by_packet = participant.client.announces_by_packet();
        let ready: Vec<TrackId> = participant
            .published
            .values()
            .filter(|track| !track.announced)
            .filter(|track| {
                !by_packet || track.info.muted || track.info.r#type() == proto::TrackType::Audio
            })
            .map(|track| track.track)
            .collect();
        for track in ready {
            self.announce(id, track);
        }
    }

    /// Tells everybody of a track, and subscribes those who want every track.
    pub(super) fn announce(&mut self, id: ParticipantId, track: TrackId) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let Some(published) = participant.published.get_mut(&track) else {
            return;
        };
        if published.announced {
            return;
        }
        published.announced = true;
        let sid = published.info.sid.clone();
        let first = !participant.is_publisher;
        participant.is_publisher = true;
        participant.touch();
        tracing::debug!(
            participant_sid = participant.sid,
            track_sid = sid,
            "track published"
        );
        self.track_sids.insert(sid.clone(), track);
        self.broadcast(id, Broadcast::default());
        if first {
            self.room_changed(false);
        }
        let others: Vec<ParticipantId> = self
            .participants
            .keys()
            .copied()
            .filter(|other| *other != id)
            .collect();
        for other in others {
            if self
                .participant(other)
                .is_some_and(|p| p.is_active() && p.auto_subscribe)
            {
                self.subscribe(other, &sid);
            } else {
                // Somebody may have asked for it before it was there.
                self.reconcile(other, &sid);
            }
        }
    }

    /// Unpublishes what the client's new offer no longer sends.
    pub(super) fn unpublish_ended(&mut self, id: ParticipantId, remote: &RemoteDescription) {
        let Some(participant) = self.participant(id) else {
            return;
        };
        let ended: Vec<TrackId> = participant
            .published
            .values()
            .filter(|track| {
                !remote.media.iter().any(|media| {
                    media.mid.as_str() == track.info.mid
                        && !media.rejected
                        && media.direction.sends()
                        && media.msid.as_ref().map_or("", |msid| msid.track.as_str())
                            == track.sdp_cid
                })
            })
            .map(|track| track.track)
            .collect();
        for track in ended {
            self.unpublish(id, track);
        }
    }

    pub(super) fn unpublish(&mut self, id: ParticipantId, track: TrackId) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let Some(published) = participant.published.shift_remove(&track) else {
            return;
        };
        participant.touch();
        let transport = participant.publisher.transport.id;
        self.command(Command::RemoveUpTrack { transport, track });
        self.forget_track(&published);
        if published.announced {
            self.broadcast(id, Broadcast::default());
        }
        self.unqueue(id, &published.cid);
    }

    /// The next request for this cid has its turn.
    pub(super) fn unqueue(&mut self, id: ParticipantId, cid: &str) {
        let Some(participant) = self.participant_mut(id) else {
            return;
        };
        let Some(pending) = participant
            .pending
            .iter_mut()
            .find(|t| t.cid == cid && t.queued)
        else {
            return;
        };
        pending.queued = false;
        let response = proto::TrackPublishedResponse {
            cid: cid.to_owned(),
            track: pending.infos.front().cloned(),
        };
        participant.send(Message::TrackPublished(response));
    }

    /// Unpublishes a track against its publisher's will, and tells it.
    pub(super) fn revoke_track(&mut self, id: ParticipantId, track: TrackId) {
        let Some(participant) = self.participant_mut(id) else {
            return;
        };
        let Some(track_sid) = participant
            .published
            .get(&track)
            .map(|t| t.sid().to_owned())
        else {
            return;
        };
        let message = if participant.client.supports_unpublish() {
            Message::TrackUnpublished(proto::TrackUnpublishedResponse { track_sid })
        } else {
            Message::Mute(proto::MuteTrackRequest {
                sid: track_sid,
                muted: true,
            })
        };
        participant.send(message);
        self.unpublish(id, track);
    }

    /// A participant left: nobody can have its tracks any more.
    pub(super) fn withdraw_tracks(&mut self, participant: &Participant) {
        for track in participant.published.values() {
            self.forget_track(track);
        }
    }

    pub(super) fn forget_track(&mut self, track: &PublishedTrack) {
        self.track_owners.remove(&track.track);
        self.track_sids.remove(track.sid());
        self.shared.counters.published(track.info.r#type(), -1);
        self.speakers.forget_track(track.track);
        self.quality.forget_up(track.track);
        self.source_removed(track.sid());
    }

    /// Mutes or unmutes at the client's or the API's wish. None if there is no such track.
    pub(super) fn set_muted(
        &mut self,
        id: ParticipantId,
        sid: &str,
        muted: bool,
    ) -> Option<proto::TrackInfo> {
        let participant = self.participants.get_mut(&id)?;
        let info = participant.track_info_mut(sid)?;
        let changed = info.muted != muted;
        info.muted = muted;
        let info = info.clone();
        let published = participant
            .published_by_sid(sid)
            .map(|t| (t.track, t.announced));
        if changed && let Some((track, announced)) = published {
            participant.touch();
            let transport = participant.publisher.transport.id;
            self.command(Command::MuteUpTrack {
                transport,
                track,
                muted,
            });
            if announced {
                self.broadcast(
                    id,
                    Broadcast {
                        to_self: true,
                        ..Default::default()
                    },
                );
            } else {
                self.announce_ready(id);
            }
        }
        Some(info)
    }

    /// The first packet of an encoding: whatever its connection said before, the track is there,
    /// and this is its codec.
    pub(super) fn up_track_started(&mut self, id: ParticipantId, track: TrackId, pt: Pt) {
        self.codec_started(id, track, pt);
        self.announce(id, track);
    }

    /// Copies are negotiated for the codec that the publisher was expected to send. Where it sends
    /// another one of those it may, they are made anew.
    fn codec_started(&mut self, id: ParticipantId, track: TrackId, pt: Pt) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let received = participant
            .publisher
            .sections
            .values_mut()
            .find_map(|section| {
                let SectionUse::Receive(section) = section else {
                    return None;
                };
                section.received.as_mut().filter(|_| section.track == track)
            });
        let Some(codecs) = received.map(|received| &mut received.codecs) else {
            return;
        };
        let Some(index) = codecs.iter().position(|codec| codec.up.pt == pt) else {
            return;
        };
        // RED's senders send bare Opus, too, where a packet would grow too large (RFC 2198).
        let beneath_red = codecs[0].up.codec == Codec::Red && codecs[index].up.codec == Codec::Opus;
        if index == 0 || beneath_red {
            return;
        }
        codecs[..=index].rotate_right(1);
        let mime = mime_of_codec(codecs[0].up.codec);
        let Some(published) = participant.published.get_mut(&track) else {
            return;
        };
        let sid = published.info.sid.clone();
        published.info.mime_type = mime.to_owned();
        if let [codec] = published.info.codecs.as_mut_slice() {
            codec.mime_type = mime.to_owned();
        }
        tracing::info!(
            participant_sid = participant.sid,
            track_sid = sid,
            mime,
            "publisher sends another codec than expected"
        );
        let announced = published.announced;
        participant.touch();
        if announced {
            self.broadcast(
                id,
                Broadcast {
                    to_self: true,
                    ..Default::default()
                },
            );
        }
        self.renew_copies(&sid);
    }

    /// Negotiates all copies of a track anew.
    fn renew_copies(&mut self, track_sid: &str) {
        let subscribers: Vec<ParticipantId> = self
            .participants
            .iter()
            .filter(|(_, p)| {
                p.subscriptions
                    .get(track_sid)
                    .is_some_and(|s| s.down.is_some())
            })
            .map(|(id, _)| *id)
            .collect();
        for subscriber in subscribers {
            self.detach(subscriber, track_sid);
            self.reconcile(subscriber, track_sid);
        }
    }
}
