//! Connection quality of participants, from what the data plane reports of their tracks.
//!
//! A simplified E-model, as LiveKit has it: of 100 points, delay and loss take some away; the score
//! falls fast and rises slowly; a participant is as good as its worst track.

use std::collections::HashMap;

use livekit_protocol as proto;
use millrace_shared::ids::{DownTrackId, TrackId};
use millrace_shared::link::TrackReport;
use proto::ConnectionQuality;
use proto::signal_response::Message;

use super::actor::Room;
use super::message::RoomReports;
use crate::participant::transport::LinkState;
use crate::participant::{Participant, ParticipantId};

const SCORE_MAX: f64 = 100.0;
/// Share of a change that one report makes.
const RISE: f64 = 0.4;
const FALL: f64 = 0.8;
/// At most this is GOOD, and POOR.
const GOOD_MAX: f64 = 80.0;
const POOR_MAX: f64 = 40.0;

/// Points per percent of loss. Audio with forward error correction hides more than video: 3.75 %
/// make Opus GOOD, 7.5 % RED, 2 % video.
const LOSS_WEIGHT_OPUS: f64 = 8.0 / 1.5;
const LOSS_WEIGHT_RED: f64 = 4.0 / 1.5;
const LOSS_WEIGHT_VIDEO: f64 = 10.0;

/// Delays below this are hardly noticed, those above hurt four times as much (ITU-T G.107,
/// simplified).
const DELAY_KNEE_MS: f64 = 160.0;

/// Scores of tracks, and what clients were told of participants.
#[derive(Debug, Default)]
pub(super) struct QualityBoard {
    up: HashMap<TrackId, f64>,
    down: HashMap<DownTrackId, f64>,
    /// By the participant's sid.
    told: HashMap<String, (ConnectionQuality, f32)>,
}

impl QualityBoard {
    pub(super) fn forget(&mut self, participant_sid: &str) {
        self.told.remove(participant_sid);
    }

    pub(super) fn forget_down(&mut self, down: DownTrackId) {
        self.down.remove(&down);
    }

    pub(super) fn forget_up(&mut self, track: TrackId) {
        self.up.remove(&track);
    }

    pub(super) fn told(&self, participant_sid: &str) -> Option<proto::ConnectionQualityInfo> {
        let (quality, score) = self.told.get(participant_sid)?;
        Some(rating(participant_sid, *quality, *score))
    }
}

impl Room {
    /// Takes in reports and tells of qualities that changed.
    pub(super) fn rate_quality(&mut self, reports: &RoomReports) {
        for (track, report) in &reports.up {
            if let Some(weight) = self.loss_weight_up(*track) {
                let score = self.quality.up.entry(*track).or_insert(SCORE_MAX);
                *score = moved(*score, window_score(report, weight));
            }
        }
        for (down, report) in &reports.down {
            if let Some(weight) = self.loss_weight_down(*down) {
                let score = self.quality.down.entry(*down).or_insert(SCORE_MAX);
                *score = moved(*score, window_score(report, weight));
            }
        }
        let mut changed = HashMap::new();
        for participant in self.participants.values().filter(|p| p.is_active()) {
            let (quality, score) = self.rate(participant);
            let before = self
                .quality
                .told
                .insert(participant.sid.clone(), (quality, score));
            if before.is_none_or(|(before, _)| before != quality) {
                changed.insert(participant.sid.clone(), (quality, score));
            }
        }
        self.tell_quality(&changed);
    }

    fn tell_quality(&mut self, changed: &HashMap<String, (ConnectionQuality, f32)>) {
        if changed.is_empty() {
            return;
        }
        for participant in self.participants.everybody_mut() {
            if !participant.is_active() || !participant.client.supports_connection_quality() {
                continue;
            }
            let knows_lost = participant.client.supports_quality_lost();
            let updates: Vec<_> = changed
                .iter()
                .filter(|(sid, _)| **sid == participant.sid || participant.is_subscribed_to(sid))
                .map(|(sid, (quality, score))| match quality {
                    ConnectionQuality::Lost if !knows_lost => {
                        rating(sid, ConnectionQuality::Poor, *score)
                    }
                    quality => rating(sid, *quality, *score),
                })
                .collect();
            if !updates.is_empty() {
                let update = proto::ConnectionQualityUpdate { updates };
                participant.send(Message::ConnectionQuality(update));
            }
        }
    }

    /// Quality and mean opinion score. Lost is only who cannot be reached: a client that believes
    /// itself lost joins anew.
    fn rate(&self, participant: &Participant) -> (ConnectionQuality, f32) {
        let reachable = participant
            .transports()
            .all(|t| !matches!(t.state, LinkState::Disconnected | LinkState::Closed));
        if !reachable {
            return (ConnectionQuality::Lost, opinion_score(0.0));
        }
        let up = participant
            .published
            .values()
            .filter(|track| !track.info.muted)
            .filter_map(|track| self.quality.up.get(&track.track));
        let down = participant
            .subscriptions
            .values()
            .filter_map(|s| self.quality.down.get(&s.down.as_ref()?.down));
        let worst = up.chain(down).copied().fold(SCORE_MAX, f64::min);
        let quality = if worst > GOOD_MAX {
            ConnectionQuality::Excellent
        } else if worst > POOR_MAX {
            ConnectionQuality::Good
        } else {
            ConnectionQuality::Poor
        };
        (quality, opinion_score(worst))
    }

    fn loss_weight_up(&self, track: TrackId) -> Option<f64> {
        let owner = self.track_owners.get(&track)?;
        self.loss_weight(*owner, track)
    }

    fn loss_weight_down(&self, down: DownTrackId) -> Option<f64> {
        let (subscriber, track_sid) = self.down_tracks.get(&down)?;
        self.participant(*subscriber)?;
        let track = self.track_sids.get(track_sid)?;
        self.loss_weight(*self.track_owners.get(track)?, *track)
    }

    fn loss_weight(&self, owner: ParticipantId, track: TrackId) -> Option<f64> {
        let info = &self.participant(owner)?.published.get(&track)?.info;
        Some(match info.r#type() {
            proto::TrackType::Video => LOSS_WEIGHT_VIDEO,
            _ if info.mime_type.eq_ignore_ascii_case("audio/red") => LOSS_WEIGHT_RED,
            _ => LOSS_WEIGHT_OPUS,
        })
    }
}

fn rating(sid: &str, quality: ConnectionQuality, score: f32) -> proto::ConnectionQualityInfo {
    proto::ConnectionQualityInfo {
        participant_sid: sid.to_owned(),
        quality: quality.into(),
        score,
    }
}

/// Points of one interval. Without packets there is nothing to complain of: a publisher may be
/// silent by right.
fn window_score(report: &TrackReport, loss_weight: f64) -> f64 {
    let total = report.packets + report.lost;
    if total == 0 {
        return SCORE_MAX;
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of 5 s are far below 2^52"
    )]
    let loss_percent = report.lost as f64 * 100.0 / total as f64;
    let delay_ms = f64::from(report.rtt_us) / 2000.0 + f64::from(report.jitter_us) * 2.0 / 1000.0;
    let delay = if delay_ms > DELAY_KNEE_MS {
        (delay_ms - 120.0) / 10.0
    } else {
        delay_ms / 40.0
    };
    (SCORE_MAX - delay - loss_percent * loss_weight).max(0.0)
}

fn moved(score: f64, towards: f64) -> f64 {
    let share = if towards > score { RISE } else { FALL };
    score + (towards - score) * share
}

/// Mean opinion score of an R factor (ITU-T G.107 annex B).
fn opinion_score(score: f64) -> f32 {
    let mos = if score <= 0.0 {
        1.0
    } else if score >= SCORE_MAX {
        4.5
    } else {
        1.0 + 0.035 * score + 0.000_007 * score * (score - 60.0) * (SCORE_MAX - score)
    };
    #[expect(clippy::cast_possible_truncation, reason = "between 1 and 4.5")]
    let mos = mos as f32;
    mos
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(packets: u64, lost: u64) -> TrackReport {
        TrackReport {
            packets,
            lost,
            ..Default::default()
        }
    }

    #[test]
    fn loss_costs_video_more_than_audio() {
        let lossy = report(970, 30);
        assert!(window_score(&lossy, LOSS_WEIGHT_VIDEO) < GOOD_MAX);
        assert!(window_score(&lossy, LOSS_WEIGHT_OPUS) > GOOD_MAX);
        assert!((window_score(&report(0, 0), LOSS_WEIGHT_VIDEO) - SCORE_MAX).abs() < 1e-9);
    }

    #[test]
    fn scores_fall_fast_and_rise_slowly() {
        let fallen = moved(SCORE_MAX, 0.0);
        assert!(fallen < POOR_MAX);
        assert!(moved(fallen, SCORE_MAX) < GOOD_MAX);
        assert!((opinion_score(SCORE_MAX) - 4.5).abs() < f32::EPSILON);
    }
}
