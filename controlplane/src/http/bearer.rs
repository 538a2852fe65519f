//! The token of a request.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Site;
use super::refusals::Limit;
use crate::auth::{self, Claims};

const PREFIX: &str = "Bearer ";

/// Why a request's token was refused.
#[derive(Debug)]
pub(super) enum Refused {
    Unauthorized(String),
    /// The address has shown too many bad ones.
    TooMany,
}

/// When to try again what was refused for its rate, in seconds.
pub(super) const RETRY_AFTER: (header::HeaderName, &str) = (header::RETRY_AFTER, "1");

impl Refused {
    pub(super) fn text(self) -> String {
        match self {
            Self::Unauthorized(text) => text,
            Self::TooMany => "too many invalid tokens".to_owned(),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Unauthorized(text) => (StatusCode::UNAUTHORIZED, text).into_response(),
            // A connection for each further guess.
            Self::TooMany => (
                StatusCode::TOO_MANY_REQUESTS,
                [RETRY_AFTER, (header::CONNECTION, "close")],
                self.text(),
            )
                .into_response(),
        }
    }
}

/// Whose request it is.
pub(super) fn remote(parts: &Parts) -> IpAddr {
    parts
        .extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(Ipv4Addr::UNSPECIFIED.into(), |info| info.0.ip())
}

/// Claims of the request's token; None without one. Browsers cannot set headers on a WebSocket: they
/// put it into the query.
pub(super) fn claims(parts: &Parts, site: &Site) -> Result<Option<Claims>, Refused> {
    let token = match parts.headers.get(header::AUTHORIZATION) {
        Some(value) => value
            .to_str()
            .ok()
            .and_then(|value| value.strip_prefix(PREFIX))
            .map(str::to_owned)
            .ok_or_else(|| {
                Refused::Unauthorized(format!(
                    "invalid authorization header. Must start with {PREFIX}"
                ))
            })?,
        None => super::join_params::query(parts)
            .remove("access_token")
            .unwrap_or_default(),
    };
    if token.is_empty() {
        return Ok(None);
    }
    auth::verify(&site.settings.keys, &token)
        .map(Some)
        .map_err(|error| refused(parts, site, error.to_string()))
}

/// A good token is taken of any address, however many bad ones came from it: others may live
/// behind it.
fn refused(parts: &Parts, site: &Site, text: String) -> Refused {
    if site.visits.refuse_token(remote(parts)) {
        return Refused::Unauthorized(text);
    }
    site.sockets.refused(Limit::RefusedTokensPerAddress);
    Refused::TooMany
}

/// Claims of a request that cannot do without.
pub(super) fn required(parts: &Parts, site: &Site) -> Result<Claims, Refused> {
    // The text LiveKit has for a request without any token.
    let text = "no permissions to access the room";
    claims(parts, site)?.ok_or_else(|| Refused::Unauthorized(text.into()))
}
