//! The SFU. Modules stand in the order in which a packet meets them; `shard::tick` calls each
//! stage, and stages never call each other.
#![forbid(unsafe_code)]

pub mod congestion;
pub mod packet;
pub mod speakers;
pub mod uptrack;
