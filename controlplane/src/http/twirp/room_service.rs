//! `livekit.RoomService`.

use axum::body::Bytes;
use livekit_protocol as proto;
use prost::Message;

use super::error::{Code, TwirpError};
use super::{decode, permit};
use crate::auth::{Claims, Permission};
use crate::room::{ApiError, Rooms};

/// Answers an encoded request with an encoded response.
pub(super) async fn call(
    rooms: &Rooms,
    claims: &Claims,
    method: &str,
    body: Bytes,
) -> Result<Vec<u8>, TwirpError> {
    match method {
        "CreateRoom" => {
            let request: proto::CreateRoomRequest = decode(body)?;
            permit(claims, Permission::RoomCreate)?;
            if request.egress.is_some() {
                return Err(TwirpError::new(Code::Internal, super::unconnected::EGRESS));
            }
            encode(rooms.create_room(request).await)
        }
        "ListRooms" => {
            let request: proto::ListRoomsRequest = decode(body)?;
            permit(claims, Permission::RoomList)?;
            encode(rooms.list_rooms(request).await)
        }
        "DeleteRoom" => {
            let request: proto::DeleteRoomRequest = decode(body)?;
            permit(claims, Permission::RoomCreate)?;
            encode(rooms.delete_room(request).await)
        }
        "UpdateRoomMetadata" => {
            let request: proto::UpdateRoomMetadataRequest = decode(body)?;
            permit(claims, Permission::RoomAdmin(&request.room))?;
            encode(rooms.update_room_metadata(request).await)
        }
        "SendData" => {
            let request: proto::SendDataRequest = decode(body)?;
            permit(claims, Permission::RoomAdmin(&request.room))?;
            encode(rooms.send_data(request).await)
        }
        "ForwardParticipant" | "MoveParticipant" | "PerformRpc" => unbuilt(claims, method, body),
        _ => participant_call(rooms, claims, method, body).await,
    }
}

async fn participant_call(
    rooms: &Rooms,
    claims: &Claims,
    method: &str,
    body: Bytes,
) -> Result<Vec<u8>, TwirpError> {
    let admin = |room: &str| permit(claims, Permission::RoomAdmin(room));
    match method {
        "ListParticipants" => {
            let request: proto::ListParticipantsRequest = decode(body)?;
            admin(&request.room)?;
            encode(rooms.list_participants(request).await)
        }
        "GetParticipant" => {
            let request: proto::RoomParticipantIdentity = decode(body)?;
            admin(&request.room)?;
            encode(rooms.get_participant(request).await)
        }
        "RemoveParticipant" => {
            let request: proto::RoomParticipantIdentity = decode(body)?;
            admin(&request.room)?;
            encode(rooms.remove_participant(request).await)
        }
        "MutePublishedTrack" => {
            let request: proto::MuteRoomTrackRequest = decode(body)?;
            admin(&request.room)?;
            encode(rooms.mute_published_track(request).await)
        }
        "UpdateParticipant" => {
            let request: proto::UpdateParticipantRequest = decode(body)?;
            admin(&request.room)?;
            encode(rooms.update_participant(request).await)
        }
        "UpdateSubscriptions" => {
            let request: proto::UpdateSubscriptionsRequest = decode(body)?;
            admin(&request.room)?;
            encode(rooms.update_subscriptions(request).await)
        }
        _ => Err(unimplemented(method)),
    }
}

/// Calls of LiveKit's cloud, and those not there yet: permitted or not, then unimplemented.
fn unbuilt(claims: &Claims, method: &str, body: Bytes) -> Result<Vec<u8>, TwirpError> {
    match method {
        "ForwardParticipant" => {
            let request: proto::ForwardParticipantRequest = decode(body)?;
            let (room, destination) = (&request.room, &request.destination_room);
            permit(claims, Permission::RoomAdminTo { room, destination })?;
        }
        "MoveParticipant" => {
            let request: proto::MoveParticipantRequest = decode(body)?;
            let (room, destination) = (&request.room, &request.destination_room);
            permit(claims, Permission::RoomAdminTo { room, destination })?;
        }
        _ => {
            let request: proto::PerformRpcRequest = decode(body)?;
            permit(claims, Permission::RoomAdmin(&request.room))?;
        }
    }
    Err(unimplemented(method))
}

fn unimplemented(method: &str) -> TwirpError {
    TwirpError::new(
        Code::Unimplemented,
        format!("{method} is not supported by this server"),
    )
}

fn encode<M: Message>(result: Result<M, ApiError>) -> Result<Vec<u8>, TwirpError> {
    Ok(result?.encode_to_vec())
}
