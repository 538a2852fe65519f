//! Who speaks: levels of tracks become levels of participants, and their changes go out.

use std::collections::HashMap;

use livekit_protocol as proto;
use millrace_shared::ids::TrackId;
use millrace_shared::link::SpeakerLevel;
use proto::signal_response::Message;

use super::actor::Room;
use crate::participant::ParticipantId;

/// Levels are told in steps of this part, so that small changes stay untold (LiveKit: 8).
const LEVEL_STEPS: f32 = 8.0;

/// What is known of levels, and what clients were told.
#[derive(Debug, Default)]
pub(super) struct SpeakerBoard {
    /// Tracks that are active now.
    tracks: HashMap<TrackId, f32>,
    /// By the participant's sid.
    told: HashMap<String, f32>,
}

impl SpeakerBoard {
    pub(super) fn forget_track(&mut self, track: TrackId) {
        self.tracks.remove(&track);
    }

    pub(super) fn forget(&mut self, participant_sid: &str) {
        self.told.remove(participant_sid);
    }
}

impl Room {
    pub(super) fn speaker_levels(&mut self, levels: &[SpeakerLevel]) {
        for level in levels {
            // A track that ended meanwhile must not speak on.
            if level.active && self.track_owners.contains_key(&level.track) {
                self.speakers.tracks.insert(level.track, level.level);
            } else {
                self.speakers.tracks.remove(&level.track);
            }
        }
        let changes = self.speaker_changes();
        self.send_speakers(&changes);
    }

    fn speaker_changes(&mut self) -> Vec<proto::SpeakerInfo> {
        let mut now: HashMap<String, f32> = HashMap::new();
        for (track, level) in &self.speakers.tracks {
            let owner = self
                .track_owners
                .get(track)
                .and_then(|id| self.participants.get(id));
            if let Some(owner) = owner {
                let loudest = now.entry(owner.sid.clone()).or_default();
                *loudest = loudest.max((level * LEVEL_STEPS).ceil() / LEVEL_STEPS);
            }
        }
        let mut changes: Vec<proto::SpeakerInfo> = now
            .iter()
            .filter(|(sid, level)| self.speakers.told.get(*sid) != Some(level))
            .map(|(sid, level)| speaker(sid, *level))
            .collect();
        changes.sort_by(|a, b| b.level.total_cmp(&a.level).then_with(|| a.sid.cmp(&b.sid)));
        let silent = self
            .speakers
            .told
            .keys()
            .filter(|sid| !now.contains_key(*sid));
        changes.extend(silent.map(|sid| speaker(sid, 0.0)));
        self.speakers.told = now;
        changes
    }

    /// Tells each client of itself and of those whom it subscribes to.
    pub(super) fn send_speakers(&mut self, speakers: &[proto::SpeakerInfo]) {
        if speakers.is_empty() {
            return;
        }
        for participant in self.participants.everybody_mut() {
            if !participant.is_ready() || !participant.client.supports_speakers_changed() {
                continue;
            }
            let scoped: Vec<_> = speakers
                .iter()
                .filter(|s| s.sid == participant.sid || participant.is_subscribed_to(&s.sid))
                .cloned()
                .collect();
            if !scoped.is_empty() {
                participant.send(Message::SpeakersChanged(proto::SpeakersChanged {
                    speakers: scoped,
                }));
            }
        }
    }

    /// A first subscription to a publisher: its present state.
    pub(super) fn subscribed_to(&mut self, id: ParticipantId, publisher_sid: &str) {
        let active = self.by_sid(publisher_sid).is_some_and(|p| p.is_active());
        if !active {
            return;
        }
        if let Some(level) = self.speakers.told.get(publisher_sid).copied() {
            self.send_speaker(id, speaker(publisher_sid, level));
        }
        if let Some(rating) = self.quality.told(publisher_sid) {
            let update = proto::ConnectionQualityUpdate {
                updates: vec![rating],
            };
            self.send_to(id, Message::ConnectionQuality(update));
        }
    }

    /// The last subscription to a publisher ended: it is not heard any more.
    pub(super) fn unsubscribed_from(&mut self, id: ParticipantId, publisher_sid: &str) {
        if self.participant(id).is_some_and(|p| p.is_ready()) {
            self.send_speaker(id, speaker(publisher_sid, 0.0));
        }
    }

    /// Who spoke when the control plane before this one ended may have stopped unheard. Those who
    /// speak on are told of with their next change.
    pub(super) fn silence_speakers(&mut self, id: ParticipantId) {
        let Some(participant) = self.participant_mut(id) else {
            return;
        };
        if !std::mem::take(&mut participant.restored)
            || !participant.client.supports_speakers_changed()
        {
            return;
        }
        let told = &self.speakers.told;
        let silent: Vec<_> = self
            .participants
            .values()
            .filter(|p| p.is_publisher && !told.contains_key(&p.sid))
            .map(|p| speaker(&p.sid, 0.0))
            .collect();
        if !silent.is_empty() {
            let changed = proto::SpeakersChanged { speakers: silent };
            self.send_to(id, Message::SpeakersChanged(changed));
        }
    }

    fn send_speaker(&mut self, id: ParticipantId, speaker: proto::SpeakerInfo) {
        let changed = proto::SpeakersChanged {
            speakers: vec![speaker],
        };
        self.send_to(id, Message::SpeakersChanged(changed));
    }
}

fn speaker(sid: &str, level: f32) -> proto::SpeakerInfo {
    proto::SpeakerInfo {
        sid: sid.to_owned(),
        level,
        active: level > 0.0,
    }
}
