//! Health, and the demo page.

use std::time::SystemTime;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use super::Site;
use crate::auth::{self, Claims, VALIDITY_DEFAULT, VideoGrant};

/// Files of the demo page with their types. The page names them by `/demo/<file>`.
const FILES: &[(&str, &str, &[u8])] = &[(
    "index.html",
    "text/html; charset=utf-8",
    include_bytes!("demo/index.html"),
)];

pub(super) async fn health() -> &'static str {
    "OK"
}

pub(super) async fn demo() -> Response {
    file("index.html")
}

pub(super) async fn demo_file(Path(name): Path<String>) -> Response {
    file(&name)
}

fn file(name: &str) -> Response {
    FILES
        .iter()
        .find(|(known, _, _)| *known == name)
        .map_or_else(
            || StatusCode::NOT_FOUND.into_response(),
            |(_, content_type, body)| {
                ([(header::CONTENT_TYPE, *content_type)], *body).into_response()
            },
        )
}

#[derive(Debug, Deserialize)]
pub(super) struct TokenQuery {
    room: String,
    identity: String,
}

/// A token for whoever asks: in development only.
pub(super) async fn demo_token(
    State(site): State<Site>,
    Query(query): Query<TokenQuery>,
) -> Response {
    if !site.settings.development {
        return StatusCode::NOT_FOUND.into_response();
    }
    let claims = Claims {
        name: query.identity.clone(),
        sub: query.identity,
        video: Some(VideoGrant {
            room_join: true,
            room: query.room,
            can_update_own_metadata: Some(true),
            ..VideoGrant::default()
        }),
        ..Claims::default()
    };
    match auth::mint(
        &site.settings.keys,
        &claims,
        SystemTime::now(),
        VALIDITY_DEFAULT,
    ) {
        Ok(token) => ([(header::CACHE_CONTROL, "no-store")], token).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
