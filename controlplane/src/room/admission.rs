//! Who may join, and as what: the checks that need no room.

use livekit_protocol as proto;
use proto::leave_request::Action;
use proto::signal_response::Message;

use super::error::JoinError;
use super::message::{JoinParams, SignalSession};
use super::requests::Requests;
use super::settings::{Settings, within};
use crate::auth::Claims;
use crate::participant::client::Client;
use crate::participant::close::leave_request;
use crate::participant::signal::{ConnectionId, Overflow, Signal};

/// A join that may go on to its room.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) room: String,
    pub(crate) claims: Claims,
    pub(crate) params: JoinParams,
}

impl Admitted {
    pub(crate) fn may_create(&self) -> bool {
        self.claims.video.as_ref().is_some_and(|v| v.room_create)
    }

    /// What the token says of the room, for the case that it is new.
    pub(crate) fn create_request(&self) -> proto::CreateRoomRequest {
        // A configuration that cannot be read counts as none, as LiveKit has it.
        let config: proto::RoomConfiguration = self
            .claims
            .room_config
            .clone()
            .and_then(|value| serde_json::from_value(value).ok())
            .unwrap_or_default();
        proto::CreateRoomRequest {
            name: self.room.clone(),
            empty_timeout: config.empty_timeout,
            departure_timeout: config.departure_timeout,
            max_participants: config.max_participants,
            metadata: config.metadata,
            ..Default::default()
        }
    }
}

pub(crate) fn admit(
    settings: &Settings,
    mut claims: Claims,
    mut params: JoinParams,
) -> Result<Admitted, JoinError> {
    let Some(grant) = claims.video.as_mut().filter(|grant| grant.room_join) else {
        return Err(JoinError::permission_denied());
    };
    let room = if grant.room.is_empty() {
        params.room.clone()
    } else {
        grant.room.clone()
    };
    if claims.sub.is_empty() {
        return Err(JoinError::new(400, "identity cannot be empty"));
    }
    if !within(claims.sub.len(), settings.max_participant_identity_length) {
        return Err(too_long(
            "participant identity length exceeds limits",
            settings.max_participant_identity_length,
        ));
    }
    if room.is_empty() {
        return Err(JoinError::new(400, "no room name"));
    }
    if !within(room.len(), settings.max_room_name_length) {
        return Err(too_long(
            "room name length exceeds limits",
            settings.max_room_name_length,
        ));
    }
    if !params.publish.is_empty() {
        if !grant.publishes() {
            return Err(JoinError::permission_denied());
        }
        grant.can_subscribe = Some(false);
        claims.sub = format!("{}#{}", claims.sub, params.publish);
    }
    unfold_v1(&mut params);
    take_own_metadata(&mut claims, &params)?;
    check_sizes(settings, &claims)?;
    Ok(Admitted {
        room,
        claims,
        params,
    })
}

fn too_long(what: &str, max: usize) -> JoinError {
    JoinError::new(400, format!("{what}: max length {max}"))
}

/// The join request of the newer join says everything itself.
fn unfold_v1(params: &mut JoinParams) {
    let Some(request) = &params.v1 else {
        return;
    };
    let connection = request.connection_settings.unwrap_or_default();
    params.auto_subscribe = connection.auto_subscribe;
    params.adaptive_stream = connection.adaptive_stream;
    params.disable_ice_lite = connection.disable_ice_lite;
    params.reconnect = request.reconnect;
    params.reconnect_reason = request.reconnect_reason;
    params.participant_sid.clone_from(&request.participant_sid);
    if let Some(info) = &request.client_info {
        // Whoever terminates HTTP knows the client's address better than the client.
        let address = std::mem::take(&mut params.client_info.address);
        params.client_info = info.clone();
        if !address.is_empty() {
            params.client_info.address = address;
        }
    }
    params.attributes = request
        .participant_attributes
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
}

/// Metadata and attributes that the client brings itself. Empty ones delete nothing.
fn take_own_metadata(claims: &mut Claims, params: &JoinParams) -> Result<(), JoinError> {
    let metadata = params.v1.as_ref().map_or("", |v1| v1.metadata.as_str());
    if metadata.is_empty() && params.attributes.is_empty() {
        return Ok(());
    }
    let allowed = claims
        .video
        .as_ref()
        .is_some_and(crate::auth::VideoGrant::updates_own_metadata);
    if !allowed {
        return Err(JoinError::permission_denied());
    }
    if !metadata.is_empty() {
        claims.metadata = metadata.to_owned();
    }
    for (key, value) in &params.attributes {
        if !value.is_empty() {
            claims.attributes.insert(key.clone(), value.clone());
        }
    }
    Ok(())
}

fn check_sizes(settings: &Settings, claims: &Claims) -> Result<(), JoinError> {
    if !within(claims.metadata.len(), settings.max_metadata_size) {
        return Err(JoinError::new(400, "metadata size exceeds limits"));
    }
    if !within(
        attributes_size(&claims.attributes),
        settings.max_attributes_size,
    ) {
        return Err(JoinError::new(400, "attribute size exceeds limits"));
    }
    Ok(())
}

/// Bytes of all keys and values.
pub(crate) fn attributes_size<'a>(
    attributes: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> usize {
    attributes
        .into_iter()
        .map(|(key, value)| key.len() + value.len())
        .sum()
}

/// A session that only tells the client to join anew: we do not know the one it wants to resume.
pub(crate) fn refuse_resume(client_info: &proto::ClientInfo) -> SignalSession {
    let client = Client::new(client_info.clone());
    let (mut signal, responses) = Signal::new(ConnectionId::default(), Overflow::default());
    let leave = leave_request(
        proto::DisconnectReason::StateMismatch,
        Action::Reconnect,
        client.supports_leave_action(),
    );
    if let Some(leave) = leave {
        signal.send(Message::Leave(leave));
    }
    SignalSession {
        requests: Requests::to_nobody(),
        responses,
        room_sid: String::new(),
        participant_sid: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::VideoGrant;

    fn claims() -> Claims {
        Claims {
            sub: "alice".into(),
            video: Some(VideoGrant {
                room_join: true,
                room: "r".into(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn status(claims: Claims, params: JoinParams) -> u16 {
        admit(&Settings::default(), claims, params).map_or_else(|error| error.status, |_| 200)
    }

    #[test]
    fn who_may_not_join_is_told_why() {
        assert_eq!(status(claims(), JoinParams::default()), 200);

        let mut no_grant = claims();
        no_grant.video = None;
        assert_eq!(status(no_grant, JoinParams::default()), 401);

        let mut nobody = claims();
        nobody.sub = String::new();
        assert_eq!(status(nobody, JoinParams::default()), 400);

        let mut nowhere = claims();
        nowhere.video.as_mut().unwrap().room = String::new();
        assert_eq!(status(nowhere.clone(), JoinParams::default()), 400);
        let named = JoinParams {
            room: "x".into(),
            ..Default::default()
        };
        assert_eq!(status(nowhere, named), 200);

        let mut long = claims();
        long.sub = "x".repeat(257);
        assert_eq!(status(long, JoinParams::default()), 400);
    }

    #[test]
    fn own_attributes_need_the_right_to_update_them() {
        let params = JoinParams {
            attributes: [("k".to_owned(), "v".to_owned())].into(),
            ..Default::default()
        };
        assert_eq!(status(claims(), params.clone()), 401);
        let mut allowed = claims();
        allowed.video.as_mut().unwrap().can_update_own_metadata = Some(true);
        let admitted = admit(&Settings::default(), allowed, params).unwrap();
        assert_eq!(admitted.claims.attributes["k"], "v");
    }

    #[test]
    fn a_publish_only_session_has_its_own_identity() {
        let params = JoinParams {
            publish: "cam2".into(),
            ..Default::default()
        };
        let admitted = admit(&Settings::default(), claims(), params).unwrap();
        assert_eq!(admitted.claims.sub, "alice#cam2");
        assert!(!admitted.claims.video.unwrap().subscribes());
    }

    #[test]
    fn the_token_configures_a_new_room() {
        let mut claims = claims();
        claims.room_config = Some(serde_json::json!({
            "maxParticipants": 3, "emptyTimeout": 10, "departureTimeout": 5, "metadata": "m"
        }));
        let admitted = admit(&Settings::default(), claims, JoinParams::default()).unwrap();
        let request = admitted.create_request();
        assert_eq!(
            (
                request.max_participants,
                request.empty_timeout,
                request.departure_timeout
            ),
            (3, 10, 5)
        );
        assert_eq!(request.metadata, "m");
    }
}
