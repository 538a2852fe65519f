//! Every target over its committed corpus, and over mutations of it that are the same on every run.
use std::panic::{AssertUnwindSafe, catch_unwind};

use millrace_fuzz_targets::{CANARY, TARGETS, Target};

use crate::folder;
use crate::mutate::Mutator;

const SEED: u64 = 0x4d69_6c6c_7261_6365;

/// Why the target failed, if it did.
fn failure(target: &Target, input: &[u8]) -> Option<String> {
    let result = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    result.err().map(|panic| {
        panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default()
    })
}

/// `MILLRACE_MUTATIONS=10` tries ten times as many: fuzzing where there is no nightly toolchain.
fn times() -> u32 {
    let asked = std::env::var("MILLRACE_MUTATIONS");
    asked.map_or(1, |times| times.parse().expect("a number"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn replay(target: &Target) {
    let inputs = folder::of(target.name);
    assert!(inputs.len() >= 5, "{} has hardly a corpus", target.name);
    for (name, input) in &inputs {
        if let Some(why) = failure(target, input) {
            panic!("{} fails on {name}: {why}", target.name);
        }
    }
    let mut mutator = Mutator::new(SEED);
    for number in 0..target.mutations * times() {
        let (_, input) = mutator.pick(&inputs);
        let mutated = mutator.mutate(input);
        if let Some(why) = failure(target, &mutated) {
            panic!(
                "{} fails on mutation {number}: {why}\n{}",
                target.name,
                hex(&mutated)
            );
        }
    }
}

/// In shares, so that they run side by side.
fn replay_share(share: usize) {
    for target in TARGETS.iter().skip(share).step_by(4) {
        let begun = std::time::Instant::now();
        replay(target);
        eprintln!("{} in {} ms", target.name, begun.elapsed().as_millis());
    }
}

#[test]
fn corpora_first_share() {
    replay_share(0);
}

#[test]
fn corpora_second_share() {
    replay_share(1);
}

#[test]
fn corpora_third_share() {
    replay_share(2);
}

#[test]
fn corpora_fourth_share() {
    replay_share(3);
}

/// A bug that is there is reported: by the committed input that shows it, and not by the others.
#[test]
fn the_canary_fails() {
    let inputs = folder::of(CANARY.name);
    let (crashes, others): (Vec<_>, Vec<_>) = inputs
        .iter()
        .partition(|(name, _)| name.starts_with("crash-"));
    assert!(!crashes.is_empty() && !others.is_empty());
    for (name, input) in crashes {
        assert!(failure(&CANARY, input).is_some(), "{name} does not fail");
    }
    for (name, input) in others {
        assert_eq!(failure(&CANARY, input), None, "{name}");
    }
}

/// The mutations reach what they should: they turn a good record into the canary's crash.
#[test]
fn mutations_find_the_canary() {
    let good = [("record".to_owned(), b"MR\x01\x04abcd".to_vec())];
    let mut mutator = Mutator::new(SEED);
    let found = (0..200_000).any(|_| {
        let (_, input) = mutator.pick(&good);
        let mutated = mutator.mutate(input);
        failure(&CANARY, &mutated).is_some()
    });
    assert!(found);
}

#[test]
fn corpora_are_small_and_named_by_content() {
    let mut total = 0;
    for target in TARGETS.iter().chain([&CANARY]) {
        for (name, input) in folder::of(target.name) {
            total += input.len();
            assert!(name.ends_with(&folder::hash(&input)), "{name}");
        }
    }
    assert!(total < 300_000, "{total} bytes");
    if cfg!(feature = "control") {
        let folders = std::fs::read_dir(folder::path()).unwrap().count();
        assert_eq!(folders, TARGETS.len() + 1, "a folder without a target");
    }
}

/// Each target has a binary for libFuzzer, and no binary is without a target.
#[test]
fn every_target_has_a_binary() {
    let fuzz = folder::path().join("..");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let binaries = manifest.matches("[[bin]]").count();
    if cfg!(feature = "control") {
        assert_eq!(binaries, TARGETS.len() + 1);
    }
    for target in TARGETS.iter().chain([&CANARY]) {
        let name = target.name;
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        let body = std::fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(body.contains(&format!("run(\"{name}\"")), "{name}");
    }
}
