//! Errors in Twirp's form (Twirp wire protocol v7, "Error Codes").

use axum::Json;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::room::ApiError;

/// The codes that this server answers with of its own; rooms bring theirs.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Code {
    BadRoute,
    Malformed,
    Unauthenticated,
    ResourceExhausted,
    DeadlineExceeded,
    Unimplemented,
    Unavailable,
    Internal,
}

impl Code {
    const fn text_and_status(self) -> (&'static str, StatusCode) {
        match self {
            Self::BadRoute => ("bad_route", StatusCode::NOT_FOUND),
            Self::Malformed => ("malformed", StatusCode::BAD_REQUEST),
            Self::Unauthenticated => ("unauthenticated", StatusCode::UNAUTHORIZED),
            Self::ResourceExhausted => ("resource_exhausted", StatusCode::TOO_MANY_REQUESTS),
            Self::DeadlineExceeded => ("deadline_exceeded", StatusCode::REQUEST_TIMEOUT),
            Self::Unimplemented => ("unimplemented", StatusCode::NOT_IMPLEMENTED),
            Self::Unavailable => ("unavailable", StatusCode::SERVICE_UNAVAILABLE),
            Self::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TwirpError {
    code: &'static str,
    status: StatusCode,
    msg: String,
    /// Present in errors of routing: method and path, as Twirp's servers state them.
    invalid_route: Option<String>,
}

impl TwirpError {
    pub(super) fn new(code: Code, msg: impl Into<String>) -> Self {
        let (code, status) = code.text_and_status();
        Self {
            code,
            status,
            msg: msg.into(),
            invalid_route: None,
        }
    }

    pub(super) fn bad_route(msg: impl Into<String>, method: &Method, path: &str) -> Self {
        Self {
            invalid_route: Some(format!("{method} {path}")),
            ..Self::new(Code::BadRoute, msg)
        }
    }
}

impl From<ApiError> for TwirpError {
    fn from(error: ApiError) -> Self {
        Self {
            code: error.code.as_str(),
            status: StatusCode::from_u16(error.code.status())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            msg: error.msg,
            invalid_route: None,
        }
    }
}

impl IntoResponse for TwirpError {
    fn into_response(self) -> Response {
        let mut body = json!({ "code": self.code, "msg": self.msg });
        if let Some(route) = self.invalid_route {
            body["meta"] = json!({ "twirp_invalid_route": route });
        }
        (self.status, Json(body)).into_response()
    }
}
