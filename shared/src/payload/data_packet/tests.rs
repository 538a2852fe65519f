use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// As a client publishes: reliable (not written, being 0), a user packet with payload, topic and
/// nonce, two destinations, sequence 300, and its own identity and sid.
const PUBLISHED: [u8; 43] = [
    0x12, 0x0d, // user, 13 bytes
    0x12, 0x02, b'h', b'i', // payload
    0x22, 0x04, b'c', b'h', b'a', b't', // topic
    0x5a, 0x01, 0x07, // nonce
    0x22, 0x03, b'e', b'v', b'e', // participant identity
    0x2a, 0x05, b'a', b'l', b'i', b'c', b'e', // destination
    0x2a, 0x03, b'b', b'o', b'b', // destination
    0x80, 0x01, 0xac, 0x02, // sequence
    0x8a, 0x01, 0x04, b'P', b'A', b'_', b'1', // participant sid
];

fn identities<'a>(view: &DataPacketView<'a>) -> Vec<&'a str> {
    view.destination_identities().collect()
}

#[test]
fn reads_what_routing_needs() {
    let view = DataPacketView::parse(&PUBLISHED).unwrap();
    assert_eq!(view.kind, Some(DataKind::Reliable));
    assert_eq!(view.sequence, 300);
    assert_eq!(view.participant_identity, "eve");
    assert_eq!(view.participant_sid, "PA_1");
    assert_eq!(view.value, Some(DataValue::User));
    assert_eq!(identities(&view), ["alice", "bob"]);
    assert_eq!(view.destination_sids().count(), 0);
    let empty = DataPacketView::parse(&[]).unwrap();
    assert_eq!((empty.value, empty.kind), (None, Some(DataKind::Reliable)));
}

/// What the transport appends overrides what the sender forged.
#[test]
fn the_last_value_of_a_field_counts() {
    let mut bytes = PUBLISHED.to_vec();
    bytes.extend_from_slice(&kind_field(DataKind::Lossy));
    bytes.extend_from_slice(&[0x22, 0x03, b'm', b'a', b'x', 0x8a, 0x01, 0x01, b'X']);
    let view = DataPacketView::parse(&bytes).unwrap();
    assert_eq!(view.kind, Some(DataKind::Lossy));
    assert_eq!(
        (view.participant_identity, view.participant_sid),
        ("max", "X")
    );
    bytes.extend_from_slice(&kind_field(DataKind::Reliable));
    assert_eq!(
        DataPacketView::parse(&bytes).unwrap().kind,
        Some(DataKind::Reliable)
    );
    bytes.extend_from_slice(&[0x08, 0x07]);
    assert_eq!(DataPacketView::parse(&bytes).unwrap().kind, None);
}

#[test]
fn destinations_of_the_user_packet_count_without_others() {
    let user = [0x12, 0x08, 0x32, 0x01, b'a', 0x32, 0x01, b'b', 0x1a, 0x00];
    let view = DataPacketView::parse(&user).unwrap();
    assert_eq!(identities(&view), ["a", "b"]);
    assert_eq!(view.destination_sids().collect::<Vec<_>>(), [""]);
    // Before or behind it: those outside are the only ones.
    let outer = [0x2a, 0x01, b'c'];
    for bytes in [[&outer[..], &user].concat(), [&user[..], &outer].concat()] {
        assert_eq!(identities(&DataPacketView::parse(&bytes).unwrap()), ["c"]);
    }
}

#[test]
fn the_same_oneof_member_merges_and_another_one_clears() {
    let user = |name: u8| [0x12, 0x03, 0x32, 0x01, name];
    let chat = [0x4a, 0x00];
    let merged = [user(b'a'), user(b'b')].concat();
    let view = DataPacketView::parse(&merged).unwrap();
    assert_eq!(
        (view.value, identities(&view)),
        (Some(DataValue::User), vec!["a", "b"])
    );

    let cleared = [&user(b'a')[..], &chat].concat();
    let view = DataPacketView::parse(&cleared).unwrap();
    assert_eq!(
        (view.value, identities(&view)),
        (Some(DataValue::ChatMessage), vec![])
    );

    let again = [&cleared[..], &user(b'b')].concat();
    let view = DataPacketView::parse(&again).unwrap();
    assert_eq!(
        (view.value, identities(&view)),
        (Some(DataValue::User), vec!["b"])
    );
}

#[test]
fn every_value_by_its_field() {
    let members = [
        (2_u8, DataValue::User),
        (3, DataValue::Speaker),
        (6, DataValue::SipDtmf),
        (7, DataValue::Transcription),
        (8, DataValue::Metrics),
        (9, DataValue::ChatMessage),
        (10, DataValue::RpcRequest),
        (11, DataValue::RpcAck),
        (12, DataValue::RpcResponse),
        (13, DataValue::StreamHeader),
        (14, DataValue::StreamChunk),
        (15, DataValue::StreamTrailer),
        (18, DataValue::Encrypted),
    ];
    for (number, value) in members {
        let tag = (u16::from(number) << 3) | 2;
        let mut bytes = vec![u8::try_from(tag & 0x7f).unwrap()];
        if tag > 0x7f {
            bytes[0] |= 0x80;
            bytes.push(u8::try_from(tag >> 7).unwrap());
        }
        bytes.push(0);
        assert_eq!(DataPacketView::parse(&bytes).unwrap().value, Some(value));
    }
}

#[test]
fn unknown_fields_are_skipped() {
    let mut bytes = vec![
        0x98, 0x06, 0xff, 0x01, // 99: varint
        0x9a, 0x06, 0x02, 0xff, 0xff, // 99: bytes
        0x99, 0x06, 1, 2, 3, 4, 5, 6, 7, 8, // 99: 64 bits
        0x9d, 0x06, 1, 2, 3, 4, // 99: 32 bits
    ];
    bytes.extend_from_slice(&PUBLISHED);
    let view = DataPacketView::parse(&bytes).unwrap();
    assert_eq!(
        (view.sequence, identities(&view)),
        (300, vec!["alice", "bob"])
    );
}

#[test]
fn a_sequence_keeps_its_low_32_bits() {
    let bytes = [
        0x80, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
    ];
    assert_eq!(DataPacketView::parse(&bytes).unwrap().sequence, u32::MAX);
}

#[test]
fn malformed_packets_are_refused() {
    let cases: [(&[u8], DataPacketError); 15] = [
        (&[0x08], DataPacketError::Truncated),
        (&[0x08, 0x80], DataPacketError::Truncated),
        (&[0x2a, 0x05, b'a'], DataPacketError::Truncated),
        (
            &[
                0x2a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
            ],
            DataPacketError::Truncated,
        ),
        (&[0x99, 0x06, 1, 2, 3], DataPacketError::Truncated),
        (&[0x12, 0x03, 0x12, 0x05, b'a'], DataPacketError::Truncated),
        (
            &[
                0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02,
            ],
            DataPacketError::Varint,
        ),
        (
            &[
                0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00,
            ],
            DataPacketError::Varint,
        ),
        (&[0x00, 0x00], DataPacketError::Varint),
        (&[0x0a, 0x00], DataPacketError::WireType),
        (&[0x10, 0x01], DataPacketError::WireType),
        (&[0x9b, 0x06, 0x9c, 0x06], DataPacketError::WireType),
        (&[0x2a, 0x01, 0xff], DataPacketError::Text),
        (&[0x12, 0x03, 0x32, 0x01, 0xff], DataPacketError::Text),
        (&[0x22, 0x01, 0xc3], DataPacketError::Text),
    ];
    for (bytes, error) in cases {
        assert_eq!(DataPacketView::parse(bytes), Err(error), "{bytes:02x?}");
    }
}

#[test]
fn a_truncated_packet_is_whole_at_field_boundaries_only() {
    let boundaries = [15, 20, 27, 32, 36];
    for len in 1..PUBLISHED.len() {
        let parsed = DataPacketView::parse(&PUBLISHED[..len]);
        assert_eq!(parsed.is_ok(), boundaries.contains(&len), "{len}");
    }
}

/// A forged user packet, stamped by appending, as a receiver decodes it.
#[test]
fn stamps_override_in_both_places() {
    let mut bytes = vec![
        0x12, 0x05, 0x2a, 0x03, b'e', b'v', b'e', 0x22, 0x03, b'e', b'v', b'e',
    ];
    let mut stamp = [0; 64];
    let len = write_stamp(&mut stamp, "max", "PA_2").unwrap();
    bytes.extend_from_slice(&stamp[..len]);
    let len = write_user_stamp(&mut stamp, "max", "PA_2").unwrap();
    assert_eq!(stamp[..4], [0x12, 0x0b, 0x0a, 0x04]);
    bytes.extend_from_slice(&stamp[..len]);
    let view = DataPacketView::parse(&bytes).unwrap();
    assert_eq!(
        (view.participant_identity, view.participant_sid),
        ("max", "PA_2")
    );
    let forged_and_stamped = user_texts(view.user, user_field::PARTICIPANT_IDENTITY);
    assert_eq!(forged_and_stamped.last(), Some("max"));
    let sid = user_texts(view.user, user_field::PARTICIPANT_SID);
    assert_eq!(sid.last(), Some("PA_2"));
    assert_eq!(write_stamp(&mut stamp[..10], "max", "PA_2"), None);
}

proptest! {
    #[test]
    fn written_packets_parse_back(
        lossy: bool,
        destinations in vec("\\PC{0,20}", 0..5),
        sequence: u32,
        topic in proptest::option::of("\\PC{0,140}"),
        payload in vec(any::<u8>(), 0..300),
    ) {
        let destinations: Vec<&str> = destinations.iter().map(|name| &name[..]).collect();
        let packet = UserPacket {
            kind: if lossy { DataKind::Lossy } else { DataKind::Reliable },
            destination_identities: &destinations,
            sequence,
            topic: topic.as_deref(),
            payload: &payload,
        };
        let mut out = [0; 2000];
        let len = write_user_packet(&mut out, &packet).unwrap();
        let view = DataPacketView::parse(&out[..len]).unwrap();
        prop_assert_eq!(view.kind, Some(packet.kind));
        prop_assert_eq!(view.sequence, sequence);
        prop_assert_eq!(view.value, Some(DataValue::User));
        prop_assert_eq!(&identities(&view), &destinations);
        prop_assert_eq!(write_user_packet(&mut out[..len - 1], &packet), None);
    }

    #[test]
    fn noise_never_panics(bytes in vec(any::<u8>(), 0..64)) {
        if let Ok(view) = DataPacketView::parse(&bytes) {
            view.destination_identities().chain(view.destination_sids()).count();
        }
    }

    #[test]
    fn hostile_fields_never_panic(
        fields in vec((1u8..16, 0u8..6, vec(any::<u8>(), 0..12)), 0..8),
    ) {
        let bytes: Vec<u8> = fields
            .into_iter()
            .flat_map(|(number, kind, mut content)| {
                content.insert(0, u8::try_from(content.len()).unwrap());
                content.insert(0, (number << 3) | kind);
                content
            })
            .collect();
        if let Ok(view) = DataPacketView::parse(&bytes) {
            view.destination_identities().chain(view.destination_sids()).count();
        }
    }
}
