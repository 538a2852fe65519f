//! Session descriptions (RFC 8866, RFC 8829): what we read of a server's, and ours from templates.

mod parse;
mod write;

#[cfg(test)]
mod tests;

pub use parse::{Candidate, CodecLine, Description, Direction, SdpError, Section, SectionKind};
pub use write::{Codec, Line, Local, Offered, answer, offer};
