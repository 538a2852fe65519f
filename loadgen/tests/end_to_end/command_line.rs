//! The program itself: what it writes, and what it ends with.

use std::path::Path;
use std::process::{Command, Output};

use millrace_loadgen::report::model::Results;

use super::support::Node;

/// A livestream of two viewers for three seconds.
fn run(node: &Node, page: &Path, more: &[&str]) -> (Output, Results) {
    let output = Command::new(env!("CARGO_BIN_EXE_millrace-loadgen"))
        .args(["run", "livestream", "--size", "2", "--duration", "3s"])
        .args(["--url", &node.url, "--report"])
        .arg(page)
        .args(more)
        .output()
        .unwrap();
    let results = Results::read(&page.with_extension("json")).unwrap();
    (output, results)
}

#[test]
fn a_run_ends_with_whether_the_service_level_held() {
    let node = Node::start("ends");
    let folder = std::env::temp_dir().join(format!("millrace-ends-{}", node.pid()));
    std::fs::create_dir_all(&folder).unwrap();
    let page = folder.join("report.html");
    // Whatever else the machine is doing.
    let (held, _) = run(
        &node,
        &page,
        &["--slo-latency-ms", "2000", "--slo-loss", "0.1"],
    );
    assert_eq!(held.status.code(), Some(0), "{held:?}");

    let media = node.media.to_string();
    let spoil = ["--media-address", &media, "--spoil", "delay=60ms,forge=10"];
    let bound = ["--slo-latency-ms", "50"];
    let (broken, results) = run(&node, &page, &[spoil.as_slice(), &bound].concat());
    assert_eq!(broken.status.code(), Some(2), "{broken:?}");
    let step = &results.steps[0];
    assert!(step.latency.percentile_ns(1.0).unwrap() >= 60_000_000);
    assert!(step.integrity.forged > 0);
    assert!(results.notes.iter().any(|note| note.contains("forged")));
    let said = String::from_utf8(broken.stdout).unwrap();
    assert!(said.contains("SLO broken: latency"), "{said}");
    assert!(page.is_file() && page.with_extension("csv").is_file());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_run_that_cannot_be_made_is_no_broken_service_level() {
    let output = Command::new(env!("CARGO_BIN_EXE_millrace-loadgen"))
        .args(["run", "livestrem", "--size", "2"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("livestream"), "{said}");
}
