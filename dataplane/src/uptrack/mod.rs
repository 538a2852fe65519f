//! Ingress side of a track: puts its packets in order, repairs them, and keeps them for those
//! subscribers who miss one.

pub mod keyframe;
pub mod nack;
pub mod sequence;
pub mod store;
pub mod stream_rx;
