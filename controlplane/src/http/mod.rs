//! Everything that is reached by HTTP: signaling sockets, the server API, metrics and pages.

mod bearer;
mod join_params;
mod listen;
mod metrics;
mod pages;
mod patience;
mod refusals;
mod rtc;
mod signal_socket;
mod sockets;
mod strangers;
mod twirp;
mod user_agent;
mod visits;
mod websocket;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use tower::Layer as _;
use tower_http::cors::{AllowHeaders, Any, CorsLayer};

pub use listen::{ListenError, Listener, bind};
pub use sockets::Sockets;

use crate::auth::ApiKeys;
use crate::config::{Config, PrometheusConfig};
use crate::room::Rooms;
use visits::Visits;

/// How long a browser may remember what a preflight allowed.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_hours(24);

/// What the HTTP side is told of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    pub keys: ApiKeys,
    /// Serves tokens to anybody, for the demo page.
    pub development: bool,
    /// Bytes of one message of a client; 0 = no limit.
    pub signal_message_size_limit: usize,
    /// Bytes of one request to the server API; 0 = no limit.
    pub api_request_body_size_limit: usize,
    /// Joins of one address a second; 0 = no limit.
    pub joins_per_address: u32,
    pub prometheus: PrometheusConfig,
    pub node_id: String,
}

impl Settings {
    pub fn new(config: &Config, node_id: String) -> Self {
        let bytes = |limit: u32| limit as usize;
        Self {
            keys: config.keys.clone(),
            development: config.development,
            signal_message_size_limit: bytes(config.limit.signal_message_size_limit),
            api_request_body_size_limit: bytes(config.limit.max_api_request_body_size),
            joins_per_address: config.limit.joins_per_address,
            prometheus: config.prometheus.clone(),
            node_id,
        }
    }
}

/// What every request can reach.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) rooms: Rooms,
    pub(crate) settings: Arc<Settings>,
    pub(crate) sockets: Sockets,
    visits: Visits,
}

/// The service of the main port.
pub fn service(rooms: Rooms, settings: Settings, sockets: Sockets) -> HttpService {
    let joins_per_address = settings.joins_per_address;
    let site = Site {
        rooms,
        settings: Arc::new(settings),
        sockets: sockets.clone(),
        visits: Visits::new(joins_per_address),
    };
    let mut api = Router::new()
        .route("/", get(pages::health))
        .route("/rtc", any(rtc::join_v0))
        .route("/rtc/validate", any(rtc::validate_v0))
        .route("/rtc/v1", any(rtc::join_v1))
        .route("/rtc/v1/validate", any(rtc::validate_v1))
        .route("/twirp/{service}/{method}", any(twirp::call));
    if site.settings.prometheus.port == 0 {
        api = api.route("/metrics", get(metrics::scrape));
    }
    // Without CORS headers: no other page shall read a token of development.
    let demo = Router::new()
        .route("/demo", get(pages::demo))
        .route("/demo/token", get(pages::demo_token))
        .route("/demo/{file}", get(pages::demo_file));
    let router = api
        .fallback(not_found)
        .layer(cors())
        .merge(demo)
        .with_state(site);
    HttpService { router, sockets }
}

/// The service of `prometheus.port`: metrics, whatever the path.
pub fn metrics_service(rooms: Rooms, settings: Settings, sockets: Sockets) -> HttpService {
    let site = Site {
        rooms,
        settings: Arc::new(settings),
        sockets: sockets.clone(),
        visits: Visits::new(0),
    };
    HttpService {
        router: Router::new().fallback(metrics::scrape).with_state(site),
        sockets,
    }
}

/// A router behind the rewriting of request targets.
#[derive(Clone, Debug)]
pub struct HttpService {
    router: Router,
    sockets: Sockets,
}

impl HttpService {
    /// The service that answers one connection's requests.
    pub fn into_service(
        self,
    ) -> impl tower::Service<
        Request,
        Response = Response,
        Error = std::convert::Infallible,
        Future: Send,
    > + Clone
    + Send {
        tower::util::MapRequestLayer::new(collapse_double_slash).layer(self.router)
    }
}

/// Any page may call us: tokens decide who may do what. `Authorization` must be allowed by name,
/// a wildcard does not cover it (Fetch standard §4.8), so that the asked-for names are mirrored.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([
            Method::OPTIONS,
            Method::HEAD,
            Method::GET,
            Method::POST,
            Method::PATCH,
            Method::DELETE,
        ])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(Any)
        .max_age(PREFLIGHT_MAX_AGE)
}

/// `//rtc` means `/rtc`: clients join a base URL that ends in a slash with a path that begins with
/// one.
fn collapse_double_slash(mut request: Request) -> Request {
    let target = request
        .uri()
        .path_and_query()
        .map_or("", |target| target.as_str());
    if target.starts_with("//")
        && let Some(uri) = target.get(1..).and_then(|rest| rest.parse::<Uri>().ok())
    {
        *request.uri_mut() = uri;
    }
    request
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "404 page not found\n").into_response()
}
