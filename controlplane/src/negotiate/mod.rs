//! Offer and answer (RFC 3264, RFC 8829): pure functions and a little state, no IO.
//!
//! `sdp-types` splits and writes the lines; what they mean to us is in [`RemoteDescription`]. We are
//! ICE-lite, the DTLS server, and bundle everything onto one transport (RFC 8843):
//! - [`answer()`] answers a client that publishes, and in single-connection mode also subscribes;
//! - [`Offerer`] keeps the m-lines of a subscriber's connection, to which we offer.
//!
//! What a publisher's answer settled about its codecs ([`PublishedCodec`]) is what a subscriber's
//! payload types are mapped from.

mod answer;
mod codec;
mod error;
mod mapping;
mod offer;
mod plan;
mod profile;
mod remote;
#[cfg(test)]
mod tests;
mod write;

pub use answer::{Answer, Received, answer};
pub use codec::{PublishedCodec, codec_of_mime, mime_of_codec};
pub use error::SdpError;
pub use offer::{Negotiated, Offerer};
pub use plan::{LocalTransport, MediaPlan, ReceivePlan, SendPlan, SessionLines};
pub use profile::Profile;
pub use remote::{
    Direction, Feedback, Msid, RemoteCodec, RemoteDescription, RemoteMedia, Section, Setup,
};
