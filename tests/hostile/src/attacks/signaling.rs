//! S19: HTTP and the signaling socket.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::GzEncoder;
use livekit_protocol as proto;
use prost::Message as _;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use tokio_tungstenite::tungstenite::Message;

use super::Attack;
use crate::arena::{Arena, Finding};
use crate::client::signal::{Refused, Signal};
use crate::outcome::{Outcome, Said as _};
use crate::report::mebibytes;
use crate::token::Grant;

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        id: "S19a",
        name: "thousands of idle connections of one address, and requests of a byte a second",
        expected: "512 are held, the others refused and counted; joins take less than two seconds",
        run: idle_connections,
    },
    Attack {
        id: "S19b",
        name: "a frame of 10 MB",
        expected: "closed with 1009",
        run: long_frame,
    },
    Attack {
        id: "S19c",
        name: "join requests that inflate a thousandfold",
        expected: "400, memory as before",
        run: gzip_bomb,
    },
    Attack {
        id: "S19d",
        name: "thousands of candidates and of AddTrack requests",
        expected: "read at the rate; at most 20 tracks wait, the others get LIMIT_EXCEEDED, until the socket is \
            closed because its pings wait behind them",
        run: request_flood,
    },
    Attack {
        id: "S19e",
        name: "messages that are no protobuf, or no JSON",
        expected: "the socket is closed",
        run: garbage,
    },
];

const BOTH: Grant = Grant {
    publish: true,
    subscribe: true,
};
/// LiveKit's limit of waiting tracks, and ours.
const PENDING_MAX: usize = 20;
/// Connections of strangers that an address may have.
const STRANGERS_MAX: usize = 512;
const JOIN_MAX: Duration = Duration::from_secs(2);

fn open(arena: &Arena, identity: &str) -> Outcome<Signal> {
    let token = arena.node.key.join("signaling", identity, BOTH);
    let mut signal =
        Signal::open(arena.node.http, &token).map_err(|refused| format!("{refused:?}"))?;
    signal.wait("join", |response| {
        matches!(response, Response::Join(_)).then_some(())
    })?;
    Ok(signal)
}

/// An address of this machine that is not loopback, which is exempt.
fn outer_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Chooses a route; nothing is sent.
    socket.connect("198.51.100.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

fn idle_connections(arena: &mut Arena) -> Outcome<Finding> {
    let Some(address) = outer_address() else {
        return Err("this machine has no address but loopback, which is exempt".into());
    };
    let http = SocketAddr::new(address, arena.node.http.port());
    let before = arena.count()?;
    let wanted = usize::try_from(arena.amount(700, 10_000)).unwrap_or(0);
    let mut held = Vec::new();
    let mut opened = 0;
    for n in 0..wanted {
        let Ok(mut stream) = TcpStream::connect(http) else {
            continue;
        };
        opened += 1;
        // A head that does not end.
        let _ = stream.write_all(b"GET /rtc HTTP/1.1\r\nX: ");
        // Refused ones need no place of ours; which they are shows in the counter.
        if n < 2 * STRANGERS_MAX {
            held.push(stream);
        }
    }
    let mut slowest = Duration::ZERO;
    let begin = Instant::now();
    let mut joins = 0;
    while begin.elapsed() < Duration::from_secs(arena.amount(4, 20)) {
        for stream in &mut held {
            let _ = stream.write_all(b"x");
        }
        let joining = Instant::now();
        let mut signal = open(arena, &format!("guest-{joins}"))?;
        slowest = slowest.max(joining.elapsed());
        signal.leave();
        joins += 1;
        std::thread::sleep(Duration::from_millis(200));
    }
    let name = "millrace_refusals_total{limit=\"connections_per_address\"}";
    let refused = usize::try_from(arena.grew(&before, name)?).unwrap_or(0);
    Ok(Finding::new(
        refused + STRANGERS_MAX == opened && slowest < JOIN_MAX,
        format!(
            "{opened} opened, {refused} refused; {joins} joins meanwhile, the slowest {:.0} ms",
            slowest.as_secs_f64() * 1e3
        ),
    ))
}

fn long_frame(arena: &mut Arena) -> Outcome<Finding> {
    let mut signal = open(arena, "eve")?;
    // The server may close before it has all of it.
    let sent = signal.send_raw(Message::Binary(vec![0; 10 << 20].into()));
    let closed = signal.wait_closed(Duration::from_secs(5));
    Ok(Finding::new(
        closed == Some(Some(1009)) || (sent.is_err() && closed.is_some()),
        format!("closed with {closed:?}"),
    ))
}

fn gzip_bomb(arena: &mut Arena) -> Outcome<Finding> {
    let memory = arena.node.rss();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![0; 1 << 20];
    // As much as a request's target has room for.
    for _ in 0..32 {
        gzip.write_all(&zeros).said("gzip")?;
    }
    let wrapped = proto::WrappedJoinRequest {
        compression: proto::wrapped_join_request::Compression::Gzip.into(),
        join_request: gzip.finish().said("gzip")?,
    };
    let encoded = URL_SAFE_NO_PAD.encode(wrapped.encode_to_vec());
    let token = arena.node.key.join("signaling", "eve", BOTH);
    let mut refused = 0;
    let mut grown = 0;
    for _ in 0..arena.amount(20, 200) {
        let target = format!("/rtc/v1?access_token={token}&join_request={encoded}");
        if let Err(Refused::Status(400)) = Signal::open_target(arena.node.http, &target) {
            refused += 1;
        }
        grown = grown.max(arena.node.rss().saturating_sub(memory));
    }
    Ok(Finding::new(
        refused == arena.amount(20, 200) && grown < 24 << 20,
        format!("{refused} refused with 400; memory +{}", mebibytes(grown)),
    ))
}

fn request_flood(arena: &mut Arena) -> Outcome<Finding> {
    let mut signal = open(arena, "eve")?;
    let before = arena.count()?;
    let count = arena.amount(500, 5_000);
    let begin = Instant::now();
    let (mut published, mut refused, mut pong) = (0, 0, false);
    let mut take = |response: Response| match response {
        Response::TrackPublished(_) => published += 1,
        Response::RequestResponse(response) => {
            refused +=
                u64::from(response.reason() == proto::request_response::Reason::LimitExceeded);
        }
        Response::PongResp(_) => pong = true,
        _ => {}
    };
    for n in 0..count {
        signal.send(Request::Trickle(proto::TrickleRequest {
            candidate_init: format!(
                "{{\"candidate\":\"candidate:{n} 1 udp 1 192.0.2.1 9 typ host\"}}"
            ),
            ..proto::TrickleRequest::default()
        }))?;
        signal.send(Request::AddTrack(proto::AddTrackRequest {
            cid: format!("track-{n}"),
            r#type: proto::TrackType::Audio.into(),
            ..proto::AddTrackRequest::default()
        }))?;
        while let Some(response) = signal.poll() {
            take(response);
        }
    }
    signal.send(Request::PingReq(proto::Ping::default()))?;
    // 500 at once and a hundred a second, and some patience.
    let patience = Duration::from_secs(2 * count / 100 + 10);
    while begin.elapsed() < patience && signal.closed.is_none() {
        if let Some(response) = signal.poll() {
            let last = matches!(response, Response::PongResp(_));
            take(response);
            if last {
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = begin.elapsed().as_secs_f64();
    let name = "millrace_refusals_total{limit=\"signal_rate\"}";
    let throttled = arena.grew(&before, name)?;
    let answered = pong && refused == count - PENDING_MAX as u64;
    // Its pings wait behind its own requests, so that it falls silent while the server reads them.
    let silent = count > 500 && signal.closed.is_some() && refused > 0;
    let end = if answered { "answered" } else { "sent, closed" };
    signal.leave();
    Ok(Finding::new(
        (answered || silent) && published == PENDING_MAX && throttled > 0,
        format!(
            "{} requests {end} in {took:.0} s; {published} tracks wait, {refused} refused; not read \
             {throttled} times",
            2 * count
        ),
    ))
}

fn garbage(arena: &mut Arena) -> Outcome<Finding> {
    let messages = [
        Message::Binary(vec![0xff; 100].into()),
        Message::Binary(vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f].into()),
        Message::text("{\"offer\":"),
        Message::text("x".repeat(1 << 20)),
    ];
    let mut closed = 0;
    for message in &messages {
        let mut signal = open(arena, "eve")?;
        signal.send_raw(message.clone())?;
        closed += usize::from(signal.wait_closed(Duration::from_secs(5)).is_some());
    }
    let mut good = open(arena, "bob")?;
    good.leave();
    Ok(Finding::new(
        closed == messages.len(),
        format!("{closed}/{} closed", messages.len()),
    ))
}
