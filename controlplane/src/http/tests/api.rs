use livekit_protocol as proto;
use prost::Message as _;
use serde_json::{Value, json};

use super::*;

fn admin(node: &Node) -> String {
    node.token(
        "",
        VideoGrant {
            room_create: true,
            room_list: true,
            room_admin: true,
            room_record: true,
            room: "lobby".into(),
            destination_room: "stage".into(),
            ..VideoGrant::default()
        },
    )
}

fn request(token: &str, path: &str, content_type: &str, body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::post(path).header(header::CONTENT_TYPE, content_type);
    if !token.is_empty() {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    request.body(body.into()).unwrap()
}

async fn call(node: &Node, token: &str, method: &str, body: &Value) -> (StatusCode, Value) {
    let path = format!("/twirp/livekit.{method}");
    let request = request(token, &path, "application/json", body.to_string());
    let (status, headers, text) = node.answer(request).await;
    assert_eq!(headers[header::CONTENT_TYPE], "application/json", "{text}");
    (status, serde_json::from_str(&text).unwrap())
}

#[tokio::test]
async fn rooms_are_made_listed_and_deleted_in_json() {
    let node = Node::start().await;
    let token = admin(&node);
    let (status, room) = call(
        &node,
        &token,
        "RoomService/CreateRoom",
        &json!({ "name": "lobby", "emptyTimeout": 60, "max_participants": 5 }),
    )
    .await;
    assert_eq!(status, StatusCode::OK, "{room}");
    assert_eq!(room["name"], "lobby");
    assert_eq!(room["empty_timeout"], 60);
    assert_eq!(room["max_participants"], 5);
    assert_eq!(room["num_participants"], 0);
    assert!(room["creation_time"].is_string());
    assert!(room["sid"].as_str().unwrap().starts_with("RM_"));

    let (_, list) = call(&node, &token, "RoomService/ListRooms", &json!({})).await;
    assert_eq!(list["rooms"].as_array().unwrap().len(), 1);
    let body = json!({ "room": "lobby" });
    let (_, list) = call(&node, &token, "RoomService/ListParticipants", &body).await;
    assert_eq!(list, json!({ "participants": [] }));
    let (status, _) = call(&node, &token, "RoomService/DeleteRoom", &body).await;
    assert_eq!(status, StatusCode::OK);
    let (status, error) = call(&node, &token, "RoomService/DeleteRoom", &body).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(
        error,
        json!({ "code": "not_found", "msg": "requested room does not exist" })
    );
}

#[tokio::test]
async fn protobuf_is_answered_in_protobuf() {
    let node = Node::start().await;
    let body = proto::CreateRoomRequest {
        name: "lobby".into(),
        ..proto::CreateRoomRequest::default()
    };
    let request = request(
        &admin(&node),
        "/twirp/livekit.RoomService/CreateRoom",
        "application/protobuf",
        body.encode_to_vec(),
    );
    let response = node
        .service()
        .into_service()
        .oneshot(request)
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "application/protobuf"
    );
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(proto::Room::decode(body).unwrap().name, "lobby");
}

#[tokio::test]
async fn bad_routes_are_told_in_twirps_form() {
    let node = Node::start().await;
    let list = "/twirp/livekit.RoomService/ListRooms";
    let get = Request::get(list).body(Body::empty()).unwrap();
    for (request, msg) in [
        (get, "unsupported method \"GET\" (only POST is allowed)"),
        (
            request(
                "",
                "/twirp/livekit.RoomService/Nothing",
                "application/json",
                "{}",
            ),
            "no handler for path \"/twirp/livekit.RoomService/Nothing\"",
        ),
        (
            request(
                "",
                "/twirp/livekit.Nothing/ListRooms",
                "application/json",
                "{}",
            ),
            "no handler for path \"/twirp/livekit.Nothing/ListRooms\"",
        ),
        (
            request("", list, "text/plain", "{}"),
            "unexpected Content-Type: \"text/plain\"",
        ),
    ] {
        let (status, _, text) = node.answer(request).await;
        let error: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(error["code"], "bad_route");
        assert_eq!(error["msg"], msg);
        assert!(error["meta"]["twirp_invalid_route"].is_string());
    }
}

#[tokio::test]
async fn content_types_may_have_parameters() {
    let node = Node::start().await;
    let path = "/twirp/livekit.RoomService/ListRooms";
    let content_type = "Application/JSON; charset=utf-8";
    let request = request(&admin(&node), path, content_type, "{}");
    assert_eq!(node.answer(request).await.0, StatusCode::OK);
}

#[tokio::test]
async fn undecodable_bodies_are_malformed() {
    let node = Node::start().await;
    let path = "/twirp/livekit.RoomService/ListRooms";
    for (content_type, body) in [
        ("application/json", "{".as_bytes()),
        ("application/json", b""),
        ("application/json", b"\xff"),
        ("application/protobuf", b"\xff\xff"),
    ] {
        let request = request(&admin(&node), path, content_type, body);
        let (status, _, text) = node.answer(request).await;
        let error: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
        assert_eq!(error["code"], "malformed");
    }
}

#[tokio::test]
async fn large_bodies_are_refused_declared_or_not() {
    let node = Node::start().await;
    let path = "/twirp/livekit.RoomService/ListRooms";
    let long = format!("{{\"names\":[\"{}\"]}}", "x".repeat(2_000));
    let stream =
        http_body_util::StreamBody::new(futures_util::stream::iter([Ok::<_, std::io::Error>(
            hyper::body::Frame::data(long.clone().into()),
        )]));
    for (body, declared) in [(Body::from(long), true), (Body::new(stream), false)] {
        let mut request = request(&admin(&node), path, "application/json", body);
        if declared {
            let headers = request.headers_mut();
            headers.insert(header::CONTENT_LENGTH, "2014".parse().unwrap());
        }
        let (status, _, text) = node.answer(request).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(text, "request body too large");
    }
}

#[tokio::test]
async fn each_call_needs_its_grant() {
    let node = Node::start().await;
    let stranger = node.join_token("alice");
    let room = json!({ "room": "lobby" });
    for (method, body) in [
        ("RoomService/CreateRoom", &json!({ "name": "x" })),
        ("RoomService/ListRooms", &json!({})),
        ("RoomService/DeleteRoom", &room),
        ("RoomService/ListParticipants", &room),
        ("RoomService/GetParticipant", &room),
        ("RoomService/RemoveParticipant", &room),
        ("RoomService/MutePublishedTrack", &room),
        ("RoomService/UpdateParticipant", &room),
        ("RoomService/UpdateSubscriptions", &room),
        ("RoomService/SendData", &room),
        ("RoomService/UpdateRoomMetadata", &room),
        ("RoomService/ForwardParticipant", &room),
        ("RoomService/MoveParticipant", &room),
        ("RoomService/PerformRpc", &room),
        ("Egress/ListEgress", &json!({})),
        ("Ingress/ListIngress", &json!({})),
        ("SIP/ListSIPInboundTrunk", &json!({})),
        ("SIP/CreateSIPParticipant", &json!({})),
        ("AgentDispatchService/ListDispatch", &room),
    ] {
        for token in [stranger.as_str(), ""] {
            let (status, error) = call(&node, token, method, body).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method}");
            let expected = json!({ "code": "unauthenticated", "msg": "permissions denied" });
            assert_eq!(error, expected, "{method}");
        }
    }
    let other_room = json!({ "room": "attic" });
    let listed = call(
        &node,
        &admin(&node),
        "RoomService/ListParticipants",
        &other_room,
    )
    .await;
    assert_eq!(listed.0, StatusCode::UNAUTHORIZED);
    let forged = call(&node, "a.b.c", "RoomService/ListRooms", &json!({})).await;
    assert_eq!(forged.1["msg"], "invalid authorization token");
}

#[tokio::test]
async fn calls_that_are_not_served_say_so() {
    let node = Node::start().await;
    let token = admin(&node);
    let room = json!({ "room": "lobby", "destinationRoom": "stage" });
    let egress = json!({ "name": "x", "egress": { "room": {} } });
    for (method, body, status, code) in [
        ("RoomService/MoveParticipant", &room, 501, "unimplemented"),
        ("RoomService/PerformRpc", &room, 501, "unimplemented"),
        ("RoomService/CreateRoom", &egress, 500, "internal"),
        ("Egress/ListEgress", &json!({}), 500, "internal"),
        (
            "AgentDispatchService/CreateDispatch",
            &room,
            503,
            "unavailable",
        ),
    ] {
        let (answered, error) = call(&node, &token, method, body).await;
        assert_eq!(answered.as_u16(), status, "{method}");
        assert_eq!(error["code"], code, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_comes_is_not_waited_for() {
    let node = Node::start().await;
    let path = "/twirp/livekit.RoomService/ListRooms";
    for (token, status) in [
        (admin(&node), StatusCode::REQUEST_TIMEOUT),
        (String::new(), StatusCode::UNAUTHORIZED),
    ] {
        let never = Body::from_stream(futures_util::stream::pending::<
            Result<axum::body::Bytes, std::io::Error>,
        >());
        let request = request(&token, path, "application/json", never);
        let started = tokio::time::Instant::now();
        assert_eq!(node.answer(request).await.0, status);
        assert!(started.elapsed() <= Duration::from_secs(31));
    }
}
