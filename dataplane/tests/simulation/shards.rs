//! How many shards a node has makes no difference to what its subscribers see.

use std::collections::BTreeSet;

use crate::node::Layout;
use crate::plan::Weather;
use crate::run;

const SEEDS: [u64; 6] = [3, 5, 8, 12, 21, 34];

/// By copy, when the pictures and sounds that it delivered were captured. Lanes and networks lose
/// nothing here, so that only the shards' work can differ.
///
/// Not by layer: where the encodings of a picture arrive at one instant, a copy may begin with the
/// lowest of them and go up within the picture, or know all of them at once.
fn delivered(seed: u64, layout: Layout) -> Vec<(u64, BTreeSet<u64>)> {
    let outcome = run(seed, Weather::Fair, layout);
    let violations = outcome.verdict.violations();
    assert!(
        violations.is_empty(),
        "seed {seed}, {layout:?}: {violations:#?}"
    );
    let decoded = outcome.decoded.into_iter();
    decoded
        .map(|(down, frames)| (down, frames.iter().map(|it| it.captured_us).collect()))
        .collect()
}

#[test]
fn one_two_and_four_shards_deliver_the_same_frames() {
    let mut frames = 0;
    for seed in SEEDS {
        let one = delivered(seed, Layout::ports(1));
        frames += one.iter().map(|(_, frames)| frames.len()).sum::<usize>();
        let ports = [2, 4].map(Layout::ports);
        for layout in ports.into_iter().chain([2, 4].map(Layout::one_port)) {
            let many = delivered(seed, layout);
            for ((down, one), (_, many)) in one.iter().zip(&many) {
                let differ: Vec<_> = one.symmetric_difference(many).collect();
                assert!(
                    differ.is_empty(),
                    "seed {seed}: with {layout:?} copy {down} differs in {differ:?}"
                );
            }
            assert_eq!(one.len(), many.len());
        }
    }
    assert!(frames > 1_000, "{frames}");
}
