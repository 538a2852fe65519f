//! The token of a request.

use axum::http::header;
use axum::http::request::Parts;

use super::Site;
use crate::auth::{self, Claims};

const PREFIX: &str = "Bearer ";

/// Why a request's token was refused, for the status 401.
#[derive(Debug)]
pub(super) struct Refused(pub(super) String);

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
                Refused(format!(
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
        .map_err(|error| Refused(error.to_string()))
}

/// Claims of a request that cannot do without.
pub(super) fn required(parts: &Parts, site: &Site) -> Result<Claims, Refused> {
    // The text LiveKit has for a request without any token.
    claims(parts, site)?.ok_or_else(|| Refused("no permissions to access the room".into()))
}
