//! What clients and operators send to the control plane.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::GzEncoder;
use livekit_protocol as proto;
use prost::Message as _;
use proto::SignalRequest;
use proto::signal_request::Message;
use proto::wrapped_join_request::Compression as Wrapping;

/// The descriptions of real browsers that the negotiation is tested with: one of each kind.
fn descriptions() -> Vec<String> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../controlplane/src/negotiate/testdata");
    [
        "chromium-publish-simulcast-offer",
        "chromium-subscribe-answer",
        "firefox-publish-plain-offer",
        "firefox-subscribe-answer",
        "firefox-max-bundle-offer",
    ]
    .iter()
    .map(|name| fs::read_to_string(folder.join(format!("{name}.sdp"))).unwrap())
    .collect()
}

const SHORT: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
    a=fingerprint:sha-256 AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:\
    11:22:33:44:55:66:77:88:99\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n\
    a=setup:actpass\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n\
    a=sendonly\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack pli\r\n\
    a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
    a=rid:q send\r\na=rid:f send\r\na=simulcast:send q;f\r\na=ssrc-group:FID 1 2\r\n\
    a=ssrc:1 cname:c\r\na=ssrc:2 cname:c\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n\
    c=IN IP4 0.0.0.0\r\na=mid:1\r\na=sctp-port:5000\r\na=max-message-size:262144\r\n";

pub(crate) fn sdp() -> Vec<Vec<u8>> {
    let mut seeds: Vec<String> = descriptions();
    seeds.push(SHORT.into());
    seeds.push(
        SHORT
            .replace("sendonly", "recvonly")
            .replace("actpass", "active"),
    );
    seeds.push(SHORT.replace("VP8/90000", "H264/90000"));
    seeds.push(SHORT.replace("m=video 9", "m=video 0"));
    seeds.into_iter().map(String::into_bytes).collect()
}

fn requests() -> Vec<Message> {
    let description = |kind: &str| proto::SessionDescription {
        r#type: kind.into(),
        sdp: SHORT.into(),
        ..proto::SessionDescription::default()
    };
    vec![
        Message::AddTrack(proto::AddTrackRequest {
            cid: "camera".into(),
            name: "camera".into(),
            r#type: proto::TrackType::Video.into(),
            source: proto::TrackSource::Camera.into(),
            width: 1_280,
            height: 720,
            layers: vec![proto::VideoLayer::default(); 3],
            simulcast_codecs: vec![proto::SimulcastCodec {
                codec: "vp8".into(),
                cid: "camera".into(),
                ..proto::SimulcastCodec::default()
            }],
            ..proto::AddTrackRequest::default()
        }),
        Message::Offer(description("offer")),
        Message::Answer(description("answer")),
        Message::Trickle(proto::TrickleRequest {
            candidate_init: r#"{"candidate":"candidate:1 1 udp 1 192.0.2.7 4000 typ host"}"#.into(),
            ..proto::TrickleRequest::default()
        }),
        Message::Mute(proto::MuteTrackRequest {
            sid: "TR_x".into(),
            muted: true,
        }),
        Message::Subscription(proto::UpdateSubscription {
            track_sids: vec!["TR_x".into()],
            subscribe: true,
            ..proto::UpdateSubscription::default()
        }),
        Message::TrackSetting(proto::UpdateTrackSettings {
            track_sids: vec!["TR_x".into()],
            width: 320,
            fps: 15,
            ..proto::UpdateTrackSettings::default()
        }),
        Message::UpdateMetadata(proto::UpdateParticipantMetadata {
            metadata: "{}".into(),
            name: "Alice".into(),
            attributes: [("k".to_owned(), "v".to_owned())].into(),
            request_id: 7,
        }),
        Message::SyncState(proto::SyncState {
            offer: Some(description("offer")),
            publish_tracks: vec![proto::TrackPublishedResponse::default()],
            ..proto::SyncState::default()
        }),
        Message::PingReq(proto::Ping {
            timestamp: 1,
            rtt: 2,
        }),
        Message::Leave(proto::LeaveRequest::default()),
    ]
}

/// Each request alone, and all of them together, in both encodings.
pub(crate) fn signal() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for json in [false, true] {
        let mut all = vec![u8::from(json)];
        for message in requests() {
            let request = SignalRequest {
                message: Some(message),
            };
            let bytes = if json {
                serde_json::to_vec(&request).unwrap()
            } else {
                request.encode_to_vec()
            };
            let len = u16::try_from(bytes.len()).unwrap().to_be_bytes();
            let framed = [&len[..], &bytes].concat();
            if bytes.len() < 300 {
                seeds.push([&[2][..], &framed].concat());
            }
            all.extend_from_slice(&framed);
        }
        seeds.push(all);
    }
    seeds
}

pub(crate) fn join() -> Vec<Vec<u8>> {
    let request = proto::JoinRequest {
        client_info: Some(proto::ClientInfo {
            sdk: proto::client_info::Sdk::Js.into(),
            version: "2.0.0".into(),
            protocol: 16,
            ..proto::ClientInfo::default()
        }),
        connection_settings: Some(proto::ConnectionSettings {
            auto_subscribe: true,
            ..proto::ConnectionSettings::default()
        }),
        metadata: "m".into(),
        ..proto::JoinRequest::default()
    };
    let body = request.encode_to_vec();
    let wrapped = |compression: Wrapping, join_request: Vec<u8>| {
        let wrapped = proto::WrappedJoinRequest {
            compression: compression.into(),
            join_request,
        };
        let text = URL_SAFE_NO_PAD.encode(wrapped.encode_to_vec());
        format!("join_request={text}").into_bytes()
    };
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&body).unwrap();
    let attributes = URL_SAFE_NO_PAD.encode(r#"{"k":"v"}"#);
    vec![
        wrapped(Wrapping::None, body),
        wrapped(Wrapping::Gzip, gzip.finish().unwrap()),
        b"auto_subscribe=1&sdk=js&version=2.0.0&protocol=16&browser=Firefox&os=Linux".to_vec(),
        b"reconnect=1&reconnect_reason=2&sid=PA_x&adaptive_stream=1".to_vec(),
        b"join_request=%3D%3D&capabilities=CAP_PACKET_TRAILER,x&publish=p".to_vec(),
        format!("attributes={attributes}").into_bytes(),
    ]
}

pub(crate) fn jwt() -> Vec<Vec<u8>> {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let claims = [
        r#"{"sub":"alice","video":{"roomJoin":true,"room":"lobby","canPublishSources":["camera"]}}"#,
        r#"{"sub":"alice","name":"A","metadata":"m","attributes":{"k":"v"},"nbf":1.5,"video":null}"#,
        r#"{"jti":"bob","kind":"agent","roomConfig":{"name":"x"},"sha256":"","sip":{"admin":true}}"#,
        r#"{"video":{"canPublish":false,"canSubscribe":null,"hidden":true,"recorder":1}}"#,
        "[1,{}]",
    ];
    let mut seeds: Vec<Vec<u8>> = claims.map(|claims| claims.as_bytes().to_vec()).into();
    for header in [r#"{"alg":"HS256","typ":"JWT"}"#, r#"{"alg":"none"}"#] {
        let body = r#"{"iss":"key","exp":4000000000,"sub":"mallory"}"#;
        let signature = URL_SAFE_NO_PAD.encode([7; 32]);
        let token = format!("{}.{}.{signature}", encode(header), encode(body));
        seeds.push(token.into_bytes());
    }
    seeds
}

pub(crate) fn twirp() -> Vec<Vec<u8>> {
    let json = [
        (
            0,
            r#"{"name":"lobby","empty_timeout":60,"metadata":"m","tags":{}}"#,
        ),
        (1, r#"{"names":["lobby"]}"#),
        (2, r#"{"room":"lobby"}"#),
        (3, r#"{"room":"lobby"}"#),
        (5, r#"{"room":"lobby","identity":"bob"}"#),
        (
            6,
            r#"{"room":"lobby","identity":"bob","track_sid":"TR_x","muted":true}"#,
        ),
        (
            7,
            r#"{"room":"lobby","identity":"bob","permission":{"can_publish":true},"name":"B"}"#,
        ),
        (
            8,
            r#"{"room":"lobby","identity":"bob","trackSids":["TR_x"],"subscribe":true}"#,
        ),
        (
            9,
            r#"{"room":"lobby","data":"aGVsbG8=","kind":"LOSSY","destination_identities":["b"]}"#,
        ),
        (
            11,
            r#"{"room_name":"lobby","file_outputs":[{"filepath":"x"}]}"#,
        ),
    ];
    let mut seeds: Vec<Vec<u8>> = json
        .map(|(method, body)| [&[2 * method], body.as_bytes()].concat())
        .into();
    let create = proto::CreateRoomRequest {
        name: "lobby".into(),
        max_participants: 5,
        ..proto::CreateRoomRequest::default()
    };
    seeds.push([&[1][..], &create.encode_to_vec()].concat());
    seeds
}

pub(crate) fn config() -> Vec<Vec<u8>> {
    [
        "port: 7880\nrtc:\n  udp_port: 7882-7885\n  tcp_port: 7881\n  use_external_ip: false\n",
        "keys:\n  a: b\nlogging:\n  level: debug\n  json: true\nregion: eu\n",
        "rtc:\n  port_range_start: 50000\n  port_range_end: 50100\n  node_ip: 192.0.2.1\n  \
         ips:\n    includes: [10.0.0.0/8]\n    excludes: []\n  pli_throttle: {low_quality: 500ms}\n",
        "room:\n  empty_timeout: 300\n  enabled_codecs:\n    - mime: audio/opus\n    - {mime: video/vp8}\n",
        "limit:\n  max_metadata_size: 64000\naudio: {active_level: 35, update_interval: 400}\n",
        "dataplane: {backend: mmsg, shards: 2}\nprometheus: {port: 6789, username: u, password: p}\n",
        "&a [*a, <<: *a, !!binary aGk=]\n",
        "a: |\n  text\n? key\n: value\n",
        "prot: 7880\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
