//! A load generator for LiveKit-compatible servers: clients that join through the server's front
//! door, publish and receive realistic media, and measure each packet on its way.
#![forbid(unsafe_code)]

pub mod capacity;
pub mod client;
pub mod dial;
pub mod ice;
pub mod impair;
pub mod machine;
pub mod measure;
pub mod media;
pub mod own_cost;
pub mod pump;
pub mod relay;
pub mod report;
pub mod run;
pub mod scenario;
pub mod sdp;
pub mod shard_metrics;
pub mod signal;
pub mod stream;
pub mod token;
pub mod transport;
pub mod watch;
