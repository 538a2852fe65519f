//! DTLS 1.2 with SRTP key export (RFC 6347, RFC 5764), around the `dimpl` crate.
//!
//! [`Dtls`] is one association. We are the server, because only the server chooses the SRTP
//! profile; the client role exists for the load generator and tests. The caller feeds datagrams
//! only from tuples that ICE validated, and after every call polls until nothing is left.
//!
//! Every error of the library is fatal to its object, and some can be provoked by forged records
//! before the handshake ends. So an attempt that breaks is replaced by a new one, a few times, and
//! the client's retransmissions drive that. After the handshake nothing unauthenticated does harm.
//!
//! The library logs its whole receive queue when that is full: logs below error level from the
//! target `dimpl` should be filtered out.

mod association;
mod identity;
mod record;
mod signing;

#[cfg(test)]
mod tests;

pub use association::{APPLICATION_DATA_LEN_MAX, Dtls, DtlsOutput, PollBuffer};
pub use identity::{Identity, IdentityError};
