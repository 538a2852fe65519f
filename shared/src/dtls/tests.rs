#![expect(clippy::disallowed_methods, reason = "an epoch needs an instant")]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{APPLICATION_DATA_LEN_MAX, Dtls, DtlsOutput, Identity, PollBuffer};
use crate::drop::DropReason;
use crate::limits::{
    DATAGRAM_RECEIVE_LEN_MAX, DATAGRAM_SEND_LEN_MAX, DTLS_REBUILDS_MAX, DTLS_SEND_DATAGRAMS_MAX,
};
use crate::link::Fingerprint;
use crate::srtp::{MasterKey, Profile};
use crate::time::{Epoch, Timestamp};

const DELAY: Duration = Duration::from_millis(10);

/// One end, and all it has put out besides datagrams.
struct End {
    dtls: Dtls,
    fingerprint: Option<Fingerprint>,
    keys: Option<(MasterKey, MasterKey)>,
    connected: bool,
    closed: bool,
    failed: bool,
    received: Vec<Vec<u8>>,
}

impl End {
    fn new(dtls: Dtls) -> Self {
        Self {
            dtls,
            fingerprint: None,
            keys: None,
            connected: false,
            closed: false,
            failed: false,
            received: Vec::new(),
        }
    }

    fn poll(&mut self) -> Vec<Vec<u8>> {
        let mut buffer = PollBuffer::new();
        let mut datagrams = Vec::new();
        while let Some(output) = self.dtls.poll(&mut buffer) {
            match output {
                DtlsOutput::Datagram(datagram) => {
                    assert!(datagram.len() <= DATAGRAM_SEND_LEN_MAX);
                    datagrams.push(datagram.to_vec());
                }
                DtlsOutput::PeerFingerprint(it) => self.fingerprint = Some(it),
                DtlsOutput::Keys { local, remote } => self.keys = Some((local, remote)),
                DtlsOutput::Connected => self.connected = true,
                DtlsOutput::ApplicationData(plain) => self.received.push(plain.to_vec()),
                DtlsOutput::Closed => self.closed = true,
                DtlsOutput::Failed => self.failed = true,
            }
        }
        datagrams
    }
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum To {
    Server,
    Client,
}

/// Client and server over a link in virtual time.
struct Pair {
    now: Timestamp,
    client: End,
    server: End,
    wire: VecDeque<(Timestamp, To, Vec<u8>)>,
    /// Datagrams sent so far.
    sent: usize,
}

impl Pair {
    fn new() -> Self {
        Self::with(
            &Identity::generate().unwrap(),
            &Identity::generate().unwrap(),
        )
    }

    fn with(ours: &Identity, theirs: &Identity) -> Self {
        let epoch = Epoch {
            instant: Instant::now(),
            since_1900: Duration::ZERO,
        };
        let now = Timestamp::from_millis(5);
        Self {
            now,
            client: End::new(Dtls::new_client(theirs, &epoch, now)),
            server: End::new(Dtls::new(ours, &epoch, now)),
            wire: VecDeque::new(),
            sent: 0,
        }
    }

    /// Runs until nothing is due for a while, or a minute has passed. `fate` maps each datagram to
    /// what arrives in its place.
    fn run(&mut self, mut fate: impl FnMut(usize, To, Vec<u8>) -> Vec<Vec<u8>>) {
        let until = self.now + Duration::from_secs(60);
        loop {
            for (to, datagrams) in [
                (To::Server, self.client.poll()),
                (To::Client, self.server.poll()),
            ] {
                for datagram in datagrams {
                    let n = self.sent;
                    self.sent += 1;
                    for arriving in fate(n, to, datagram) {
                        self.wire.push_back((self.now + DELAY, to, arriving));
                    }
                }
            }
            let arrival = self.wire.front().map_or(Timestamp::NEVER, |it| it.0);
            let timers = [&self.client.dtls, &self.server.dtls].map(Dtls::next_timeout);
            let next = timers.into_iter().fold(arrival, Timestamp::min);
            if next > until {
                return;
            }
            self.now = self.now.max(next);
            if arrival <= self.now {
                let (_, to, datagram) = self.wire.pop_front().unwrap();
                // What a datagram was dropped for shows in the outcome.
                let now = self.now;
                let _ = self.end(to).dtls.receive(now, &datagram);
            }
            for (timeout, to) in timers.into_iter().zip([To::Client, To::Server]) {
                if timeout <= self.now {
                    let now = self.now;
                    self.end(to).dtls.handle_timeout(now);
                }
            }
        }
    }

    fn end(&mut self, to: To) -> &mut End {
        match to {
            To::Server => &mut self.server,
            To::Client => &mut self.client,
        }
    }

    fn connected() -> Self {
        let mut pair = Self::new();
        pair.run(|_, _, datagram| vec![datagram]);
        pair.assert_connected();
        pair
    }

    fn assert_connected(&mut self) {
        assert!(self.client.connected && self.server.connected);
        assert!(!self.client.failed && !self.server.failed);
        let (client_local, client_remote) = self.client.keys.clone().unwrap();
        let (server_local, server_remote) = self.server.keys.clone().unwrap();
        assert_eq!(client_local, server_remote);
        assert_eq!(client_remote, server_local);
        assert_ne!(client_local, client_remote);
        assert_eq!(client_local.profile(), Profile::AeadAes256Gcm);
    }

    fn assert_carries_data(&mut self) {
        let now = self.now;
        self.client.dtls.send(now, b"from the client").unwrap();
        self.server.dtls.send(now, b"from the server").unwrap();
        self.run(|_, _, datagram| vec![datagram]);
        assert_eq!(self.server.received, [b"from the client".to_vec()]);
        assert_eq!(self.client.received, [b"from the server".to_vec()]);
    }
}

/// A record that claims epoch and sequence number as an outsider can.
fn forged(content_type: u8, epoch: u8, fragment: &[u8]) -> Vec<u8> {
    let len = u16::try_from(fragment.len()).unwrap().to_be_bytes();
    let mut record = vec![content_type, 254, 253, 0, epoch, 0, 0, 0, 0, 0, 77];
    record.extend_from_slice(&len);
    record.extend_from_slice(fragment);
    record
}

#[test]
fn handshake_gives_both_sides_the_same_keys() {
    let mut pair = Pair::connected();
    assert!(pair.now < Timestamp::from_millis(100), "two round trips");
    pair.assert_carries_data();
}

#[test]
fn each_side_sees_the_others_fingerprint() {
    let (ours, theirs) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    assert_ne!(ours.fingerprint(), theirs.fingerprint());
    let mut pair = Pair::with(&ours, &theirs);
    pair.run(|_, _, datagram| vec![datagram]);
    assert_eq!(pair.client.fingerprint, Some(ours.fingerprint()));
    assert_eq!(pair.server.fingerprint, Some(theirs.fingerprint()));
}

#[test]
fn survives_the_loss_of_any_one_datagram() {
    let flights = Pair::connected().sent;
    assert!(flights >= 4);
    for lost in 0..flights {
        let mut pair = Pair::new();
        pair.run(|n, _, datagram| {
            if n == lost {
                Vec::new()
            } else {
                vec![datagram]
            }
        });
        pair.assert_connected();
        pair.assert_carries_data();
    }
}

#[test]
fn survives_duplication_and_loss_of_every_third_datagram() {
    for phase in 0..3 {
        let mut pair = Pair::new();
        pair.run(|n, _, datagram| match (n + phase) % 3 {
            0 => Vec::new(),
            1 => vec![datagram.clone(), datagram],
            _ => vec![datagram],
        });
        pair.assert_connected();
        pair.assert_carries_data();
    }
}

#[test]
fn survives_datagrams_in_the_wrong_order() {
    let mut pair = Pair::new();
    let mut held: Option<(To, Vec<u8>)> = None;
    pair.run(|n, to, datagram| {
        // Every second datagram arrives behind the next one of its direction.
        if n % 2 == 0 && n > 0 && held.is_none() {
            held = Some((to, datagram));
            return Vec::new();
        }
        let mut arriving = vec![datagram];
        let late = held.take_if(|(direction, _)| *direction == to);
        arriving.extend(late.map(|(_, datagram)| datagram));
        arriving
    });
    pair.assert_connected();
    pair.assert_carries_data();
}

/// Handshake records of epoch 0 that no handshake expects, before every real datagram.
#[test]
fn survives_forged_records_before_completion() {
    let message = [&[20, 0, 0, 4, 0, 9, 0, 0, 0, 0, 0, 4][..], &[1, 2, 3, 4]].concat();
    let key_exchange = [&[16, 0, 0, 4, 0, 2, 0, 0, 0, 0, 0, 4][..], &[1, 2, 3, 4]].concat();
    for junk in [
        forged(22, 0, &message),
        forged(22, 0, &key_exchange),
        forged(22, 0, &[0xff; 60]),
        forged(23, 1, &[0xff; 60]),
        forged(20, 0, &[1]),
        vec![0x16; 200],
    ] {
        let mut pair = Pair::new();
        pair.run(|_, to, datagram| match to {
            To::Server => vec![junk.clone(), datagram],
            To::Client => vec![datagram],
        });
        assert!(pair.server.connected, "junk {junk:02x?}");
        pair.assert_connected();
        pair.assert_carries_data();
    }
}

#[test]
fn survives_plaintext_alerts_before_completion() {
    for alert in [[2, 40], [1, 0], [2, 0]] {
        let mut pair = Pair::new();
        let forged_alert = forged(21, 0, &alert);
        let dropped = pair.server.dtls.receive(pair.now, &forged_alert);
        assert_eq!(dropped, Err(DropReason::DtlsAlertEarly));
        pair.run(|_, to, datagram| match to {
            To::Server => vec![forged_alert.clone(), datagram],
            To::Client => vec![datagram],
        });
        pair.assert_connected();
        pair.assert_carries_data();
    }
}

/// A forged fragment occupies the place of the real ClientHello, until the client sends it again
/// and the attempt is given up.
#[test]
fn survives_a_forged_client_hello_fragment() {
    let mut pair = Pair::new();
    let fragment = [&[1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 8][..], &[0xab; 8]].concat();
    pair.server
        .dtls
        .receive(pair.now, &forged(22, 0, &fragment))
        .unwrap();
    pair.run(|_, _, datagram| vec![datagram]);
    pair.assert_connected();
    pair.assert_carries_data();
}

#[test]
fn rebuilds_a_broken_handshake_a_few_times_and_then_fails() {
    let mut pair = Pair::new();
    // A ClientHello of a version that does not exist is fatal to the library.
    let body = [&[0xfe, 0x00][..], &[7; 32], &[0, 0, 0, 2, 0xc0, 0x2b, 1, 0]].concat();
    let len = u8::try_from(body.len()).unwrap();
    let header = [1, 0, 0, len, 0, 0, 0, 0, 0, 0, 0, len];
    let hello = forged(22, 0, &[&header[..], &body].concat());

    for _ in 0..DTLS_REBUILDS_MAX {
        let broken = pair.server.dtls.receive(pair.now, &hello);
        assert_eq!(broken, Err(DropReason::DtlsHandshakeBroken));
        assert!(pair.server.poll().is_empty());
        assert!(!pair.server.failed);
    }
    let mut saved = Pair::new();
    for _ in 0..DTLS_REBUILDS_MAX {
        let _ = saved.server.dtls.receive(saved.now, &hello);
    }
    saved.run(|_, _, datagram| vec![datagram]);
    saved.assert_connected();

    let broken = pair.server.dtls.receive(pair.now, &hello);
    assert_eq!(broken, Err(DropReason::DtlsHandshakeBroken));
    pair.server.poll();
    assert!(pair.server.failed);
    let late = pair.server.dtls.receive(pair.now, &hello);
    assert_eq!(late, Err(DropReason::DtlsUnexpected));
    assert_eq!(pair.server.dtls.next_timeout(), Timestamp::NEVER);
}

#[test]
fn handshake_without_an_end_fails_by_its_deadline() {
    let mut pair = Pair::new();
    pair.run(|_, to, datagram| match to {
        To::Server => vec![datagram],
        To::Client => Vec::new(),
    });
    assert!(pair.server.failed && pair.client.failed);
    assert!(!pair.server.connected);
}

#[test]
fn nothing_unauthenticated_hurts_after_completion() {
    let mut pair = Pair::connected();
    for content_type in 20..=25 {
        for epoch in 0..=2 {
            for len in [0, 1, 2, 25, 200] {
                let record = forged(content_type, epoch, &vec![2; len]);
                let _ = pair.server.dtls.receive(pair.now, &record);
                assert!(pair.server.poll().is_empty());
            }
        }
    }
    pair.assert_carries_data();
}

#[test]
fn close_reaches_both_sides() {
    let mut pair = Pair::connected();
    let now = pair.now;
    pair.server.dtls.close(now);
    pair.run(|_, _, datagram| vec![datagram]);
    assert!(pair.server.closed && pair.client.closed);
    assert_eq!(
        pair.client.dtls.send(now, b"late"),
        Err(DropReason::DtlsUnexpected)
    );
    assert_eq!(
        pair.server.dtls.receive(now, &forged(23, 1, &[0; 40])),
        Err(DropReason::DtlsUnexpected)
    );
}

/// The caller closes on a wrong fingerprint, while keys may lie ready behind it.
#[test]
fn closing_on_the_fingerprint_withholds_the_keys() {
    let mut pair = Pair::new();
    let mut buffer = PollBuffer::new();
    let mut outputs = Vec::new();
    for _ in 0..4 {
        for datagram in pair.client.poll() {
            let _ = pair.server.dtls.receive(pair.now, &datagram);
        }
        let mut to_client = Vec::new();
        while let Some(output) = pair.server.dtls.poll(&mut buffer) {
            match output {
                DtlsOutput::Datagram(datagram) => to_client.push(datagram.to_vec()),
                DtlsOutput::PeerFingerprint(_) => pair.server.dtls.close(pair.now),
                other => outputs.push(format!("{other:?}")),
            }
        }
        for datagram in to_client {
            let _ = pair.client.dtls.receive(pair.now, &datagram);
        }
    }
    assert_eq!(outputs, ["Closed"]);
}

#[test]
fn an_idle_association_sets_no_timer() {
    let pair = Pair::connected();
    assert_eq!(pair.server.dtls.next_timeout(), Timestamp::NEVER);
    assert_eq!(pair.client.dtls.next_timeout(), Timestamp::NEVER);
}

/// The library panics when a certificate does not fit the poll buffer. Some of these lengths make
/// the certificate end with a datagram, so that it is polled before its signature fails.
#[test]
fn long_certificates_do_not_panic() {
    let (ours, theirs) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let mut seen = 0;
    for junk in (30_000..31_200).step_by(50).chain([60_000]) {
        let theirs = theirs.with_junk(junk);
        let mut pair = Pair::with(&ours, &theirs);
        pair.run(|_, _, datagram| vec![datagram]);
        assert!(!pair.server.connected);
        seen += usize::from(pair.server.fingerprint == Some(theirs.fingerprint()));
    }
    assert!(seen > 0);
}

#[test]
fn sending_is_bounded_and_recovers() {
    let mut pair = Pair::connected();
    let now = pair.now;
    let full = [0; APPLICATION_DATA_LEN_MAX];
    for _ in 0..DTLS_SEND_DATAGRAMS_MAX {
        pair.server.dtls.send(now, &full).unwrap();
    }
    assert_eq!(
        pair.server.dtls.send(now, &full),
        Err(DropReason::DtlsSendFull)
    );
    assert_eq!(
        pair.server
            .dtls
            .send(now, &[0; APPLICATION_DATA_LEN_MAX + 1]),
        Err(DropReason::SendLength)
    );
    pair.run(|_, _, datagram| vec![datagram]);
    assert_eq!(pair.client.received.len(), DTLS_SEND_DATAGRAMS_MAX);
    pair.server.dtls.send(now, b"again").unwrap();
}

#[test]
fn data_before_completion_is_refused() {
    let mut pair = Pair::new();
    assert_eq!(
        pair.server.dtls.send(pair.now, b"early"),
        Err(DropReason::DtlsUnexpected)
    );
    let long = vec![0x16; DATAGRAM_RECEIVE_LEN_MAX + 1];
    assert_eq!(
        pair.server.dtls.receive(pair.now, &long),
        Err(DropReason::DatagramLength)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No panic, whatever arrives beside or instead of the real datagrams.
    #[test]
    fn mutated_datagrams_do_not_panic(
        at in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        which in 0usize..6,
        cut in prop::option::of(0usize..1200),
    ) {
        let mut pair = Pair::new();
        pair.run(|n, _, datagram| {
            if n != which {
                return vec![datagram];
            }
            let mut bad = datagram.clone();
            for (index, value) in &at {
                let index = index.index(bad.len());
                bad[index] = *value;
            }
            bad.truncate(cut.unwrap_or(bad.len()));
            vec![bad, datagram]
        });
    }
}
