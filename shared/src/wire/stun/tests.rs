use std::net::{Ipv6Addr, SocketAddr};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";

const TRANSACTION: TransactionId = TransactionId([
    0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
]);

/// RFC 5769 §2.1: sample request; its username is padded with spaces.
const REQUEST: [u8; 108] = [
    0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42, // header
    0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae, // transaction id
    0x80, 0x22, 0x00, 0x10, 0x53, 0x54, 0x55, 0x4e, 0x20, 0x74, 0x65, 0x73, // SOFTWARE
    0x74, 0x20, 0x63, 0x6c, 0x69, 0x65, 0x6e, 0x74, //
    0x00, 0x24, 0x00, 0x04, 0x6e, 0x00, 0x01, 0xff, // PRIORITY
    0x80, 0x29, 0x00, 0x08, 0x93, 0x2f, 0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36, // ICE-CONTROLLED
    0x00, 0x06, 0x00, 0x09, 0x65, 0x76, 0x74, 0x6a, 0x3a, 0x68, 0x36, 0x76, // USERNAME
    0x59, 0x20, 0x20, 0x20, //
    0x00, 0x08, 0x00, 0x14, 0x9a, 0xea, 0xa7, 0x0c, 0xbf, 0xd8, 0xcb,
    0x56, // MESSAGE-INTEGRITY
    0x78, 0x1e, 0xf2, 0xb5, 0xb2, 0xd3, 0xf2, 0x49, 0xc1, 0xb5, 0x71, 0xa2, //
    0x80, 0x28, 0x00, 0x04, 0xe5, 0x7a, 0x3b, 0xcf, // FINGERPRINT
];

/// RFC 5769 §2.2: sample IPv4 response.
const RESPONSE_V4: [u8; 80] = [
    0x01, 0x01, 0x00, 0x3c, 0x21, 0x12, 0xa4, 0x42, // header
    0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae, // transaction id
    0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76, 0x65, 0x63, // SOFTWARE
    0x74, 0x6f, 0x72, 0x20, //
    0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6,
    0x43, // XOR-MAPPED-ADDRESS
    0x00, 0x08, 0x00, 0x14, 0x2b, 0x91, 0xf5, 0x99, 0xfd, 0x9e, 0x90,
    0xc3, // MESSAGE-INTEGRITY
    0x8c, 0x74, 0x89, 0xf9, 0x2a, 0xf9, 0xba, 0x53, 0xf0, 0x6b, 0xe7, 0xd7, //
    0x80, 0x28, 0x00, 0x04, 0xc0, 0x7d, 0x4c, 0x96, // FINGERPRINT
];

/// RFC 5769 §2.3: sample IPv6 response.
const RESPONSE_V6: [u8; 92] = [
    0x01, 0x01, 0x00, 0x48, 0x21, 0x12, 0xa4, 0x42, // header
    0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae, // transaction id
    0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76, 0x65, 0x63, // SOFTWARE
    0x74, 0x6f, 0x72, 0x20, //
    0x00, 0x20, 0x00, 0x14, 0x00, 0x02, 0xa1, 0x47, // XOR-MAPPED-ADDRESS
    0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9,
    0x00, 0x08, 0x00, 0x14, 0xa3, 0x82, 0x95, 0x4e, 0x4b, 0xe6, 0x7b,
    0xf1, // MESSAGE-INTEGRITY
    0x17, 0x84, 0xc9, 0x7c, 0x82, 0x92, 0xc2, 0x75, 0xbf, 0xe3, 0xed, 0x41, //
    0x80, 0x28, 0x00, 0x04, 0xc8, 0xfb, 0x0b, 0x4c, // FINGERPRINT
];

fn key() -> IntegrityKey {
    IntegrityKey::new(PASSWORD)
}

/// A message of raw attributes (padded here) with the right length field.
fn message(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0, 1, 0, 0];
    bytes.extend_from_slice(&MAGIC_COOKIE.to_be_bytes());
    bytes.extend_from_slice(&TRANSACTION.0);
    for (kind, value) in attributes {
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    set_length(&mut bytes);
    bytes
}

fn set_length(bytes: &mut [u8]) {
    let length = u16::try_from(bytes.len() - HEADER_LEN).unwrap();
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
}

#[test]
fn rfc_5769_request() {
    let view = StunView::parse(&REQUEST).unwrap();
    assert_eq!(
        (view.class(), view.method()),
        (StunClass::Request, METHOD_BINDING)
    );
    assert_eq!(view.transaction_id(), TRANSACTION);
    assert_eq!(view.username(), Some("evtj:h6vY"));
    assert_eq!(view.priority(), Some(0x6e00_01ff));
    assert_eq!(
        view.role(),
        Some(IceRole::Controlled(0x932f_f9b1_5126_3b36))
    );
    assert_eq!(view.controlled(), Some(0x932f_f9b1_5126_3b36));
    assert_eq!(view.controlling(), None);
    assert!(!view.use_candidate());
    assert_eq!(view.unknown_required(), None);
    assert!(view.verify_integrity(&key()));
    assert!(!view.verify_integrity(&IntegrityKey::new(b"other")));
    assert!(view.fingerprint_ok());
}

#[test]
fn rfc_5769_responses() {
    for (message, address) in [
        (&RESPONSE_V4[..], "192.0.2.1:32853"),
        (
            &RESPONSE_V6[..],
            "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
        ),
    ] {
        let view = StunView::parse(message).unwrap();
        assert_eq!(view.class(), StunClass::Success);
        assert_eq!(view.xor_mapped_address(), Some(address.parse().unwrap()));
        assert!(view.verify_integrity(&key()));
        assert!(view.fingerprint_ok());
    }
}

#[test]
fn any_flipped_bit_breaks_the_fingerprint_or_the_syntax() {
    for at in 0..REQUEST.len() * 8 {
        let mut bytes = REQUEST;
        bytes[at / 8] ^= 1 << (at % 8);
        if let Ok(view) = StunView::parse(&bytes) {
            assert!(!view.fingerprint_ok(), "bit {at}");
            // Everything before FINGERPRINT is under the integrity as well.
            assert!(at / 8 >= 100 || !view.verify_integrity(&key()), "bit {at}");
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    for len in 0..REQUEST.len() {
        assert!(StunView::parse(&REQUEST[..len]).is_err(), "{len}");
    }
    let mut longer = REQUEST.to_vec();
    longer.extend_from_slice(&[0; 4]);
    assert_eq!(StunView::parse(&longer), Err(StunError::Length));
}

/// RFC 8489 §14.5: what follows MESSAGE-INTEGRITY is ignored, or a third party could add
/// USE-CANDIDATE to a request it saw.
#[test]
fn attributes_behind_the_integrity_are_ignored() {
    let mut bytes = REQUEST[..100].to_vec();
    bytes.extend_from_slice(&[0x00, 0x25, 0x00, 0x00]);
    bytes.extend_from_slice(&[0x00, 0x06, 0x00, 0x01, b'x', 0, 0, 0]);
    bytes.extend_from_slice(&[0x00, 0x66, 0x00, 0x00]);
    set_length(&mut bytes);
    let view = StunView::parse(&bytes).unwrap();
    assert!(
        view.verify_integrity(&key()),
        "the length counts up to the integrity only"
    );
    assert!(!view.use_candidate());
    assert_eq!(view.username(), Some("evtj:h6vY"));
    assert_eq!(view.unknown_required(), None);
    assert!(!view.has_fingerprint() && !view.fingerprint_ok());
}

#[test]
fn nothing_follows_the_fingerprint() {
    let mut bytes = REQUEST.to_vec();
    bytes.extend_from_slice(&[0x00, 0x25, 0x00, 0x00]);
    set_length(&mut bytes);
    assert_eq!(StunView::parse(&bytes), Err(StunError::AfterFingerprint));
}

#[test]
fn of_two_attributes_the_first_counts() {
    let bytes = message(&[(0x0006, b"a:b"), (0x0006, b"c:d"), (0x0024, &[0, 0, 0, 1])]);
    let view = StunView::parse(&bytes).unwrap();
    assert_eq!(view.username(), Some("a:b"));
    assert_eq!(view.priority(), Some(1));
    assert!(!view.verify_integrity(&key()), "no integrity at all");
}

#[test]
fn attributes_of_the_wrong_length_are_refused() {
    let wrong: [(u16, &[u8]); 7] = [
        (attribute::PRIORITY, &[0; 3]),
        (attribute::ICE_CONTROLLING, &[0; 4]),
        (attribute::ICE_CONTROLLED, &[0; 12]),
        (attribute::MESSAGE_INTEGRITY, &[0; 16]),
        (attribute::FINGERPRINT, &[0; 8]),
        (attribute::XOR_MAPPED_ADDRESS, &[0, 1, 0, 0, 1, 2, 3, 4, 5]),
        (attribute::ERROR_CODE, &[0, 0, 4]),
    ];
    for attribute in wrong {
        let bytes = message(&[attribute]);
        assert_eq!(
            StunView::parse(&bytes),
            Err(StunError::Attribute),
            "{attribute:?}"
        );
    }
    let bytes = message(&[(attribute::USERNAME, &[0xff])]);
    assert_eq!(StunView::parse(&bytes), Err(StunError::Username));
    let bytes = message(&[(attribute::USERNAME, &[b'a'; 509])]);
    assert_eq!(StunView::parse(&bytes), Err(StunError::Username));
}

#[test]
fn unknown_attributes_by_comprehension() {
    let bytes = message(&[(0xc057, &[0, 1, 0, 2]), (0x7fff, &[]), (0x0077, &[])]);
    assert_eq!(
        StunView::parse(&bytes).unwrap().unknown_required(),
        Some(0x7fff)
    );
}

#[test]
fn message_types_round_trip() {
    for method in 0..=0xfff {
        for class in [
            StunClass::Request,
            StunClass::Indication,
            StunClass::Success,
            StunClass::Error,
        ] {
            let message_type = message_type(class, method);
            assert!(message_type < 0x4000);
            assert_eq!(class_and_method(message_type), (class, method));
        }
    }
    assert_eq!(message_type(StunClass::Error, METHOD_BINDING), 0x0111);
}

#[test]
fn error_responses() {
    let mut out = [0; 128];
    let error = BindingError {
        transaction_id: TRANSACTION,
        code: 487,
        reason: "Role Conflict",
        unknown: &[],
    };
    let len = write_binding_error(&mut out, &error, Some(&key())).unwrap();
    let view = StunView::parse(&out[..len]).unwrap();
    assert_eq!(view.class(), StunClass::Error);
    assert_eq!(view.error_code(), Some((487, "Role Conflict")));
    assert!(view.verify_integrity(&key()) && view.fingerprint_ok());

    let error = BindingError {
        code: 420,
        reason: "",
        unknown: &[0x7fff],
        ..error
    };
    let len = write_binding_error(&mut out, &error, None).unwrap();
    assert_eq!(out[28..36], [0x00, 0x0a, 0x00, 0x02, 0x7f, 0xff, 0, 0]);
    let view = StunView::parse(&out[..len]).unwrap();
    assert_eq!(view.error_code(), Some((420, "")));
    assert!(!view.has_integrity() && view.fingerprint_ok());

    let error = BindingError { code: 700, ..error };
    assert_eq!(write_binding_error(&mut out, &error, None), None);
}

/// A dual-stack socket sees IPv4 peers as ::ffff:a.b.c.d.
#[test]
fn mapped_ipv4_is_answered_as_ipv4() {
    let mut out = [0; 128];
    let mapped: SocketAddr = "[::ffff:192.0.2.1]:32853".parse().unwrap();
    let len = write_binding_success(&mut out, TRANSACTION, mapped, &key()).unwrap();
    let view = StunView::parse(&out[..len]).unwrap();
    assert_eq!(
        view.xor_mapped_address(),
        Some("192.0.2.1:32853".parse().unwrap())
    );
    // The same attribute bytes as in RFC 5769 §2.2.
    assert_eq!(out[20..32], RESPONSE_V4[36..48]);
}

proptest! {
    #[test]
    fn requests_parse_back(
        id: [u8; 12],
        username in "[a-zA-Z0-9+/]{4,40}:[a-zA-Z0-9+/]{4,40}",
        priority: u32,
        tie_breaker: u64,
        controlling: bool,
        use_candidate: bool,
        password in vec(any::<u8>(), 22..40),
        short in 0usize..300,
    ) {
        let key = IntegrityKey::new(&password);
        let role = if controlling {
            IceRole::Controlling(tie_breaker)
        } else {
            IceRole::Controlled(tie_breaker)
        };
        let transaction_id = TransactionId(id);
        let request =
            BindingRequest { transaction_id, username: &username, priority, role, use_candidate };
        let mut out = [0xff; 300];
        let len = write_binding_request(&mut out, &request, &key).unwrap();
        let view = StunView::parse(&out[..len]).unwrap();
        prop_assert_eq!(view.transaction_id(), transaction_id);
        prop_assert_eq!(view.username(), Some(&username[..]));
        prop_assert_eq!(view.priority(), Some(priority));
        prop_assert_eq!(view.role(), Some(role));
        prop_assert_eq!(view.use_candidate(), use_candidate);
        prop_assert!(view.verify_integrity(&key) && view.fingerprint_ok());
        let fits = write_binding_request(&mut [0; 300][..short], &request, &key);
        prop_assert_eq!(fits, (short >= len).then_some(len));
    }

    #[test]
    fn responses_parse_back(id: [u8; 12], ip: u128, v4: Option<u32>, port: u16) {
        let ip = match v4 {
            Some(bits) => std::net::Ipv4Addr::from_bits(bits).into(),
            None => Ipv6Addr::from_bits(ip).to_canonical(),
        };
        let mapped = SocketAddr::new(ip, port);
        let mut out = [0xff; 128];
        let len = write_binding_success(&mut out, TransactionId(id), mapped, &key()).unwrap();
        let view = StunView::parse(&out[..len]).unwrap();
        prop_assert_eq!(view.xor_mapped_address(), Some(mapped));
        prop_assert!(view.verify_integrity(&key()) && view.fingerprint_ok());
    }

    #[test]
    fn noise_never_panics(mut bytes in vec(any::<u8>(), 0..120), framed: bool) {
        if framed && bytes.len() >= HEADER_LEN {
            bytes.truncate(bytes.len() / 4 * 4);
            bytes[0] &= 0x3f;
            bytes[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
            set_length(&mut bytes);
        }
        if let Ok(view) = StunView::parse(&bytes) {
            view.verify_integrity(&key());
            view.fingerprint_ok();
        }
    }

    #[test]
    fn hostile_attributes_never_panic(
        attributes in vec((prop_oneof![0u16..0x30, 0x8020u16..0x8030], vec(any::<u8>(), 0..24)), 0..8)
    ) {
        let attributes: Vec<(u16, &[u8])> =
            attributes.iter().map(|(kind, value)| (*kind, &value[..])).collect();
        if let Ok(view) = StunView::parse(&message(&attributes)) {
            view.verify_integrity(&key());
            view.fingerprint_ok();
        }
    }
}
