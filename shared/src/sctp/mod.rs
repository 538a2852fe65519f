//! Data channels: SCTP over DTLS (RFC 8831, RFC 8261) and their establishment protocol (RFC 8832),
//! around the `sctp-proto` crate.
//!
//! [`Sctp`] is one association, whose packets are the application data of one [`crate::dtls`]
//! association. After every call poll until nothing is left, and hand each datagram to DTLS and
//! poll that before the next: DTLS queues few.
//!
//! Only the peer at the other end of a handshake reaches this code. It may still be hostile: what
//! it can make us keep is bounded, and what exceeds a bound ends its association.
//!
//! The library logs each malformed packet at warn level: its target `sctp_proto` should be filtered
//! out.

mod association;
mod backlog;
mod channel;
mod chunk;
mod dcep;
mod outstanding;

#[cfg(test)]
mod tests;

pub use association::{OpenError, Role, Sctp, SctpOutput, SendError};
pub use channel::Reliability;
