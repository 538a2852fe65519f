//! What the server itself says it takes for a packet, beside what packets take end to end.

use super::Figure;
use super::axis::Axis;
use super::chart::{Chart, FULL, Level, Panel, Point, Series};
use super::format;
use super::load::slo_name;
use super::markup::Markup;
use super::percentiles::{Curve, MEDIAN, curves, nines_name};
use super::table::Table;
use super::view::View;
use crate::report::cause::Burst;
use crate::report::forwarding::Quantile;
use crate::report::model::Step;

pub(super) fn draw(out: &mut Markup, view: &View<'_>) {
    if view.is_rising() {
        over_load(out, view);
    }
    by_percentile(out, view);
}

/// Whether the server tells it.
pub(super) fn is_told(view: &View<'_>) -> bool {
    let mut steps = view.steps.iter();
    steps.any(|step| !step.forwarding().is_empty())
}

fn over_load(out: &mut Markup, view: &View<'_>) {
    if !is_told(view) {
        return;
    }
    let tail = panel(view, "99 of 100 packets take at most", 0.99, 220.0);
    let half = panel(view, "Half of them take at most", 0.5, 150.0);
    let chart = Chart {
        description: format!(
            "Forwarding latency by the server's own account and end to end, over the number of {}",
            view.noun()
        ),
        x: Axis::to_just(view.load_max(), 8, format::count),
        x_label: view.noun().into(),
        panels: vec![tail, half],
        mark: view.mark(),
    };
    Figure {
        title: "Within the server, and end to end",
        remark: "Dashed: the server's own account, for each packet from its arrival until its last \
                 copy is handed to the kernel, interpolated within a bucket. End to end: each copy. \
                 Dotted: what it takes one shard to copy a frame to all, worked out from copies and \
                 CPU, up to the place in it that 99 of 100 packets do not exceed.",
        body: chart.draw(&FULL),
        table: Some(table(view)),
    }
    .draw(out);
}

fn panel(view: &View<'_>, heading: &'static str, share: f64, height_px: f64) -> Panel {
    let end_to_end = view.points("end to end", format::duration_ns, |step| {
        let ns = step.latency.percentile_ns(100.0 * share)?;
        Some(ns as f64)
    });
    let own = view.points("in the server", format::duration_ns, |step| {
        Some(step.forwarding_quantile(share)?.estimate_ns)
    });
    let mut series = vec![
        Series::new("end to end", "c2", end_to_end),
        Series::new("server", "c0 told", own),
    ];
    let is_tail = share > 0.9;
    if is_tail {
        let frame = view.points("a frame to all", format::duration_ns, |step| {
            Some(Burst::of(step)?.takes_ns())
        });
        series.push(Series {
            has_dots: false,
            ..Series::new("frame", "other", frame)
        });
    }
    let slo_ns = view.results.slo.latency_p99_ns_max as f64;
    let all = || series.iter().flat_map(|it| it.points.iter().map(|at| at.y));
    let lowest = all().fold(f64::MAX, f64::min);
    let highest = all().fold(0.0, f64::max);
    let highest = if is_tail {
        highest.max(slo_ns)
    } else {
        highest
    };
    let y = Axis::logarithmic(0.8 * lowest, 1.4 * highest, format::duration_ns);
    let mut panel = Panel::new(heading, y, height_px);
    panel.series = series;
    panel.level = is_tail.then(|| Level {
        y: slo_ns,
        text: slo_name(view),
    });
    panel
}

fn table(view: &View<'_>) -> Table {
    let mut table = Table::new(
        "The server's own account by load",
        &[
            "",
            "p50 in the server",
            "p50 end to end",
            "p99 in the server",
            "p99 end to end",
            "copies of a packet",
            "CPU of a copy",
            "place in the frame, p99",
            "these take",
            "busiest shard",
        ],
    );
    for step in &view.steps {
        let end_to_end = |percentile| {
            let ns = step.latency.percentile_ns(percentile);
            format::or_unknown(ns.map(|ns| ns as f64), format::duration_ns)
        };
        let burst = Burst::of(step);
        let of_burst = |value: fn(&Burst) -> f64, format| {
            format::or_unknown(burst.as_ref().map(value), format)
        };
        table.rows.push(vec![
            view.load(f64::from(step.load())),
            own(step, 0.5),
            end_to_end(50.0),
            own(step, 0.99),
            end_to_end(99.0),
            of_burst(|it| it.copies, format::digits),
            of_burst(|it| it.copy_ns, format::duration_ns),
            of_burst(|it| f64::from(it.packets), format::count),
            of_burst(Burst::takes_ns, format::duration_ns),
            format::or_unknown(step.busiest_shard_cpu(), format::percent),
        ]);
    }
    table
}

/// The bounds between which it lies.
pub(super) fn own(step: &Step, share: f64) -> String {
    let quantile = step.forwarding_quantile(share);
    quantile.map_or_else(|| format::UNKNOWN.into(), bounds)
}

pub(super) fn bounds(quantile: Quantile) -> String {
    let above = format::duration_ns(quantile.above_ns);
    match quantile.up_to_ns.map(format::duration_ns) {
        None => format!("over {above}"),
        Some(up_to) if quantile.above_ns == 0.0 => format!("up to {up_to}"),
        Some(up_to) => format!("{above} to {up_to}"),
    }
}

fn by_percentile(out: &mut Markup, view: &View<'_>) {
    let curves = curves(view);
    let told: Vec<&Curve<'_>> = curves
        .iter()
        .filter(|curve| !curve.step.forwarding().is_empty())
        .collect();
    if told.is_empty() {
        return;
    }
    let series: Vec<Series> = told.iter().map(|curve| of_curve(curve)).collect();
    let all = || series.iter().flat_map(|it| &it.points);
    let end = all().map(|point| point.x).fold(1.0, f64::max);
    let slo_ns = view.results.slo.latency_p99_ns_max as f64;
    let lowest = all().map(|point| point.y).fold(slo_ns, f64::min);
    let highest = all().map(|point| point.y).fold(1.2 * slo_ns, f64::max);
    let y = Axis::logarithmic(0.8 * lowest, 1.2 * highest, format::duration_ns);
    let mut panel = Panel::new("From arrival to the last copy", y, 240.0);
    panel.series = series;
    panel.level = Some(Level {
        y: slo_ns,
        text: slo_name(view),
    });
    let places = std::iter::once(MEDIAN).chain((1..=end as u32).map(f64::from));
    let ticks = places.map(|place| (place, nines_name(place))).collect();
    let chart = Chart {
        description: "Forwarding latency by percentile, by the server's own account".into(),
        x: Axis::with_ticks(MEDIAN, end, ticks),
        x_label: "of packets".into(),
        panels: vec![panel],
        mark: None,
    };
    Figure {
        title: "Arrival to last copy, by percentile",
        remark: "From the arrival of a packet until its last copy is handed to the kernel, from the \
                 histogram in the server's metrics. Each point is the bound of a bucket and the \
                 share of packets within it.",
        body: chart.draw(&FULL),
        table: Some(percentiles(&told)),
    }
    .draw(out);
}

/// Bounds over the share of packets within them; what all packets keep has no place on an axis of
/// nines.
fn of_curve(curve: &Curve<'_>) -> Series {
    let buckets = curve.step.forwarding();
    let all = buckets.last().map_or(0, |last| last.count);
    let within = buckets.iter().filter(|bucket| bucket.count < all);
    let points = within.filter_map(|bucket| {
        let share = bucket.count as f64 / all as f64;
        let nines = -(1.0 - share).log10();
        let y = 1e3 * bucket.bound_us?;
        let tip = format!(
            "{}: {} of packets within {}",
            curve.name,
            format::percent(share),
            format::duration_ns(y)
        );
        (nines >= MEDIAN).then_some(Point { x: nines, y, tip })
    });
    let median = curve.step.forwarding_quantile(0.5).map(|median| Point {
        x: MEDIAN,
        y: median.estimate_ns,
        tip: format!("{}: half of packets within {}", curve.name, bounds(median)),
    });
    let points = median.into_iter().chain(points).collect();
    Series::new(curve.name, curve.class, points)
}

fn percentiles(curves: &[&Curve<'_>]) -> Table {
    let mut table = Table::new(
        "Forwarding latency by the server's own account",
        &["", "load", "p50", "p90", "p99", "p99.9", "packets"],
    );
    for Curve { name, step, .. } in curves {
        let size = format::count(f64::from(step.load()));
        let mut row = vec![(*name).to_string(), size];
        row.extend([0.5, 0.9, 0.99, 0.999].map(|share| own(step, share)));
        let all = step.forwarding().last().map_or(0, |last| last.count);
        row.push(format::count(all as f64));
        table.rows.push(row);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::{Bucket, ShardCounters};

    fn step() -> Step {
        let bucket = |bound_us, count| Bucket { bound_us, count };
        let forwarding = vec![
            bucket(Some(100.0), 400),
            bucket(Some(200.0), 900),
            bucket(Some(400.0), 990),
            bucket(Some(800.0), 1_000),
            bucket(None, 1_000),
        ];
        Step {
            shards: vec![ShardCounters {
                forwarding,
                ..ShardCounters::default()
            }],
            ..Step::default()
        }
    }

    #[test]
    fn points_are_bounds_at_their_nines() {
        let step = step();
        let series = of_curve(&Curve {
            name: "all",
            class: "c0",
            step: &step,
        });
        let points: Vec<_> = series.points.iter().map(|at| (at.x, at.y)).collect();
        assert_eq!(points.len(), 3, "{points:?}");
        // The median is a fifth of the way from 100 to 200 us.
        assert!((points[0].1 - 120_000.0).abs() < 1.0, "{points:?}");
        for (point, nines, bound_ns) in [(points[1], 1.0, 2e5), (points[2], 2.0, 4e5)] {
            assert!((point.0 - nines).abs() < 1e-9, "{point:?}");
            assert_eq!(point.1, bound_ns);
        }
    }

    #[test]
    fn bounds_are_said_as_such() {
        let said = |share| own(&step(), share).replace('\u{202f}', " ");
        assert_eq!(said(0.3), "up to 100 µs");
        assert_eq!(said(0.99), "200 µs to 400 µs");
        let beyond = Quantile {
            above_ns: 92e6,
            up_to_ns: None,
            estimate_ns: 92e6,
        };
        assert_eq!(bounds(beyond).replace('\u{202f}', " "), "over 92.0 ms");
        assert_eq!(own(&Step::default(), 0.5), format::UNKNOWN);
    }
}
