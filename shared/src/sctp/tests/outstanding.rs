//! Peers that do not acknowledge, or only to make us work.

use std::time::Duration;

use bytes::Bytes;

use super::super::chunk::{COMMON_HEADER_LEN, DATA, SACK, data_tsns, is_init, packet, sack_value};
use super::{Pair, To, with_checksum};
use crate::drop::DropReason;
use crate::limits::{
    SCTP_CHUNKS_OUTSTANDING_MAX, SCTP_CHUNKS_WALKED, SCTP_GATHERING, SCTP_RESETS_MAX,
};
use crate::sctp::{Reliability, SctpOutput, SendError};

const SMALL: Bytes = Bytes::from_static(b"ten bytes!");
const WINDOW: usize = 1 << 20;

#[test]
fn small_messages_that_nobody_acknowledges_are_bounded_by_number() {
    let mut pair = Pair::established();
    let stream = pair.server.open_channel("c", true, Reliability::Reliable);
    let stream = stream.unwrap();
    pair.run_clean();
    for _ in 0..2 {
        let mut accepted = 0;
        while pair.server.send(stream, true, SMALL) == Ok(()) {
            accepted += 1;
        }
        assert_eq!(accepted, SCTP_CHUNKS_OUTSTANDING_MAX);
        // What is acknowledged makes room for as many.
        pair.run_clean();
        assert_eq!(pair.server.buffered_total(), 0);
    }
}

/// A client that answers with acknowledgements of the test's choice.
struct Hostile {
    pair: Pair,
    stream: u16,
    /// Common header of its packets.
    header: Vec<u8>,
    window: usize,
    /// The first TSN it does not acknowledge, and the last that came.
    first: u32,
    last: u32,
}

impl Hostile {
    fn new(reliability: Reliability) -> Self {
        let mut pair = Pair::established();
        let stream = pair.server.open_channel("c", true, reliability).unwrap();
        let mut header = Vec::new();
        pair.run(Duration::from_secs(30), |to, datagram| {
            if to == To::Server {
                header = datagram[..COMMON_HEADER_LEN].to_vec();
            }
            vec![datagram]
        });
        let mut hostile = Self {
            pair,
            stream,
            header,
            window: WINDOW,
            first: 0,
            last: 0,
        };
        assert_eq!(hostile.send(), Ok(()));
        hostile.first = hostile.last;
        hostile
    }

    /// The server sends a message, and what that lets it send.
    fn send(&mut self) -> Result<(), SendError> {
        let sent = self.pair.server.send(self.stream, true, SMALL);
        self.listen();
        sent
    }

    /// The same, but the message waits for no other.
    fn send_alone(&mut self) -> Result<(), SendError> {
        self.pair.now += SCTP_GATHERING;
        self.send()
    }

    fn listen(&mut self) {
        while let Some(output) = self.pair.server.poll(self.pair.now) {
            if let SctpOutput::Datagram(datagram) = output {
                self.last = data_tsns(&datagram).fold(self.last, u32::max);
            }
        }
    }

    fn sack(&self, before_first: u32, blocks: &[(u16, u16)]) -> Vec<u8> {
        let value = sack_value(self.first - before_first, self.window, blocks);
        let mut sack = packet(&[(SACK, &value)]);
        sack[..COMMON_HEADER_LEN].copy_from_slice(&self.header);
        with_checksum(sack)
    }

    /// Everything but the first.
    fn gap(&self) -> (u16, u16) {
        (2, u16::try_from(self.last - self.first + 1).unwrap())
    }

    fn receive(&mut self, packet: &[u8]) -> Result<(), DropReason> {
        let received = self.pair.server.receive(self.pair.now, packet);
        self.listen();
        received
    }

    /// Acknowledges by gaps until nothing more comes; the chunks under way then.
    fn fill(&mut self) -> usize {
        for _ in 0..10 * SCTP_CHUNKS_OUTSTANDING_MAX {
            let last = self.last;
            let sent = (0..8).filter(|_| self.send_alone() == Ok(())).count();
            if self.last > self.first {
                let sack = self.sack(1, &[self.gap()]);
                assert_eq!(self.receive(&sack), Ok(()));
            }
            if sent == 0 && self.last == last {
                break;
            }
        }
        assert_eq!(self.send(), Err(SendError::BufferFull));
        (self.last - self.first + 1) as usize
    }
}

#[test]
fn what_is_acknowledged_by_gaps_alone_is_bounded_by_number() {
    let mut hostile = Hostile::new(Reliability::Reliable);
    let under_way = hostile.fill();
    let bounds = SCTP_CHUNKS_OUTSTANDING_MAX..SCTP_CHUNKS_OUTSTANDING_MAX + 64;
    assert!(bounds.contains(&under_way), "{under_way}");
    // The first alone makes room for one.
    let sack = hostile.sack(0, &[]);
    assert_eq!(hostile.receive(&sack), Ok(()));
    assert_eq!(hostile.send(), Ok(()));
    assert_eq!(hostile.send(), Err(SendError::BufferFull));
    hostile.first = hostile.last;
    let all = hostile.sack(0, &[]);
    assert_eq!(hostile.receive(&all), Ok(()));
    let sent = (0..100).filter(|_| hostile.send() == Ok(())).count();
    assert_eq!(sent, 100);
}

#[test]
fn messages_given_up_are_under_way_until_the_peer_says_so() {
    let mut hostile = Hostile::new(Reliability::Retransmits(0));
    let under_way = hostile.fill();
    assert!(under_way < SCTP_CHUNKS_OUTSTANDING_MAX + 64, "{under_way}");
}

#[test]
fn an_acknowledgement_that_the_library_ignores_makes_no_room() {
    let mut hostile = Hostile::new(Reliability::Reliable);
    hostile.fill();
    hostile.first = hostile.last;
    // A DATA chunk with no data is malformed, and all of its packet with it.
    let mut ignored = hostile.sack(0, &[]);
    ignored.extend_from_slice(&[0, 3, 0, 4]);
    let wrong_checksum = {
        let mut packet = hostile.sack(0, &[]);
        packet[8] ^= 1;
        packet
    };
    let wrong_tag = {
        let mut packet = hostile.sack(0, &[]);
        packet[4] ^= 1;
        with_checksum(packet)
    };
    for packet in [with_checksum(ignored), wrong_checksum, wrong_tag] {
        let _ = hostile.receive(&packet);
        assert_eq!(hostile.send(), Err(SendError::BufferFull));
    }
    let genuine = hostile.sack(0, &[]);
    assert_eq!(hostile.receive(&genuine), Ok(()));
    assert_eq!(hostile.send(), Ok(()));
}

#[test]
fn overlapping_gap_blocks_are_refused() {
    let mut hostile = Hostile::new(Reliability::Reliable);
    hostile.fill();
    let sack = hostile.sack(1, &vec![hostile.gap(); 280]);
    assert_eq!(hostile.receive(&sack), Err(DropReason::SctpMalformed));
    let sack = hostile.sack(1, &[hostile.gap()]);
    assert_eq!(hostile.receive(&sack), Ok(()));
}

#[test]
fn acknowledgements_of_much_that_is_under_way_are_held_to_a_rate() {
    let mut hostile = Hostile::new(Reliability::Reliable);
    let under_way = hostile.fill();
    let sack = hostile.sack(1, &[hostile.gap()]);
    let mut taken = 0;
    for _ in 0..1_000 {
        hostile.pair.now += Duration::from_micros(100);
        match hostile.receive(&sack) {
            Ok(()) => taken += 1,
            Err(reason) => assert_eq!(reason, DropReason::SctpRate),
        }
    }
    let allowed = SCTP_CHUNKS_WALKED.per_second / 10 + SCTP_CHUNKS_WALKED.burst;
    let allowed = allowed as usize / (2 * under_way);
    assert!(
        (allowed / 2..=allowed).contains(&taken),
        "{taken} of {allowed}"
    );
}

#[test]
fn messages_to_a_peer_with_much_under_way_are_sent_together() {
    let mut hostile = Hostile::new(Reliability::Reliable);
    while hostile.last - hostile.first < 1_000 {
        assert_eq!(hostile.send(), Ok(()));
        let sack = hostile.sack(1, &[hostile.gap()]);
        hostile.pair.now += Duration::from_millis(1);
        assert_eq!(hostile.receive(&sack), Ok(()));
    }
    let begun = hostile.pair.now;
    let mut transmissions = 0;
    for _ in 0..300 {
        let last = hostile.last;
        hostile.pair.now += Duration::from_micros(100);
        assert_eq!(hostile.send(), Ok(()));
        transmissions += u128::from(hostile.last != last);
    }
    let pauses = hostile.pair.now.since(begun).as_nanos() / SCTP_GATHERING.as_nanos();
    assert!(
        (pauses..=pauses + 1).contains(&transmissions),
        "{transmissions}"
    );
    // The last ones do not wait for a message that never comes.
    let due = hostile.pair.server.next_timeout();
    assert!(due <= hostile.pair.now + SCTP_GATHERING);
    let last = hostile.last;
    hostile.pair.now = due;
    hostile.pair.server.handle_timeout(due);
    hostile.listen();
    assert!(hostile.last > last);
}

#[test]
fn a_message_to_a_peer_with_little_under_way_is_sent_at_once() {
    let mut hostile = Hostile::new(Reliability::Reliable);
    for _ in 0..4 {
        let last = hostile.last;
        assert_eq!(hostile.send(), Ok(()));
        assert!(hostile.last > last);
    }
}

/// The library goes on where what it understood ends, whatever a chunk says of its length.
#[test]
fn an_acknowledgement_hidden_in_another_chunk_is_refused() {
    let mut hostile = Hostile::new(Reliability::Reliable);
    hostile.fill();
    let sack = hostile.sack(1, &vec![hostile.gap(); 200])[COMMON_HEADER_LEN..].to_vec();
    let heartbeat: &[u8] = &[0, 1, 0, 8, 1, 2, 3, 4];
    let response: &[u8] = &[0, 16, 0, 12, 0, 0, 0, 1, 0, 0, 0, 1];
    for (cover, value) in [(11, &[][..]), (14, &[]), (4, heartbeat), (130, response)] {
        let mut hides = packet(&[(cover, &[value, &sack].concat())]);
        hides[..COMMON_HEADER_LEN].copy_from_slice(&hostile.header);
        let received = hostile.receive(&with_checksum(hides));
        assert_eq!(received, Err(DropReason::SctpMalformed), "{cover}");
    }
    let sack = hostile.sack(1, &[hostile.gap()]);
    assert_eq!(hostile.receive(&sack), Ok(()));
}

#[test]
fn a_window_that_opens_late_lets_no_more_than_twice_as_many_go() {
    let mut hostile = Hostile::new(Reliability::Reliable);
    hostile.window = 0;
    let shut = hostile.sack(1, &[]);
    assert_eq!(hostile.receive(&shut), Ok(()));
    while hostile.send() == Ok(()) {}
    hostile.window = WINDOW;
    let under_way = hostile.fill();
    assert!(under_way <= 2 * SCTP_CHUNKS_OUTSTANDING_MAX, "{under_way}");
}

/// For each stream that a peer resets the library keeps a request of ours until it is answered.
#[test]
fn a_peer_that_resets_streams_and_answers_no_reset_is_cut_off() {
    let mut pair = Pair::new();
    let (mut header, mut tsn, mut request) = (Vec::new(), 0, 0_u32);
    pair.run(Duration::from_secs(5), |to, datagram| {
        if to == To::Server {
            header = datagram[..COMMON_HEADER_LEN].to_vec();
            if is_init(&datagram) {
                // RFC 6525 §5.1.1: requests are counted from the first TSN, too.
                request = u32::from_be_bytes(*datagram[28..].first_chunk().unwrap());
                tsn = request;
            }
        }
        vec![datagram]
    });
    let mut reset = 0;
    while !pair.at_server.contains(&SctpOutput::Closed) {
        let stream = u16::to_be_bytes(reset);
        // A whole message of one byte.
        let mut data = tsn.to_be_bytes().to_vec();
        data.extend_from_slice(&[stream[0], stream[1], 0, 0, 0, 0, 0, 53, 9]);
        let mut data = packet(&[(DATA, &data)]);
        data[COMMON_HEADER_LEN + 1] = 0b11;
        let mut reconfig = vec![0, 13, 0, 18];
        for field in [request, 0, tsn] {
            reconfig.extend_from_slice(&field.to_be_bytes());
        }
        reconfig.extend_from_slice(&stream);
        for mut hostile in [data, packet(&[(130, &reconfig)])] {
            hostile[..COMMON_HEADER_LEN].copy_from_slice(&header);
            let _ = pair.server.receive(pair.now, &with_checksum(hostile));
            pair.poll(&mut |_, _| Vec::new());
        }
        tsn = tsn.wrapping_add(1);
        request = request.wrapping_add(1);
        reset += 1;
        assert!(usize::from(reset) <= SCTP_RESETS_MAX + 1, "not cut off");
    }
    assert!(usize::from(reset) > SCTP_RESETS_MAX);
}
