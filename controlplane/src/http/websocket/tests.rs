use proptest::prelude::*;
use tokio::io::duplex;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Theirs;
use tokio_tungstenite::tungstenite::protocol::Role;

use futures_util::{SinkExt as _, StreamExt as _};

use super::*;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const LEN_MAX: usize = 1000;

/// A client's frame with this first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match u8::try_from(payload.len()) {
        Ok(len @ 0..=125) => bytes.push(0x80 | len),
        _ => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(a, b)| a ^ b));
    bytes
}

/// All that a reader makes of these bytes.
fn read(bytes: &[u8]) -> Vec<Result<Message, ReadError>> {
    let mut reader = Reader::default();
    reader.extend(bytes);
    let mut read = Vec::new();
    loop {
        match reader.next(LEN_MAX) {
            Ok(Some(message)) => read.push(Ok(message)),
            Ok(None) => return read,
            Err(error) => {
                read.push(Err(error));
                return read;
            }
        }
    }
}

fn text(text: &str) -> Result<Message, ReadError> {
    Ok(Message::Text(text.to_owned()))
}

/// RFC 6455 §5.7: "Hello", masked and as two fragments.
#[test]
fn the_examples_of_the_rfc_are_read() {
    let whole = [
        0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
    ];
    assert_eq!(read(&whole), [text("Hello")]);
    let fragments = [frame(0x01, b"Hel"), frame(0x80, b"lo")].concat();
    assert_eq!(read(&fragments), [text("Hello")]);
}

#[test]
fn a_control_frame_may_come_between_fragments() {
    let bytes = [
        frame(0x02, b"ab"),
        frame(0x89, b"?"),
        frame(0x00, b"cd"),
        frame(0x80, b"e"),
        frame(0x88, &[3, 232]),
    ];
    let expected = [
        Ok(Message::Ping(Bytes::from_static(b"?"))),
        Ok(Message::Binary(Bytes::from_static(b"abcde"))),
        Ok(Message::Close(Bytes::from_static(&[3, 232]))),
    ];
    assert_eq!(read(&bytes.concat()), expected);
}

#[test]
fn what_the_rfc_forbids_a_client_is_refused() {
    let unmasked = vec![0x82, 1, 7];
    for bytes in [
        unmasked,
        // A reserved bit.
        frame(0xc2, b"x"),
        // Opcodes without a meaning.
        frame(0x83, b"x"),
        frame(0x8b, b"x"),
        // A control frame in fragments, and one that is too long.
        frame(0x09, b"x"),
        frame(0x89, &[0; 126]),
        // A continuation of nothing, and a message within a message.
        frame(0x80, b"x"),
        [frame(0x01, b"x"), frame(0x81, b"y")].concat(),
    ] {
        assert_eq!(read(&bytes), [Err(ReadError::Protocol)], "{bytes:02x?}");
    }
    assert_eq!(read(&frame(0x81, &[0xff])), [Err(ReadError::Text)]);
}

#[test]
fn a_message_is_too_long_before_it_has_come() {
    let whole = frame(0x82, &[0; LEN_MAX]);
    assert!(read(&whole)[0].is_ok());
    let longer = frame(0x82, &[0; LEN_MAX + 1]);
    assert_eq!(read(&longer[..8]), [Err(ReadError::TooLong)]);
    let endless = [
        0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4,
    ];
    assert_eq!(read(&endless), [Err(ReadError::TooLong)]);
    let fragments = [frame(0x02, &[0; LEN_MAX]), frame(0x80, &[0; 1])].concat();
    assert_eq!(read(&fragments), [Err(ReadError::TooLong)]);
    let empty = [frame(0x02, &[]), frame(0x00, &[]).repeat(2_000)].concat();
    assert_eq!(read(&empty), [Err(ReadError::TooLong)]);
}

proptest! {
    /// However the bytes are cut, the same messages come of them, and nothing is kept of them.
    #[test]
    fn cuts_do_not_matter(
        lens in prop::collection::vec(0..400_usize, 1..6),
        cuts in prop::collection::vec(1..50_usize, 1..200),
    ) {
        let bytes: Vec<u8> = lens.iter().flat_map(|len| frame(0x82, &vec![7; *len])).collect();
        let mut reader = Reader::default();
        let mut read = Vec::new();
        let mut rest = bytes.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (part, after) = rest.split_at((*cut).min(rest.len()));
            rest = after;
            reader.extend(part);
            while let Some(message) = reader.next(LEN_MAX).unwrap() {
                read.push(message);
            }
        }
        let expected: Vec<_> = lens.iter().map(|len| Message::Binary(vec![7; *len].into())).collect();
        prop_assert_eq!(read, expected);
        prop_assert_eq!(reader.held(), 0);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read(&bytes);
    }
}

#[tokio::test]
async fn gathered_frames_leave_with_the_next_write() {
    let (ours, theirs) = duplex(64 * 1024);
    let mut ours = WebSocket::new(ours, 1 << 20);
    let mut theirs = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
    ours.gather(Opcode::Binary, &[1; 200]);
    ours.gather(Opcode::Text, b"two");
    ours.send(Opcode::Binary, Bytes::from_static(&[3]))
        .await
        .unwrap();
    ours.gather(Opcode::Binary, &[4]);
    ours.flush().await.unwrap();
    assert_eq!(ours.gathered.capacity(), 0);
    for expected in [
        Theirs::Binary(vec![1; 200].into()),
        Theirs::text("two"),
        Theirs::Binary(vec![3].into()),
        Theirs::Binary(vec![4].into()),
    ] {
        assert_eq!(theirs.next().await.unwrap().unwrap(), expected);
    }
}

/// Against the library that our clients and tests use.
#[tokio::test]
async fn another_implementation_understands_us() {
    let (ours, theirs) = duplex(64 * 1024);
    let mut ours = WebSocket::new(ours, 1 << 20);
    let mut theirs = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
    for len in [0, 1, 125, 126, 65_535, 65_536, 200_000] {
        let payload = Bytes::from(vec![5; len]);
        let sent = ours.send(Opcode::Binary, payload.clone());
        let (sent, received) = tokio::join!(sent, theirs.next());
        sent.unwrap();
        assert_eq!(received.unwrap().unwrap(), Theirs::Binary(payload.clone()));
        let sent = theirs.send(Theirs::Binary(payload.clone()));
        let (sent, received) = tokio::join!(sent, ours.next());
        sent.unwrap();
        assert_eq!(received, Ok(Message::Binary(payload)));
    }
    ours.send_close(CloseCode::TooLong).await.unwrap();
    let Some(Ok(Theirs::Close(Some(close)))) = theirs.next().await else {
        panic!("no close");
    };
    assert_eq!(u16::from(close.code), 1009);
    // Its answer is on its way once it is polled again.
    let _ = theirs.flush().await;
    let answer = ours.next().await;
    assert_eq!(answer, Ok(Message::Close(Bytes::from_static(&[3, 241]))));
}

#[tokio::test]
async fn what_was_read_together_is_there_without_reading_again() {
    let (ours, mut theirs) = duplex(1000);
    let mut socket = WebSocket::new(ours, LEN_MAX);
    let third = frame(0x81, b"three");
    let (begun, rest) = third.split_at(4);
    let together = [&frame(0x81, b"one"), &frame(0x81, b"two"), begun].concat();
    theirs.write_all(&together).await.unwrap();
    assert_eq!(socket.next_read(), Ok(None));
    assert_eq!(socket.next().await, text("one"));
    assert_eq!(socket.next_read().transpose(), Some(text("two")));
    assert_eq!(socket.next_read(), Ok(None));
    theirs.write_all(rest).await.unwrap();
    assert_eq!(socket.next().await, text("three"));
}
