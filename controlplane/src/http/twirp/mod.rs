//! The server API: Twirp calls in protobuf or JSON.

mod descriptor;
mod error;
mod json;
mod room_service;
mod unconnected;

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use prost_reflect::MethodDescriptor;

use self::error::{Code, TwirpError};
use super::bearer::Refused;
use super::{Site, bearer};
use crate::auth::{Claims, Permission};

/// How long one call may take when the caller names no time.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a caller may take over its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Encoding {
    Protobuf,
    Json,
}

/// Answers `POST /twirp/<service>/<method>`.
pub(super) async fn call(
    State(site): State<Site>,
    Path((service, method)): Path<(String, String)>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    // As in LiveKit, a bad token is refused before anything else is looked at, and a missing one
    // where the call needs it.
    let claims = match bearer::claims(&parts, &site) {
        Ok(claims) => claims,
        Err(refused) => {
            let code = match refused {
                Refused::Unauthorized(_) => Code::Unauthenticated,
                Refused::TooMany => Code::ResourceExhausted,
            };
            return TwirpError::new(code, refused.text()).into_response();
        }
    };
    let (descriptor, encoding) = match route(&parts, &service, &method) {
        Ok(route) => route,
        Err(error) => return error.into_response(),
    };
    // Every call needs a grant: without a token no body is worth its memory.
    let Some(claims) = claims else {
        return TwirpError::new(Code::Unauthenticated, "permissions denied").into_response();
    };
    let body = match read(
        body,
        &parts.headers,
        site.settings.api_request_body_size_limit,
    )
    .await
    {
        Ok(body) => body,
        Err(response) => return response,
    };
    let answered = tokio::time::timeout(
        time_allowed(&parts.headers),
        answer(&site, &claims, &descriptor, encoding, body),
    );
    let answer = answered.await.unwrap_or_else(|_| {
        Err(TwirpError::new(
            Code::DeadlineExceeded,
            "the call took longer than allowed",
        ))
    });
    match answer {
        Ok(body) => {
            let content_type = match encoding {
                Encoding::Protobuf => "application/protobuf",
                Encoding::Json => "application/json",
            };
            ([(header::CONTENT_TYPE, content_type)], body).into_response()
        }
        Err(error) => {
            tracing::debug!(method, ?error, "API call refused");
            error.into_response()
        }
    }
}

fn route(
    parts: &Parts,
    service: &str,
    method: &str,
) -> Result<(MethodDescriptor, Encoding), TwirpError> {
    let path = parts.uri.path();
    let bad_route = |msg| TwirpError::bad_route(msg, &parts.method, path);
    if parts.method != Method::POST {
        let msg = format!(
            "unsupported method \"{}\" (only POST is allowed)",
            parts.method
        );
        return Err(bad_route(msg));
    }
    let descriptor = descriptor::method(service, method)
        .ok_or_else(|| bad_route(format!("no handler for path {path:?}")))?;
    let content_type = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let encoding = match essence.to_ascii_lowercase().as_str() {
        "application/json" => Encoding::Json,
        "application/protobuf" => Encoding::Protobuf,
        _ => {
            return Err(bad_route(format!(
                "unexpected Content-Type: {content_type:?}"
            )));
        }
    };
    Ok((descriptor, encoding))
}

async fn read(
    body: axum::body::Body,
    headers: &HeaderMap,
    limit: usize,
) -> Result<Bytes, Response> {
    let too_large = || (StatusCode::PAYLOAD_TOO_LARGE, "request body too large").into_response();
    let limit = if limit == 0 { usize::MAX } else { limit };
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|len| len > limit) {
        return Err(too_large());
    }
    let reading = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, limit).collect());
    let Ok(read) = reading.await else {
        let error = TwirpError::new(Code::DeadlineExceeded, "the request came too slowly");
        return Err(error.into_response());
    };
    match read {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => {
            let error = TwirpError::new(Code::Malformed, "failed to read request body");
            Err(error.into_response())
        }
    }
}

/// `X-Twirp-Timeout-Ms` where the caller gives it.
fn time_allowed(headers: &HeaderMap) -> Duration {
    headers
        .get("x-twirp-timeout-ms")
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map_or(CALL_TIMEOUT, |millis| {
            Duration::from_millis(millis).min(CALL_TIMEOUT)
        })
}

/// Turns the body into protobuf, has the service answer, and turns the answer back.
async fn answer(
    site: &Site,
    claims: &Claims,
    method: &MethodDescriptor,
    encoding: Encoding,
    body: Bytes,
) -> Result<Bytes, TwirpError> {
    let body = match encoding {
        Encoding::Protobuf => body,
        Encoding::Json => json::decode(method.input(), &body)
            .ok_or_else(|| {
                TwirpError::new(Code::Malformed, "the json request could not be decoded")
            })?
            .into(),
    };
    let service = method.parent_service().name().to_owned();
    let answer = if service == "RoomService" {
        room_service::call(&site.rooms, claims, method.name(), body).await?
    } else {
        return Err(unconnected::refuse(claims, &service, method, &body));
    };
    match encoding {
        Encoding::Protobuf => Ok(answer.into()),
        Encoding::Json => json::encode(method.output(), &answer)
            .map(Bytes::from)
            .ok_or_else(|| TwirpError::new(Code::Internal, "failed to marshal json response")),
    }
}

/// LiveKit answers a missing grant as it answers a missing token.
fn permit(claims: &Claims, permission: Permission<'_>) -> Result<(), TwirpError> {
    if claims.permits(permission) {
        Ok(())
    } else {
        Err(TwirpError::new(Code::Unauthenticated, "permissions denied"))
    }
}

fn decode<M: prost::Message + Default>(body: Bytes) -> Result<M, TwirpError> {
    M::decode(body)
        .map_err(|_| TwirpError::new(Code::Malformed, "the protobuf request could not be decoded"))
}
