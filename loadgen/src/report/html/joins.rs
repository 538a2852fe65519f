//! Joins: how many a second over the run, and how long they take under load.

use super::Figure;
use super::axis::Axis;
use super::chart::{Chart, FULL, HALF, Level, Panel, Point, Series};
use super::format;
use super::load::PERCENTILES;
use super::markup::Markup;
use super::table::Table;
use super::view::View;
use crate::report::model::{JoinSample, Step};

/// With more bars than this, seconds are joined: they would be thinner than three pixels.
const BARS_MAX: f64 = 360.0;
const HEIGHT_PX: f64 = 170.0;

/// How long a join takes, over the load it raised.
pub(super) fn draw_time(out: &mut Markup, view: &View<'_>) {
    let joined = |step: &&&Step| !step.joins.latency.is_empty();
    if view.steps.iter().find(joined).is_none() {
        return;
    }
    let time = |step: &Step, percentile| {
        let ns = step.joins.latency.percentile_ns(percentile)?;
        Some(ns as f64)
    };
    let series: Vec<Series> = PERCENTILES[..2]
        .iter()
        .map(|(percentile, name, class)| {
            let value = |step: &Step| time(step, *percentile);
            Series::new(*name, class, view.points(name, format::duration_ns, value))
        })
        .collect();
    let limit_ns = view.results.slo.join_p99_ns_max as f64;
    let all = || series.iter().flat_map(|it| it.points.iter().map(|at| at.y));
    let lowest = all().fold(limit_ns / 10.0, f64::min);
    let highest = all().fold(limit_ns, f64::max);
    let y = Axis::logarithmic(0.8 * lowest, 1.6 * highest, format::duration_ns);
    let mut panel = Panel::new("time until media can flow", y, HEIGHT_PX);
    panel.series = series;
    panel.level = Some(Level {
        y: limit_ns,
        text: format!(
            "SLO: p99 ≤ {}",
            format::bound_ns(view.results.slo.join_p99_ns_max)
        ),
    });
    let mut table = Table::new("Time of a join", &["", "p50", "p99", "longest", "joins"]);
    for step in view.steps.iter().filter(joined) {
        let mut row = vec![view.load(f64::from(step.load()))];
        let times = [50.0, 99.0, 100.0].map(|percentile| time(step, percentile));
        row.extend(times.map(|ns| format::or_unknown(ns, format::duration_ns)));
        row.push(format::count(step.joins.latency.count() as f64));
        table.rows.push(row);
    }
    let chart = Chart {
        description: format!("Time a join takes over the number of {}", view.noun()),
        x: Axis::to_just(view.load_max(), 5, format::count),
        x_label: view.noun().into(),
        panels: vec![panel],
        mark: view.mark(),
    };
    Figure {
        title: "Time of a join",
        remark: "From opening the WebSocket until media can flow, of those who joined to raise the \
                 load to that size.",
        body: chart.draw(&HALF),
        table: Some(table),
    }
    .draw(out);
}

/// Joins per second over the time of the run, with those that failed.
pub(super) fn draw_rate(out: &mut Markup, view: &View<'_>) {
    let steps = &view.results.steps;
    let seconds: Vec<&JoinSample> = steps.iter().flat_map(|step| &step.joins.series).collect();
    let ends = steps.iter().map(|step| step.started_s + step.measured_s);
    let end_s = ends
        .chain(seconds.iter().map(|it| it.at_s + it.length_s))
        .fold(0.0, f64::max);
    if seconds.is_empty() || !end_s.is_finite() || end_s <= 0.0 {
        return;
    }
    let width_s = (end_s / BARS_MAX).ceil().max(1.0);
    let bars = bars(&seconds, width_s);
    let point = |bar: &Bar, count: u32| Point {
        x: bar.at_s,
        y: f64::from(count) / width_s,
        tip: bar.tip(width_s),
    };
    // Those that failed are what is seen of the taller bars behind.
    let failing = bars.iter().filter(|bar| bar.failed > 0);
    let failed = failing.map(|bar| point(bar, bar.joined + bar.failed));
    let joined = bars.iter().map(|bar| point(bar, bar.joined));
    let most = bars.iter().map(|bar| bar.joined + bar.failed).max();
    let most = f64::from(most.unwrap_or(0)) / width_s;
    let y = Axis::from_zero(most, 4, format::digits);
    let mut panel = Panel::new("Joins per second; in red: failed", y, HEIGHT_PX);
    panel.series = vec![
        Series::bars("loss", width_s, failed.collect()),
        Series::bars("c0", width_s, joined.collect()),
    ];
    let chart = Chart {
        description: "Joins per second over the time of the run, and how many failed".into(),
        x: Axis::time(end_s, 8),
        x_label: "time since the start of the run".into(),
        panels: vec![panel],
        mark: None,
    };
    Figure {
        title: "Joins over time",
        remark: "Each bar counts the joins that came to their end; red are those that failed, or broke later. The generator makes them no faster \
                 than it was told to.",
        body: chart.draw(&FULL),
        table: Some(rates(view)),
    }
    .draw(out);
}

/// Joins that ended within a bar's time.
#[derive(Debug)]
struct Bar {
    at_s: f64,
    joined: u32,
    failed: u32,
}

impl Bar {
    fn tip(&self, width_s: f64) -> String {
        let until = format::seconds(self.at_s + width_s);
        let (joined, failed) = (
            format::count(self.joined.into()),
            format::count(self.failed.into()),
        );
        format!(
            "{} to {until}: {joined} joined, {failed} failed",
            format::seconds(self.at_s)
        )
    }
}

/// Seconds in the order of time, joined to bars; two steps may share a second.
fn bars(seconds: &[&JoinSample], width_s: f64) -> Vec<Bar> {
    let mut bars: Vec<Bar> = Vec::new();
    for second in seconds {
        let at_s = (second.at_s / width_s).floor() * width_s;
        match bars.last_mut().filter(|bar| bar.at_s >= at_s) {
            Some(bar) => {
                bar.joined += second.joined;
                bar.failed += second.failed;
            }
            None => bars.push(Bar {
                at_s,
                joined: second.joined,
                failed: second.failed,
            }),
        }
    }
    bars
}

fn rates(view: &View<'_>) -> Table {
    let mut table = Table::new(
        "Joins of each step, in the order they ran",
        &[
            "load",
            "joins",
            "failed",
            "in the busiest second",
            "spread over",
            "p50",
            "p99",
        ],
    );
    let steps = view.results.steps.iter();
    for step in steps.filter(|step| step.joins.attempted > 0) {
        let time = |percentile| {
            let ns = step.joins.latency.percentile_ns(percentile);
            format::or_unknown(ns.map(|ns| ns as f64), format::duration_ns)
        };
        table.rows.push(vec![
            view.load(f64::from(step.load())),
            format::count(f64::from(step.joins.attempted)),
            format::count(f64::from(step.joins.failed)),
            format::or_unknown(step.joins_per_s(), format::digits),
            format::seconds(step.joins.spread_s),
            time(50.0),
            time(99.0),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_that_belong_together_become_one_bar() {
        let sample = |at_s, joined, failed| JoinSample {
            at_s,
            length_s: 1.0,
            joined,
            failed,
        };
        // The second of 4 s belongs to two steps.
        let seconds = [
            sample(3.0, 5, 0),
            sample(4.0, 2, 1),
            sample(4.0, 3, 0),
            sample(9.0, 1, 0),
        ];
        let seconds: Vec<&JoinSample> = seconds.iter().collect();
        let counts = |width_s| -> Vec<_> {
            let bars = bars(&seconds, width_s);
            bars.iter()
                .map(|it| (it.at_s, it.joined, it.failed))
                .collect()
        };
        assert_eq!(counts(1.0), [(3.0, 5, 0), (4.0, 5, 1), (9.0, 1, 0)]);
        assert_eq!(counts(5.0), [(0.0, 10, 1), (5.0, 1, 0)]);
    }
}
