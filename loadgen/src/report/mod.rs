//! What a run found, and how it is shown.
//!
//! The generator fills [`model::Results`]; see there for what each figure means. The rest follows
//! from it: [`verdict`] judges a step, [`cause`] says why packets were late, [`knee`] finds the load
//! up to which the SLO holds, [`projection`] says what machines of other sizes carry,
//! [`calculator`] what mix of rooms fits, and [`render`] draws it all as one page.

pub mod calculator;
pub mod cause;
pub mod forwarding;
pub mod knee;
pub mod latency;
pub mod model;
pub mod projection;
pub mod verdict;

mod derived;
#[cfg(test)]
mod fixture;
mod html;
mod store;

pub use html::render;
pub use store::ResultsError;
