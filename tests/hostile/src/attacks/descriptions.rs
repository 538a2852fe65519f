//! S21: session descriptions made to cost time.

use std::time::{Duration, Instant};

use livekit_protocol as proto;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;

use super::Attack;
use crate::arena::{Arena, Finding};
use crate::client::session::description;
use crate::client::signal::Signal;
use crate::outcome::Outcome;
use crate::token::Grant;

pub(super) const ATTACKS: &[Attack] = &[Attack {
    id: "S21",
    name: "offers of 5,000 m-lines, of 10,000 candidates, of a line of a megabyte, of one mid twice, \
           of RTX loops, of payload type 200, of a megabyte of attributes",
    expected: "answered or refused with a leave, less than 50 ms of CPU each",
    run: bombs,
}];

const CPU_MAX: Duration = Duration::from_millis(50);
/// The kernel counts CPU time in hundredths of a second: only a sum says something.
const TIMES: u32 = 5;

const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-ufrag:abcd\r\n\
    a=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\n";

fn head() -> String {
    format!("{HEAD}a=fingerprint:sha-256 {}\r\n", ["AB"; 32].join(":"))
}

fn section(mid: &str) -> String {
    format!(
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na=sendonly\r\n\
         a=rtpmap:111 opus/48000/2\r\n"
    )
}

fn descriptions() -> Vec<(&'static str, String)> {
    let many = |count: usize| -> String { (0..count).map(|n| section(&n.to_string())).collect() };
    let candidates: String = (0..10_000)
        .map(|n| {
            format!(
                "a=candidate:{n} 1 udp 1 192.0.2.1 {} typ host\r\n",
                n % 65_536
            )
        })
        .collect();
    let video = "m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 200\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n\
        a=rtpmap:96 VP8/90000\r\n";
    let rtx: String = [(97, 97), (98, 97), (200, 98)]
        .iter()
        .map(|(pt, apt)| format!("a=rtpmap:{pt} rtx/90000\r\na=fmtp:{pt} apt={apt}\r\n"))
        .collect();
    let attributes = "a=rtcp-fb:* nack\r\na=ssrc:1 msid:a b\r\na=fmtp:111 a=1\r\n".repeat(18_000);
    vec![
        ("5,000 m-lines", format!("{}{}", head(), many(5_000))),
        ("640 m-lines", format!("{}{}", head(), many(640))),
        (
            "10,000 candidates",
            format!("{}{}{candidates}", head(), section("0")),
        ),
        (
            "a line of a megabyte",
            format!("{}a=x:{}\r\n", head(), "y".repeat(1 << 20)),
        ),
        (
            "one mid twice",
            format!("{}{}{}", head(), section("0"), section("0")),
        ),
        ("RTX loops, PT 200", format!("{}{video}{rtx}", head())),
        (
            "a megabyte of attributes",
            format!("{}{}{attributes}", head(), section("0")),
        ),
    ]
}

fn bombs(arena: &mut Arena) -> Outcome<Finding> {
    let background = background(arena);
    let (mut worst, mut worst_name) = (Duration::ZERO, "");
    let mut unanswered = Vec::new();
    for (name, sdp) in descriptions() {
        let mut used = Duration::ZERO;
        for time in 0..TIMES {
            let identity = format!("bomber-{}-{time}", arena.number());
            let grant = Grant {
                publish: true,
                subscribe: false,
            };
            let token = arena.node.key.join("bombs", &identity, grant);
            let mut signal =
                Signal::open(arena.node.http, &token).map_err(|refused| format!("{refused:?}"))?;
            signal.wait("join", |response| {
                matches!(response, Response::Join(_)).then_some(())
            })?;
            let (begin, cpu) = (Instant::now(), arena.node.cpu());
            let offer: proto::SessionDescription = description("offer", sdp.clone(), 1);
            signal.send(Request::Offer(offer))?;
            let answered = signal.wait("answer or leave", |response| {
                matches!(response, Response::Answer(_) | Response::Leave(_)).then_some(())
            });
            if answered.is_err() && signal.closed.is_none() {
                unanswered.push(name);
            }
            used += (arena.node.cpu() - cpu).saturating_sub(begin.elapsed().mul_f64(background));
            signal.leave();
        }
        let each = used / TIMES;
        if each >= worst {
            (worst, worst_name) = (each, name);
        }
    }
    Ok(Finding::new(
        unanswered.is_empty() && worst < CPU_MAX,
        format!(
            "at most {} ms of CPU ({worst_name}); without an answer: {unanswered:?}",
            worst.as_millis()
        ),
    ))
}

/// CPU time that the call takes, of a second.
fn background(arena: &Arena) -> f64 {
    let (begin, cpu) = (Instant::now(), arena.node.cpu());
    std::thread::sleep(Duration::from_secs(2));
    (arena.node.cpu() - cpu).as_secs_f64() / begin.elapsed().as_secs_f64()
}
