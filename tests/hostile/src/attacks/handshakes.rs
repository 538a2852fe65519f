//! S1 to S4: DTLS from those who may not, and from those who lie.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::Attack;
use crate::arena::{Arena, Finding, received_by, stranger_at};
use crate::client::session::{Joining, Role, Session};
use crate::outcome::{Outcome, Said as _};
use crate::report::mebibytes;

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        id: "S1",
        name: "ClientHellos of strangers, and from other ports of the victim, race handshakes",
        expected: "every handshake completes; each ClientHello is dropped and answered with nothing",
        run: race,
    },
    Attack {
        id: "S2",
        name: "ClientHellos and alerts from a validated tuple in mid-session",
        expected: "the session goes on",
        run: from_validated_tuple,
    },
    Attack {
        id: "S3",
        name: "ClientHellos from 65,536 addresses",
        expected: "no state: each is dropped, memory as before",
        run: half_open,
    },
    Attack {
        id: "S4",
        name: "a certificate that is not the description's; fingerprints of SHA-1, of nothing, none",
        expected: "no media; the participant is told to leave, or closed",
        run: wrong_certificate,
    },
];

/// A ClientHello of DTLS 1.2 that offers TLS_NULL_WITH_NULL_NULL alone (RFC 6347 §4.2.2).
fn client_hello(sequence: u16) -> Vec<u8> {
    let mut body = vec![0xfe, 0xfd];
    body.extend_from_slice(&[0x5a; 32]);
    // No session, no cookie, one suite of two zeros, no compression.
    body.extend_from_slice(&[0, 0, 0, 2, 0, 0, 1, 0]);
    let len = body.len() as u8;
    let mut handshake = vec![1, 0, 0, len, 0, 0, 0, 0, 0, 0, 0, len];
    handshake.extend_from_slice(&body);
    let mut record = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0];
    record.extend_from_slice(&sequence.to_be_bytes());
    record.extend_from_slice(&(handshake.len() as u16).to_be_bytes());
    record.extend_from_slice(&handshake);
    record
}

/// A fatal handshake_failure, unencrypted (RFC 5246 §7.2).
fn alert(sequence: u16) -> Vec<u8> {
    let mut record = vec![21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0];
    record.extend_from_slice(&sequence.to_be_bytes());
    record.extend_from_slice(&[0, 2, 2, 40]);
    record
}

fn race(arena: &mut Arena) -> Outcome<Finding> {
    let handshakes = arena.amount(20, 500);
    let before = arena.count()?;
    // One of a stranger, one that shares the victims' address.
    let sockets = [
        stranger_at(Ipv4Addr::new(127, 0, 0, 2), arena.node.udp)?,
        stranger_at(Ipv4Addr::LOCALHOST, arena.node.udp)?,
    ];
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut complete = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for socket in &sockets {
                    let n = sent.fetch_add(1, Ordering::Relaxed);
                    let _ = socket.send(&client_hello(n as u16));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        for _ in 0..handshakes {
            if let Ok(session) = arena.join("race", Role::Publisher) {
                complete += 1;
                session.leave();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let sent = sent.load(Ordering::Relaxed);
    let dropped = arena.dropped(&before, "tuple_unvalidated")? + arena.overflowed(&before);
    let answered: u64 = sockets.iter().map(|socket| received_by(socket).1).sum();
    // A session that ended may still have said something.
    let exact = (sent..=sent + 4 * handshakes).contains(&dropped);
    Ok(Finding::new(
        complete == handshakes && exact && answered == 0,
        format!(
            "{complete}/{handshakes} handshakes; {sent} ClientHellos, {dropped} dropped, \
             {answered} bytes answered"
        ),
    ))
}

fn from_validated_tuple(arena: &mut Arena) -> Outcome<Finding> {
    let mut pair = arena.pair(1_000)?;
    pair.begin()?;
    for n in 0..arena.amount(500, 5_000) {
        pair.eve.send(&client_hello(n as u16));
        pair.eve.send(&alert(n as u16));
        if n % 50 == 0 {
            pair.serve(Duration::from_millis(5));
        }
    }
    let before = pair.seen;
    pair.send(100)?;
    let seen = pair.seen - before;
    let ended = pair.eve.ended.clone();
    let pass = seen == 100 && ended.is_none();
    pair.leave();
    Ok(Finding::new(
        pass,
        format!("afterwards {seen}/100 packets forwarded, ended: {ended:?}"),
    ))
}

fn half_open(arena: &mut Arena) -> Outcome<Finding> {
    let before = arena.count()?;
    let memory = arena.node.rss();
    let addresses = arena.amount(4_096, 65_536);
    let mut sent = 0;
    for n in 0..addresses {
        let [a, b] = (n as u16).to_be_bytes();
        // 127.128.0.0/9 is ours alone.
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 128, a, b.max(1)), 0)).said("address")?;
        if socket.send_to(&client_hello(1), arena.node.udp).is_ok() {
            sent += 1;
        }
        if n % 64 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    let dropped = arena.dropped(&before, "tuple_unvalidated")? + arena.overflowed(&before);
    let grown = arena.node.rss().saturating_sub(memory);
    Ok(Finding::new(
        dropped == sent && grown < 2 << 20,
        format!(
            "{sent} sent, {dropped} dropped; memory +{}",
            mebibytes(grown)
        ),
    ))
}

fn wrong_certificate(arena: &mut Arena) -> Outcome<Finding> {
    let lines = [
        format!("a=fingerprint:sha-256 {}\r\n", ["AB"; 32].join(":")),
        format!("a=fingerprint:sha-1 {}\r\n", ["AB"; 20].join(":")),
        "a=fingerprint:sha-256\r\n".to_owned(),
        String::new(),
    ];
    let (mut media, mut ended) = (0, 0);
    for line in &lines {
        let room = format!("liar-{}", arena.number());
        let number = arena.number();
        let identity = format!("liar-{number}");
        let joining = Joining {
            fingerprint: Some(line.clone()),
            ..Joining::new(&room, &identity, Role::Publisher)
        };
        let mut witness = arena.join(&room, Role::Subscriber)?;
        let Ok(mut liar) = Session::join(&arena.node, &joining, number) else {
            ended += 1;
            witness.leave();
            continue;
        };
        let _ = liar.connect();
        for _ in 0..50 {
            if let Ok(packet) = liar.rtp() {
                liar.send(&packet);
            }
            liar.serve(Duration::from_millis(10), &mut |_| {});
            witness.serve(Duration::from_millis(10), &mut |_| media += 1);
        }
        liar.serve(Duration::from_secs(1), &mut |_| {});
        ended += usize::from(liar.ended.is_some());
        liar.leave();
        witness.leave();
    }
    Ok(Finding::new(
        media == 0 && ended == lines.len(),
        format!("{ended}/{} ended, {media} packets forwarded", lines.len()),
    ))
}
