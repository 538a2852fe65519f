//! All results of a run in one table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Times of one row of the first table, ns: ours, webrtc-srtp, ring.
type Row = [Option<f64>; 3];

const COLUMNS: [&str; 3] = ["ours", "webrtc-srtp", "ring"];

/// SRTP side by side, then the other stages; nothing where criterion did not measure.
pub(super) fn of(results: &Path) -> String {
    let mut compared: BTreeMap<(String, usize), Row> = BTreeMap::new();
    let mut alone: Vec<(String, f64)> = Vec::new();
    for folder in benchmarks(results) {
        let Some((group, function, size, median_ns)) = read(&folder) else {
            continue;
        };
        let Some((profile, column)) = function.as_deref().and_then(|it| it.split_once(' ')) else {
            alone.push((group, median_ns));
            continue;
        };
        let row = compared.entry((format!("{group} {profile}"), size));
        let column = COLUMNS.iter().position(|it| *it == column).unwrap();
        row.or_default()[column] = Some(median_ns);
    }
    alone.sort_by(|a, b| a.0.cmp(&b.0));
    let mut text = String::new();
    if !compared.is_empty() {
        text.push_str("\n| SRTP, ns a packet | bytes | ours | webrtc-srtp | ring, AEAD alone | ours / webrtc-srtp |\n|---|---|---|---|---|---|\n");
    }
    for ((what, size), [ours, theirs, ring]) in &compared {
        let ratio = ours.zip(*theirs).map(|(ours, theirs)| ours / theirs);
        writeln!(
            text,
            "| {what} | {size} | {} | {} | {} | {} |",
            cell(*ours, 0),
            cell(*theirs, 0),
            cell(*ring, 0),
            cell(ratio, 2)
        )
        .unwrap();
    }
    if !alone.is_empty() {
        text.push_str("\n| stage | ns a call |\n|---|---|\n");
    }
    for (what, median_ns) in &alone {
        let digits = if *median_ns < 100.0 { 1 } else { 0 };
        writeln!(text, "| {what} | {} |", cell(Some(*median_ns), digits)).unwrap();
    }
    text
}

fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// Folders with the results of one bench each.
fn benchmarks(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if path.ends_with("new") {
                found.push(path);
            } else {
                found.extend(benchmarks(&path));
            }
        }
    }
    found
}

/// Group, function, size and median.
fn read(folder: &Path) -> Option<(String, Option<String>, usize, f64)> {
    let json = |name: &str| -> Option<Value> {
        serde_json::from_slice(&fs::read(folder.join(name)).ok()?).ok()
    };
    let bench = json("benchmark.json")?;
    let median = json("estimates.json")?["median"]["point_estimate"].as_f64()?;
    let text = |name: &str| bench[name].as_str().map(str::to_owned);
    let size = text("value_str").and_then(|size| size.parse().ok());
    Some((
        text("group_id")?,
        text("function_id"),
        size.unwrap_or(0),
        median,
    ))
}
