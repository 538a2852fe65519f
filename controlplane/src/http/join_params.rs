//! What a client says of itself and of its session in the URL of a join.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::net::IpAddr;

use axum::extract::Query;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::read::GzDecoder;
use livekit_protocol as proto;
use prost::Message as _;
use proto::client_info::{Capability, Sdk};
use proto::wrapped_join_request::Compression;

use super::user_agent::UserAgent;
use crate::room::JoinParams;

/// Largest join request after inflating, as LiveKit has it.
const JOIN_REQUEST_LEN_MAX: usize = 1 << 20;

/// Parameters of the query, decoded.
pub(super) type QueryParams = HashMap<String, String>;

pub(super) fn query(parts: &Parts) -> QueryParams {
    Query::try_from_uri(&parts.uri)
        .map(|Query(params)| params)
        .unwrap_or_default()
}

/// How strictly a join is read.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Reading {
    /// The path asks for a `join_request`.
    pub(super) v1: bool,
    /// Only a check: it says what a join would let pass.
    pub(super) strict: bool,
}

/// Reads the query of a join; the error is for the client.
pub(super) fn parse(
    parts: &Parts,
    remote: IpAddr,
    reading: Reading,
) -> Result<JoinParams, &'static str> {
    let query = query(parts);
    let text = |name: &str| query.get(name).map_or("", String::as_str);
    if text("join_request").is_empty() {
        if reading.v1 {
            return Err("join_request is required");
        }
        return parse_v0(&query, &parts.headers, remote, reading.strict);
    }
    let mut request = unwrap_join_request(text("join_request"))?;
    let mut client_info = request.client_info.take().unwrap_or_default();
    complete(&mut client_info, &parts.headers, remote);
    request.client_info = Some(client_info.clone());
    let settings = request.connection_settings.as_ref();
    Ok(JoinParams {
        client_info,
        auto_subscribe: settings.is_some_and(|settings| settings.auto_subscribe),
        adaptive_stream: settings.is_some_and(|settings| settings.adaptive_stream),
        disable_ice_lite: settings.is_some_and(|settings| settings.disable_ice_lite),
        reconnect: request.reconnect,
        reconnect_reason: request.reconnect_reason,
        participant_sid: request.participant_sid.clone(),
        v1: Some(Box::new(request)),
        ..JoinParams::default()
    })
}

fn parse_v0(
    query: &QueryParams,
    headers: &HeaderMap,
    remote: IpAddr,
    strict: bool,
) -> Result<JoinParams, &'static str> {
    let text = |name: &str| query.get(name).map_or("", String::as_str);
    let flag = |name: &str| matches!(text(name), "1" | "true");
    let attributes = match attributes(text("attributes")) {
        Some(attributes) => attributes,
        None if strict => return Err("cannot decode attributes"),
        None => BTreeMap::new(),
    };
    let reconnect = flag("reconnect");
    let mut client_info = client_info(query);
    complete(&mut client_info, headers, remote);
    Ok(JoinParams {
        room: text("room").to_owned(),
        client_info,
        auto_subscribe: text("auto_subscribe").is_empty() || flag("auto_subscribe"),
        adaptive_stream: flag("adaptive_stream"),
        disable_ice_lite: flag("disable_ice_lite"),
        reconnect,
        reconnect_reason: text("reconnect_reason").parse().unwrap_or(0),
        participant_sid: if reconnect {
            text("sid").to_owned()
        } else {
            String::new()
        },
        publish: text("publish").to_owned(),
        attributes,
        v1: None,
    })
}

fn attributes(encoded: &str) -> Option<BTreeMap<String, String>> {
    if encoded.is_empty() {
        return Some(BTreeMap::new());
    }
    serde_json::from_slice(&decode_base64(encoded)?).ok()
}

fn client_info(query: &QueryParams) -> proto::ClientInfo {
    let text = |name: &str| query.get(name).cloned().unwrap_or_default();
    let number = |name: &str| query.get(name).and_then(|text| text.parse().ok());
    let sdk = match text("sdk").as_str() {
        "js" => Sdk::Js,
        "ios" | "swift" => Sdk::Swift,
        "android" => Sdk::Android,
        "flutter" => Sdk::Flutter,
        "go" => Sdk::Go,
        "unity" => Sdk::Unity,
        "reactnative" => Sdk::ReactNative,
        "rust" => Sdk::Rust,
        "python" => Sdk::Python,
        "cpp" => Sdk::Cpp,
        "unityweb" => Sdk::UnityWeb,
        "node" => Sdk::Node,
        "esp32" => Sdk::Esp32,
        _ => Sdk::Unknown,
    };
    let capabilities = text("capabilities")
        .split(',')
        .filter_map(|name| Capability::from_str_name(name.trim()))
        .map(i32::from)
        .collect();
    proto::ClientInfo {
        sdk: sdk.into(),
        version: text("version"),
        protocol: number("protocol").unwrap_or(0),
        client_protocol: number("client_protocol").unwrap_or(0),
        os: text("os"),
        os_version: text("os_version"),
        device_model: text("device_model"),
        browser: text("browser"),
        browser_version: text("browser_version"),
        network: text("network"),
        other_sdks: text("other_sdks"),
        capabilities,
        address: String::new(),
    }
}

/// Adds what only the request's head tells: where it came from and, for the SDKs that run in a
/// browser, which one. Quirks of browsers hang on that, and the JavaScript SDK does not say.
fn complete(client_info: &mut proto::ClientInfo, headers: &HeaderMap, remote: IpAddr) {
    client_info.address = address(headers, remote);
    let in_browser = matches!(
        client_info.sdk(),
        Sdk::Js | Sdk::ReactNative | Sdk::Flutter | Sdk::Unity | Sdk::Unknown
    );
    let user_agent = headers
        .get(header::USER_AGENT)
        .and_then(|value| value.to_str().ok());
    let Some(user_agent) = user_agent.filter(|_| in_browser) else {
        return;
    };
    let user_agent = UserAgent::parse(user_agent);
    if client_info.browser.is_empty() {
        client_info.browser = user_agent.browser.to_owned();
        client_info.browser_version = user_agent.browser_version;
    }
    if client_info.os.is_empty() {
        client_info.os = user_agent.os.to_owned();
        client_info.os_version = user_agent.os_version;
    }
}

/// The client's address as a proxy states it, else the connection's. It is shown, never trusted.
fn address(headers: &HeaderMap, remote: IpAddr) -> String {
    ["cf-connecting-ip", "x-forwarded-for", "x-real-ip"]
        .iter()
        .find_map(|name| headers.get(*name)?.to_str().ok())
        .filter(|address| !address.is_empty())
        .map_or_else(|| remote.to_string(), str::to_owned)
}

fn unwrap_join_request(encoded: &str) -> Result<proto::JoinRequest, &'static str> {
    let wrapped = decode_base64(encoded).ok_or("cannot base64 decode wrapped join request")?;
    let wrapped = proto::WrappedJoinRequest::decode(wrapped.as_slice())
        .map_err(|_| "cannot unmarshal wrapped join request")?;
    let body = match Compression::try_from(wrapped.compression) {
        Ok(Compression::None) => wrapped.join_request,
        Ok(Compression::Gzip) => inflate(&wrapped.join_request)?,
        Err(_) => return Err("unknown compression of the join request"),
    };
    if body.len() > JOIN_REQUEST_LEN_MAX {
        return Err("join request too large");
    }
    proto::JoinRequest::decode(body.as_slice()).map_err(|_| "cannot unmarshal join request")
}

fn inflate(compressed: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut body = Vec::new();
    // One byte more than allowed tells a request that is too large from one that just fits.
    GzDecoder::new(compressed)
        .take(JOIN_REQUEST_LEN_MAX as u64 + 1)
        .read_to_end(&mut body)
        .map_err(|_| "cannot read decompressed join request")?;
    Ok(body)
}

/// Base64 of either alphabet, padded or not: SDKs differ, and a plus becomes a space in a query.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let url_safe: String = text
        .trim_end_matches('=')
        .chars()
        .map(|c| match c {
            '+' | ' ' => '-',
            '/' => '_',
            c => c,
        })
        .collect();
    URL_SAFE_NO_PAD.decode(url_safe).ok()
}
