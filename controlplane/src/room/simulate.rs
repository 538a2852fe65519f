//! Scenarios that clients ask for to test themselves.

use std::time::Duration;

use livekit_protocol as proto;
use proto::leave_request::Action;
use proto::simulate_scenario::Scenario;
use tokio::time::Instant;

use super::actor::Room;
use super::leave::send_leave;
use super::timer::Timer;
use crate::participant::{CloseReason, ParticipantId};

/// Longest simulated speech: a client cannot keep a timer for longer.
const SPEECH_MAX: Duration = Duration::from_secs(60);
const SPEECH_LEVEL: f32 = 0.9;

impl Room {
    pub(super) fn simulate(&mut self, id: ParticipantId, scenario: &proto::SimulateScenario) {
        let Some(scenario) = &scenario.scenario else {
            return;
        };
        let Some(participant) = self.participant(id) else {
            return;
        };
        tracing::debug!(participant_sid = participant.sid, ?scenario, "simulating");
        let identity = participant.identity.clone();
        match scenario {
            Scenario::SpeakerUpdate(seconds) => self.simulate_speech(id, *seconds),
            Scenario::NodeFailure(_) => {
                self.remove_untold(id, CloseReason::SimulatedNodeFailure);
            }
            Scenario::Migration(_) => self.remove_untold(id, CloseReason::SimulatedMigration),
            Scenario::ServerLeave(_) => self.remove(id, CloseReason::ServerShutdown),
            Scenario::DisconnectSignalOnResume(_) => self.simulated.after_messages(&identity),
            Scenario::DisconnectSignalOnResumeNoMessages(_) => {
                self.simulated.before_messages(&identity);
            }
            Scenario::LeaveRequestFullReconnect(_) => {
                if let Some(participant) = self.participant_mut(id) {
                    let reason = proto::DisconnectReason::ClientInitiated;
                    send_leave(participant, reason, Action::Reconnect);
                }
            }
            // There is one way to connect, and no estimate to limit.
            Scenario::SwitchCandidateProtocol(_) | Scenario::SubscriberBandwidth(_) => {}
        }
    }

    fn simulate_speech(&mut self, id: ParticipantId, seconds: i32) {
        // One at a time, or a client fills the room with timers.
        let Some(participant) = self.participant_mut(id) else {
            return;
        };
        if std::mem::replace(&mut participant.simulated_speech, true) {
            return;
        }
        let duration = Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(SPEECH_MAX);
        self.timers
            .set(Instant::now() + duration, Timer::SimulatedSpeech(id));
        self.simulated_speaker(id, SPEECH_LEVEL);
    }

    pub(super) fn end_simulated_speech(&mut self, id: ParticipantId) {
        if let Some(participant) = self.participant_mut(id) {
            participant.simulated_speech = false;
        }
        self.simulated_speaker(id, 0.0);
    }

    fn simulated_speaker(&mut self, id: ParticipantId, level: f32) {
        if let Some(participant) = self.participant(id) {
            let speaker = proto::SpeakerInfo {
                sid: participant.sid.clone(),
                level,
                active: level > 0.0,
            };
            self.send_speakers(&[speaker]);
        }
    }
}
