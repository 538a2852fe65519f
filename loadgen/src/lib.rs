//! A load generator for LiveKit-compatible servers: clients that join through the server's front
//! door, publish and receive realistic media, and measure each packet on its way.
#![forbid(unsafe_code)]

pub mod report;
pub mod signal;
pub mod token;
