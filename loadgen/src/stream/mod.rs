//! RTP streams of a client, both ways, with the feedback that a browser gives.

mod freeze;
mod nack;
pub mod publisher;
pub mod receiver;
mod sender;
mod twcc;
mod window;

pub use window::{Arrival, SequenceWindow};
