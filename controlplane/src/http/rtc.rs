//! Joining: `/rtc` and `/rtc/v1`, each with a check that does not join.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;

use super::bearer::{RETRY_AFTER, Refused};
use super::join_params::{self, Reading};
use super::listen::Place;
use super::refusals::Limit;
use super::signal_socket::{self, SignalSocket};
use super::websocket::{self, WebSocket};
use super::{Site, bearer};
use crate::auth::Claims;
use crate::room::{JoinError, JoinParams};

/// How long a room may take over a join. LiveKit tries for 3 + 4 + 5 s.
const JOIN_TIMEOUT: Duration = Duration::from_secs(12);

pub(super) async fn validate_v0(State(site): State<Site>, request: Request) -> Response {
    validate(&site, request, false).await
}

pub(super) async fn validate_v1(State(site): State<Site>, request: Request) -> Response {
    validate(&site, request, true).await
}

pub(super) async fn join_v0(State(site): State<Site>, request: Request) -> Response {
    join(site, request, false).await
}

pub(super) async fn join_v1(State(site): State<Site>, request: Request) -> Response {
    join(site, request, true).await
}

async fn validate(site: &Site, request: Request, v1: bool) -> Response {
    let (parts, _) = request.into_parts();
    let reading = Reading { v1, strict: true };
    let (claims, params) = match admission(site, &parts, reading) {
        Ok(admission) => admission,
        Err(unfit) => return unfit.into_response(),
    };
    if !params.reconnect && !site.visits.may_join(bearer::remote(&parts)) {
        return too_many_joins();
    }
    match site.rooms.validate(&claims, &params).await {
        Ok(()) => "success".into_response(),
        Err(error) => refusal(&error),
    }
}

/// A room is asked before the protocol is switched: a refusal is then an HTTP status, which is all
/// a browser tells the page of a failed socket's second try.
async fn join(site: Site, request: Request, v1: bool) -> Response {
    let (mut parts, _) = request.into_parts();
    if !asks_for_upgrade(&parts.headers) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let reading = Reading { v1, strict: false };
    let (claims, params) = match admission(&site, &parts, reading) {
        Ok(admission) => admission,
        Err(unfit) => return unfit.into_response(),
    };
    let remote = bearer::remote(&parts);
    let resumes = params.reconnect && site.visits.resume(&claims);
    if !resumes && !charge_join(&site, remote) {
        return too_many_joins();
    }
    let (response, upgrade) = match websocket::accept(&mut parts) {
        Ok(accepted) => accepted,
        Err(refusal) => return refusal.into_response(),
    };
    let joined = tokio::time::timeout(JOIN_TIMEOUT, site.rooms.join(claims, params)).await;
    let session = match joined {
        Ok(Ok(session)) => session,
        Ok(Err(error)) => return refusal(&error),
        Err(_) => {
            let text = "timed out while waiting for signal response";
            return (StatusCode::INTERNAL_SERVER_ERROR, text).into_response();
        }
    };
    // The room did not know the session.
    if resumes && session.participant_sid.is_empty() && !charge_join(&site, remote) {
        return too_many_joins();
    }
    let place = parts.extensions.remove::<Place>();
    if let Some(place) = &place {
        place.recognise();
    }
    let open = site.sockets.open();
    let len_max = message_len_max(&site);
    tokio::spawn(async move {
        // One that failed is a client that went away: dropping the session says so.
        let Ok(upgraded) = upgrade.await else {
            return;
        };
        let socket = WebSocket::new(TokioIo::new(upgraded), len_max);
        SignalSocket::new(socket, session, open).run().await;
        drop(place);
    });
    response
}

/// False when the address has joined too often.
fn charge_join(site: &Site, remote: IpAddr) -> bool {
    let allowed = site.visits.join(remote);
    if !allowed {
        site.sockets.refused(Limit::JoinsPerAddress);
        if let Some(untold) = site.visits.refuse_join() {
            // With the address: it tells a proxy, for which the limit is to be raised, from a flood.
            tracing::info!(
                %remote,
                untold,
                "a join was refused: its address joins more often than limit.joins_per_address"
            );
        }
    }
    allowed
}

fn message_len_max(site: &Site) -> usize {
    match site.settings.signal_message_size_limit {
        0 => signal_socket::MESSAGE_LEN_MAX,
        limit => limit.min(signal_socket::MESSAGE_LEN_MAX),
    }
}

/// Token and parameters of a join.
fn admission(site: &Site, parts: &Parts, reading: Reading) -> Result<(Claims, JoinParams), Unfit> {
    let claims = bearer::required(parts, site).map_err(Unfit::Token)?;
    let params = join_params::parse(parts, bearer::remote(parts), reading);
    Ok((claims, params.map_err(Unfit::Params)?))
}

/// Why no room is asked.
#[derive(Debug)]
enum Unfit {
    Token(Refused),
    Params(&'static str),
}

impl IntoResponse for Unfit {
    fn into_response(self) -> Response {
        match self {
            Self::Token(refused) => refused.into_response(),
            Self::Params(text) => (StatusCode::BAD_REQUEST, text).into_response(),
        }
    }
}

/// With the status and the words that LiveKit has for a node at its limits: clients try again after
/// it, as they would not after a status that begins with 4.
fn too_many_joins() -> Response {
    let text = "node has exceeded its configured limit: joins of one address";
    (StatusCode::SERVICE_UNAVAILABLE, [RETRY_AFTER], text).into_response()
}

fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    let names = |name, token: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|each| each.trim().eq_ignore_ascii_case(token))
    };
    names(header::CONNECTION, "upgrade") && names(header::UPGRADE, "websocket")
}

fn refusal(error: &JoinError) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, error.message.clone()).into_response()
}
