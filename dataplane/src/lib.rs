//! The SFU. Modules stand in the order in which a packet meets them; `shard::tick` calls each
//! stage, and stages never call each other.
#![forbid(unsafe_code)]

pub mod demux;
pub mod transport;

pub mod uptrack;

pub mod router;

pub mod downtrack;

pub mod congestion;

pub mod group;
pub mod packet;
pub mod shard;
pub mod slots;
pub mod speakers;

pub mod link_server;
mod start;

/// Version of the program, for people.
pub(crate) const BUILD: &str = concat!("Millrace ", env!("CARGO_PKG_VERSION"));

pub use start::{Backend, Config, Dataplane, StartError, start};
