//! SRTP and SRTCP (RFC 3711, RFC 7714) in place, for the profiles that DTLS-SRTP negotiates
//! (RFC 5764).
//!
//! One [`SrtpTx`] and one [`SrtpRx`] per association. Sending keeps no state per SSRC: the sender
//! knows its extended sequence numbers and passes the roll-over counter. Receiving keeps one
//! replay window per SSRC, made only after a packet of that SSRC proved authentic, so that forged
//! packets cost computation but never memory. No call allocates, except for the window of a new
//! SSRC.
//!
//! No MKI and no unencrypted SRTCP: WebRTC negotiates neither (RFC 8827 §6.5).
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap
    )
)]

mod header;
mod key_derivation;
mod profile;
mod replay;
mod rx;
mod session_keys;
mod transform;
mod tx;

#[cfg(test)]
mod differential_tests;
#[cfg(test)]
mod tests;

pub use profile::{MasterKey, Profile, split_keying_material};
pub use rx::{SrtpRx, Unprotected};
pub use tx::{SrtpTx, roll_over_count};
