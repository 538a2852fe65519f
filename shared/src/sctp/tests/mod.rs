#![expect(clippy::disallowed_methods, reason = "an epoch needs an instant")]

mod outstanding;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use super::{OpenError, Reliability, Role, Sctp, SctpOutput, SendError};
use crate::drop::DropReason;
use crate::limits::{
    DATA_BUFFERED_PER_TRANSPORT_MAX, DATA_CHANNEL_BUFFER_LOSSY, DATA_CHANNELS_MAX,
    DATA_MESSAGE_LEN_MAX, SCTP_CHUNKS_WAITING_MAX, SCTP_DATAGRAM_LEN_MAX, SCTP_INITS_MAX,
    SCTP_RESETS_MAX,
};
use crate::time::{Epoch, Timestamp};

const DELAY: Duration = Duration::from_millis(20);

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum To {
    Server,
    Client,
}

/// Both roles over a link in virtual time.
struct Pair {
    now: Timestamp,
    server: Sctp,
    client: Sctp,
    wire: VecDeque<(Timestamp, To, Vec<u8>)>,
    /// What each side gave besides datagrams.
    at_server: Vec<SctpOutput>,
    at_client: Vec<SctpOutput>,
    seed: u64,
}

impl Pair {
    fn new() -> Self {
        let epoch = Epoch {
            instant: Instant::now(),
            since_1900: Duration::ZERO,
        };
        Self {
            now: Timestamp::from_millis(1),
            server: Sctp::new(Role::DtlsServer, &epoch),
            client: Sctp::new(Role::DtlsClient, &epoch),
            wire: VecDeque::new(),
            at_server: Vec::new(),
            at_client: Vec::new(),
            seed: 1,
        }
    }

    fn established() -> Self {
        let mut pair = Self::new();
        pair.run(Duration::from_secs(5), |_, it| vec![it]);
        assert_eq!(pair.at_server, [SctpOutput::Established]);
        assert_eq!(pair.at_client, [SctpOutput::Established]);
        pair.at_server.clear();
        pair.at_client.clear();
        pair
    }

    /// Runs for `time`, or until nothing is due.
    fn run(&mut self, time: Duration, mut fate: impl FnMut(To, Vec<u8>) -> Vec<Vec<u8>>) {
        let until = self.now + time;
        loop {
            self.poll(&mut fate);
            let arrival = self.wire.front().map_or(Timestamp::NEVER, |it| it.0);
            let timers = self.server.next_timeout().min(self.client.next_timeout());
            let next = arrival.min(timers);
            if next > until {
                self.now = self.now.max(if next == Timestamp::NEVER {
                    self.now
                } else {
                    until
                });
                return;
            }
            self.now = self.now.max(next);
            if arrival <= self.now {
                let (_, to, datagram) = self.wire.pop_front().unwrap();
                // What a datagram was dropped for shows in the outcome.
                let _ = match to {
                    To::Server => self.server.receive(self.now, &datagram),
                    To::Client => self.client.receive(self.now, &datagram),
                };
            }
            for sctp in [&mut self.server, &mut self.client] {
                if sctp.next_timeout() <= self.now {
                    sctp.handle_timeout(self.now);
                }
            }
        }
    }

    fn poll(&mut self, fate: &mut impl FnMut(To, Vec<u8>) -> Vec<Vec<u8>>) {
        for (to, sctp, outputs) in [
            (To::Client, &mut self.server, &mut self.at_server),
            (To::Server, &mut self.client, &mut self.at_client),
        ] {
            while let Some(output) = sctp.poll(self.now) {
                let SctpOutput::Datagram(datagram) = output else {
                    outputs.push(output);
                    continue;
                };
                assert!(
                    datagram.len() <= SCTP_DATAGRAM_LEN_MAX,
                    "{}",
                    datagram.len()
                );
                for arriving in fate(to, datagram.to_vec()) {
                    self.wire.push_back((self.now + DELAY, to, arriving));
                }
            }
        }
    }

    fn run_clean(&mut self) {
        self.run(Duration::from_secs(30), |_, it| vec![it]);
    }

    /// Runs with so many datagrams of a hundred lost, by a seeded generator.
    fn run_lossy(&mut self, time: Duration, percent: u64) {
        let mut seed = self.seed;
        self.run(time, |_, datagram| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            if (seed >> 33) % 100 < percent {
                Vec::new()
            } else {
                vec![datagram]
            }
        });
        self.seed = seed;
    }
}

fn opened(stream: u16, label: &str, ordered: bool, reliability: Reliability) -> SctpOutput {
    SctpOutput::ChannelOpened {
        stream,
        label: label.to_owned(),
        ordered,
        reliability,
    }
}

fn message(stream: u16, binary: bool, payload: &[u8]) -> SctpOutput {
    SctpOutput::Message {
        stream,
        binary,
        payload: Bytes::copy_from_slice(payload),
    }
}

const LOSSY: Reliability = Reliability::Retransmits(0);

#[test]
fn channels_open_both_ways_and_carry_every_kind_of_message() {
    let mut pair = Pair::established();
    let ours = pair
        .server
        .open_channel("_reliable", true, Reliability::Reliable)
        .unwrap();
    let theirs = pair.client.open_channel("_lossy", false, LOSSY).unwrap();
    // RFC 8832 §6: odd for the DTLS server, even for the client.
    assert_eq!((ours, theirs), (1, 0));
    pair.run_clean();
    assert_eq!(
        pair.at_client,
        [opened(1, "_reliable", true, Reliability::Reliable)]
    );
    assert_eq!(pair.at_server, [opened(0, "_lossy", false, LOSSY)]);

    pair.at_server.clear();
    pair.at_client.clear();
    for stream in [ours, theirs] {
        for (binary, text) in [
            (true, &b"binary"[..]),
            (false, b"text"),
            (true, b""),
            (false, b""),
        ] {
            let payload = Bytes::copy_from_slice(text);
            pair.server.send(stream, binary, payload.clone()).unwrap();
            pair.client.send(stream, binary, payload).unwrap();
        }
    }
    pair.run_clean();
    for outputs in [&pair.at_server, &pair.at_client] {
        assert_eq!(outputs.len(), 8);
        for stream in [ours, theirs] {
            for (binary, text) in [
                (true, &b"binary"[..]),
                (false, b"text"),
                (true, b""),
                (false, b""),
            ] {
                assert!(outputs.contains(&message(stream, binary, text)));
            }
        }
    }
    assert_eq!(pair.server.buffered_amount(ours), 0);
    assert_eq!(pair.server.next_timeout(), Timestamp::NEVER);
}

#[test]
fn channels_opened_before_the_association_open_with_it() {
    let mut pair = Pair::new();
    let stream = pair
        .server
        .open_channel("early", true, Reliability::LifetimeMs(300))
        .unwrap();
    assert_eq!(
        pair.server.send(stream, true, Bytes::from_static(b"x")),
        Err(SendError::NotEstablished)
    );
    pair.run_clean();
    assert_eq!(
        pair.at_client,
        [
            SctpOutput::Established,
            opened(stream, "early", true, Reliability::LifetimeMs(300))
        ]
    );
    pair.server
        .send(stream, true, Bytes::from_static(b"x"))
        .unwrap();
}

/// RFC 8832 §6: a message sent right behind the OPEN of an unordered channel does not overtake it.
#[test]
fn messages_do_not_overtake_their_open() {
    for lost in 0..4 {
        let mut pair = Pair::established();
        let stream = pair
            .server
            .open_channel("lossy", false, Reliability::Retransmits(5))
            .unwrap();
        let mut n = 0;
        for text in [&b"one"[..], b"two"] {
            pair.server
                .send(stream, true, Bytes::copy_from_slice(text))
                .unwrap();
            pair.run(Duration::from_millis(1), |_, datagram| {
                n += 1;
                if n == lost {
                    Vec::new()
                } else {
                    vec![datagram]
                }
            });
        }
        pair.run_clean();
        let mut outputs = pair.at_client;
        assert_eq!(
            outputs.remove(0),
            opened(stream, "lossy", false, Reliability::Retransmits(5))
        );
        assert_eq!(
            outputs,
            [message(stream, true, b"one"), message(stream, true, b"two")]
        );
    }
}

#[test]
fn the_largest_message_arrives_at_ten_percent_loss() {
    let mut pair = Pair::established();
    let stream = pair
        .client
        .open_channel("big", true, Reliability::Reliable)
        .unwrap();
    let payload: Vec<u8> = (0..DATA_MESSAGE_LEN_MAX).map(|n| (n % 251) as u8).collect();
    let payload = Bytes::from(payload);
    for _ in 0..5 {
        pair.client.send(stream, true, payload.clone()).unwrap();
        pair.server.send(stream, true, payload.clone()).err();
    }
    pair.run_lossy(Duration::from_secs(120), 10);
    assert_eq!(pair.at_server.len(), 6);
    for output in &pair.at_server[1..] {
        assert_eq!(*output, message(stream, true, &payload));
    }
    assert_eq!(pair.client.buffered_amount(stream), 0);

    let long = Bytes::from(vec![0; DATA_MESSAGE_LEN_MAX + 1]);
    assert_eq!(
        pair.client.send(stream, true, long),
        Err(SendError::MessageLength)
    );
}

#[test]
fn reliable_messages_keep_their_order_at_ten_percent_loss() {
    let mut pair = Pair::established();
    let stream = pair
        .server
        .open_channel("reliable", true, Reliability::Reliable)
        .unwrap();
    for n in 0..500u32 {
        let payload = Bytes::copy_from_slice(&n.to_be_bytes());
        pair.server.send(stream, true, payload).unwrap();
        pair.run_lossy(Duration::from_millis(10), 10);
    }
    pair.run_lossy(Duration::from_secs(60), 10);
    let received: Vec<SctpOutput> = pair.at_client.split_off(1);
    let expected: Vec<SctpOutput> = (0..500u32)
        .map(|n| message(stream, true, &n.to_be_bytes()))
        .collect();
    assert_eq!(received, expected);
}

/// A channel without retransmissions loses about what the network loses, and its live messages do
/// not wait for the lost ones.
#[test]
fn lossy_messages_are_lost_and_do_not_block() {
    let mut pair = Pair::established();
    let stream = pair.client.open_channel("_lossy", false, LOSSY).unwrap();
    pair.run_clean();
    pair.at_server.clear();
    for n in 0..500u32 {
        let payload = Bytes::copy_from_slice(&n.to_be_bytes());
        pair.client.send(stream, true, payload).unwrap();
        pair.run_lossy(Duration::from_millis(10), 10);
    }
    pair.run_lossy(Duration::from_secs(10), 10);
    let received = pair.at_server.len();
    assert!((400..490).contains(&received), "{received} of 500");
    assert_eq!(pair.client.buffered_amount(stream), 0);
}

#[test]
fn full_buffer_refuses_and_recovers() {
    let mut pair = Pair::established();
    let stream = pair.server.open_channel("_lossy", true, LOSSY).unwrap();
    pair.run_clean();
    let payload = Bytes::from(vec![7; 16 * 1024]);
    let mut accepted = 0;
    let refused = loop {
        match pair.server.send(stream, true, payload.clone()) {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, SendError::BufferFull);
    assert_eq!(accepted, DATA_CHANNEL_BUFFER_LOSSY / payload.len());
    assert_eq!(
        pair.server.buffered_amount(stream),
        DATA_CHANNEL_BUFFER_LOSSY
    );
    pair.run_clean();
    assert_eq!(pair.at_client.len(), 1 + accepted);
    pair.server.send(stream, true, payload).unwrap();
}

#[test]
fn datagrams_of_tiny_messages_stay_within_the_limit() {
    let mut pair = Pair::established();
    let stream = pair
        .server
        .open_channel("tiny", true, Reliability::Reliable)
        .unwrap();
    for _ in 0..2_000 {
        pair.server
            .send(stream, false, Bytes::from_static(b"x"))
            .unwrap();
    }
    // The length is asserted where datagrams are polled.
    pair.run_lossy(Duration::from_secs(60), 5);
    assert_eq!(pair.at_client.len(), 2_001);
}

#[test]
fn closed_channels_close_on_both_sides_and_their_id_comes_again() {
    let mut pair = Pair::established();
    for closer in [To::Server, To::Client] {
        let stream = pair
            .client
            .open_channel("again", true, Reliability::Reliable)
            .unwrap();
        assert_eq!(stream, 0);
        pair.run_clean();
        match closer {
            To::Server => pair.server.close_channel(stream),
            To::Client => pair.client.close_channel(stream),
        }
        assert_eq!(
            match closer {
                To::Server => pair.server.send(stream, true, Bytes::new()),
                To::Client => pair.client.send(stream, true, Bytes::new()),
            },
            Err(SendError::Unknown)
        );
        pair.run_clean();
        let closed = SctpOutput::ChannelClosed { stream };
        assert_eq!(
            pair.at_server,
            [
                opened(stream, "again", true, Reliability::Reliable),
                closed.clone()
            ]
        );
        assert_eq!(pair.at_client, [closed]);
        pair.at_server.clear();
        pair.at_client.clear();
    }
}

#[test]
fn handshake_survives_loss_and_late_duplicates() {
    for lost in 0..4 {
        let mut pair = Pair::new();
        let mut n = 0;
        let mut seen = Vec::new();
        pair.run(Duration::from_secs(30), |to, datagram| {
            n += 1;
            if n == lost + 1 {
                return Vec::new();
            }
            // Whatever was sent to the server comes once more behind everything else: the INIT too.
            if to == To::Server {
                seen.push(datagram.clone());
            }
            vec![datagram]
        });
        for datagram in seen {
            let _ = pair.server.receive(pair.now, &datagram);
        }
        pair.run_clean();
        assert_eq!(pair.at_server, [SctpOutput::Established]);
        assert_eq!(pair.at_client, [SctpOutput::Established]);
    }
}

/// Some peers send an INIT and answer ours as well.
#[test]
fn an_init_that_crosses_ours_is_passed_by() {
    let mut pair = Pair::new();
    let mut other = Pair::new();
    let Some(SctpOutput::Datagram(init)) = other.client.poll(other.now) else {
        panic!("a client begins with an INIT");
    };
    assert_eq!(
        pair.client.receive(pair.now, &init),
        Err(DropReason::SctpMalformed)
    );
    pair.run_clean();
    assert_eq!(pair.at_server, [SctpOutput::Established]);
    assert_eq!(pair.at_client, [SctpOutput::Established]);
}

#[test]
fn channels_are_limited() {
    let mut pair = Pair::established();
    for _ in 0..DATA_CHANNELS_MAX {
        pair.client
            .open_channel("c", true, Reliability::Reliable)
            .unwrap();
    }
    assert_eq!(
        pair.client.open_channel("c", true, Reliability::Reliable),
        Err(OpenError::ChannelLimit)
    );
    pair.run_clean();
    assert_eq!(pair.at_server.len(), DATA_CHANNELS_MAX);
    // A client that keeps to no limit.
    pair.client
        .open_channel_at(100, "one too many", Reliability::Reliable);
    pair.run(Duration::from_millis(50), |_, it| vec![it]);
    assert_eq!(pair.at_server.last(), Some(&SctpOutput::Closed));
    assert_eq!(
        pair.server.receive(pair.now, &[0; 40]),
        Err(DropReason::SctpUnexpected)
    );
    assert_eq!(pair.server.next_timeout(), Timestamp::NEVER);
}

/// CRC32c (RFC 9260 appendix A), so that mutated packets pass the checksum.
fn with_checksum(mut packet: Vec<u8>) -> Vec<u8> {
    if let Some(field) = packet.get_mut(8..12) {
        field.fill(0);
        let mut crc = !0u32;
        for byte in &packet {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 {
                    crc >> 1 ^ 0x82f6_3b78
                } else {
                    crc >> 1
                };
            }
        }
        packet[8..12].copy_from_slice(&(!crc).to_le_bytes());
    }
    packet
}

/// A peer that sends fragments and never the last one is cut off before they cost much.
#[test]
fn endless_fragments_end_the_association() {
    let mut pair = Pair::established();
    let stream = pair
        .client
        .open_channel("c", true, Reliability::Reliable)
        .unwrap();
    let mut template = None;
    pair.client
        .send(stream, true, Bytes::from_static(b"payload"))
        .unwrap();
    pair.run(Duration::from_secs(1), |to, datagram| {
        if to == To::Server && datagram.get(12) == Some(&0) {
            template.get_or_insert(datagram.clone());
        }
        vec![datagram]
    });
    let template = template.unwrap();
    let mut tsn = u32::from_be_bytes(*template[16..].first_chunk().unwrap()) + 1_000;
    let mut sent = 0;
    while !pair.at_server.contains(&SctpOutput::Closed) {
        // A first, unordered fragment of one byte each.
        let mut packet = template[..12].to_vec();
        for _ in 0..50 {
            tsn = tsn.wrapping_add(2);
            packet.extend_from_slice(&[0, 0b110, 0, 17]);
            packet.extend_from_slice(&tsn.to_be_bytes());
            packet.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 53, 9, 0, 0, 0]);
            sent += 1;
        }
        let _ = pair.server.receive(pair.now, &with_checksum(packet));
        pair.poll(&mut |_, _| Vec::new());
        assert!(sent <= 2 * SCTP_CHUNKS_WAITING_MAX);
    }
    assert!(sent >= SCTP_CHUNKS_WAITING_MAX);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// No panic, whatever an authentic but hostile peer sends.
    #[test]
    fn mutated_packets_do_not_panic(
        which in prop::collection::vec(0usize..40, 1..4),
        at in prop::collection::vec((12usize..60, any::<u8>()), 1..6),
        cut in prop::option::of(0usize..200),
    ) {
        let mut pair = Pair::new();
        let mut n = 0;
        pair.client.open_channel("a", true, Reliability::Reliable).unwrap();
        for round in 0..4u8 {
            let payload = Bytes::from(vec![round; 3_000]);
            let _ = pair.client.send(0, true, payload.clone());
            let _ = pair.server.send(0, true, payload);
            if round == 3 {
                pair.client.close_channel(0);
            }
            pair.run(Duration::from_secs(2), |_, datagram| {
                n += 1;
                if !which.contains(&n) {
                    return vec![datagram];
                }
                let mut bad = datagram.clone();
                for (index, value) in &at {
                    if let Some(byte) = bad.get_mut(*index) {
                        *byte = *value;
                    }
                }
                bad.truncate(cut.unwrap_or(bad.len()));
                vec![with_checksum(bad), datagram]
            });
        }
    }

    /// Nor when what it sends is none of ours.
    #[test]
    fn junk_does_not_panic(packets in prop::collection::vec(
        prop::collection::vec(any::<u8>(), 12..200), 1..20,
    )) {
        let mut pair = Pair::established();
        for packet in packets {
            let _ = pair.server.receive(pair.now, &with_checksum(packet.clone()));
            let _ = pair.client.receive(pair.now, &packet);
            pair.run(Duration::from_millis(50), |_, it| vec![it]);
        }
    }
}

#[test]
fn a_flood_of_inits_is_answered_a_few_times() {
    let mut pair = Pair::new();
    let Some(SctpOutput::Datagram(init)) = pair.client.poll(pair.now) else {
        panic!("no INIT");
    };
    let mut answers = 0_u8;
    for _ in 0..1_000 {
        let _ = pair.server.receive(pair.now, &init);
        while pair.server.poll(pair.now).is_some() {
            answers += 1;
        }
    }
    assert!(answers <= SCTP_INITS_MAX, "{answers}");
    assert_eq!(
        pair.server.receive(pair.now, &init),
        Err(DropReason::SctpUnexpected)
    );
}

#[test]
fn channels_opened_again_and_again_share_one_buffer() {
    let mut pair = Pair::established();
    let streams: Vec<u16> = (0..8)
        .map(|_| {
            let opened = pair.server.open_channel("c", true, Reliability::Reliable);
            opened.unwrap()
        })
        .collect();
    pair.run_clean();
    let message = Bytes::from(vec![7; 60_000]);
    let mut accepted = 0;
    for stream in streams.iter().cycle().take(200) {
        match pair.server.send(*stream, true, message.clone()) {
            Ok(()) => accepted += message.len(),
            Err(error) => assert_eq!(error, SendError::BufferFull),
        }
    }
    assert_eq!(pair.server.buffered_total(), accepted);
    assert!(accepted <= DATA_BUFFERED_PER_TRANSPORT_MAX, "{accepted}");
    assert!(accepted > DATA_BUFFERED_PER_TRANSPORT_MAX - message.len());
    pair.run_clean();
    assert_eq!(pair.server.buffered_total(), 0);
}

#[test]
fn channels_that_come_and_go_for_long_do_not_end_the_association() {
    let mut pair = Pair::established();
    for round in 0..4 * SCTP_RESETS_MAX {
        let stream = if round % 2 == 0 {
            let stream = pair.client.open_channel("c", true, Reliability::Reliable);
            pair.run_clean();
            pair.client.close_channel(stream.unwrap());
            stream
        } else {
            let stream = pair.server.open_channel("s", true, Reliability::Reliable);
            pair.run_clean();
            pair.server.close_channel(stream.unwrap());
            stream
        };
        pair.run_clean();
        let closed = SctpOutput::ChannelClosed {
            stream: stream.unwrap(),
        };
        assert!(pair.at_server.contains(&closed) && pair.at_client.contains(&closed));
        pair.at_server.clear();
        pair.at_client.clear();
    }
}
