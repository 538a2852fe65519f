//! What publishers send: speech and pictures as a browser's encoders make them, or a recording,
//! cut into RTP payloads that carry a [`Stamp`].

pub mod packetize;
pub mod picture;
pub mod recording;
pub mod speech;
mod stamp;

pub use stamp::{Origin, Stamp, StampError};
