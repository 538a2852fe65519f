//! The generator against nodes of Millrace in processes of their own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod command_line;
mod instrument;
mod smoke;
mod support;
