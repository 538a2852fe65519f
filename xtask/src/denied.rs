//! Everything once more where the kernel denies io_uring, as container runtimes have it do.

use std::path::Path;

use crate::count::Counts;
use crate::steps::step;

/// Cells that the short run takes: a call, a resumed session, a shutdown, and what the node says.
const SHORT: [&str; 4] = [
    "1-pairs: chromium to firefox, single",
    "cut signaling resumes, chromium, single",
    "SIGTERM",
    "9-backend",
];

/// Runs a command, or without one the whole suite.
pub(crate) fn denied(root: &Path, command: &[&str]) -> Result<Counts, String> {
    if command.is_empty() {
        step(root, "release build", "cargo", &["build", "--release"])?;
        return whole(root);
    }
    run(root, "denied", command)
}

/// What CI has the time for. The release build is there already.
pub(crate) fn short(root: &Path) -> Result<Counts, String> {
    let mut command = vec!["node", "tests/browser/run.mjs"];
    command.extend(SHORT);
    run(root, "browser cells without io_uring", &command)
}

pub(crate) fn whole(root: &Path) -> Result<Counts, String> {
    let tests = ["cargo", "test", "--workspace", "--no-fail-fast"];
    let mut counts = run(root, "tests without io_uring", &tests)?;
    let cells = ["node", "tests/browser/run.mjs"];
    counts += run(root, "browser cells without io_uring", &cells)?;
    Ok(counts)
}

/// Behind the launcher that installs the filter, which everything started from it inherits.
fn run(root: &Path, name: &str, command: &[&str]) -> Result<Counts, String> {
    let launcher = [
        "run",
        "--quiet",
        "--package",
        "millrace-netio",
        "--bin",
        "without-io-uring",
        "--",
    ];
    let arguments = [&launcher, command].concat();
    step(root, name, "cargo", &arguments)
}
