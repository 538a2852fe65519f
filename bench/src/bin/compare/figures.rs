//! What is compared, of one run and of all rounds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use millrace_bench::stats::Spread;
use millrace_loadgen::report::latency::Latency;
use serde::{Deserialize, Serialize};

use crate::args::Load;
use crate::run::{Outcome, SETTLE_S};
use crate::scrape::Counters;

pub(crate) const CPU_PER_PACKET: &str = "CPU per packet, us";
pub(crate) const PACKETS_PER_CPU_S: &str = "packets per server CPU-second";
pub(crate) const LOST: &str = "lost, %";
pub(crate) const P50: &str = "latency p50, us";
pub(crate) const P99: &str = "latency p99, us";
pub(crate) const INSIDE_P50: &str = "arrival to last copy p50, us";
pub(crate) const INSIDE_P99: &str = "arrival to last copy p99, us";
pub(crate) const RSS_EACH: &str = "RSS per subscriber, kB";
pub(crate) const RSS_GROWN: &str = "RSS grown, MB";
pub(crate) const RSS_KEPT: &str = "RSS kept after they left, %";
pub(crate) const CPU_EACH: &str = "CPU of each, ms per s";
pub(crate) const CPU_PER_JOIN: &str = "CPU per join, ms";
pub(crate) const MEAN_TRAIN: &str = "mean train";
pub(crate) const OF_CEILING: &str = "share of the ceiling";
const LIMITED: &str = "generator limited";

/// Figures of one run by name.
pub(crate) type Figures = BTreeMap<String, f64>;

/// In the order in which they are printed.
const ORDER: [&str; 28] = [
    "size",
    "packets/s delivered",
    "bytes per packet",
    LOST,
    "reordered, %",
    "server CPU, %",
    CPU_PER_PACKET,
    PACKETS_PER_CPU_S,
    P50,
    "latency mean, us",
    P99,
    INSIDE_P50,
    INSIDE_P99,
    MEAN_TRAIN,
    "wake-ups per s",
    "packets per wake-up",
    "syscalls per packet",
    "RSS, MB",
    RSS_GROWN,
    RSS_EACH,
    RSS_KEPT,
    CPU_EACH,
    CPU_PER_JOIN,
    "joins failed",
    "join p50, ms",
    "ceiling, us per packet",
    OF_CEILING,
    LIMITED,
];

pub(crate) fn of(outcome: &Outcome, load: &Load) -> Result<Figures, String> {
    let step = outcome.step()?;
    let seconds = step.measured_s.max(1e-3);
    let (from_s, to_s) = (step.started_s, step.started_s + seconds);
    let packets = step.delivered.packets.max(1) as f64;
    let cpu_s = outcome.cpu_s();
    let people = f64::from(
        step.joins
            .attempted
            .saturating_sub(step.joins.failed)
            .max(1),
    );
    let rss_end = step.usage.as_ref().map_or(0, |it| it.rss_bytes) as f64;
    let grown = rss_end - outcome.before.rss_bytes as f64;
    let mut figures = Figures::new();
    let mut put = |name: &str, value: f64| {
        figures.insert(name.to_owned(), value);
    };
    put("size", f64::from(step.size));
    put("server CPU, %", 100.0 * cpu_s / seconds);
    put("RSS, MB", rss_end / 1e6);
    put("joins failed", f64::from(step.joins.failed));
    put(
        LIMITED,
        f64::from(u8::from(step.generator.limited_by.is_some())),
    );
    if let Some(ns) = step.joins.latency.percentile_ns(50.0) {
        put("join p50, ms", ns as f64 / 1e6);
    }
    if load.is_silent() {
        put(RSS_GROWN, grown / 1e6);
        put(RSS_EACH, grown / 1e3 / people);
        put(CPU_EACH, 1e3 * cpu_s / seconds / people);
        if let Some(after) = outcome.afterwards {
            let kept = after.rss_bytes as f64 - outcome.before.rss_bytes as f64;
            put(RSS_KEPT, 100.0 * kept / grown.max(1.0));
        }
        if let Some(joined) = outcome.seen.before(from_s - SETTLE_S + 0.3) {
            put(
                CPU_PER_JOIN,
                1e3 * (joined.cpu_s - outcome.before.cpu_s) / people,
            );
        }
        return Ok(figures);
    }
    put("packets/s delivered", packets / seconds);
    put("bytes per packet", step.delivered.bytes as f64 / packets);
    let lost = step.integrity.lost as f64 / step.integrity.expected.max(1) as f64;
    put(LOST, 100.0 * lost);
    let reordered = step.integrity.reordered as f64 / step.integrity.expected.max(1) as f64;
    put("reordered, %", 100.0 * reordered);
    put(CPU_PER_PACKET, 1e6 * cpu_s / packets);
    put(PACKETS_PER_CPU_S, packets / cpu_s.max(1e-3));
    put_latency(&mut put, &step.latency);
    let subscribers = f64::from(step.offered.subscribers.max(1));
    put(RSS_EACH, grown / 1e3 / subscribers);
    if let Some(rates) = outcome.seen.rates(from_s, to_s) {
        put_counters(&mut put, &rates);
    }
    Ok(figures)
}

fn put_latency(put: &mut impl FnMut(&str, f64), latency: &Latency) {
    let micros = |percentile| latency.percentile_ns(percentile).map(|it| it as f64 / 1e3);
    if let (Some(p50), Some(p99), Some(mean)) = (micros(50.0), micros(99.0), latency.mean_ns()) {
        put(P50, p50);
        put(P99, p99);
        put("latency mean, us", mean / 1e3);
    }
}

/// What Millrace counts itself.
fn put_counters(put: &mut impl FnMut(&str, f64), rates: &Counters) {
    let rate = |name: &str| rates.get(&format!("millrace_shard_{name}")).copied();
    let Some(datagrams) = rate("datagrams_sent") else {
        return;
    };
    if let Some(trains) = rate("trains") {
        put(MEAN_TRAIN, datagrams / trains.max(1e-3));
    }
    if let Some(wakes) = rate("wakes") {
        put("wake-ups per s", wakes);
        put("packets per wake-up", datagrams / wakes.max(1e-3));
    }
    if let Some(calls) = rate("syscalls") {
        put("syscalls per packet", calls / datagrams.max(1e-3));
    }
    for (name, percentile) in [(INSIDE_P50, 0.50), (INSIDE_P99, 0.99)] {
        if let Some(seconds) = percentile_s(rates, percentile) {
            put(name, 1e6 * seconds);
        }
    }
}

/// No packet stays for so long.
const UNBOUNDED_S: f64 = 1e6;

/// Of the histogram of forwarding, whose buckets are cumulative; linear within a bucket.
fn percentile_s(rates: &Counters, percentile: f64) -> Option<f64> {
    let prefix = "millrace_shard_forwarding_seconds_bucket/";
    let mut buckets: Vec<(f64, f64)> = rates
        .iter()
        .filter_map(|(name, count)| Some((name.strip_prefix(prefix)?.parse().ok()?, *count)))
        .collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let wanted = buckets.last()?.1 * percentile;
    let mut below = (0.0, 0.0);
    for bucket in buckets {
        if bucket.1 >= wanted && bucket.1 > below.1 {
            let share = (wanted - below.1) / (bucket.1 - below.1);
            // The last bucket has no bound, and nothing can be said of what is in it.
            return (bucket.0 < UNBOUNDED_S).then_some(below.0 + share * (bucket.0 - below.0));
        }
        below = bucket;
    }
    None
}

/// All rounds of a load.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Rounds {
    pub(crate) load: String,
    /// Seconds measured in each.
    pub(crate) duration_s: u64,
    /// Share of a CPU that servers were held to.
    pub(crate) share: Option<f64>,
    pub(crate) servers: Vec<(String, Vec<Figures>)>,
    pub(crate) notes: Vec<String>,
}

impl Rounds {
    pub(crate) fn values(&self, server: usize, figure: &str) -> Vec<f64> {
        let rounds = self.servers.get(server).map_or(&[][..], |(_, it)| it);
        rounds
            .iter()
            .filter_map(|it| it.get(figure).copied())
            .collect()
    }

    /// The first server's by the second's, round by round.
    pub(crate) fn ratios(&self, figure: &str) -> Vec<f64> {
        let (a, b) = (self.values(0, figure), self.values(1, figure));
        let ratios = a.iter().zip(&b).map(|(a, b)| a / b);
        // Of two zeros there is none.
        ratios.filter(|ratio| ratio.is_finite()).collect()
    }

    pub(crate) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), String> {
        let json = serde_json::to_vec_pretty(self).map_err(|error| error.to_string())?;
        fs::write(path, json).map_err(|error| format!("{}: {error}", path.display()))
    }

    pub(crate) fn print(&self) {
        let rounds = self.servers.first().map_or(0, |(_, it)| it.len());
        print!("{}, {rounds} rounds of {} s", self.load, self.duration_s);
        if let Some(share) = self.share {
            print!(", servers held to {:.0} % of a CPU", 100.0 * share);
        }
        println!(": median (min-max)\n");
        let names: Vec<_> = self.servers.iter().map(|(name, _)| name.as_str()).collect();
        let two = names.len() == 2;
        println!(
            "| figure | {} |{}",
            names.join(" | "),
            if two { " ratio by round |" } else { "" }
        );
        println!("|---|{}", "---|".repeat(names.len() + usize::from(two)));
        for figure in ORDER {
            let mut cells: Vec<_> = (0..names.len())
                .map(|server| self.values(server, figure))
                .collect();
            if cells.iter().all(Vec::is_empty) {
                continue;
            }
            if two {
                cells.push(self.ratios(figure));
            }
            let cells: Vec<_> = cells.iter().map(|values| cell(values)).collect();
            println!("| {figure} | {} |", cells.join(" | "));
        }
        for note in &self.notes {
            println!("- {note}");
        }
        println!();
    }
}

/// For a table.
pub(crate) fn cell(values: &[f64]) -> String {
    if values.is_empty() {
        "-".to_owned()
    } else {
        Spread::of(values).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_lies_within_its_bucket() {
        let name = |bound: &str| format!("millrace_shard_forwarding_seconds_bucket/{bound}");
        let rates = Counters::from([
            (name("0.001"), 40.0),
            (name("0.002"), 60.0),
            (name("1.79e308"), 60.0),
        ]);
        let p50 = percentile_s(&rates, 0.5).unwrap();
        assert!(p50 < 0.001, "{p50}");
        let p80 = percentile_s(&rates, 5.0 / 6.0).unwrap();
        assert!((p80 - 0.0015).abs() < 1e-9, "{p80}");
        let beyond = Counters::from([(name("0.001"), 1.0), (name("1.79e308"), 60.0)]);
        assert_eq!(percentile_s(&beyond, 0.5), None);
        assert_eq!(percentile_s(&Counters::new(), 0.5), None);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let of = |values: [f64; 2]| {
            let round = |value| Figures::from([(P50.to_owned(), value)]);
            values.map(round).to_vec()
        };
        let rounds = Rounds {
            load: "audio:1".to_owned(),
            duration_s: 1,
            share: None,
            servers: vec![
                ("a".to_owned(), of([1.0, 9.0])),
                ("b".to_owned(), of([2.0, 3.0])),
            ],
            notes: Vec::new(),
        };
        assert_eq!(rounds.ratios(P50), [0.5, 3.0]);
        assert!(rounds.values(0, P99).is_empty());
    }
}
