//! A run with one load, as it went: latency, bitrate, CPU and loss over time.

use super::Figure;
use super::axis::Axis;
use super::chart::{Chart, FULL, Level, Panel, Point, Series};
use super::format;
use super::load::{PERCENTILES, SHARDS, slo_name};
use super::markup::Markup;
use super::table::Table;
use super::view::View;
use crate::report::model::Sample;

/// With more intervals than this, dots would hide the line.
const DOTS_MAX: usize = 90;
/// Rows of the table; of a longer run every so many intervals are shown.
const ROWS_MAX: usize = 120;

/// Draws it; false if the run has no time series.
pub(super) fn draw(out: &mut Markup, view: &View<'_>) -> bool {
    let samples: Vec<&Sample> = view.steps.iter().flat_map(|step| &step.series).collect();
    let end_s = samples
        .iter()
        .map(|s| s.at_s + s.length_s)
        .fold(0.0, f64::max);
    if samples.len() < 2 || end_s <= 0.0 {
        return false;
    }
    let mut panels = vec![latency(view, &samples), bitrate(&samples)];
    panels.extend(cpu(&samples));
    panels.push(loss(&samples));
    let chart = Chart {
        description: "Latency, bitrate, CPU and loss over the time of the run".into(),
        x: Axis::time(end_s, 8),
        x_label: "time since the start of the run".into(),
        panels,
        mark: None,
    };
    Figure {
        title: "Latency, bitrate, CPU and loss over time",
        remark: "One-way latency from the publisher's send to the subscriber's receive, bitrate of \
                 all subscribers together; each point is an interval of the run.",
        body: chart.draw(&FULL),
        table: Some(table(&samples)),
    }
    .draw(out);
    true
}

fn latency(view: &View<'_>, samples: &[&Sample]) -> Panel {
    let series: Vec<Series> = PERCENTILES
        .iter()
        .map(|(percentile, name, class)| {
            let value = |sample: &Sample| {
                let ns = sample.latency.percentile_ns(*percentile)?;
                Some(ns as f64)
            };
            line(name, class, samples, format::duration_ns, value)
        })
        .collect();
    let slo_ns = view.results.slo.latency_p99_ns_max as f64;
    let all = || {
        series
            .iter()
            .flat_map(|series| series.points.iter().map(|point| point.y))
    };
    let lowest = all().fold(slo_ns, f64::min);
    let highest = all().fold(slo_ns, f64::max);
    let y = Axis::logarithmic(0.8 * lowest, 1.4 * highest, format::duration_ns);
    let mut panel = Panel::new("Forwarding latency", y, 240.0);
    panel.series = series;
    panel.band_to = Some(1);
    panel.level = Some(Level {
        y: slo_ns,
        text: slo_name(view),
    });
    panel
}

fn bitrate(samples: &[&Sample]) -> Panel {
    let label = format::bits_per_s;
    let offered = line("offered", "other", samples, label, |s| {
        Some(s.offered_bps())
    });
    let delivered = line("delivered", "c0", samples, label, |s| {
        Some(s.delivered_bps())
    });
    let most = samples
        .iter()
        .map(|s| s.offered_bps().max(s.delivered_bps()));
    let y = Axis::from_zero(most.fold(0.0, f64::max), 3, label);
    let mut panel = Panel::new("Bitrate", y, 110.0);
    panel.series = vec![offered, delivered];
    panel
}

/// CPU of each shard, if it was read.
fn cpu(samples: &[&Sample]) -> Option<Panel> {
    let shards = samples.iter().map(|sample| sample.shard_cpu.len()).max()?;
    if shards == 0 {
        return None;
    }
    let mut panel = Panel::new(
        "CPU of each shard",
        Axis::from_zero(1.0, 4, format::percent),
        110.0,
    );
    panel.series = (0..shards)
        .map(|shard| {
            let name = format!("shard {shard}");
            let class = SHARDS[shard % SHARDS.len()];
            let value = |sample: &Sample| sample.shard_cpu.get(shard).copied();
            line(&name, class, samples, format::percent, value)
        })
        .collect();
    Some(panel)
}

fn loss(samples: &[&Sample]) -> Panel {
    let most = samples.iter().map(|sample| sample.lost).max().unwrap_or(0);
    let y = Axis::from_zero((most as f64).max(4.0), 2, format::count);
    let mut panel = Panel::new("Packets lost in each interval", y, 70.0);
    let value = |sample: &Sample| Some(sample.lost as f64);
    panel.series = vec![line("lost", "loss", samples, format::count, value)];
    panel
}

fn line(
    name: &str,
    class: &'static str,
    samples: &[&Sample],
    label: fn(f64) -> String,
    value: impl Fn(&Sample) -> Option<f64>,
) -> Series {
    let point = |sample: &&Sample| {
        let y = value(sample)?;
        // In its middle, for it stands for all of the interval.
        let x = sample.at_s + sample.length_s / 2.0;
        let tip = format!("{}: {name} {}", format::seconds(sample.at_s), label(y));
        Some(Point { x, y, tip })
    };
    Series {
        has_dots: samples.len() <= DOTS_MAX,
        ..Series::new(name, class, samples.iter().filter_map(point).collect())
    }
}

fn table(samples: &[&Sample]) -> Table {
    let mut table = Table::new(
        "Latency, bitrate and loss over time",
        &[
            "at",
            "p50",
            "p99",
            "p99.9",
            "longest",
            "offered",
            "delivered",
            "lost",
        ],
    );
    for sample in samples
        .iter()
        .step_by(samples.len().div_ceil(ROWS_MAX).max(1))
    {
        let mut row = vec![format::seconds(sample.at_s)];
        row.extend([50.0, 99.0, 99.9, 100.0].map(|percentile| {
            let ns = sample.latency.percentile_ns(percentile);
            format::or_unknown(ns.map(|ns| ns as f64), format::duration_ns)
        }));
        row.push(format::bits_per_s(sample.offered_bps()));
        row.push(format::bits_per_s(sample.delivered_bps()));
        row.push(format::count(sample.lost as f64));
        table.rows.push(row);
    }
    table
}
