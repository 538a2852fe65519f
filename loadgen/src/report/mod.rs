//! What a run found, and how it is shown.
//!
//! The generator fills [`model::Results`]; see there for what each figure means.

pub mod latency;
pub mod model;

mod derived;
pub mod verdict;
