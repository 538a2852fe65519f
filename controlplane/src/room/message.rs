//! What a room's mailbox takes.

use std::collections::BTreeMap;

use livekit_protocol as proto;
use millrace_shared::ids::{DownTrackId, TrackId};
use millrace_shared::link::{self, TrackReport, TransportReport};
use tokio::sync::oneshot;

use super::error::{ApiError, JoinError};
use super::requests::Requests;
use crate::auth::Claims;
use crate::participant::signal::{ConnectionId, Responses};
use crate::participant::{CloseReason, ParticipantId};

/// Messages waiting for one room. Senders wait when it is full, so that a room that has to catch
/// up slows its own clients; reports are dropped instead.
pub(crate) const MAILBOX_MAX: usize = 1024;

/// How a client wants to join, as its URL or its join request says.
#[derive(Clone, PartialEq, Debug)]
pub struct JoinParams {
    /// Named in the URL. Counts only where the token names no room.
    pub room: String,
    pub client_info: proto::ClientInfo,
    pub auto_subscribe: bool,
    pub adaptive_stream: bool,
    /// Resume the session `participant_sid`.
    pub reconnect: bool,
    pub participant_sid: String,
    pub reconnect_reason: i32,
    pub disable_ice_lite: bool,
    /// A second, publish-only session of the same user: `identity#publish`.
    pub publish: String,
    /// Added to the token's, if it may update its own.
    pub attributes: BTreeMap<String, String>,
    /// Present with the newer join: one peer connection for both directions. It overrides what
    /// the fields above say.
    pub v1: Option<Box<proto::JoinRequest>>,
}

impl Default for JoinParams {
    fn default() -> Self {
        Self {
            room: String::new(),
            client_info: proto::ClientInfo::default(),
            auto_subscribe: true,
            adaptive_stream: false,
            reconnect: false,
            participant_sid: String::new(),
            reconnect_reason: 0,
            disable_ice_lite: false,
            publish: String::new(),
            attributes: BTreeMap::new(),
            v1: None,
        }
    }
}

/// One signal connection. The first response is already queued; dropping `requests` says that the
/// socket closed, the end of `responses` says that it shall close after what was sent.
#[derive(Debug)]
pub struct SignalSession {
    pub requests: Requests,
    pub responses: Responses,
    /// For logs; empty when the session was refused with a leave.
    pub room_sid: String,
    pub participant_sid: String,
}

/// A checked join.
#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) claims: Claims,
    pub(crate) params: JoinParams,
    pub(crate) reply: oneshot::Sender<Result<SignalSession, JoinError>>,
}

pub(crate) type Reply<T> = oneshot::Sender<Result<T, ApiError>>;

/// Calls of RoomService that concern one room.
#[derive(Debug)]
pub(crate) enum ApiCall {
    /// Creates, or changes what the request says of an existing room.
    Create(Box<proto::CreateRoomRequest>, Reply<proto::Room>),
    Describe(Reply<proto::Room>),
    ListParticipants(Reply<proto::ListParticipantsResponse>),
    Participant(String, Reply<proto::ParticipantInfo>),
    Remove(String, Reply<proto::RemoveParticipantResponse>),
    Mute(
        proto::MuteRoomTrackRequest,
        Reply<proto::MuteRoomTrackResponse>,
    ),
    Update(
        Box<proto::UpdateParticipantRequest>,
        Reply<proto::ParticipantInfo>,
    ),
    Subscribe(
        proto::UpdateSubscriptionsRequest,
        Reply<proto::UpdateSubscriptionsResponse>,
    ),
    SendData(proto::SendDataRequest, Reply<proto::SendDataResponse>),
    UpdateMetadata(String, Reply<proto::Room>),
}

/// The part of a shard's reports that concerns one room.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct RoomReports {
    pub(crate) up: Vec<(TrackId, TrackReport)>,
    pub(crate) down: Vec<(DownTrackId, TrackReport)>,
    pub(crate) transports: Vec<TransportReport>,
}

#[derive(Debug)]
pub(crate) enum RoomMessage {
    Join(Box<Join>),
    Request {
        participant: ParticipantId,
        connection: ConnectionId,
        request: Box<proto::SignalRequest>,
    },
    SignalClosed {
        participant: ParticipantId,
        connection: ConnectionId,
    },
    Event(link::Event),
    Reports(RoomReports),
    /// Boxed: a mailbox has room for 32 of the longest message, and calls are rare.
    Api(Box<ApiCall>),
    /// Everybody leaves and the room ends.
    Close(CloseReason, oneshot::Sender<()>),
    /// The task ends, and the room goes on without it.
    Detach(oneshot::Sender<()>),
}
