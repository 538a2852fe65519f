#![expect(
    clippy::indexing_slicing,
    reason = "the tests know how long their bytes are"
)]

use proptest::prelude::*;

use super::*;
use crate::ids::MemoKey;
use crate::link::samples::{ext_ids, to_controlplane, to_dataplane};
use crate::link::{
    ExtIds, Greeting, LINK_VERSION, Opening, OpeningError, ToControlplane, ToDataplane,
};

/// FNV-1a of all samples as frames. When the assertion below fails, the messages of this release
/// are not those of the one before: raise [`LINK_VERSION`], then write the new value here.
const LAYOUT: (u32, u64) = (3, 0x2b0d_608e_1d20_dd83);

fn frames() -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in to_dataplane() {
        write_message(&message, &mut bytes).unwrap();
    }
    for message in to_controlplane() {
        write_message(&message, &mut bytes).unwrap();
    }
    bytes
}

fn payload<T: Serialize>(message: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_message(message, &mut bytes).unwrap();
    bytes.split_off(PREFIX_LEN)
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[test]
fn the_layout_is_that_of_the_version() {
    assert_eq!(
        (LINK_VERSION, fnv(&frames())),
        LAYOUT,
        "see the comment at LAYOUT"
    );
}

#[test]
fn every_message_comes_back_as_it_went() {
    for message in to_dataplane() {
        assert_eq!(read_message::<ToDataplane>(&payload(&message)), Ok(message));
    }
    for message in to_controlplane() {
        assert_eq!(
            read_message::<ToControlplane>(&payload(&message)),
            Ok(message)
        );
    }
}

#[test]
fn a_message_that_is_cut_or_followed_by_something_is_refused() {
    for message in to_dataplane() {
        let mut bytes = payload(&message);
        for len in 0..bytes.len() {
            assert!(
                read_message::<ToDataplane>(&bytes[..len]).is_err(),
                "{message:?}"
            );
        }
        bytes.push(0);
        assert_eq!(
            read_message::<ToDataplane>(&bytes),
            Err(FrameError::Trailing)
        );
    }
}

#[test]
fn a_length_beyond_the_limit_is_refused_at_once() {
    let mut buffer = FrameBuffer::default();
    let len = LINK_FRAME_LEN_MAX + 1;
    buffer.push(&u32::try_from(len).unwrap().to_le_bytes());
    assert_eq!(buffer.next_frame(), Err(FrameError::TooLong(len)));

    let memo = ToDataplane::Remember {
        key: MemoKey(1),
        memo: vec![0; LINK_FRAME_LEN_MAX].into(),
    };
    let mut out = b"before".to_vec();
    assert!(matches!(
        write_message(&memo, &mut out),
        Err(FrameError::TooLong(_))
    ));
    assert_eq!(out, b"before");
}

#[test]
fn an_extension_id_that_no_header_can_carry_is_refused() {
    let mut bytes = payload(&ext_ids());
    let last = bytes.len() - 1;
    bytes[last] = 15;
    assert!(read_message::<ExtIds>(&bytes).is_err());
}

fn greeting() -> Greeting {
    Greeting {
        build: "0.1.0".into(),
        pid: 4711,
        shards: 3,
        token: 9,
        restores: true,
    }
}

#[test]
fn openings_come_back_as_they_went() {
    for opening in [
        Opening::Greeting(greeting()),
        Opening::Refusal("no.".into()),
    ] {
        assert_eq!(Opening::decode(&opening.encode()), Ok(opening));
    }
    assert_eq!(
        Opening::decode(b"GET / HTTP/1.1"),
        Err(OpeningError::Stranger)
    );
}

#[test]
fn another_version_is_told_by_its_number_and_its_refusals_are_read() {
    let theirs = Opening::Greeting(greeting()).encode_as(999);
    let error = Opening::decode(&theirs).unwrap_err();
    assert_eq!(error, OpeningError::Version { theirs: 999 });
    assert!(error.to_string().contains("same release"), "{error}");
    let refusal = Opening::Refusal("upgrade".into());
    assert_eq!(Opening::decode(&refusal.encode_as(999)), Ok(refusal));
}

proptest! {
    #[test]
    fn frames_are_the_same_however_they_arrive(cuts in prop::collection::vec(1_usize..2_000, 1..50)) {
        let bytes = frames();
        let mut buffer = FrameBuffer::default();
        let mut rest = bytes.as_slice();
        let mut got = Vec::new();
        let mut cuts = cuts.into_iter().cycle();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
            buffer.push(now);
            rest = later;
            while let Some(frame) = buffer.next_frame().unwrap() {
                got.push(frame);
            }
        }
        let expected: Vec<Vec<u8>> = to_dataplane().iter().map(payload)
            .chain(to_controlplane().iter().map(payload))
            .collect();
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_message::<ToDataplane>(&bytes);
        let _ = read_message::<ToControlplane>(&bytes);
        let _ = Opening::decode(&bytes);
        let mut buffer = FrameBuffer::default();
        buffer.push(&bytes);
        while let Ok(Some(_)) = buffer.next_frame() {}
    }

    /// One changed byte of a true message either is refused or says something that comes back.
    #[test]
    fn a_damaged_message_is_refused_or_whole(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = payload(which.get(&to_dataplane()));
        *at.get_mut(&mut bytes) = byte;
        if let Ok(message) = read_message::<ToDataplane>(&bytes) {
            prop_assert_eq!(read_message::<ToDataplane>(&payload(&message)), Ok(message));
        }
    }

    #[test]
    fn memos_of_any_bytes_come_back(memo in prop::collection::vec(any::<u8>(), 0..5_000), key: u64) {
        let message = ToDataplane::Remember { key: MemoKey(key), memo: memo.into() };
        prop_assert_eq!(read_message::<ToDataplane>(&payload(&message)), Ok(message));
    }
}
