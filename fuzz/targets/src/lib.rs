//! What the fuzzer runs: each target takes bytes and panics when something does not hold.
//!
//! The functions are built by the stable toolchain like everything else. `tests/replay.rs` runs them
//! over the committed corpora and over random mutations of these; the package one folder up gives
//! each to libFuzzer.
#![forbid(unsafe_code)]

mod canary;
#[cfg(feature = "control")]
mod config;
mod dtls;
#[path = "../../../dataplane/tests/shard/harness/mod.rs"]
#[allow(dead_code, reason = "the harness serves the scenario tests too")]
#[allow(clippy::unwrap_used, reason = "a harness that cannot go on has failed")]
mod harness;
#[cfg(feature = "control")]
mod http;
mod ice;
mod link;
#[cfg(feature = "control")]
mod memo;
#[cfg(feature = "control")]
mod node;
mod payload;
mod register;
mod routes;
mod sctp;
#[cfg(feature = "control")]
mod sdp;
mod shard;
#[cfg(feature = "control")]
mod signal;
mod srtp;
mod wire;

/// One thing that can be fuzzed.
#[derive(Copy, Clone, Debug)]
pub struct Target {
    /// Of its binary and of the folder of its corpus.
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// Mutated inputs of one replay: what takes about a second unoptimized.
    pub mutations: u32,
}

/// A target that must fail.
pub const CANARY: Target = target("canary", canary::canary, 0);

/// Every target but the canary.
pub const TARGETS: &[Target] = &[
    target("stun", wire::stun, 5_000),
    target("rtp", wire::rtp, 20_000),
    target("rtcp", wire::rtcp, 10_000),
    target("vp8", payload::vp8, 20_000),
    target("vp9", payload::vp9, 20_000),
    target("h26x", payload::h26x, 20_000),
    target("av1", payload::av1, 20_000),
    target("audio", payload::audio, 20_000),
    target("data_packet", payload::data_packet, 20_000),
    target("link", link::link, 5_000),
    target("srtp", srtp::srtp, 300),
    target("ice", ice::ice, 500),
    target("dtls", dtls::dtls, 50),
    target("sctp", sctp::sctp, 500),
    target("sequence", register::sequence, 2_000),
    target("nack", register::nack, 500),
    target("store", register::store, 200),
    target("shard", shard::shard, 40),
    target("slots", routes::slots, 2_000),
    target("router", routes::router, 1_000),
    #[cfg(feature = "control")]
    target("sdp", sdp::sdp, 300),
    #[cfg(feature = "control")]
    target("signal", signal::signal, 300),
    #[cfg(feature = "control")]
    target("memo", memo::memo, 100),
    #[cfg(feature = "control")]
    target("join", http::join, 100),
    #[cfg(feature = "control")]
    target("jwt", http::jwt, 1_000),
    #[cfg(feature = "control")]
    target("twirp", http::twirp, 300),
    #[cfg(feature = "control")]
    target("config", config::config, 500),
];

const fn target(name: &'static str, run: fn(&[u8]), mutations: u32) -> Target {
    Target {
        name,
        run,
        mutations,
    }
}

/// Runs a target or the canary by name; this is what libFuzzer's binaries call.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().chain([&CANARY]).find(|it| it.name == name);
    let target = target.expect("a fuzz binary is named as its target");
    (target.run)(input);
}
