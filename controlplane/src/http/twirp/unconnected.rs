//! Services whose workers are separate processes, which cannot connect to this server yet. They
//! answer as LiveKit does where it runs without Redis.

use axum::body::Bytes;
use livekit_protocol as proto;
use prost::Message as _;
use prost_reflect::MethodDescriptor;

use super::error::{Code, TwirpError};
use super::permit;
use crate::auth::{Claims, Permission};

pub(super) const EGRESS: &str = "egress not connected (redis required)";
const INGRESS: &str = "ingress not connected (redis required)";
const SIP: &str = "sip not connected (redis required)";
const AGENTS: &str = "no agent worker is connected";

/// Why this call cannot be answered: first whether its token would permit it.
pub(super) fn refuse(
    claims: &Claims,
    service: &str,
    method: &MethodDescriptor,
    body: &Bytes,
) -> TwirpError {
    let (permission, code, msg) = match service {
        "Egress" => (Some(Permission::RoomRecord), Code::Internal, EGRESS),
        "Ingress" => (Some(Permission::IngressAdmin), Code::Internal, INGRESS),
        "SIP" => match method.name() {
            "CreateSIPParticipant" | "TransferSIPParticipant" => {
                (Some(Permission::SipCall), Code::Internal, SIP)
            }
            _ => (Some(Permission::SipAdmin), Code::Internal, SIP),
        },
        "AgentDispatchService" => {
            let room = room(body);
            return match permit(claims, Permission::RoomAdmin(&room)) {
                Ok(()) => TwirpError::new(Code::Unavailable, AGENTS),
                Err(denied) => denied,
            };
        }
        _ => (None, Code::Unimplemented, "not supported by this server"),
    };
    match permission.map(|permission| permit(claims, permission)) {
        Some(Err(denied)) => denied,
        _ => TwirpError::new(code, msg),
    }
}

/// The room of a dispatch request: field 2 in each of the three.
fn room(body: &Bytes) -> String {
    proto::ListAgentDispatchRequest::decode(body.clone())
        .map(|request| request.room)
        .unwrap_or_default()
}
