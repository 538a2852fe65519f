use std::io::Write as _;

use axum::extract::ConnectInfo;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{SinkExt as _, StreamExt as _};
use livekit_protocol as proto;
use prost::Message as _;
use proto::signal_request::Message as Request_;
use proto::signal_response::Message as Response_;
use proto::wrapped_join_request::Compression as Wrapping;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{self, Message, client::IntoClientRequest as _};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::*;
use crate::http::refusals::Limit;

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Longest wait for something that must come.
const SOON: Duration = Duration::from_secs(5);

async fn connect(address: SocketAddr, target: &str) -> Result<Client, (u16, String)> {
    let url = format!("ws://{address}{target}");
    match tokio_tungstenite::connect_async(url).await {
        Ok((client, response)) => {
            assert!(!response.headers().contains_key("sec-websocket-extensions"));
            Ok(client)
        }
        Err(tungstenite::Error::Http(response)) => {
            let body = response.body().clone().unwrap_or_default();
            let text = String::from_utf8(body).unwrap();
            Err((response.status().as_u16(), text))
        }
        Err(error) => panic!("{error}"),
    }
}

async fn next(client: &mut Client) -> Message {
    loop {
        let message = tokio::time::timeout(SOON, client.next()).await.unwrap();
        match message.unwrap().unwrap() {
            Message::Ping(_) | Message::Pong(_) => {}
            message => return message,
        }
    }
}

async fn next_response(client: &mut Client) -> Response_ {
    match next(client).await {
        Message::Binary(bytes) => {
            let response = proto::SignalResponse::decode(bytes).unwrap();
            response.message.unwrap()
        }
        message => panic!("{message:?}"),
    }
}

/// Reads on until a response that `pick` takes.
async fn wait_for<T>(client: &mut Client, pick: impl Fn(Response_) -> Option<T>) -> T {
    loop {
        if let Some(picked) = pick(next_response(client).await) {
            return picked;
        }
    }
}

async fn send(client: &mut Client, request: Request_) {
    let request = proto::SignalRequest {
        message: Some(request),
    };
    let bytes = request.encode_to_vec();
    client.send(Message::Binary(bytes.into())).await.unwrap();
}

fn v0(node: &Node, identity: &str) -> String {
    format!(
        "/rtc?access_token={}&protocol=16&sdk=js&version=2.16.0&auto_subscribe=1",
        node.join_token(identity)
    )
}

fn wrapped(request: &proto::JoinRequest, wrapping: Wrapping) -> Vec<u8> {
    let body = request.encode_to_vec();
    let join_request = match wrapping {
        Wrapping::None => body,
        Wrapping::Gzip => {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(&body).unwrap();
            gzip.finish().unwrap()
        }
    };
    let wrapped = proto::WrappedJoinRequest {
        compression: wrapping.into(),
        join_request,
    };
    wrapped.encode_to_vec()
}

fn join_request() -> proto::JoinRequest {
    proto::JoinRequest {
        client_info: Some(proto::ClientInfo {
            sdk: proto::client_info::Sdk::Js.into(),
            protocol: 17,
            ..proto::ClientInfo::default()
        }),
        connection_settings: Some(proto::ConnectionSettings {
            auto_subscribe: true,
            ..proto::ConnectionSettings::default()
        }),
        ..proto::JoinRequest::default()
    }
}

#[tokio::test]
async fn a_client_joins_and_is_answered_in_its_encoding() {
    let node = Node::start().await;
    let (address, _stop) = node.listen().await;
    let mut client = connect(address, &v0(&node, "alice")).await.unwrap();
    match next_response(&mut client).await {
        Response_::Join(join) => {
            assert_eq!(join.participant.unwrap().identity, "alice");
            assert_eq!(join.room.unwrap().name, "lobby");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(node.sockets.count(), 1);

    send(&mut client, Request_::Ping(1)).await;
    let pong = |response| matches!(response, Response_::Pong(_)).then_some(());
    wait_for(&mut client, pong).await;

    let ping = r#"{"pingReq": {"timestamp": "7", "unheardOf": 1}}"#;
    client.send(Message::text(ping)).await.unwrap();
    loop {
        let Message::Text(text) = next(&mut client).await else {
            panic!("not text");
        };
        let response: serde_json::Value = serde_json::from_str(&text).unwrap();
        if let Some(pong) = response.get("pongResp") {
            assert_eq!(pong["lastPingTimestamp"], "7");
            break;
        }
    }

    send(&mut client, Request_::Ping(1)).await;
    wait_for(&mut client, pong).await;
    drop(client);
    tokio::time::timeout(SOON, node.sockets.drained())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_doubled_slash_joins_too() {
    let node = Node::start().await;
    let (address, _stop) = node.listen().await;
    let target = format!("/{}", v0(&node, "alice"));
    assert!(connect(address, &target).await.is_ok());
}

#[tokio::test]
async fn a_token_may_come_in_a_header() {
    let node = Node::start().await;
    let (address, _stop) = node.listen().await;
    let url = format!("ws://{address}/rtc?protocol=16&sdk=go");
    let mut request = url.into_client_request().unwrap();
    let bearer = format!("Bearer {}", node.join_token("alice"));
    let headers = request.headers_mut();
    headers.insert(header::AUTHORIZATION, bearer.parse().unwrap());
    let (mut client, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert!(matches!(
        next_response(&mut client).await,
        Response_::Join(_)
    ));
}

#[tokio::test]
async fn refusals_are_statuses_before_the_upgrade() {
    let settings = room::Settings {
        auto_create: false,
        ..room::Settings::default()
    };
    let node = Node::start_with(settings).await;
    let (address, _stop) = node.listen().await;
    let refused = async |target: &str| connect(address, target).await.unwrap_err();
    assert_eq!(
        refused(&v0(&node, "alice")).await,
        (404, "requested room does not exist".into())
    );
    assert_eq!(
        refused("/rtc?access_token=a.b.c").await,
        (401, "invalid authorization token".into())
    );
    assert_eq!(
        refused("/rtc").await,
        (401, "no permissions to access the room".into())
    );
    let no_grant = node.token("alice", VideoGrant::default());
    assert_eq!(
        refused(&format!("/rtc?access_token={no_grant}")).await.0,
        401
    );
    let v1 = format!("/rtc/v1?access_token={}", node.join_token("alice"));
    assert_eq!(refused(&v1).await, (400, "join_request is required".into()));
}

#[tokio::test]
async fn validate_says_what_a_join_would() {
    let node = Node::start().await;
    let token = node.join_token("alice");
    let valid = format!("/rtc/validate?access_token={token}");
    assert_eq!(node.get(&valid).await, (StatusCode::OK, "success".into()));
    let valid = format!("//rtc/validate?access_token={token}");
    assert_eq!(node.get(&valid).await.0, StatusCode::OK);
    assert_eq!(node.get("/rtc/validate").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(
        node.get(&format!("/rtc/validate?access_token={token}&attributes=!!"))
            .await,
        (StatusCode::BAD_REQUEST, "cannot decode attributes".into())
    );
    assert_eq!(
        node.get(&format!("/rtc/v1/validate?access_token={token}"))
            .await
            .0,
        StatusCode::BAD_REQUEST
    );
    let encoded = URL_SAFE_NO_PAD.encode(wrapped(&join_request(), Wrapping::Gzip));
    let v1 = format!("/rtc/v1/validate?access_token={token}&join_request={encoded}");
    assert_eq!(node.get(&v1).await, (StatusCode::OK, "success".into()));
    let anonymous = node.join_token("");
    let anonymous = format!("/rtc/validate?access_token={anonymous}");
    assert_eq!(node.get(&anonymous).await.0, StatusCode::BAD_REQUEST);
}

/// Requests of one address, answered by one service.
async fn statuses(node: &Node, targets: impl Iterator<Item = String>) -> Vec<StatusCode> {
    let service = node.service().into_service();
    let mut statuses = Vec::new();
    for target in targets {
        let mut request = Request::get(target).body(Body::empty()).unwrap();
        let remote: SocketAddr = ([198, 51, 100, 1], 4_000).into();
        request.extensions_mut().insert(ConnectInfo(remote));
        // As a client asks for the upgrade; there is no connection to switch here.
        let headers = request.headers_mut();
        headers.insert(header::CONNECTION, "upgrade".parse().unwrap());
        headers.insert(header::UPGRADE, "websocket".parse().unwrap());
        headers.insert(header::SEC_WEBSOCKET_VERSION, "13".parse().unwrap());
        headers.insert(header::SEC_WEBSOCKET_KEY, "a2V5".parse().unwrap());
        let never = hyper::upgrade::on(&mut request);
        request.extensions_mut().insert(never);
        let response = service.clone().oneshot(request).await.unwrap();
        statuses.push(response.status());
    }
    statuses
}

#[tokio::test]
async fn an_address_may_show_few_bad_tokens_and_any_good_one() {
    let node = Node::start().await;
    let bad = (0..200).map(|_| "/rtc/validate?access_token=a.b.c".to_owned());
    let good = format!("/rtc/validate?access_token={}", node.join_token("alice"));
    let statuses = statuses(&node, bad.chain([good])).await;
    let count = |status| statuses.iter().filter(|it| **it == status).count();
    let (refused, too_many) = (
        count(StatusCode::UNAUTHORIZED),
        count(StatusCode::TOO_MANY_REQUESTS),
    );
    assert_eq!(refused + too_many, 200);
    assert!((100..150).contains(&refused), "{refused}");
    assert_eq!(statuses.last(), Some(&StatusCode::OK));
    let counted = node.sockets.refusals(Limit::RefusedTokensPerAddress);
    assert_eq!(counted, too_many as u64);
}

#[tokio::test]
async fn an_address_joins_no_faster_than_its_rate() {
    let node = Node::start().await;
    let join = v0(&node, "alice");
    let check = join.replace("/rtc?", "/rtc/validate?");
    let joins = (0..2_000).map(|_| join.clone());
    let statuses = statuses(&node, joins.chain([check])).await;
    let unavailable = |it: &&StatusCode| **it == StatusCode::SERVICE_UNAVAILABLE;
    let refused = statuses[..2_000].iter().filter(unavailable).count();
    assert!((500..=1_000).contains(&refused), "{refused}");
    assert_eq!(
        node.sockets.refusals(Limit::JoinsPerAddress),
        refused as u64
    );
    assert_eq!(statuses.last(), Some(&StatusCode::SERVICE_UNAVAILABLE));
}

// A network that comes back brings everybody behind it at once.
#[tokio::test]
async fn a_resume_costs_no_join_unless_there_is_no_session() {
    let mut node = Node::start().await;
    node.settings.joins_per_address = 1;
    let (alice, bob) = (v0(&node, "alice"), v0(&node, "bob"));
    let resume = |join: &str| format!("{join}&reconnect=1");
    let joins = std::iter::repeat_n(alice.clone(), 50);
    let resumes = std::iter::repeat_n(resume(&alice), 50);
    let unknown = std::iter::repeat_n(resume(&bob), 50);
    let check = resume(&alice).replace("/rtc?", "/rtc/validate?");
    let targets = joins.chain(resumes).chain(unknown).chain([check]);
    let statuses = statuses(&node, targets).await;
    let switched = |range: std::ops::Range<usize>| {
        let answers = statuses[range].iter();
        answers.filter(|it| it.as_u16() == 101).count()
    };
    assert!((20..40).contains(&switched(0..50)));
    assert_eq!(switched(50..70), 20);
    // Beyond the session's own allowance a resume is charged as a join, and bob has no session.
    assert!(switched(70..100) < 20);
    assert!(switched(100..150) < 20);
    assert_eq!(statuses.last(), Some(&StatusCode::OK));
    let refused = statuses.iter().filter(|it| it.as_u16() == 503).count();
    assert_eq!(
        node.sockets.refusals(Limit::JoinsPerAddress),
        refused as u64
    );
}

#[tokio::test]
async fn a_plain_get_of_a_socket_is_not_found() {
    let node = Node::start().await;
    let target = v0(&node, "alice");
    assert_eq!(node.get(&target).await.0, StatusCode::NOT_FOUND);
    assert_eq!(node.rooms.metrics().joins, 0);
}

#[tokio::test]
async fn the_newer_join_is_read_however_it_is_wrapped() {
    let node = Node::start().await;
    let (address, _stop) = node.listen().await;
    for (wrapping, path) in [(Wrapping::None, "/rtc/v1"), (Wrapping::Gzip, "/rtc")] {
        let bytes = wrapped(&join_request(), wrapping);
        let padded = STANDARD.encode(&bytes).replace('+', "%2B");
        for encoded in [URL_SAFE_NO_PAD.encode(&bytes), padded] {
            let token = node.join_token("alice");
            let target = format!("{path}?access_token={token}&join_request={encoded}");
            let mut client = connect(address, &target).await.unwrap();
            assert!(matches!(
                next_response(&mut client).await,
                Response_::Join(_)
            ));
        }
    }
}

#[tokio::test]
async fn an_inflating_join_request_is_refused() {
    let node = Node::start().await;
    let request = proto::JoinRequest {
        metadata: "x".repeat(2 << 20),
        ..join_request()
    };
    let token = node.join_token("alice");
    for (join_request, message) in [
        (wrapped(&request, Wrapping::Gzip), "join request too large"),
        (
            b"\x08\x01\x12\x03abc".to_vec(),
            "cannot read decompressed join request",
        ),
        (
            b"\x08\x09".to_vec(),
            "unknown compression of the join request",
        ),
        (b"\xff".to_vec(), "cannot unmarshal wrapped join request"),
        (b"\x12\x01\xff".to_vec(), "cannot unmarshal join request"),
    ] {
        let encoded = URL_SAFE_NO_PAD.encode(join_request);
        let target = format!("/rtc/v1/validate?access_token={token}&join_request={encoded}");
        let refused = (StatusCode::BAD_REQUEST, message.to_owned());
        assert_eq!(node.get(&target).await, refused);
    }
    let target = format!("/rtc/v1/validate?access_token={token}&join_request=$$");
    assert_eq!(
        node.get(&target).await.1,
        "cannot base64 decode wrapped join request"
    );
}

#[tokio::test]
async fn the_last_message_arrives_before_the_socket_closes() {
    let node = Node::start().await;
    let (address, _stop) = node.listen().await;
    let mut client = connect(address, &v0(&node, "alice")).await.unwrap();
    next_response(&mut client).await;
    let request = proto::DeleteRoomRequest {
        room: "lobby".into(),
    };
    node.rooms.delete_room(request).await.unwrap();
    let leave = wait_for(&mut client, |response| match response {
        Response_::Leave(leave) => Some(leave),
        _ => None,
    })
    .await;
    assert_eq!(leave.reason(), proto::DisconnectReason::RoomDeleted);
    assert_closes(&mut client).await;
}

/// Reads on until the close frame, which says that all is well.
async fn assert_closes(client: &mut Client) {
    assert_closes_with(client, 1000).await;
}

async fn assert_closes_with(client: &mut Client, code: u16) {
    loop {
        match next(client).await {
            Message::Close(frame) => {
                assert_eq!(u16::from(frame.unwrap().code), code);
                return;
            }
            Message::Binary(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn shutdown_tells_every_client() {
    let node = Node::start().await;
    let (address, stop) = node.listen().await;
    let mut client = connect(address, &v0(&node, "alice")).await.unwrap();
    next_response(&mut client).await;
    stop.send(true).unwrap();
    node.rooms.shutdown().await;
    let leave = |response| matches!(response, Response_::Leave(_)).then_some(());
    wait_for(&mut client, leave).await;
    assert_closes(&mut client).await;
    drop(client);
    tokio::time::timeout(SOON, node.sockets.drained())
        .await
        .unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn what_is_no_signal_request_closes_the_socket() {
    let node = Node::start().await;
    let (address, _stop) = node.listen().await;
    for message in [
        Message::Binary(vec![0xff; 3].into()),
        Message::text("not JSON"),
    ] {
        let mut client = connect(address, &v0(&node, "alice")).await.unwrap();
        next_response(&mut client).await;
        client.send(message).await.unwrap();
        assert_closes(&mut client).await;
    }
    assert_eq!(node.sockets.refusals(Limit::SignalMalformed), 2);
}

#[tokio::test]
async fn a_flood_of_requests_is_held_back_and_every_one_is_answered() {
    let node = Node::start().await;
    let (address, _stop) = node.listen().await;
    let mut client = connect(address, &v0(&node, "alice")).await.unwrap();
    next_response(&mut client).await;
    let sent = 600;
    let begin = tokio::time::Instant::now();
    for timestamp in 1..=sent {
        let ping = proto::Ping { timestamp, rtt: 0 };
        send(&mut client, Request_::PingReq(ping)).await;
    }
    for expected in 1..=sent {
        let pong = wait_for(&mut client, |response| match response {
            Response_::PongResp(pong) => Some(pong.last_ping_timestamp),
            _ => None,
        })
        .await;
        assert_eq!(pong, expected);
    }
    // 500 at once, and a hundred a second.
    assert!(begin.elapsed() >= Duration::from_millis(900));
    assert!(node.sockets.refusals(Limit::SignalRate) > 0);
}

#[tokio::test]
async fn a_hostile_publisher_does_not_silence_a_client_that_speaks_json() {
    let node = Node::start().await;
    let (address, _stop) = node.listen().await;
    let mut bob = connect(address, &v0(&node, "bob")).await.unwrap();
    next_response(&mut bob).await;
    let ping = r#"{"pingReq":{"timestamp":"1"}}"#;
    bob.send(Message::text(ping)).await.unwrap();
    while !matches!(next(&mut bob).await, Message::Text(_)) {}

    let mut hostile = join_request();
    if let Some(info) = &mut hostile.client_info {
        info.capabilities = vec![9_999];
    }
    let encoded = URL_SAFE_NO_PAD.encode(wrapped(&hostile, Wrapping::None));
    let token = node.join_token("eve");
    let target = format!("/rtc/v1?access_token={token}&join_request={encoded}");
    let _eve = connect(address, &target).await.unwrap();
    loop {
        let Message::Text(text) = next(&mut bob).await else {
            panic!("a client of JSON gets JSON");
        };
        if text.contains("eve") {
            break;
        }
    }
}

#[tokio::test]
async fn an_oversized_message_ends_the_connection() {
    let node = Node::start().await;
    let (address, _stop) = node.listen().await;
    let mut client = connect(address, &v0(&node, "alice")).await.unwrap();
    next_response(&mut client).await;
    // A valid ping with an unknown field: only its length can be what ends the connection.
    let mut long = vec![0x70, 0x01, 0xca, 0x3e, 0x80, 0x80, 0x04];
    long.resize(long.len() + node.settings.signal_message_size_limit, b'x');
    let request = proto::SignalRequest::decode(long.as_slice()).unwrap();
    assert_eq!(request.message, Some(Request_::Ping(1)));
    client.send(Message::Binary(long.into())).await.unwrap();
    assert_closes_with(&mut client, 1009).await;
    assert_eq!(node.sockets.refusals(Limit::SignalMessageLen), 1);
    drop(client);
    tokio::time::timeout(SOON, node.sockets.drained())
        .await
        .unwrap();
}

/// What the client still sends must be read, or TCP resets the connection before our close came.
#[tokio::test]
async fn a_message_far_too_long_for_the_kernels_buffers_gets_its_close_too() {
    let node = Node::start().await;
    let (address, _stop) = node.listen().await;
    let mut client = connect(address, &v0(&node, "alice")).await.unwrap();
    next_response(&mut client).await;
    let long = vec![0; 32 << 20];
    client.send(Message::Binary(long.into())).await.unwrap();
    assert_closes_with(&mut client, 1009).await;
}
