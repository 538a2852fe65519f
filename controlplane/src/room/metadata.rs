//! Name, metadata, attributes and permissions of a participant.

use std::collections::BTreeMap;

use livekit_protocol as proto;
use millrace_shared::ids::TrackId;
use millrace_shared::link::Command;
use proto::request_response::{Reason, Request};

use super::actor::Room;
use super::admission::attributes_size;
use super::broadcast::Broadcast;
use super::join::{data_publish, may_publish};
use super::settings::within;
use crate::participant::{ParticipantId, permission};

/// What may change of a participant. Empty fields change nothing.
pub(super) struct MetadataUpdate {
    pub(super) name: String,
    pub(super) metadata: String,
    /// An empty value deletes its key.
    pub(super) attributes: BTreeMap<String, String>,
}

const NAME_TOO_LONG: &str = "exceeds name length limit";
const METADATA_TOO_LARGE: &str = "exceeds metadata size limit";
const ATTRIBUTES_TOO_LARGE: &str = "exceeds attributes size limit";

impl Room {
    /// The client changes its own.
    pub(super) fn update_own_metadata(
        &mut self,
        id: ParticipantId,
        request: proto::UpdateParticipantMetadata,
    ) {
        let allowed = self
            .participant(id)
            .is_some_and(|p| p.grant().updates_own_metadata());
        let (reason, message) = if allowed {
            let update = MetadataUpdate {
                name: request.name.clone(),
                metadata: request.metadata.clone(),
                attributes: request.attributes.clone().into_iter().collect(),
            };
            match self.update_metadata(id, update) {
                Ok(()) => (Reason::Ok, ""),
                Err(message) => (Reason::LimitExceeded, message),
            }
        } else {
            let message = "does not have permission to update own metadata";
            (Reason::NotAllowed, message)
        };
        let request_id = request.request_id;
        let request = Request::UpdateMetadata(request);
        self.respond(id, request_id, reason, message, request);
    }

    pub(super) fn update_metadata(
        &mut self,
        id: ParticipantId,
        update: MetadataUpdate,
    ) -> Result<(), &'static str> {
        let settings = std::sync::Arc::clone(&self.settings);
        let Some(participant) = self.participant_mut(id) else {
            return Ok(());
        };
        let claims = &participant.claims;
        let mut attributes = claims.attributes.clone();
        for (key, value) in update.attributes {
            if value.is_empty() {
                attributes.remove(&key);
            } else {
                attributes.insert(key, value);
            }
        }
        if !within(update.name.len(), settings.max_participant_name_length) {
            return Err(NAME_TOO_LONG);
        }
        if !within(update.metadata.len(), settings.max_metadata_size) {
            return Err(METADATA_TOO_LARGE);
        }
        // The sum counts, not the update alone: updates must not add up beyond the limit.
        if !within(attributes_size(&attributes), settings.max_attributes_size) {
            return Err(ATTRIBUTES_TOO_LARGE);
        }
        let mut changed = claims.clone();
        changed.attributes = attributes;
        if !update.name.is_empty() {
            changed.name = update.name;
        }
        if !update.metadata.is_empty() {
            changed.metadata = update.metadata;
        }
        if changed != participant.claims {
            participant.claims = changed;
            self.claims_changed(id);
        }
        Ok(())
    }

    /// The API changes what a participant may do.
    pub(super) fn set_permission(
        &mut self,
        id: ParticipantId,
        wanted: &proto::ParticipantPermission,
    ) {
        let Some(participant) = self.participant_mut(id) else {
            return;
        };
        let mut grant = participant.grant();
        let before = permission::to_proto(&grant);
        permission::update(&mut grant, wanted);
        if permission::to_proto(&grant) == before {
            return;
        }
        let publishes = grant.publishes();
        participant.claims.video = Some(grant);
        participant.is_publisher &= publishes;
        let data_publish = data_publish(participant);
        let transport = &participant.publisher.transport;
        if transport.added {
            let command = Command::SetDataPublish {
                transport: transport.id,
                data_publish,
            };
            self.command(command);
        }
        self.revoke_forbidden(id);
        self.reconcile_all(id);
        self.claims_changed(id);
    }

    /// Unpublishes what may not be published any more.
    fn revoke_forbidden(&mut self, id: ParticipantId) {
        let Some(participant) = self.participant(id) else {
            return;
        };
        let forbidden: Vec<TrackId> = participant
            .published
            .values()
            .filter(|track| !may_publish(participant, track.info.source()))
            .map(|track| track.track)
            .collect();
        for track in forbidden {
            self.revoke_track(id, track);
        }
    }

    fn claims_changed(&mut self, id: ParticipantId) {
        if let Some(participant) = self.participant_mut(id) {
            participant.touch();
        }
        let how = Broadcast {
            immediate: true,
            to_self: true,
        };
        self.broadcast(id, how);
        self.refresh_token(id);
    }
}
