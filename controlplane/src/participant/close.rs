//! Why a participant goes, and what its client is told to do about it.

use livekit_protocol as proto;
use proto::DisconnectReason;
use proto::leave_request::Action;

/// Every way a session ends. Logs name it; clients get the coarser [`DisconnectReason`].
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum CloseReason {
    ClientLeft,
    UserUnavailable,
    UserRejected,
    AgentError,
    ServerShutdown,
    JoinTimeout,
    /// The shard takes no more transports.
    NoCapacity,
    TransportFailed,
    DuplicateIdentity,
    Removed,
    RoomDeleted,
    RoomClosed,
    SignalClosed,
    NegotiationFailed,
    PublicationError,
    /// All media ended with the data plane.
    DataplaneLost,
    SimulatedNodeFailure,
    SimulatedMigration,
}

impl CloseReason {
    /// The reason in a client's own leave request.
    pub(crate) fn of_leave(reason: DisconnectReason) -> Self {
        match reason {
            DisconnectReason::UserUnavailable => Self::UserUnavailable,
            DisconnectReason::UserRejected => Self::UserRejected,
            DisconnectReason::AgentError => Self::AgentError,
            _ => Self::ClientLeft,
        }
    }

    pub(crate) const fn disconnect_reason(self) -> DisconnectReason {
        match self {
            Self::ClientLeft => DisconnectReason::ClientInitiated,
            Self::UserUnavailable => DisconnectReason::UserUnavailable,
            Self::UserRejected => DisconnectReason::UserRejected,
            Self::AgentError => DisconnectReason::AgentError,
            Self::ServerShutdown | Self::DataplaneLost | Self::SimulatedNodeFailure => {
                DisconnectReason::ServerShutdown
            }
            Self::JoinTimeout | Self::NoCapacity => DisconnectReason::JoinFailure,
            Self::TransportFailed => DisconnectReason::ConnectionTimeout,
            Self::DuplicateIdentity => DisconnectReason::DuplicateIdentity,
            Self::Removed => DisconnectReason::ParticipantRemoved,
            Self::RoomDeleted => DisconnectReason::RoomDeleted,
            Self::RoomClosed => DisconnectReason::RoomClosed,
            Self::SignalClosed => DisconnectReason::SignalClose,
            Self::NegotiationFailed | Self::PublicationError => DisconnectReason::StateMismatch,
            Self::SimulatedMigration => DisconnectReason::Migration,
        }
    }

    /// What the client of a room that ends is to do.
    pub(crate) const fn action(self) -> Action {
        match self {
            Self::DataplaneLost => Action::Reconnect,
            _ => Action::Disconnect,
        }
    }
}

/// The request to leave, in the words the client's protocol has. Older clients know only whether
/// to reconnect; a resume cannot be asked of them.
pub(crate) fn leave_request(
    reason: DisconnectReason,
    action: Action,
    supports_action: bool,
) -> Option<proto::LeaveRequest> {
    if supports_action {
        return Some(proto::LeaveRequest {
            reason: reason.into(),
            action: action.into(),
            ..Default::default()
        });
    }
    (action != Action::Resume).then(|| proto::LeaveRequest {
        reason: reason.into(),
        can_reconnect: action == Action::Reconnect,
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_clients_get_can_reconnect() {
        let reason = DisconnectReason::StateMismatch;
        let new = leave_request(reason, Action::Reconnect, true).unwrap();
        assert_eq!(
            (new.action(), new.can_reconnect),
            (Action::Reconnect, false)
        );
        let old = leave_request(reason, Action::Reconnect, false).unwrap();
        assert_eq!(
            (old.action(), old.can_reconnect),
            (Action::Disconnect, true)
        );
        assert_eq!(leave_request(reason, Action::Resume, false), None);
    }
}
