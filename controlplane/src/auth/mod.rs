//! Access tokens by LiveKit's rules.

mod claims;
mod keys;
mod mint;
mod permission;
mod verify;

#[cfg(test)]
mod tests;

pub use claims::{Claims, SipGrant, VideoGrant};
pub use keys::{ApiKeys, generate_id, generate_key, generate_secret};
pub use mint::{MintError, VALIDITY_DEFAULT, mint};
pub use permission::Permission;
pub use verify::{TOKEN_LEN_MAX, TokenError, verify};
