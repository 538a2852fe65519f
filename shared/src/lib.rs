//! Protocol code without sockets, threads or clocks.
//!
//! Everything here takes the time and its output buffers as arguments, so that the data plane,
//! the load generator and the simulator run the same code.
#![forbid(unsafe_code)]

pub mod bucket;
pub mod drop;
pub mod dtls;
pub mod ice;
pub mod ids;
pub mod limits;
pub mod link;
pub mod payload;
pub mod random;
pub mod sctp;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod srtp;
pub mod time;
pub mod wire;
