//! A world in virtual time: a clock that only events move, random numbers from one seed, networks
//! that lose, delay, repeat and reorder, and a writer of captures. No wall clock, no thread.
//!
//! What is simulated is the host's affair; nothing here knows a shard or a peer.

mod agenda;
mod network;
mod pcap;

pub use crate::random::Prng;
pub use agenda::Agenda;
pub use network::{Burst, Fate, Loss, Path, PathConfig, PathCounts};
pub use pcap::PcapWriter;
