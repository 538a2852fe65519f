//! Brings together what a participant's memo says and what the shards have.

use millrace_shared::ids::{DownTrackId, Pt, TrackId};
use millrace_shared::link::{CloseReason as LinkCloseReason, Command, Progress, TransportState};

use super::super::actor::Room;
use super::super::join::data_publish;
use super::MediaState;
use crate::participant::ParticipantId;

impl Room {
    /// Brings together what the memo says and what the shards have, and makes up for events that
    /// nobody heard.
    pub(super) fn reconcile_media(&mut self, id: ParticipantId, state: &MediaState) {
        let mut started: Vec<(TrackId, Pt)> = Vec::new();
        let mut up: Vec<TrackId> = Vec::new();
        let mut down: Vec<DownTrackId> = Vec::new();
        for transport in &state.transports {
            for track in &transport.up {
                up.push(track.track);
                started.extend(track.started.map(|pt| (track.track, pt)));
            }
            down.extend(&transport.down);
            self.remove_unknown(id, transport);
        }
        self.renew_up_tracks(id, &up);
        self.renew_down_tracks(id, &down);
        for transport in &state.transports {
            match transport.progress {
                Progress::Connected => self.connected(id, transport.transport),
                Progress::Silent => self.transport_silent(id, transport.transport),
                Progress::Closed => {
                    self.transport_closed(id, transport.transport, LinkCloseReason::PeerClosed);
                }
                Progress::New | Progress::Moving => {}
            }
        }
        for (track, pt) in started {
            if self.track_owners.get(&track) == Some(&id) {
                self.up_track_started(id, track, pt);
            }
        }
    }

    /// Tracks and copies that came after the last memo, or went before it.
    fn remove_unknown(&self, id: ParticipantId, state: &TransportState) {
        let transport = state.transport;
        for up in &state.up {
            if self.track_owners.get(&up.track) != Some(&id) {
                let track = up.track;
                self.command(Command::RemoveUpTrack { transport, track });
            }
        }
        for down in &state.down {
            if !self.down_tracks.contains_key(down) {
                let down = *down;
                self.command(Command::RemoveDownTrack { transport, down });
            }
        }
    }

    fn renew_up_tracks(&self, id: ParticipantId, present: &[TrackId]) {
        let Some(participant) = self.participant(id) else {
            return;
        };
        let transport = participant.publisher.transport.id;
        for published in participant.published.values() {
            let track = published.track;
            let received = participant.publisher.received(track);
            if !present.contains(&track)
                && let Some(received) = received.and_then(|section| section.received.as_ref())
            {
                self.command(Command::SetUpTrack {
                    transport,
                    config: Box::new(received.config.clone()),
                });
            }
            let muted = published.info.muted;
            self.command(Command::MuteUpTrack {
                transport,
                track,
                muted,
            });
        }
        if participant.publisher.transport.added {
            self.command(Command::SetDataPublish {
                transport,
                data_publish: data_publish(participant),
            });
        }
    }

    fn renew_down_tracks(&mut self, id: ParticipantId, present: &[DownTrackId]) {
        let Some(participant) = self.participant(id) else {
            return;
        };
        let bound: Vec<(String, DownTrackId)> = participant
            .subscriptions
            .iter()
            .filter_map(|(sid, subscription)| {
                let down = subscription.down.as_ref().filter(|down| down.bound)?;
                Some((sid.clone(), down.down))
            })
            .collect();
        for (track_sid, down) in bound {
            if present.contains(&down) {
                self.apply_settings(id, &track_sid);
            } else {
                self.detach(id, &track_sid);
                self.reconcile(id, &track_sid);
            }
        }
    }
}
