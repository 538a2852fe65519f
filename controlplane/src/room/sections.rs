//! What the m-lines of a client's offer are used for.

use indexmap::IndexMap;
use livekit_protocol as proto;
use millrace_shared::ids::{DownTrackId, Mid};
use millrace_shared::link::MediaKind;
use proto::signal_response::Message;

use super::actor::Room;
use super::negotiation::media_kind;
use crate::negotiate::{Answer, MediaPlan, RemoteDescription, RemoteMedia, Section};
use crate::participant::ParticipantId;
use crate::participant::transport::{SectionCount, SectionUse};

impl Room {
    /// What each m-line is to be, for the answer and for our own books.
    pub(super) fn plan_sections(
        &mut self,
        id: ParticipantId,
        remote: &RemoteDescription,
    ) -> (Vec<MediaPlan>, IndexMap<Mid, SectionUse>) {
        let mut plans = Vec::with_capacity(remote.media.len());
        let mut sections = IndexMap::with_capacity(remote.media.len());
        let mut waiting = self.subscriptions_to_place(id, remote);
        for media in &remote.media {
            let (plan, section) = match media.kind.media() {
                None if media.kind == Section::Application => (MediaPlan::Data, SectionUse::Unused),
                None => (MediaPlan::Inactive, SectionUse::Unused),
                Some(_) if media.rejected => (MediaPlan::Inactive, SectionUse::Unused),
                Some(kind) if media.direction.sends() => self.plan_receive(id, media, kind),
                Some(kind) if media.direction.receives() => {
                    self.plan_send(id, media, kind, &mut waiting)
                }
                Some(_) => (MediaPlan::Inactive, SectionUse::Unused),
            };
            plans.push(plan);
            sections.insert(media.mid, section);
        }
        (plans, sections)
    }

    /// Subscriptions of a single connection that have no m-line in this offer yet.
    pub(super) fn subscriptions_to_place(
        &self,
        id: ParticipantId,
        remote: &RemoteDescription,
    ) -> Vec<String> {
        let Some(participant) = self.participant(id).filter(|p| p.single_connection) else {
            return Vec::new();
        };
        let placed: Vec<&String> = remote
            .media
            .iter()
            .filter(|media| media.direction.receives() && !media.rejected)
            .filter_map(
                |media| match participant.publisher.sections.get(&media.mid) {
                    Some(SectionUse::Send { track_sid }) => Some(track_sid),
                    _ => None,
                },
            )
            .collect();
        participant
            .subscriptions
            .iter()
            .filter(|(sid, subscription)| subscription.down.is_some() && !placed.contains(sid))
            .map(|(sid, _)| sid.clone())
            .collect()
    }

    /// An m-line on which the client receives: what it had, or the next subscription of its kind.
    pub(super) fn plan_send(
        &self,
        id: ParticipantId,
        media: &RemoteMedia,
        kind: MediaKind,
        waiting: &mut Vec<String>,
    ) -> (MediaPlan, SectionUse) {
        let free = (MediaPlan::Inactive, SectionUse::Free(kind));
        let Some(participant) = self.participant(id).filter(|p| p.single_connection) else {
            return free;
        };
        let kept = match participant.publisher.sections.get(&media.mid) {
            Some(SectionUse::Send { track_sid }) => Some(track_sid.clone()),
            _ => None,
        };
        let next = || {
            waiting
                .iter()
                .position(|sid| self.subscription_kind(id, sid) == Some(kind))
                .map(|index| waiting.remove(index))
        };
        let Some(track_sid) = kept.or_else(next) else {
            return free;
        };
        match self.send_plan(id, &track_sid) {
            Some(plan) => (MediaPlan::Send(plan), SectionUse::Send { track_sid }),
            None => free,
        }
    }

    /// Brings to the data plane what an answer settled.
    pub(super) fn take_settled(&mut self, id: ParticipantId, settled: &Answer) {
        for received in &settled.receive {
            self.section_settled(id, received);
        }
        for config in &settled.send {
            self.down_track_settled(id, config.clone());
        }
        for down in &settled.unsupported {
            self.codec_unsupported(*down);
        }
        for down in &settled.unplaced {
            self.unplace(id, *down);
        }
        for track in &settled.refused {
            tracing::info!(
                track = track.0,
                "the publisher offered no codec that it may use"
            );
        }
    }

    /// An m-line that was planned for a subscription does not receive after all.
    pub(super) fn unplace(&mut self, id: ParticipantId, down: DownTrackId) {
        let Some((_, track_sid)) = self.down_tracks.get(&down).cloned() else {
            return;
        };
        if let Some(participant) = self.participant_mut(id) {
            for section in participant.publisher.sections.values_mut() {
                if matches!(section, SectionUse::Send { track_sid: sid } if *sid == track_sid) {
                    *section = SectionUse::Unused;
                }
            }
        }
    }

    /// Asks a single-connection client for as many m-lines as its subscriptions lack. With
    /// `always` it is asked even for none, which makes it offer again.
    pub(super) fn request_sections(&mut self, id: ParticipantId, always: bool) {
        let Some(participant) = self.participant(id).filter(|p| p.single_connection) else {
            return;
        };
        let mut needed = SectionCount::default();
        for (sid, subscription) in &participant.subscriptions {
            if let Some(down) = &subscription.down
                && !participant.publisher.carries(sid)
            {
                needed.add(media_kind(down.kind));
            }
        }
        let lacking = needed.beyond(participant.publisher.free_sections());
        let more = lacking.beyond(participant.publisher.requested);
        if !always && more == SectionCount::default() {
            return;
        }
        if let Some(participant) = self.participant_mut(id) {
            participant.publisher.requested.audio += more.audio;
            participant.publisher.requested.video += more.video;
            participant.send(Message::MediaSectionsRequirement(
                proto::MediaSectionsRequirement {
                    num_audios: more.audio,
                    num_videos: more.video,
                },
            ));
        }
    }
}
