//! Why a join or an API call is refused.

/// A refused join, as an HTTP response before the upgrade.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{status}: {message}")]
pub struct JoinError {
    pub status: u16,
    pub message: String,
}

impl JoinError {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    pub(crate) fn permission_denied() -> Self {
        Self::new(401, "permissions denied")
    }

    /// The phrase tells clients not to fall back to the older join (it is matched literally).
    pub(crate) fn room_not_found() -> Self {
        Self::new(404, ROOM_NOT_FOUND)
    }
}

pub(crate) const ROOM_NOT_FOUND: &str = "requested room does not exist";
pub(crate) const PARTICIPANT_NOT_FOUND: &str = "participant does not exist";

/// The kinds of failure of an API call, by their Twirp names.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ApiCode {
    InvalidArgument,
    NotFound,
    FailedPrecondition,
    ResourceExhausted,
    Unavailable,
    Internal,
}

impl ApiCode {
    /// The `code` of a Twirp error.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::NotFound => "not_found",
            Self::FailedPrecondition => "failed_precondition",
            Self::ResourceExhausted => "resource_exhausted",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status that Twirp gives it.
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidArgument => 400,
            Self::NotFound => 404,
            Self::FailedPrecondition => 412,
            Self::ResourceExhausted => 429,
            Self::Unavailable => 503,
            Self::Internal => 500,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{msg}")]
pub struct ApiError {
    pub code: ApiCode,
    pub msg: String,
}

impl ApiError {
    pub(crate) fn new(code: ApiCode, msg: impl Into<String>) -> Self {
        Self {
            code,
            msg: msg.into(),
        }
    }

    pub(crate) fn room_not_found() -> Self {
        Self::new(ApiCode::NotFound, ROOM_NOT_FOUND)
    }

    pub(crate) fn participant_not_found() -> Self {
        Self::new(ApiCode::NotFound, PARTICIPANT_NOT_FOUND)
    }
}
