//! S18: tokens.

use std::time::Duration;

use livekit_protocol as proto;
use proto::request_response::Reason;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use serde_json::{Value, json};

use super::Attack;
use crate::arena::{Arena, Finding};
use crate::client::signal::Signal;
use crate::node::exchange;
use crate::outcome::Outcome;
use crate::token::{ApiKey, Grant, now, part};

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        id: "S18a",
        name: "tokens: no algorithm, another one, another issuer, no expiry, expired, not valid yet, \
               garbage, no grant",
        expected: "401 each",
        run: refused,
    },
    Attack {
        id: "S18b",
        name: "a token of a megabyte; metadata of 600 KiB",
        expected: "4xx each, or the connection is closed; the node answers others",
        run: enormous,
    },
    Attack {
        id: "S18c",
        name: "publishing without the permission; an identity twice; secrets in the log",
        expected: "NOT_ALLOWED; the older session leaves with DUPLICATE_IDENTITY; no secret, no token",
        run: rights,
    },
];

const BOTH: Grant = Grant {
    publish: true,
    subscribe: true,
};

fn status(arena: &Arena, token: &str) -> Outcome<u16> {
    let target = format!("/rtc/validate?access_token={token}");
    Ok(arena.node.get(&target)?.0)
}

fn refused(arena: &mut Arena) -> Outcome<Finding> {
    let key = arena.node.key.clone();
    let claims = key.claims("tokens", "eve", BOTH);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut changed = claims.clone();
        change(&mut changed);
        changed
    };
    let unsigned = format!("{}.{}.", part(&json!({"alg": "none"})), part(&claims));
    let stranger = ApiKey::new("another", &key.secret);
    let guesser = ApiKey::new(&key.name, "a guess");
    let cases = [
        ("alg none", unsigned),
        (
            "alg RS256",
            key.sign_with(&json!({"alg": "RS256"}), &claims),
        ),
        (
            "alg HS512",
            key.sign_with(&json!({"alg": "HS512"}), &claims),
        ),
        (
            "unknown key",
            stranger.sign(&stranger.claims("tokens", "eve", BOTH)),
        ),
        ("wrong secret", guesser.sign(&claims)),
        ("no expiry", key.sign(&with(&|it| it["exp"] = Value::Null))),
        (
            "expired",
            key.sign(&with(&|it| it["exp"] = json!(now() - 600))),
        ),
        (
            "not yet",
            key.sign(&with(&|it| it["nbf"] = json!(now() + 600))),
        ),
        ("no grant", key.sign(&with(&|it| it["video"] = Value::Null))),
        ("garbage", "a.b.c".to_owned()),
        ("nothing", String::new()),
    ];
    let mut wrong = Vec::new();
    for (name, token) in &cases {
        let status = status(arena, token)?;
        if status != 401 {
            wrong.push(format!("{name}: {status}"));
        }
    }
    let good = status(arena, &key.sign(&claims))?;
    Ok(Finding::new(
        wrong.is_empty() && good == 200,
        format!(
            "{}/{} refused with 401, a good one {good} {}",
            cases.len() - wrong.len(),
            cases.len(),
            wrong.join(", ")
        ),
    ))
}

fn enormous(arena: &mut Arena) -> Outcome<Finding> {
    let key = arena.node.key.clone();
    let mut claims = key.claims("tokens", "eve", BOTH);
    claims["metadata"] = json!("x".repeat(600 * 1024));
    let mut seen = Vec::new();
    for token in ["a".repeat(1 << 20), key.sign(&claims)] {
        let request = format!(
            "GET /rtc/validate HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        );
        let answer = exchange(arena.node.http, request.as_bytes());
        let status = answer
            .ok()
            .and_then(|answer| answer.split(' ').nth(1)?.parse::<u16>().ok());
        seen.push(status);
    }
    let good = status(arena, &key.join("tokens", "bob", BOTH))?;
    let fine = |status: &Option<u16>| status.is_none_or(|status| (400..500).contains(&status));
    Ok(Finding::new(
        seen.iter().all(fine) && good == 200,
        format!("answers {seen:?} (none: closed), a good one {good}"),
    ))
}

fn rights(arena: &mut Arena) -> Outcome<Finding> {
    let key = arena.node.key.clone();
    let viewer = Grant {
        publish: false,
        subscribe: true,
    };
    let token = key.join("rights", "viewer", viewer);
    let open = |token: &str| {
        Signal::open(arena.node.http, token).map_err(|refused| format!("{refused:?}"))
    };
    let mut first = open(&token)?;
    first.wait("join", |response| {
        matches!(response, Response::Join(_)).then_some(())
    })?;
    first.send(Request::AddTrack(proto::AddTrackRequest {
        cid: "x".into(),
        r#type: proto::TrackType::Video.into(),
        source: proto::TrackSource::Camera.into(),
        ..proto::AddTrackRequest::default()
    }))?;
    let reason = first.wait("refusal", |response| match response {
        Response::RequestResponse(response) => Some(response.reason()),
        Response::TrackPublished(_) => Some(Reason::Ok),
        _ => None,
    })?;
    let mut second = open(&token)?;
    let leave = first.wait("leave", |response| match response {
        Response::Leave(leave) => Some(leave.reason()),
        _ => None,
    })?;
    second.leave();
    std::thread::sleep(Duration::from_millis(100));
    let log = arena.node.log();
    let leaked = log.contains(&key.secret) || log.contains(&token);
    let pass = reason == Reason::NotAllowed
        && leave == proto::DisconnectReason::DuplicateIdentity
        && !leaked;
    Ok(Finding::new(
        pass,
        format!("{reason:?}, {leave:?}, secret or token in the log: {leaked}"),
    ))
}
