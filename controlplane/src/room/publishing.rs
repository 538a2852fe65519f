//! Tracks from the request to publish, over their m-line, to everybody's knowledge.

use livekit_protocol as proto;
use millrace_shared::ids::{Rid, TrackId};
use millrace_shared::limits::UP_TRACKS_PER_TRANSPORT_MAX;
use millrace_shared::link::{Codec, Command, MediaKind};
use prost::Message as _;
use proto::request_response::{Reason, Request};
use proto::signal_response::Message;

use super::actor::Room;
use super::join::may_publish;
use super::negotiation::media_kind;
use crate::negotiate::{
    MediaPlan, ReceivePlan, Received, RemoteMedia, codec_of_mime, mime_of_codec,
};
use crate::participant::known;
use crate::participant::publish::{
    ADD_TRACK_LEN_MAX, PENDING_MAX, PendingTrack, PublishedTrack, QUEUED_PER_CID_MAX, bind,
    track_info,
};
use crate::participant::transport::{ReceivedSection, SectionUse};
use crate::participant::{Participant, ParticipantId};

impl Room {
    pub(super) fn add_track(&mut self, id: ParticipantId, mut request: proto::AddTrackRequest) {
        known::add_track(&mut request);
        let refusal = self.participant(id).and_then(|participant| {
            if !may_publish(participant, request.source()) {
                return Some((Reason::NotAllowed, ""));
            }
            if request.r#type() == proto::TrackType::Data {
                return Some((Reason::UnsupportedType, ""));
            }
            if request.encoded_len() > ADD_TRACK_LEN_MAX {
                return Some((Reason::LimitExceeded, "the request is too large"));
            }
            let held = participant.pending.len() + participant.published.len();
            let full =
                participant.pending.len() >= PENDING_MAX || held >= UP_TRACKS_PER_TRANSPORT_MAX;
            full.then_some((Reason::LimitExceeded, "too many tracks"))
        });
        if let Some((reason, message)) = refusal {
            self.respond(id, 0, reason, message, Request::AddTrack(request));
        } else if request.sid.is_empty() {
            self.add_pending(id, &request);
        } else {
            self.add_backup_codec(id, &request);
        }
    }

    /// Another codec of a track that is published already.
    fn add_backup_codec(&mut self, id: ParticipantId, request: &proto::AddTrackRequest) {
        let Some(participant) = self.participant_mut(id) else {
            return;
        };
        let Some(track) = participant.published_by_sid_mut(&request.sid) else {
            let request = Request::AddTrack(request.clone());
            self.respond(id, 0, Reason::NotFound, "", request);
            return;
        };
        for wanted in &request.simulcast_codecs {
            let suffix = wanted.codec.to_ascii_lowercase();
            for codec in &mut track.info.codecs {
                if codec.mime_type.to_ascii_lowercase().ends_with(&suffix) {
                    codec.cid.clone_from(&wanted.cid);
                }
            }
        }
        let response = proto::TrackPublishedResponse {
            cid: request.cid.clone(),
            track: Some(track.info.clone()),
        };
        participant.send(Message::TrackPublished(response));
    }

    fn add_pending(&mut self, id: ParticipantId, request: &proto::AddTrackRequest) {
        let codecs = std::sync::Arc::clone(&self.settings);
        let Some(participant) = self.participant_mut(id) else {
            return;
        };
        let taken = participant
            .published
            .values()
            .any(|t| t.has_cid(&request.cid));
        let known = participant
            .pending
            .iter_mut()
            .find(|t| t.cid == request.cid);
        let sid = known
            .as_ref()
            .and_then(|t| t.infos.front())
            .map(|info| info.sid.clone());
        let info = track_info(
            request,
            sid.as_deref(),
            &participant.client,
            &codecs.enabled_codecs,
        );
        match known {
            Some(known) if known.infos.len() >= QUEUED_PER_CID_MAX => {
                let request = Request::AddTrack(request.clone());
                self.respond(
                    id,
                    0,
                    Reason::LimitExceeded,
                    "too many queued tracks",
                    request,
                );
                return;
            }
            Some(known) => known.infos.push_back(info.clone()),
            None => participant.pending.push(PendingTrack {
                cid: request.cid.clone(),
                infos: [info.clone()].into(),
                queued: taken,
            }),
        }
        if taken || sid.is_some() {
            let request = Request::AddTrack(request.clone());
            self.respond(id, 0, Reason::Queued, "", request);
            return;
        }
        if let Some(participant) = self.participant_mut(id) {
            participant.send(Message::TrackPublished(proto::TrackPublishedResponse {
                cid: request.cid.clone(),
                track: Some(info),
            }));
        }
        self.claim_sections(id);
    }

    /// How to answer an m-line on which the client publishes.
    pub(super) fn plan_receive(
        &mut self,
        id: ParticipantId,
        media: &RemoteMedia,
        kind: MediaKind,
    ) -> (MediaPlan, SectionUse) {
        let new_track = TrackId(self.new_id());
        let Some(participant) = self.participant(id) else {
            return (MediaPlan::Inactive, SectionUse::Unused);
        };
        let cid = media.msid.as_ref().map_or("", |msid| msid.track.as_str());
        let known = match participant.publisher.sections.get(&media.mid) {
            Some(SectionUse::Receive(section)) if section.cid == cid => Some(section.track),
            _ => None,
        };
        let backup = known.is_none()
            && participant
                .published
                .values()
                .any(|track| track.has_cid(cid) && track.info.mid != media.mid.as_str())
            && participant.pending.iter().all(|pending| pending.cid != cid);
        if backup {
            // Backup codecs are not forwarded: their m-line stays quiet.
            return (MediaPlan::Inactive, SectionUse::Unused);
        }
        let track = known.unwrap_or(new_track);
        let info = participant
            .published
            .get(&track)
            .map(|published| &published.info)
            .or_else(|| pending_for(participant, cid, kind).and_then(|p| p.infos.front()));
        let plan = self.receive_plan(participant, track, info, kind);
        let section = ReceivedSection {
            track,
            kind,
            cid: cid.to_owned(),
            rids: media.send_rids.iter().map(ToString::to_string).collect(),
            received: None,
        };
        (MediaPlan::Receive(plan), SectionUse::Receive(section))
    }

    fn receive_plan(
        &self,
        participant: &Participant,
        track: TrackId,
        info: Option<&proto::TrackInfo>,
        kind: MediaKind,
    ) -> ReceivePlan {
        let allowed: Vec<Codec> = self
            .settings
            .enabled_codecs
            .iter()
            .filter_map(|mime| codec_of_mime(mime))
            .filter(|codec| codec.kind() == kind)
            .collect();
        let has = |feature: proto::AudioTrackFeature| {
            info.is_some_and(|info| info.audio_features.contains(&feature.into()))
        };
        let primary = info.and_then(|info| info.codecs.first());
        let rids = primary.map_or_else(Vec::new, |codec| {
            let mut layers: Vec<_> = codec.layers.iter().filter(|l| !l.rid.is_empty()).collect();
            layers.sort_by_key(|layer| layer.spatial_layer);
            layers
                .iter()
                .filter_map(|l| Rid::from(&l.rid).ok())
                .collect()
        });
        ReceivePlan {
            track,
            red: allowed.contains(&Codec::Red) && info.is_some_and(|info| !info.disable_red),
            allowed,
            preferred: primary.and_then(|codec| codec_of_mime(&codec.mime_type)),
            only_preferred: !participant.client.heeds_codec_order(),
            dtx: !has(proto::AudioTrackFeature::TfNoDtx),
            stereo: has(proto::AudioTrackFeature::TfStereo),
            rids,
            pli_interval_ms: self.settings.pli_throttle_ms,
        }
    }

    /// Takes note of what an answer settled; a track that is published already is described anew.
    pub(super) fn section_settled(&mut self, id: ParticipantId, received: &Received) {
        let track = received.config.track;
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        for section in participant.publisher.sections.values_mut() {
            if let SectionUse::Receive(section) = section
                && section.track == track
            {
                section.received = Some(received.clone());
            }
        }
        if participant.published.contains_key(&track) {
            let transport = participant.publisher.transport.id;
            self.command(Command::SetUpTrack {
                transport,
                config: Box::new(received.config.clone()),
            });
        }
    }

    /// Brings together m-lines that wait for a request, and requests that wait for an m-line.
    pub(super) fn claim_sections(&mut self, id: ParticipantId) {
        let Some(participant) = self.participant(id) else {
            return;
        };
        let unclaimed: Vec<ReceivedSection> = participant
            .publisher
            .sections
            .values()
            .filter_map(|section| match section {
                SectionUse::Receive(section)
                    if section.received.is_some()
                        && !participant.published.contains_key(&section.track) =>
                {
                    Some(section.clone())
                }
                _ => None,
            })
            .collect();
        // Exact matches first: an m-line that fits by kind alone must not take another's request.
        for matching in [Match::Cid, Match::Kind] {
            for section in &unclaimed {
                self.claim(id, section, matching);
            }
        }
        self.announce_ready(id);
    }

    fn claim(&mut self, id: ParticipantId, section: &ReceivedSection, matching: Match) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        if participant.published.contains_key(&section.track) {
            return;
        }
        let Some(received) = &section.received else {
            return;
        };
        let index = pending_index(participant, &section.cid, section.kind, matching);
        let Some((cid, mut info)) = index.and_then(|index| take_pending(participant, index)) else {
            return;
        };
        if !may_publish(participant, info.source()) {
            // The permission went after the request.
            return;
        }
        let mime = received
            .codecs
            .first()
            .map_or("", |codec| mime_of_codec(codec.up.codec));
        let mid = received.config.mid.as_str();
        bind(&mut info, mid, &section.cid, mime, &section.rids);
        info.version = Some(now_version());
        let muted = info.muted;
        let kind = info.r#type();
        let published = PublishedTrack {
            track: section.track,
            cid,
            sdp_cid: section.cid.clone(),
            info,
            announced: false,
            ever_subscribed: false,
        };
        participant.published.insert(section.track, published);
        let transport = participant.publisher.transport.id;
        self.track_owners.insert(section.track, id);
        self.shared.counters.published(kind, 1);
        self.command(Command::SetUpTrack {
            transport,
            config: Box::new(received.config.clone()),
        });
        if muted {
            self.command(Command::MuteUpTrack {
                transport,
                track: section.track,
                muted,
            });
        }
    }
}

/// How an m-line may find its request.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Match {
    /// By the request's cid or that of one of its codecs.
    Cid,
    /// The first of its kind: browsers may rename a track when it gets its m-line.
    Kind,
}

/// The request that an m-line of `cid` belongs to.
fn pending_index(
    participant: &Participant,
    cid: &str,
    kind: MediaKind,
    matching: Match,
) -> Option<usize> {
    let pending = &participant.pending;
    let index = match matching {
        Match::Cid => pending
            .iter()
            .position(|track| track.cid == cid)
            .or_else(|| {
                pending.iter().position(|track| {
                    let first = track.infos.front();
                    first.is_some_and(|info| info.codecs.iter().any(|codec| codec.cid == cid))
                })
            }),
        Match::Kind => pending.iter().position(|track| {
            let first = track.infos.front();
            !track.queued && first.is_some_and(|info| media_kind(info.r#type()) == kind)
        }),
    }?;
    pending
        .get(index)
        .filter(|track| !track.queued)
        .map(|_| index)
}

fn pending_for<'a>(
    participant: &'a Participant,
    cid: &str,
    kind: MediaKind,
) -> Option<&'a PendingTrack> {
    let index = pending_index(participant, cid, kind, Match::Cid)
        .or_else(|| pending_index(participant, cid, kind, Match::Kind))?;
    participant.pending.get(index)
}

/// Takes the first request of a cid; the next one waits until the track is unpublished.
fn take_pending(participant: &mut Participant, index: usize) -> Option<(String, proto::TrackInfo)> {
    let pending = participant.pending.get_mut(index)?;
    let info = pending.infos.pop_front()?;
    let cid = pending.cid.clone();
    pending.queued = true;
    if pending.infos.is_empty() {
        participant.pending.remove(index);
    }
    Some((cid, info))
}

fn now_version() -> proto::TimedVersion {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    proto::TimedVersion {
        unix_micro: i64::try_from(now.as_micros()).unwrap_or(i64::MAX),
        ticks: 0,
    }
}
