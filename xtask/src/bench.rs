//! What a packet costs: stage by stage, on its whole way, at the machine's limit, and beside another
//! server.

use std::path::Path;

use crate::count::Counts;
use crate::steps::step;

const USAGE: &str = "\
cargo xtask bench [--quick] [part...]
  micro      each stage alone, and one table of all: ours, webrtc-srtp, ring
  path       one shard in memory with 1,000 subscribers: ns for a packet, and instructions where
             valgrind is installed
  ceiling    this machine's limit, and what share of it a saturated server reaches (root)
  compare    every load of the goals against another server, and the goals beside them (root):
             cargo xtask bench compare NAME=COMMAND
Without a part: micro, path and ceiling. --quick takes under three minutes once everything is built.";

/// Loads of the goals. Each is a run of its own, so that one which cannot be made loses no other.
const LOADS: [&str; 13] = [
    "livestream:100",
    "livestream:200",
    "audio:100",
    "audio:20",
    "meeting:10",
    "meetings:50%x10",
    "audio:80%",
    "livestream:80%",
    "livestreams:80%x50",
    "audio:max",
    "livestream:max",
    "idle:1000",
    "join:300",
];
/// One room over two shards; both on the server's only CPU.
const TWO_SHARDS: &str = "--dataplane.shards 2 --dataplane.placement spread";

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Pace {
    Quick,
    Full,
}

pub(crate) fn bench(root: &Path, words: &[&str]) -> Result<Counts, String> {
    let (options, words): (Vec<&str>, Vec<&str>) =
        words.iter().partition(|word| word.starts_with("--"));
    let pace = match options.as_slice() {
        [] => Pace::Full,
        ["--quick"] => Pace::Quick,
        _ => return Err(USAGE.to_owned()),
    };
    if let ["compare", other] = words.as_slice() {
        return compare(root, pace, other);
    }
    let parts: &[&str] = if words.is_empty() {
        &["micro", "path", "ceiling"]
    } else {
        &words
    };
    for part in parts {
        match *part {
            "micro" => micro(root, pace)?,
            "path" => path(root, pace)?,
            "ceiling" => ceiling(root, pace)?,
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(Counts::default())
}

fn micro(root: &Path, pace: Pace) -> Result<(), String> {
    let mut arguments = vec!["bench", "-p", "millrace-bench", "--bench", "micro", "--"];
    arguments.extend(["--noplot", "--quiet", "--warm-up-time"]);
    arguments.extend(match pace {
        Pace::Quick => ["0.2", "--measurement-time", "0.5", "--sample-size", "20"],
        Pace::Full => ["1", "--measurement-time", "3", "--sample-size", "60"],
    });
    step(root, "stages", "cargo", &arguments).map(drop)
}

fn path(root: &Path, pace: Pace) -> Result<(), String> {
    let counts = pace == Pace::Full && crate::install::on_path("valgrind");
    for load in ["video", "audio"] {
        let mut arguments = run("path");
        arguments.extend(["--load", load]);
        if pace == Pace::Quick {
            arguments.extend(["--rounds", "3"]);
        }
        if counts {
            arguments.push("--instructions");
        }
        step(root, "whole way in memory", "cargo", &arguments)?;
    }
    Ok(())
}

fn ceiling(root: &Path, pace: Pace) -> Result<(), String> {
    build(root)?;
    let mut arguments = run("ceiling");
    if pace == Pace::Quick {
        arguments.extend(["--trains", "1,8", "--packets", "50000"]);
    }
    step(root, "this machine's limit", "cargo", &arguments)?;
    let mut arguments = run("compare");
    arguments.extend(["run", "--a", "millrace=millrace", "--ceiling"]);
    arguments.extend(["--tag", "alone-", "--load", "livestream:max"]);
    match pace {
        Pace::Quick => arguments.extend(["--rounds", "1", "--duration", "3"]),
        Pace::Full => arguments.extend(["--load", "audio:max"]),
    }
    step(root, "share of the limit", "cargo", &arguments).map(drop)
}

fn compare(root: &Path, pace: Pace, other: &str) -> Result<Counts, String> {
    build(root)?;
    let pace = match pace {
        Pace::Quick => ["--rounds", "1", "--duration", "3"],
        Pace::Full => ["--rounds", "3", "--duration", "7"],
    };
    let both = ["run", "--a", "millrace=millrace", "--b", other, "--ceiling"];
    let mut unmeasured = Vec::new();
    for load in LOADS {
        let arguments = [&run("compare")[..], &both, &pace, &["--load", load]].concat();
        if let Err(sentence) = step(root, load, "cargo", &arguments) {
            println!("{load} could not be measured: {sentence}");
            unmeasured.push(load);
        }
    }
    let two = format!("two=millrace {TWO_SHARDS}");
    let shards = [
        "run",
        "--a",
        &two,
        "--b",
        "one=millrace",
        "--tag",
        "shards-",
    ];
    let load = ["--load", "livestream:200"];
    let arguments = [&run("compare")[..], &shards, &pace, &load].concat();
    step(root, "two shards", "cargo", &arguments)?;
    let arguments = [&run("compare")[..], &["goals"]].concat();
    let counts = step(root, "goals", "cargo", &arguments)?;
    if unmeasured.is_empty() {
        Ok(counts)
    } else {
        Err(format!("not measured: {}", unmeasured.join(", ")))
    }
}

/// What the servers and loads of `compare` are.
fn build(root: &Path) -> Result<(), String> {
    let mut arguments = vec!["build", "--release"];
    arguments.extend([
        "-p",
        "millrace",
        "-p",
        "millrace-loadgen",
        "-p",
        "millrace-bench",
    ]);
    step(root, "release build", "cargo", &arguments).map(drop)
}

fn run(program: &str) -> Vec<&str> {
    let mut arguments = vec!["run", "--release", "--quiet", "-p", "millrace-bench"];
    arguments.extend(["--bin", program, "--"]);
    arguments
}
