//! The link as bytes: frames that each begin with their length, and messages in postcard's compact
//! form. Nothing here reads or writes a socket.
#![deny(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap
)]

use bytes::{Buf as _, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits::LINK_FRAME_LEN_MAX;

/// Bytes of the length that precedes each frame, little-endian.
const PREFIX_LEN: usize = 4;

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    #[error("a frame of {0} bytes is longer than any message")]
    TooLong(usize),
    #[error("a frame that is no message: {0}")]
    Malformed(postcard::Error),
    #[error("a frame with bytes after its message")]
    Trailing,
}

/// Appends `message` to `out` as a frame; `out` is as before if it is too long.
pub fn write_message<T: Serialize>(message: &T, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let start = out.len();
    let written = append(message, out, start);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn append<T: Serialize>(message: &T, out: &mut Vec<u8>, start: usize) -> Result<(), FrameError> {
    struct Appended<'a>(&'a mut Vec<u8>);
    impl Extend<u8> for Appended<'_> {
        fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
            self.0.extend(bytes);
        }
    }
    out.extend([0; PREFIX_LEN]);
    postcard::to_extend(message, Appended(out)).map_err(FrameError::Malformed)?;
    set_len(out, start)
}

/// Appends `payload` to `out` as a frame.
pub fn write_frame(payload: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
    let start = out.len();
    out.extend([0; PREFIX_LEN]);
    out.extend(payload);
    let written = set_len(out, start);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn set_len(out: &mut [u8], start: usize) -> Result<(), FrameError> {
    let len = out.len() - start - PREFIX_LEN;
    let prefix = u32::try_from(len)
        .ok()
        .filter(|_| len <= LINK_FRAME_LEN_MAX)
        .ok_or(FrameError::TooLong(len))?;
    if let Some(place) = out.get_mut(start..start + PREFIX_LEN) {
        place.copy_from_slice(&prefix.to_le_bytes());
    }
    Ok(())
}

/// The message of a frame.
pub fn read_message<T: DeserializeOwned>(frame: &[u8]) -> Result<T, FrameError> {
    match postcard::take_from_bytes(frame) {
        Ok((message, [])) => Ok(message),
        Ok(_) => Err(FrameError::Trailing),
        Err(error) => Err(FrameError::Malformed(error)),
    }
}

/// Bytes as they come from a socket, cut into frames. It grows by what really came, never by what
/// a length promises.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: BytesMut,
}

impl FrameBuffer {
    pub fn push(&mut self, received: &[u8]) {
        self.bytes.extend_from_slice(received);
    }

    /// The next frame, once all of it is there. After an error the stream is of no use.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(prefix) = self.bytes.first_chunk::<PREFIX_LEN>() else {
            return Ok(None);
        };
        let len = usize::try_from(u32::from_le_bytes(*prefix)).unwrap_or(usize::MAX);
        if len > LINK_FRAME_LEN_MAX {
            return Err(FrameError::TooLong(len));
        }
        if self.bytes.len() < PREFIX_LEN + len {
            return Ok(None);
        }
        self.bytes.advance(PREFIX_LEN);
        Ok(Some(self.bytes.split_to(len).freeze()))
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
