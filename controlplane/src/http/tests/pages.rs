use millrace_shared::drop::DropReason;

use super::*;

#[tokio::test]
async fn health_and_unknown_paths() {
    let node = Node::start().await;
    assert_eq!(node.get("/").await, (StatusCode::OK, "OK".into()));
    assert_eq!(node.get("/nothing").await.0, StatusCode::NOT_FOUND);
    assert_eq!(node.get("//").await.0, StatusCode::OK);
}

#[tokio::test]
async fn other_pages_may_call_the_api() {
    let node = Node::start().await;
    let preflight = Request::options("/twirp/livekit.RoomService/ListRooms")
        .header(header::ORIGIN, "https://app.example")
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
        .header(
            header::ACCESS_CONTROL_REQUEST_HEADERS,
            "authorization,content-type",
        )
        .body(Body::empty())
        .unwrap();
    let (status, headers, _) = node.answer(preflight).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    assert_eq!(
        headers[header::ACCESS_CONTROL_ALLOW_HEADERS],
        "authorization,content-type"
    );
    assert_eq!(headers[header::ACCESS_CONTROL_MAX_AGE], "86400");
    let methods = headers[header::ACCESS_CONTROL_ALLOW_METHODS]
        .to_str()
        .unwrap();
    for method in ["OPTIONS", "HEAD", "GET", "POST", "PATCH", "DELETE"] {
        assert!(methods.contains(method), "{methods}");
    }

    let refused = Request::get("/rtc/validate")
        .header(header::ORIGIN, "https://app.example")
        .body(Body::empty())
        .unwrap();
    let (_, headers, _) = node.answer(refused).await;
    assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
}

#[tokio::test]
async fn metrics_name_every_drop_reason() {
    let node = Node::start().await;
    let (status, text) = node.get("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    for reason in DropReason::ALL {
        let line = format!("\nmillrace_drop_{}_total{{", reason.as_str());
        assert!(text.contains(&line), "{line}");
    }
    let labels = r#"node_id="ND_test",node_type="SERVER""#;
    for line in [
        format!("\nlivekit_room_total{{{labels}}} 0\n"),
        format!(
            "\nmillrace_shard_backend{{{labels},shard=\"0\",backend=\"none\",\
             reason=\"the tests have no media\"}} 1\n"
        ),
        format!("\nlivekit_track_published_total{{{labels},kind=\"VIDEO\"}} 0\n"),
        format!(
            "\nlivekit_packet_total{{{labels},direction=\"outgoing\",transmission=\"initial\"}} 0\n"
        ),
        format!(
            "\nlivekit_packet_bytes{{{labels},direction=\"incoming\",transmission=\"initial\"}} 0\n"
        ),
    ] {
        assert!(text.contains(&line), "{line} in {text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn metrics_may_need_a_password_or_a_port_of_their_own() {
    let mut node = Node::start().await;
    node.settings.prometheus.username = "operator".into();
    node.settings.prometheus.password = Secret("hidden".into());
    assert_eq!(node.get("/metrics").await.0, StatusCode::UNAUTHORIZED);
    for (credentials, status) in [
        ("b3BlcmF0b3I6aGlkZGVu", StatusCode::OK),
        ("b3BlcmF0b3I6aGlkZGVo", StatusCode::UNAUTHORIZED),
        ("b3BlcmF0b3I6", StatusCode::UNAUTHORIZED),
    ] {
        let request = Request::get("/metrics")
            .header(header::AUTHORIZATION, format!("Basic {credentials}"))
            .body(Body::empty())
            .unwrap();
        assert_eq!(node.answer(request).await.0, status);
    }
    node.settings.prometheus = PrometheusConfig {
        port: 6789,
        ..PrometheusConfig::default()
    };
    assert_eq!(node.get("/metrics").await.0, StatusCode::NOT_FOUND);
    let own = metrics_service(
        node.rooms.clone(),
        node.settings.clone(),
        node.sockets.clone(),
    )
    .into_service();
    let request = Request::get("/anything").body(Body::empty()).unwrap();
    assert_eq!(own.oneshot(request).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn the_demo_page_gets_tokens_in_development_only() {
    let mut node = Node::start().await;
    assert_eq!(node.get("/demo").await.0, StatusCode::OK);
    assert_eq!(node.get("/demo/nothing").await.0, StatusCode::NOT_FOUND);
    let token = "/demo/token?room=lobby&identity=alice";
    assert_eq!(node.get(token).await.0, StatusCode::NOT_FOUND);

    node.settings.development = true;
    let request = Request::get(token)
        .header(header::ORIGIN, "https://elsewhere.example")
        .body(Body::empty())
        .unwrap();
    let (status, headers, token) = node.answer(request).await;
    assert_eq!(status, StatusCode::OK);
    assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    let claims = auth::verify(&node.settings.keys, &token).unwrap();
    assert_eq!(claims.sub, "alice");
    assert_eq!(claims.video.unwrap().room, "lobby");
}

#[tokio::test]
async fn a_taken_port_is_told_with_what_to_do() {
    let hosts = ["127.0.0.1".to_owned()];
    let first = bind(Some(&hosts), 0).await.unwrap().remove(0);
    let port = first.local_addr().unwrap().port();
    let error = bind(Some(&hosts), port).await.unwrap_err();
    assert!(matches!(error, ListenError::InUse { .. }));
    assert!(error.to_string().contains(&format!("sport = :{port}")));
    let elsewhere = ["192.0.2.1".to_owned()];
    let error = bind(Some(&elsewhere), 0).await.unwrap_err();
    assert!(matches!(error, ListenError::NotLocal { .. }), "{error}");
    assert_eq!(bind(None, 0).await.unwrap().len(), 1);
}
