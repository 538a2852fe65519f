//! What reaches the HTTP side: tokens, joins and calls of the server API.

use std::time::{Duration, SystemTime};

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, Uri, header};
use jsonwebtoken::{EncodingKey, Header, encode};
use millrace_controlplane::auth::{self, ApiKeys, Claims, TokenError, VideoGrant};
use millrace_controlplane::config::PrometheusConfig;
use millrace_controlplane::http::{Settings, Sockets, service};
use serde_json::Value;
use tower::ServiceExt as _;

use crate::node::{self, Node};

const KEY: &str = "key";
const SECRET: &str = "a secret of the fuzzer";
/// Of a response; the largest is a list of nothing.
const RESPONSE_LEN_MAX: usize = 1 << 20;

fn keys() -> ApiKeys {
    [(KEY.to_owned(), SECRET.to_owned())].into_iter().collect()
}

/// The input as a token, and as the claims of a token that is signed as it should be.
pub(crate) fn jwt(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(claims) = auth::verify(&keys(), &text) {
        // Seeds are not signed with this secret, and none is found by chance.
        panic!("a token was forged: {claims:?}");
    }
    let Ok(mut claims) = serde_json::from_slice::<Value>(input) else {
        return;
    };
    let secret = EncodingKey::from_secret(SECRET.as_bytes());
    let token = encode(&Header::default(), &claims, &secret).expect("any JSON can be signed");
    let _ = auth::verify(&keys(), &token);
    let Value::Object(members) = &mut claims else {
        return;
    };
    // The same from the right issuer, for an hour.
    members.insert("iss".into(), KEY.into());
    members.insert("exp".into(), 4_000_000_000_u64.into());
    members.remove("nbf");
    let token = encode(&Header::default(), &claims, &secret).expect("any JSON can be signed");
    match auth::verify(&keys(), &token) {
        Ok(claims) => {
            let again = serde_json::to_value(&claims).expect("claims can be written");
            assert!(again.is_object());
        }
        Err(TokenError::UnknownKey) => panic!("the issuer is known"),
        Err(_) => {}
    }
}

/// The input as the query of a join's check, with and without a token in front.
pub(crate) fn join(input: &[u8]) {
    let query = String::from_utf8_lossy(input);
    node::runtime().block_on(async {
        for path in ["/rtc/v1/validate", "/rtc/validate", "/rtc"] {
            let target = format!("{path}?access_token={}&{query}", token());
            let Ok(uri) = target.parse::<Uri>() else {
                return;
            };
            let request = Request::get(uri).body(Body::empty());
            let (status, _) = answer(request.expect("the target is one")).await;
            assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{target}");
        }
    });
}

/// The first byte chooses the call and its encoding, the rest is the body.
pub(crate) fn twirp(input: &[u8]) {
    const METHODS: [&str; 12] = [
        "RoomService/CreateRoom",
        "RoomService/ListRooms",
        "RoomService/DeleteRoom",
        "RoomService/ListParticipants",
        "RoomService/GetParticipant",
        "RoomService/RemoveParticipant",
        "RoomService/MutePublishedTrack",
        "RoomService/UpdateParticipant",
        "RoomService/UpdateSubscriptions",
        "RoomService/SendData",
        "RoomService/UpdateRoomMetadata",
        "Egress/StartRoomCompositeEgress",
    ];
    let Some((choice, body)) = input.split_first() else {
        return;
    };
    let method = METHODS[usize::from(choice >> 1) % METHODS.len()];
    let encoding = if choice & 1 == 0 { "json" } else { "protobuf" };
    let request = Request::post(format!("/twirp/livekit.{method}"))
        .header(header::CONTENT_TYPE, format!("application/{encoding}"))
        .header(header::AUTHORIZATION, format!("Bearer {}", token()))
        .body(Body::from(body.to_vec()));
    let request = request.expect("the request is well-formed");
    let (status, said) = node::runtime().block_on(answer(request));
    // LiveKit's answer where a room is to be recorded and nothing is there that records.
    if !said.contains("egress not connected") {
        assert_ne!(
            status,
            StatusCode::INTERNAL_SERVER_ERROR,
            "{method}: {said}"
        );
    }
}

async fn answer(request: Request<Body>) -> (StatusCode, String) {
    let node = Node::start().await;
    let settings = Settings {
        keys: keys(),
        development: false,
        signal_message_size_limit: 64 * 1024,
        api_request_body_size_limit: 64 * 1024,
        joins_per_address: 0,
        prometheus: PrometheusConfig::default(),
        node_id: "ND_fuzz".into(),
    };
    let service = service(node.rooms.clone(), settings, Sockets::default());
    let response = service.into_service().oneshot(request).await;
    let response = response.unwrap_or_else(|never| match never {});
    let status = response.status();
    let body = to_bytes(response.into_body(), RESPONSE_LEN_MAX).await;
    let body = body.expect("a response is short");
    node.rooms.shutdown().await;
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// For everything in one room.
fn token() -> String {
    let claims = Claims {
        sub: "alice".into(),
        video: Some(VideoGrant {
            room_create: true,
            room_list: true,
            room_join: true,
            room_admin: true,
            room: "lobby".into(),
            ..VideoGrant::default()
        }),
        ..Claims::default()
    };
    let validity = Duration::from_secs(3_600);
    auth::mint(&keys(), &claims, SystemTime::now(), validity).expect("a token is minted")
}
