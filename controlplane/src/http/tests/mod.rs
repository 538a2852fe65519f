//! The HTTP side over the real rooms, with a data plane that only says hello.

mod api;
mod pages;
mod signal;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use millrace_shared::ids::ShardId;
use millrace_shared::link::{Command, CommandSink, Event, Fingerprint, Hello, LocalAddress};
use tokio::sync::{mpsc, watch};
use tower::ServiceExt as _;

use super::*;
use crate::auth::{self, Claims, VideoGrant};
use crate::config::Secret;
use crate::room;

struct Ignore;

impl CommandSink for Ignore {
    fn send(&self, _shard: ShardId, _command: Command) {}
}

/// A node without media.
struct Node {
    rooms: Rooms,
    settings: Settings,
    sockets: Sockets,
    _events: mpsc::Sender<Event>,
}

impl Node {
    async fn start() -> Self {
        Self::start_with(room::Settings::default()).await
    }

    async fn start_with(settings: room::Settings) -> Self {
        let (events, receiver) = mpsc::channel(16);
        let rooms = Rooms::start(settings, Arc::new(Ignore), receiver);
        let hello = Hello {
            shard: ShardId(0),
            addresses: vec![LocalAddress {
                ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
                port: 7882,
            }],
            fingerprint: Fingerprint([7; 32]),
            backend: "none: the tests have no media".into(),
        };
        events.send(Event::Hello(Box::new(hello))).await.unwrap();
        rooms.ready().await;
        let settings = Settings {
            keys: [("key".to_owned(), "a secret of the tests".to_owned())]
                .into_iter()
                .collect(),
            development: false,
            signal_message_size_limit: 64 * 1024,
            api_request_body_size_limit: 1024,
            joins_per_address: 50,
            prometheus: PrometheusConfig::default(),
            node_id: "ND_test".into(),
        };
        Self {
            rooms,
            settings,
            sockets: Sockets::default(),
            _events: events,
        }
    }

    fn service(&self) -> HttpService {
        service(
            self.rooms.clone(),
            self.settings.clone(),
            self.sockets.clone(),
        )
    }

    async fn answer(&self, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
        let service = self.service().into_service();
        let response = service.oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        (parts.status, parts.headers, text)
    }

    async fn get(&self, target: &str) -> (StatusCode, String) {
        let request = Request::get(target).body(Body::empty()).unwrap();
        let (status, _, text) = self.answer(request).await;
        (status, text)
    }

    /// Serves on a port of loopback, until the sender says stop.
    async fn listen(&self) -> (SocketAddr, watch::Sender<bool>) {
        let hosts = ["127.0.0.1".to_owned()];
        let listener = bind(Some(&hosts), 0).await.unwrap().remove(0);
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(listener.serve(self.service(), stopped));
        (address, stop)
    }

    fn token(&self, identity: &str, video: VideoGrant) -> String {
        let claims = Claims {
            sub: identity.into(),
            video: Some(video),
            ..Claims::default()
        };
        let validity = Duration::from_secs(60);
        auth::mint(&self.settings.keys, &claims, SystemTime::now(), validity).unwrap()
    }

    fn join_token(&self, identity: &str) -> String {
        self.token(
            identity,
            VideoGrant {
                room_join: true,
                room: "lobby".into(),
                ..VideoGrant::default()
            },
        )
    }
}

use axum::http::HeaderMap;
