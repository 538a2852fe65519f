//! S13: STUN.

use std::time::Duration;

use millrace_shared::link::IceCredentials;

use super::Attack;
use crate::arena::{Arena, Finding, received_by, spray};
use crate::client::session::binding;
use crate::outcome::Outcome;

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        id: "S13a",
        name: "Binding Requests without and with unknown ufrags, by the million",
        expected: "each is dropped and answered with nothing",
        run: unknown,
    },
    Attack {
        id: "S13b",
        name: "Binding Requests of a known ufrag under a wrong password",
        expected: "each is dropped and answered with nothing",
        run: wrong_password,
    },
    Attack {
        id: "S13c",
        name: "a captured Binding Request, sent again from another address",
        expected: "dropped and answered with nothing, media keeps its way",
        run: replay,
    },
    Attack {
        id: "S13d",
        name: "as many Binding Requests as fit, of a participant",
        expected: "no more bytes out than in",
        run: amplification,
    },
];

fn credentials(ufrag: String) -> IceCredentials {
    IceCredentials {
        ufrag,
        pwd: "not the password of anybody".replace(' ', "+"),
    }
}

fn unknown(arena: &mut Arena) -> Outcome<Finding> {
    let stranger = arena.stranger()?;
    let before = arena.count()?;
    let count = arena.amount(60_000, 1_000_000);
    // RFC 8489 §5: a bare header, and one with a username that is guessed.
    let mut bare = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    bare.extend_from_slice(&[7; 12]);
    let guesses: Vec<Vec<u8>> = (0..256)
        .map(|n| binding(n, &credentials(format!("0-{n:016x}")), "x", true))
        .collect();
    spray(count, 25_000, |n| {
        let packet = if n % 2 == 0 {
            &bare
        } else {
            &guesses[(n / 2) as usize % guesses.len()]
        };
        let _ = stranger.send(packet);
    });
    let [username, ufrag] = arena.grew_all(
        &before,
        [
            "millrace_drop_stun_username_total",
            "millrace_drop_stun_ufrag_unknown_total",
        ],
    )?;
    let lost = arena.overflowed(&before);
    let (_, bytes) = received_by(&stranger);
    Ok(Finding::new(
        username + ufrag + lost == count && bytes == 0,
        format!(
            "{count} sent; {username} without, {ufrag} with unknown ufrag dropped, {lost} by the \
             kernel; {bytes} bytes answered"
        ),
    ))
}

fn wrong_password(arena: &mut Arena) -> Outcome<Finding> {
    let pair = arena.pair(1_000)?;
    let stranger = arena.stranger()?;
    let before = arena.count()?;
    let count = arena.amount(5_000, 50_000);
    let ufrag = pair.eve.remote_ice.ufrag.clone();
    let packet = binding(1, &credentials(ufrag), "hostile", true);
    spray(count, 10_000, |_| {
        let _ = stranger.send(&packet);
    });
    let dropped = arena.dropped(&before, "stun_integrity")? + arena.overflowed(&before);
    let (_, bytes) = received_by(&stranger);
    pair.leave();
    Ok(Finding::new(
        dropped == count && bytes == 0,
        format!("{count} sent, {dropped} dropped, {bytes} bytes answered"),
    ))
}

fn replay(arena: &mut Arena) -> Outcome<Finding> {
    let mut pair = arena.pair(1_000)?;
    pair.begin()?;
    let stranger = arena.stranger()?;
    let check = pair.eve.check(true);
    pair.eve.send(&check);
    pair.serve(Duration::from_millis(100));
    let before = arena.count()?;
    for _ in 0..100 {
        let _ = stranger.send(&check);
    }
    pair.serve(Duration::from_millis(100));
    // Were its tuple selected now, the witness's reports and our feedback would go there.
    let ahead = pair.send(100)?;
    for packet in &ahead {
        let _ = stranger.send(packet);
    }
    pair.serve(Duration::from_millis(1_500));
    let seen = pair.seen;
    pair.send(50)?;
    let forwarded = pair.seen - seen;
    let dropped = arena.dropped(&before, "stun_replay")?;
    let (datagrams, _) = received_by(&stranger);
    pair.leave();
    Ok(Finding::new(
        dropped == 100 && datagrams == 0 && forwarded == 50,
        format!(
            "{dropped}/100 dropped, {datagrams} datagrams came there; {forwarded}/50 packets of the \
             session forwarded"
        ),
    ))
}

fn amplification(arena: &mut Arena) -> Outcome<Finding> {
    let mut pair = arena.pair(1_000)?;
    let (mut bytes_in, mut bytes_out) = (0, 0);
    let mut buffer = [0; 2_048];
    let socket = pair
        .eve
        .socket
        .try_clone()
        .map_err(|error| error.to_string())?;
    socket
        .set_read_timeout(Some(Duration::from_millis(20)))
        .map_err(|error| error.to_string())?;
    for _ in 0..arena.amount(500, 5_000) {
        let check = pair.eve.check(false);
        pair.eve.send(&check);
        bytes_in += check.len();
        if let Ok(len) = socket.recv(&mut buffer) {
            bytes_out += len;
        }
    }
    pair.leave();
    Ok(Finding::new(
        bytes_out > 0 && bytes_out <= bytes_in,
        format!("{bytes_in} bytes in, {bytes_out} out"),
    ))
}
