//! The whole shard: datagrams and commands in, datagrams and events out, in virtual time.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::disallowed_methods, reason = "a test is the shard's host")]
#![allow(clippy::disallowed_types, reason = "a test is the shard's host")]

#[allow(dead_code, reason = "the harness serves the allocation proof too")]
mod harness;

mod adopting;
mod data;
mod floods;
mod forwarding;
mod joining;
mod leaving;
mod mirroring;
mod noise;
mod paths;
mod repairing;
mod simulcast;
mod snapshot;
mod trains;
