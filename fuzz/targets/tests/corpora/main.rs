//! The committed corpora: where their seeds come from, and what the targets make of them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod folder;
mod mutate;
mod replay;
mod seeds;
