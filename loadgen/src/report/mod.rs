//! What a run found, and how it is shown.
//!
//! The generator fills [`model::Results`]; see there for what each figure means. The rest follows
//! from it: [`verdict`] judges a step, [`knee`] finds the load up to which the SLO holds, and
//! [`projection`] says what machines of other sizes carry.

pub mod knee;
pub mod latency;
pub mod model;
pub mod projection;
pub mod verdict;

mod derived;
