//! Views over received packets and writers of sent ones: borrowed, without allocation, and safe
//! on hostile input.
// Tests build packets with plain indexing; everything else in here reads what strangers send.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap
    )
)]

pub(crate) mod bytes;
pub mod class;
pub mod rtcp;
pub mod rtp;
pub mod rtp_ext;
pub mod stun;
