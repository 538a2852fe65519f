//! The simulated node: shards in virtual time, with peers, networks and kernels that fail by one
//! seed. How to run, read and repeat a seed: `docs/simulation.md`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::disallowed_methods, reason = "a test is the shards' host")]
#![allow(clippy::disallowed_types, reason = "a test is the shards' host")]

mod act;
mod av1;
mod call;
#[path = "../shard/harness/peer.rs"]
#[allow(dead_code, reason = "it serves the scenario tests too")]
mod client;
mod content;
mod encoder;
mod h265;
mod io;
mod judge;
mod ledger;
#[path = "../shard/harness/media.rs"]
#[allow(dead_code, reason = "it serves the scenario tests too")]
mod media;
mod node;
mod peer;
mod plan;
mod receiver;
mod tamper;
mod tap;
mod verdict;
mod vp9;
mod watch;
mod world;

mod data;
mod errors;
mod handshakes;
mod idle;
mod same;
mod seeds;
mod shards;

use node::Layout;
use plan::{Plan, Weather};
use tamper::{Fault, Tamper};
use world::{Outcome, World};

fn run(seed: u64, weather: Weather, layout: Layout) -> Outcome {
    let plan = Plan::draw(seed, weather);
    World::new(&plan, layout, Tamper::new(Fault::None)).run()
}
