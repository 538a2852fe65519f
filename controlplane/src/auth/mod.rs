//! Access tokens by LiveKit's rules.

mod claims;

pub use claims::{Claims, VideoGrant};
