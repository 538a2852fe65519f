//! What each command runs, in order.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::count::{Counts, step_end};
use crate::{denied, fuzz, install};

pub(crate) fn test(root: &Path) -> Result<Counts, String> {
    let mut counts = sources(root)?;
    counts += browsers(root, &[])?;
    counts += hostile(root, &["--quick"])?;
    counts += denied::short(root)?;
    Ok(counts)
}

/// Seeds of the simulated node that `deep` runs.
const SEEDS: &str = "1..2000";

/// Many seeds of the simulated node, and what its tests measure more strictly in a release build.
fn simulation(root: &Path) -> Result<Counts, String> {
    let mut command = Command::new("cargo");
    command
        .args(["test", "--release", "-p", "millrace-dataplane"])
        .args(["--test", "simulation", "--", "--nocapture"])
        .env("MILLRACE_SEEDS", SEEDS);
    run(root, "seeds of the simulated node", &mut command)
}

/// Longer than CI may take: all of [`test()`], each step as long as it can be.
pub(crate) fn deep(root: &Path) -> Result<Counts, String> {
    let mut counts = sources(root)?;
    counts += browsers(root, &["--deep"])?;
    counts += simulation(root)?;
    counts += hostile(root, &[])?;
    counts += denied::whole(root)?;
    counts += fuzz::fuzz(root, &[])?;
    Ok(counts)
}

/// Builds the server, has it carry a call, and attacks it.
pub(crate) fn hostile(root: &Path, options: &[&str]) -> Result<Counts, String> {
    let build = [
        "build",
        "--release",
        "-p",
        "millrace",
        "-p",
        "millrace-hostile",
    ];
    step(root, "release build", "cargo", &build)?;
    let mut arguments = vec!["run", "--release", "-p", "millrace-hostile", "--"];
    arguments.extend(options);
    step(root, "hostile peers", "cargo", &arguments)
}

/// Builds the server and runs the browser cells against it.
pub(crate) fn browsers(root: &Path, names: &[&str]) -> Result<Counts, String> {
    install::all(root)?;
    step(root, "release build", "cargo", &["build", "--release"])?;
    let mut arguments = vec!["tests/browser/run.mjs"];
    arguments.extend(names);
    step(root, "browser cells", "node", &arguments)
}

/// Format, lints, documentation, unit and integration tests.
fn sources(root: &Path) -> Result<Counts, String> {
    install::all(root)?;
    let mut counts = checks(root)?;
    counts += step(
        root,
        "tests",
        "cargo",
        &["test", "--workspace", "--no-fail-fast"],
    )?;
    Ok(counts)
}

fn checks(root: &Path) -> Result<Counts, String> {
    step(root, "format", "cargo", &["fmt", "--all", "--check"])?;
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    step(root, "lints", "cargo", &clippy)?;
    let mut doc = Command::new("cargo");
    doc.args([
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--quiet",
    ])
    .env("RUSTDOCFLAGS", "-D warnings");
    run(root, "documentation", &mut doc)
}

pub(crate) fn step(
    root: &Path,
    name: &str,
    program: &str,
    arguments: &[&str],
) -> Result<Counts, String> {
    run(root, name, Command::new(program).args(arguments))
}

/// Runs a command, passes its output on, and counts the tests in it. A runner that counted failures
/// is no error here: the others still run, and the sum says it.
fn run(root: &Path, name: &str, command: &mut Command) -> Result<Counts, String> {
    println!("== {name}");
    let begun = Instant::now();
    let mut child = command
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{name}: {error}"))?;
    let mut output = String::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(|error| format!("{name}: {error}"))?;
            println!("{line}");
            output.push_str(&line);
            output.push('\n');
        }
    }
    let status = child.wait().map_err(|error| format!("{name}: {error}"))?;
    println!("{}", step_end(name, begun.elapsed()));
    let counts = Counts::read(&output);
    if status.success() || counts.failed > 0 {
        Ok(counts)
    } else {
        Err(format!("{name} ended with {status}"))
    }
}
