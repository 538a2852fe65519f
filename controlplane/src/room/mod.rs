//! Rooms: who is in them, who publishes what, and who gets it.
//!
//! A room is one task that owns all its state, its participants among it. Signal requests, events
//! of the data plane and API calls reach it through one mailbox, in order. It never waits for
//! anybody: responses go into bounded queues, commands into the link.
//!
//! [`Rooms`] makes and finds rooms. Modules, in the order a session meets them: `admission`, `join`,
//! `signal` (requests), `negotiation` with `sections`, `publishing` with `tracks`, `subscriptions` with
//! `copies`, `leave`; beside them `resume`, `broadcast`, `events`, `speakers`, `quality`, `api`; `memo` and
//! `restore` bring a room from one control plane to the next.

mod actor;
mod admission;
mod api;
mod broadcast;
mod copies;
mod error;
mod events;
mod join;
mod leave;
mod memo;
mod message;
mod metadata;
mod metrics;
mod negotiation;
mod participants;
mod publishing;
mod quality;
mod registry;
mod requests;
mod restore;
mod resume;
mod routing;
mod sections;
mod settings;
pub(crate) mod sid;
mod signal;
mod simulate;
mod speakers;
mod subscriptions;
mod timer;
mod tracks;

#[cfg(test)]
mod tests;

pub use error::{ApiCode, ApiError, JoinError};
pub use message::{JoinParams, SignalSession};
pub use metrics::RoomMetrics;
pub use registry::Rooms;
pub use requests::Requests;
pub use restore::Restored;
pub use settings::{Settings, TokenSigner};
