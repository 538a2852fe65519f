//! What transports tell each other about congestion.

pub mod feedback;
pub mod rate;
pub mod twcc;
