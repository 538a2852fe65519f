use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::wire::rtcp::{RtcpCompound, RtcpPacket, RtcpWriter, TransportFeedback};

const HEAD: TransportCcHead = TransportCcHead {
    sender_ssrc: Ssrc(0xfa17_fa17),
    media_ssrc: Ssrc(0x4303_2fa0),
    base_seq: SeqNo(65_534),
    reference_time: 0x3d_e802,
    feedback_count: 23,
};

fn parse(packet: &[u8]) -> Result<TransportCc<'_>, RtcpError> {
    let mut packets = RtcpCompound::parse(packet);
    match packets.next().unwrap()? {
        RtcpPacket::TransportFeedback(TransportFeedback::TransportCc(feedback)) => Ok(feedback),
        other => panic!("{other:?}"),
    }
}

fn written(head: &TransportCcHead, deltas: &[Option<i16>]) -> Vec<u8> {
    let mut out = vec![0xff; 200_000];
    let mut writer = RtcpWriter::new(&mut out);
    writer.transport_cc(head, deltas.iter().copied()).unwrap();
    writer.written().to_vec()
}

/// The chunks of a written packet.
fn chunks(deltas: &[Option<i16>], count: usize) -> Vec<u16> {
    let bytes = written(&HEAD, deltas);
    let (words, _) = bytes[20..].as_chunks();
    words[..count]
        .iter()
        .map(|word| u16::from_be_bytes(*word))
        .collect()
}

/// A body of the given count and chunks, followed by `deltas`.
fn packet(status_count: u16, chunks: &[u16], deltas: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x8f, 205, 0, 0];
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&[0, 1]);
    bytes.extend_from_slice(&status_count.to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 1, 0]);
    bytes.extend(chunks.iter().flat_map(|chunk| chunk.to_be_bytes()));
    bytes.extend_from_slice(deltas);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes[3] = u8::try_from(bytes.len() / 4 - 1).unwrap();
    bytes
}

/// One byte of padding, counted by the P bit.
#[test]
fn feedback_as_chromium_sends_it() {
    let bytes = [
        0xaf, 0xcd, 0x00, 0x05, 0xfa, 0x17, 0xfa, 0x17, 0x43, 0x03, 0x2f, 0xa0, // SSRCs
        0x00, 0x99, 0x00, 0x01, 0x3d, 0xe8, 0x02,
        0x17, // base 153, 1 status, reference, count
        0x20, 0x01, 0x94, 0x01, // run of one small delta, 37 ms, padding
    ];
    let feedback = parse(&bytes).unwrap();
    assert_eq!(
        feedback.head,
        TransportCcHead {
            base_seq: SeqNo(153),
            ..HEAD
        }
    );
    assert!(feedback.arrivals().eq([(SeqNo(153), 37_000)]));
    assert_eq!(feedback.status_count(), 1);
}

#[test]
fn mixed_chunks() {
    // A run of three lost; a one-bit vector 10 1000.. ; a two-bit vector 01 10 00...
    let bytes = packet(
        3 + 14 + 2,
        &[
            0x0003,
            0x8000 | 0b10_1000_0000_0000,
            0xc000 | 0b01_10_00_00_00_00_00,
        ],
        &[4, 8, 255, 0xff, 0xfc],
    );
    let feedback = parse(&bytes).unwrap();
    let arrivals: Vec<_> = feedback.arrivals().collect();
    assert_eq!(
        arrivals,
        [
            (SeqNo(4), 1_000),
            (SeqNo(6), 3_000),
            (SeqNo(18), 66_750),
            (SeqNo(19), 65_750),
        ]
    );
    let statuses: Vec<_> = feedback.statuses().collect();
    assert_eq!(statuses.len(), 19);
    assert_eq!(
        statuses[0],
        PacketStatus {
            seq: SeqNo(1),
            arrival_us: None
        }
    );
    assert_eq!(
        statuses[18],
        PacketStatus {
            seq: SeqNo(19),
            arrival_us: Some(65_750)
        }
    );
}

#[test]
fn contradictions_are_refused() {
    let run_of_8191_lost = 0x1fff;
    // Deltas of which the last is missing; the zero fill would serve as one otherwise.
    assert_eq!(
        parse(&packet(5, &[0x2005], &[1, 2])),
        Err(RtcpError::Truncated)
    );
    // More statuses than the chunks cover.
    assert_eq!(
        parse(&packet(8193, &[run_of_8191_lost, 0], &[])),
        Err(RtcpError::Truncated)
    );
    // The reserved symbol, in both kinds of chunk.
    assert_eq!(
        parse(&packet(1, &[0x6001], &[0; 4])),
        Err(RtcpError::TransportCc)
    );
    assert_eq!(
        parse(&packet(1, &[0xf000], &[0; 4])),
        Err(RtcpError::TransportCc)
    );
    assert!(
        parse(&packet(1, &[0xd700], &[0; 4])).is_ok(),
        "behind the last status"
    );
    // A claim that sequence arithmetic cannot follow.
    let chunks = [run_of_8191_lost; 9];
    assert_eq!(
        parse(&packet(0x8001, &chunks, &[])),
        Err(RtcpError::TransportCc)
    );
    let largest = packet(0x8000, &chunks, &[]);
    let feedback = parse(&largest).unwrap();
    assert_eq!(feedback.statuses().count(), 0x8000);
    assert_eq!(feedback.arrivals().count(), 0);
}

#[test]
fn empty_runs_and_empty_feedback() {
    let bytes = packet(2, &[0x2000, 0x0000, 0x2002], &[1, 1]);
    assert!(
        parse(&bytes)
            .unwrap()
            .arrivals()
            .eq([(SeqNo(1), 250), (SeqNo(2), 500)])
    );
    assert_eq!(parse(&packet(0, &[], &[])).unwrap().statuses().count(), 0);
}

#[test]
fn chunks_are_chosen_by_what_they_hold() {
    // All alike: one run, over the vectors' lengths.
    assert_eq!(chunks(&[Some(1); 300], 1), [0x2000 | 300]);
    assert_eq!(chunks(&[None; 8191], 1), [0x1fff]);
    assert_eq!(chunks(&[Some(-1); 20], 1), [0x4000 | 20]);
    // Lost and small alternating: vectors of one bit.
    let alternating: Vec<_> = (0..28).map(|n| (n % 2 == 0).then_some(3)).collect();
    assert_eq!(chunks(&alternating, 2), [0x8000 | 0x2aaa; 2]);
    // A large delta among small ones: two bits.
    let mut mixed = [Some(1); 7];
    mixed[3] = Some(256);
    assert_eq!(chunks(&mixed, 1), [0xc000 | 0b01_01_01_10_01_01_01]);
    // Ten mixed small ones, then a large one: the first seven leave in a chunk of their own.
    let mut late = [Some(1), None].repeat(5);
    late.push(Some(-5));
    assert_eq!(
        chunks(&late, 2),
        [
            0xc000 | 0b01_00_01_00_01_00_01,
            0xc000 | 0b00_01_00_10_00_00_00
        ]
    );
}

#[test]
fn too_many_statuses_or_too_little_room() {
    let mut out = vec![0; 100_000];
    let mut writer = RtcpWriter::new(&mut out);
    let none = std::iter::repeat_n(None, 0x8001);
    assert_eq!(writer.transport_cc(&HEAD, none), None);
    assert!(writer.is_empty());
    let bytes = written(&HEAD, &[Some(0), None, Some(-4)]);
    for len in 0..bytes.len() {
        let mut writer = RtcpWriter::new(&mut out[..len]);
        let deltas = [Some(0), None, Some(-4)];
        assert_eq!(
            writer.transport_cc(&HEAD, deltas.into_iter()),
            None,
            "{len}"
        );
    }
}

fn delta() -> impl Strategy<Value = Option<i16>> {
    prop_oneof![
        4 => Just(None),
        8 => (0i16..256).prop_map(Some),
        1 => any::<i16>().prop_map(Some),
    ]
}

/// Stretches of one status, so that every kind of chunk comes up.
fn deltas() -> impl Strategy<Value = Vec<Option<i16>>> {
    vec(
        (delta(), prop_oneof![3 => 1usize..4, 1 => 1usize..40]),
        0..60,
    )
    .prop_map(|stretches| {
        stretches
            .into_iter()
            .flat_map(|(delta, count)| std::iter::repeat_n(delta, count))
            .collect()
    })
}

proptest! {
    #[test]
    fn feedback_parses_back(
        base_seq: u16,
        reference_time in 0u32..0x100_0000,
        feedback_count: u8,
        deltas in deltas(),
    ) {
        let base_seq = SeqNo(base_seq);
        let head = TransportCcHead { base_seq, reference_time, feedback_count, ..HEAD };
        let bytes = written(&head, &deltas);
        let feedback = parse(&bytes).unwrap();
        prop_assert_eq!(feedback.head, head);

        let mut arrival_us = 0;
        let expected: Vec<_> = (0_u16..)
            .zip(&deltas)
            .map(|(n, delta)| PacketStatus {
                seq: base_seq.wrapping_add(n),
                arrival_us: delta.map(|ticks| {
                    arrival_us += i64::from(ticks) * 250;
                    arrival_us
                }),
            })
            .collect();
        prop_assert!(feedback.statuses().eq(expected.iter().copied()));
        let arrived = expected
            .iter()
            .filter_map(|status| Some((status.seq, status.arrival_us?)));
        prop_assert!(feedback.arrivals().eq(arrived));
    }

    #[test]
    fn noise_never_panics(status_count: u16, chunks in vec(any::<u16>(), 0..80)) {
        if let Ok(feedback) = parse(&packet(status_count, &chunks, &[])) {
            let statuses = feedback.statuses().count();
            prop_assert_eq!(statuses, usize::from(status_count));
            let arrived = feedback.statuses().filter(|status| status.arrival_us.is_some()).count();
            prop_assert_eq!(feedback.arrivals().count(), arrived);
        }
    }
}
