//! The link between the two planes: frames cut anyhow, and messages of any bytes.

use millrace_shared::limits::LINK_FRAME_LEN_MAX;
use millrace_shared::link::codec::{
    FrameBuffer, FrameError, read_message, write_frame, write_message,
};
use millrace_shared::link::{Opening, ToControlplane, ToDataplane};
use serde::Serialize;
use serde::de::DeserializeOwned;

const PREFIX_LEN: usize = 4;

/// The first byte says in pieces of how many bytes the rest arrives.
pub(crate) fn link(input: &[u8]) {
    let Some((piece, stream)) = input.split_first() else {
        return;
    };
    let pieces = stream.chunks(1 + usize::from(*piece));
    let (mut buffer, mut frames, mut failed) = (FrameBuffer::default(), Vec::new(), None);
    for piece in pieces {
        buffer.push(piece);
        while failed.is_none() {
            match buffer.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => failed = Some(error),
            }
        }
    }
    let lens = frames.iter().map(|frame| PREFIX_LEN + frame.len());
    assert!(lens.sum::<usize>() <= stream.len(), "no byte comes twice");
    if let Some(error) = failed {
        assert!(matches!(error, FrameError::TooLong(_)), "{error}");
    }
    for frame in &frames {
        assert!(frame.len() <= LINK_FRAME_LEN_MAX);
        let mut again = Vec::new();
        write_frame(frame, &mut again).expect("it came in a frame");
        assert_eq!(&again[PREFIX_LEN..], frame);
        read(frame);
    }
    // Most inputs are no frame: read as one, they reach the messages.
    read(stream);
}

fn read(frame: &[u8]) {
    opening(frame);
    message::<ToDataplane>(frame);
    message::<ToControlplane>(frame);
    for len in 0..frame.len().min(8) {
        let cut = &frame[..frame.len() - len - 1];
        message::<ToDataplane>(cut);
        message::<ToControlplane>(cut);
    }
}

/// What was read is written and read the same. By its bytes: a float that is no number equals
/// nothing.
fn message<T: Serialize + DeserializeOwned>(frame: &[u8]) {
    let Ok(message) = read_message::<T>(frame) else {
        return;
    };
    let (mut once, mut again) = (Vec::new(), Vec::new());
    match write_message(&message, &mut once) {
        Ok(()) => {}
        // A number may be written shorter than it came, never longer.
        Err(error) => panic!("{error}: it came in a frame"),
    }
    assert!(once.len() <= PREFIX_LEN + frame.len());
    let read: T = read_message(&once[PREFIX_LEN..]).expect("it was written");
    write_message(&read, &mut again).expect("it was written before");
    assert_eq!(once, again);
}

fn opening(frame: &[u8]) {
    if let Ok(opening) = Opening::decode(frame) {
        assert_eq!(Opening::decode(&opening.encode()), Ok(opening));
    }
}
