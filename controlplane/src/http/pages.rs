//! Health, and the demo page.

use std::time::SystemTime;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use super::Site;
use crate::auth::{self, Claims, VALIDITY_DEFAULT, VideoGrant};

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("demo/", $name)))),*]
    };
}

/// Files of the demo page. The page names them by `/demo/<file>`.
const FILES: &[(&str, &[u8])] = files![
    "index.html",
    "style.css",
    "call.css",
    "app.js",
    "call.js",
    "capture.js",
    "chat.js",
    "form.js",
    "layout.js",
    "picture.js",
    "preview.js",
    "stats.js",
    "ticker.js",
    "tile.js",
    "tiles.js",
    "livekit-client.umd.js",
    "logo.svg",
    "licenses.txt",
];

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    }
}

pub(super) async fn health(State(site): State<Site>) -> Response {
    if site.rooms.is_ready() {
        "OK".into_response()
    } else {
        let text = "Not Ready: the data plane is not connected";
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

pub(super) async fn demo() -> Response {
    file("index.html")
}

pub(super) async fn demo_file(Path(name): Path<String>) -> Response {
    file(&name)
}

fn file(name: &str) -> Response {
    FILES.iter().find(|(known, _)| *known == name).map_or_else(
        || StatusCode::NOT_FOUND.into_response(),
        |(name, body)| ([(header::CONTENT_TYPE, content_type(name))], *body).into_response(),
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
