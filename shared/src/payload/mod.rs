//! What the forwarding of a codec's packets has to know of their payload: where key frames start,
//! which layer a packet belongs to, and the fields that a layer switch makes discontinuous.
// Tests build payloads with plain indexing; everything else in here reads what strangers send.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap
    )
)]

pub mod av1;
pub mod data_packet;
pub mod dependency_descriptor;
pub mod h264;
pub mod h265;
pub mod opus;
pub mod red;
pub mod vp8;
pub mod vp9;

use thiserror::Error;

#[derive(Copy, Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum PayloadError {
    #[error("shorter than its descriptor says")]
    Truncated,
}

/// Picture id of VP8 (RFC 7741 §4.2) and VP9 (RFC 9628 §4.2), with its length on the wire.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct PictureId {
    pub value: u16,
    /// 15 bits, and not 7.
    pub long: bool,
}

impl PictureId {
    fn read(reader: &mut crate::wire::bytes::ByteReader<'_>) -> Option<Self> {
        let first = reader.u8()?;
        if first & 0x80 == 0 {
            return Some(Self {
                value: u16::from(first),
                long: false,
            });
        }
        let value = u16::from_be_bytes([first & 0x7f, reader.u8()?]);
        Some(Self { value, long: true })
    }
}
