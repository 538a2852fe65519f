//! RoomService: the server API, from its requests to the rooms.

use livekit_protocol as proto;
use millrace_shared::link::{Command, SendData};
use prost::Message as _;
use proto::signal_response::Message;

use super::actor::Room;
use super::admission::attributes_size;
use super::error::{ApiCode, ApiError};
use super::message::{ApiCall, Reply};
use super::metadata::MetadataUpdate;
use super::registry::Rooms;
use super::settings::within;
use crate::participant::{CloseReason, Participant, ParticipantId};

/// Length of a nonce by which repeated sends of one message are recognised.
const NONCE_LEN: usize = 16;

impl Rooms {
    pub async fn create_room(
        &self,
        request: proto::CreateRoomRequest,
    ) -> Result<proto::Room, ApiError> {
        if request.name.is_empty() {
            return Err(invalid("no room name"));
        }
        let settings = self.settings();
        if !within(request.name.len(), settings.max_room_name_length) {
            return Err(invalid("room name length exceeds limits"));
        }
        self.check_metadata(&request.metadata)?;
        self.create(request).await
    }

    pub async fn list_rooms(
        &self,
        request: proto::ListRoomsRequest,
    ) -> Result<proto::ListRoomsResponse, ApiError> {
        let mut asked = Vec::new();
        for mailbox in self.mailboxes() {
            let (reply, room) = tokio::sync::oneshot::channel();
            let call = super::message::RoomMessage::Api(Box::new(ApiCall::Describe(reply)));
            if mailbox.send(call).await.is_ok() {
                asked.push(room);
            }
        }
        let mut rooms = Vec::new();
        for room in asked {
            // A room that ended meanwhile is left out.
            if let Ok(Ok(room)) = room.await
                && (request.names.is_empty() || request.names.contains(&room.name))
            {
                rooms.push(room);
            }
        }
        Ok(proto::ListRoomsResponse { rooms })
    }

    pub async fn delete_room(
        &self,
        request: proto::DeleteRoomRequest,
    ) -> Result<proto::DeleteRoomResponse, ApiError> {
        self.close(&request.room, CloseReason::RoomDeleted).await?;
        Ok(proto::DeleteRoomResponse {})
    }

    /// A room that is not there has no participants.
    pub async fn list_participants(
        &self,
        request: proto::ListParticipantsRequest,
    ) -> Result<proto::ListParticipantsResponse, ApiError> {
        match self.call(&request.room, ApiCall::ListParticipants).await {
            Err(error) if error.code == ApiCode::NotFound => Ok(Default::default()),
            result => result,
        }
    }

    pub async fn get_participant(
        &self,
        request: proto::RoomParticipantIdentity,
    ) -> Result<proto::ParticipantInfo, ApiError> {
        let call = |reply| ApiCall::Participant(request.identity, reply);
        participant_error(self.call(&request.room, call).await)
    }

    pub async fn remove_participant(
        &self,
        request: proto::RoomParticipantIdentity,
    ) -> Result<proto::RemoveParticipantResponse, ApiError> {
        let call = |reply| ApiCall::Remove(request.identity, reply);
        participant_error(self.call(&request.room, call).await)
    }

    pub async fn mute_published_track(
        &self,
        request: proto::MuteRoomTrackRequest,
    ) -> Result<proto::MuteRoomTrackResponse, ApiError> {
        if !request.muted && !self.settings().enable_remote_unmute {
            let message = "remote unmute not enabled";
            return Err(ApiError::new(ApiCode::FailedPrecondition, message));
        }
        let room = request.room.clone();
        self.call(&room, |reply| ApiCall::Mute(request, reply))
            .await
    }

    pub async fn update_participant(
        &self,
        request: proto::UpdateParticipantRequest,
    ) -> Result<proto::ParticipantInfo, ApiError> {
        let settings = self.settings();
        if !within(request.name.len(), settings.max_participant_name_length) {
            return Err(invalid("name length exceeds limits"));
        }
        self.check_metadata(&request.metadata)?;
        if !within(
            attributes_size(&request.attributes),
            settings.max_attributes_size,
        ) {
            return Err(invalid("attribute size exceeds limits"));
        }
        let room = request.room.clone();
        let call = |reply| ApiCall::Update(Box::new(request), reply);
        participant_error(self.call(&room, call).await)
    }

    pub async fn update_subscriptions(
        &self,
        request: proto::UpdateSubscriptionsRequest,
    ) -> Result<proto::UpdateSubscriptionsResponse, ApiError> {
        let room = request.room.clone();
        self.call(&room, |reply| ApiCall::Subscribe(request, reply))
            .await
    }

    pub async fn send_data(
        &self,
        request: proto::SendDataRequest,
    ) -> Result<proto::SendDataResponse, ApiError> {
        if !request.nonce.is_empty() && request.nonce.len() != NONCE_LEN {
            let message = format!(
                "nonce should be 16-bytes or not present, got: {} bytes",
                request.nonce.len()
            );
            return Err(ApiError::new(ApiCode::InvalidArgument, message));
        }
        let room = request.room.clone();
        self.call(&room, |reply| ApiCall::SendData(request, reply))
            .await
    }

    pub async fn update_room_metadata(
        &self,
        request: proto::UpdateRoomMetadataRequest,
    ) -> Result<proto::Room, ApiError> {
        self.check_metadata(&request.metadata)?;
        let call = |reply| ApiCall::UpdateMetadata(request.metadata, reply);
        self.call(&request.room, call).await
    }

    fn check_metadata(&self, metadata: &str) -> Result<(), ApiError> {
        if within(metadata.len(), self.settings().max_metadata_size) {
            Ok(())
        } else {
            Err(invalid("metadata size exceeds limits"))
        }
    }
}

fn invalid(message: &str) -> ApiError {
    ApiError::new(ApiCode::InvalidArgument, message)
}

/// A participant of a room that is not there is not there either; that is what LiveKit's store
/// says.
fn participant_error<T>(result: Result<T, ApiError>) -> Result<T, ApiError> {
    result.map_err(|error| match error.code {
        ApiCode::NotFound => ApiError::participant_not_found(),
        _ => error,
    })
}

impl Room {
    pub(super) fn api(&mut self, call: ApiCall) {
        match call {
            ApiCall::Create(request, reply) => {
                let before = self.to_proto();
                self.configure(&request);
                let room = self.to_proto();
                if room != before {
                    self.room_changed(room.metadata != before.metadata);
                    self.watch_emptiness();
                }
                answer(reply, Ok(room));
            }
            ApiCall::Describe(reply) => answer(reply, Ok(self.to_proto())),
            ApiCall::ListParticipants(reply) => {
                let participants = self.participants.values().map(Participant::info).collect();
                answer(reply, Ok(proto::ListParticipantsResponse { participants }));
            }
            ApiCall::Participant(identity, reply) => {
                let info = self
                    .find(&identity)
                    .map(|(_, participant)| participant.info());
                answer(reply, info);
            }
            ApiCall::Remove(identity, reply) => {
                let found = self.find(&identity).map(|(id, _)| id);
                let removed = found.map(|id| {
                    self.remove(id, CloseReason::Removed);
                    proto::RemoveParticipantResponse {}
                });
                answer(reply, removed);
            }
            ApiCall::Mute(request, reply) => {
                let result = self.mute_by_api(&request);
                answer(reply, result);
            }
            ApiCall::Update(request, reply) => {
                let result = self.update_by_api(*request);
                answer(reply, result);
            }
            ApiCall::Subscribe(request, reply) => {
                let found = self.find(&request.identity).map(|(id, _)| id);
                let result = found.map(|id| {
                    self.update_subscriptions(
                        id,
                        &request.track_sids,
                        &request.participant_tracks,
                        request.subscribe,
                    );
                    proto::UpdateSubscriptionsResponse {}
                });
                answer(reply, result);
            }
            ApiCall::SendData(request, reply) => {
                self.send_data(request);
                answer(reply, Ok(proto::SendDataResponse {}));
            }
            ApiCall::UpdateMetadata(metadata, reply) => {
                self.metadata = metadata;
                self.memos.room_changed = true;
                self.room_changed(true);
                answer(reply, Ok(self.to_proto()));
            }
        }
    }

    fn find(&self, identity: &str) -> Result<(ParticipantId, &Participant), ApiError> {
        let id = self.by_identity(identity);
        id.and_then(|id| Some((id, self.participant(id)?)))
            .ok_or_else(ApiError::participant_not_found)
    }

    fn mute_by_api(
        &mut self,
        request: &proto::MuteRoomTrackRequest,
    ) -> Result<proto::MuteRoomTrackResponse, ApiError> {
        let (id, _) = self.find(&request.identity)?;
        // The client mutes its device; until it does, nothing is forwarded.
        self.send_to(
            id,
            Message::Mute(proto::MuteTrackRequest {
                sid: request.track_sid.clone(),
                muted: request.muted,
            }),
        );
        let track = self.set_muted(id, &request.track_sid, request.muted);
        Ok(proto::MuteRoomTrackResponse { track })
    }

    fn update_by_api(
        &mut self,
        request: proto::UpdateParticipantRequest,
    ) -> Result<proto::ParticipantInfo, ApiError> {
        let (id, _) = self.find(&request.identity)?;
        let update = MetadataUpdate {
            name: request.name,
            metadata: request.metadata,
            attributes: request.attributes.into_iter().collect(),
        };
        self.update_metadata(id, update).map_err(invalid)?;
        if let Some(permission) = &request.permission {
            self.set_permission(id, permission);
        }
        self.find(&request.identity)
            .map(|(_, participant)| participant.info())
    }

    #[expect(
        deprecated,
        reason = "old clients read who shall get a message in its payload"
    )]
    fn send_data(&self, request: proto::SendDataRequest) {
        // Destinations are named by label, which is the identity.
        let mut identities = request.destination_identities.clone();
        identities.extend(
            request
                .destination_sids
                .iter()
                .filter_map(|sid| self.by_sid(sid).map(|p| p.identity.clone())),
        );
        let named =
            !(request.destination_identities.is_empty() && request.destination_sids.is_empty());
        if named && identities.is_empty() {
            // Those it is for have left; nobody else may get it.
            return;
        }
        let reliable = request.kind() == proto::data_packet::Kind::Reliable;
        let packet = proto::DataPacket {
            kind: request.kind,
            destination_identities: identities.clone(),
            value: Some(proto::data_packet::Value::User(proto::UserPacket {
                payload: request.data,
                destination_sids: request.destination_sids,
                destination_identities: identities,
                topic: request.topic,
                nonce: request.nonce,
                ..Default::default()
            })),
            ..Default::default()
        };
        self.command(Command::SendData(Box::new(SendData {
            group: self.group,
            reliable,
            packet: packet.encode_to_vec().into(),
        })));
    }
}

/// The caller may have gone.
fn answer<T>(reply: Reply<T>, result: Result<T, ApiError>) {
    let _ = reply.send(result);
}
