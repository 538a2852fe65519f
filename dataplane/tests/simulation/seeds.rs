//! Runs by seed: those that are always run, those that are asked for.
//!
//! ```text
//! MILLRACE_SEED=7 cargo test -p millrace-dataplane --test simulation one_seed -- --nocapture
//! MILLRACE_SEEDS=1..2000 cargo test -p millrace-dataplane --test simulation sweep -- --nocapture
//! ```

use std::path::PathBuf;
use std::time::Instant;

use millrace_shared::ids::DownTrackId;

use crate::node::Layout;
use crate::plan::{Plan, Weather};
use crate::run;
use crate::tamper::{Fault, Tamper};
use crate::world::{Outcome, World};

/// Seeds that found an error once, and some others.
const COMMITTED: [u64; 58] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 19, 20, 21, 22, 23, 24, 33, 35, 38, 39, 40,
    41, 45, 47, 92, 101, 111, 128, 180, 192, 215, 235, 253, 257, 276, 308, 422, 504, 555, 649, 705,
    759, 799, 842, 1567, 1872, 2158, 2234, 3007, 3031, 3073, 3114, 3979,
];

const SHOWN_MAX: usize = 20;

/// Shards of a run, and their ports, unless the environment says which: most have one shard, to be
/// read easily.
fn layout_of(seed: u64) -> Layout {
    let asked = std::env::var("MILLRACE_SHARDS");
    let shards = asked.map_or([1, 1, 2, 4][(seed % 4) as usize], |it| it.parse().unwrap());
    match std::env::var("MILLRACE_PORTS").as_deref() {
        Ok("one") => Layout::one_port(shards),
        Ok("each") => Layout::ports(shards),
        _ if seed / 4 % 2 == 1 => Layout::one_port(shards),
        _ => Layout::ports(shards),
    }
}

/// Prints what a run came to; true if it broke no rule.
fn report(seed: u64, layout: Layout, outcome: &Outcome) -> bool {
    let violations = outcome.verdict.violations();
    if !violations.is_empty() {
        println!("seed {seed}: {} violations", violations.len());
        for violation in violations.iter().take(SHOWN_MAX) {
            println!("  {violation}");
        }
        let Layout { shards, one_port } = layout;
        let ports = if one_port { "one" } else { "each" };
        println!(
            "  again: MILLRACE_SHARDS={shards} MILLRACE_PORTS={ports} MILLRACE_SEED={seed} cargo \
             test -p millrace-dataplane --test simulation one_seed -- --nocapture"
        );
    }
    violations.is_empty()
}

fn all_good(runs: impl Iterator<Item = (u64, Layout)>) {
    let good = |seed, layout| report(seed, layout, &run(seed, Weather::Foul, layout));
    let bad: Vec<_> = runs
        .filter(|(seed, layout)| !good(*seed, *layout))
        .collect();
    assert!(bad.is_empty(), "rules broken with seeds {bad:?}");
}

#[test]
fn committed_seeds_break_no_rule() {
    all_good(COMMITTED.into_iter().map(|seed| (seed, layout_of(seed))));
}

/// Of the environment: `first..last`, the last one included.
#[test]
fn sweep() {
    let Ok(range) = std::env::var("MILLRACE_SEEDS") else {
        return;
    };
    let (first, last) = range.split_once("..").expect("MILLRACE_SEEDS=first..last");
    let (first, last): (u64, u64) = (first.parse().unwrap(), last.parse().unwrap());
    let begun = Instant::now();
    all_good((first..=last).map(|seed| (seed, layout_of(seed))));
    let (runs, seconds) = (last - first + 1, begun.elapsed().as_secs_f64());
    let each_second = runs as f64 / seconds;
    println!("{runs} seeds break no rule; {seconds:.0} s, {each_second:.1} runs a second");
}

/// Everything that reached the shards of a copy's track, and what was sent of it, by time.
fn tell_copy(outcome: &Outcome, down: DownTrackId) {
    let copies = outcome.ledger.copies.iter();
    for copy in copies.filter(|copy| copy.down == down) {
        let sent = copy.sent.iter();
        let sent = sent.map(|(seq, it)| (it.at, format!("sent {seq} {:?}", it.content)));
        let tracks = outcome.ledger.arrivals.iter();
        let arrived = tracks.filter(|((track, _), _)| *track == copy.track);
        let arrived = arrived.flat_map(|(_, it)| it.packets.values());
        let arrived =
            arrived.map(|it| (it.at, format!("arrived, late {} {:?}", it.late, it.content)));
        let mut lines: Vec<_> = sent.chain(arrived).collect();
        lines.sort_by_key(|(at, _)| *at);
        for (at, line) in lines {
            println!("{:.3} ms {line}", at.as_micros() as f64 / 1_000.0);
        }
    }
}

/// The one of the environment, told in full, with a capture of everything in the clear.
#[test]
fn one_seed() {
    let Ok(seed) = std::env::var("MILLRACE_SEED") else {
        return;
    };
    let seed: u64 = seed.parse().unwrap();
    let weather = match std::env::var("MILLRACE_WEATHER").as_deref() {
        Ok("fair") => Weather::Fair,
        _ => Weather::Foul,
    };
    let plan = Plan::draw(seed, weather);
    for (at, action) in &plan.actions {
        println!("{} ms {action:?}", at.as_millis());
    }
    let layout = layout_of(seed);
    let mut world = World::new(&plan, layout, Tamper::new(Fault::None));
    world.capture_all();
    let outcome = world.run();
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("seed-{seed}.pcap"));
    if let Some(capture) = &outcome.capture {
        std::fs::write(&path, capture).unwrap();
    }
    if let Ok(copy) = std::env::var("MILLRACE_COPY") {
        tell_copy(&outcome, DownTrackId(copy.parse().unwrap()));
    }
    let rtp: u64 = outcome.metrics.iter().map(|it| it.rtp_forwarded).sum();
    let again: u64 = outcome.metrics.iter().map(|it| it.rtx_sent).sum();
    let frames: usize = outcome.decoded.iter().map(|(_, frames)| frames.len()).sum();
    println!("{layout:?}, {rtp} packets sent, {again} of them again, {frames} frames decoded");
    println!("longest standstill {:?}", outcome.gap_max);
    let most = outcome.sizes_max;
    println!(
        "at most {} timers, {} bytes of stores",
        most.timers, most.store_bytes
    );
    println!("digest {}", outcome.digest);
    println!("capture {}", path.display());
    assert!(report(seed, layout, &outcome));
}
