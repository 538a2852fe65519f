//! Latency by percentile: idle, at 70 % of the knee's load, and at 95 %.

use super::Figure;
use super::axis::Axis;
use super::chart::{Chart, FULL, Level, Panel, Point, Series};
use super::format;
use super::load::slo_name;
use super::markup::Markup;
use super::table::Table;
use super::view::View;
use crate::report::latency::Latency;
use crate::report::model::Step;

/// Where the median is on an axis of nines: 10^-0.301 of the packets take longer.
pub(super) const MEDIAN: f64 = std::f64::consts::LOG10_2;
/// Points for each division of the axis.
const FINENESS: f64 = 20.0;

/// The latency of one step.
pub(super) struct Curve<'a> {
    pub(super) name: &'static str,
    pub(super) class: &'static str,
    pub(super) step: &'a Step,
}

/// The steps worth a curve: idle and shares of the knee, or what comes closest.
pub(super) fn curves<'a>(view: &View<'a>) -> Vec<Curve<'a>> {
    // Without a knee there are no shares of it, only the highest load that held.
    let is_known = view.at_share(0.95).or(view.at_share(0.7)).is_some();
    let highest = view.highest_held().filter(|_| !is_known);
    [
        ("idle", "c1", view.idle().filter(|_| view.is_rising())),
        ("70 %", "c0", view.at_share(0.7)),
        ("95 %", "c2", view.at_share(0.95)),
        ("highest", "c2", highest.filter(|_| view.is_rising())),
        (
            "all",
            "c0",
            view.steps.last().copied().filter(|_| !view.is_rising()),
        ),
    ]
    .into_iter()
    .filter_map(|(name, class, step)| {
        Some(Curve {
            name,
            class,
            step: step?,
        })
    })
    .filter(|curve| !curve.step.latency.is_empty())
    .collect()
}

pub(super) fn draw(out: &mut Markup, view: &View<'_>) {
    let curves = curves(view);
    if curves.is_empty() {
        return;
    }
    Figure {
        title: "Latency by percentile",
        remark: "Every timed packet of a step; each division to the right is ten times rarer.",
        body: chart(view, &curves).draw(&FULL),
        table: Some(table(&curves)),
    }
    .draw(out);
}

fn chart(view: &View<'_>, curves: &[Curve<'_>]) -> Chart {
    let latencies = || curves.iter().map(|curve| &curve.step.latency);
    let end = latencies().map(nines_of).fold(1.0, f64::max);
    let lowest = latencies()
        .map(|l| at_nines(l, MEDIAN))
        .fold(f64::MAX, f64::min);
    let highest = latencies().map(|l| at_nines(l, end)).fold(0.0, f64::max);
    let slo_ns = view.results.slo.latency_p99_ns_max as f64;
    let lowest = lowest.min(slo_ns);
    let highest = 1.2 * highest.max(1.2 * slo_ns);
    let y = Axis::logarithmic(0.8 * lowest, highest, format::duration_ns);
    let mut panel = Panel::new("Forwarding latency", y, 280.0);
    panel.series = curves.iter().flat_map(Curve::series).collect();
    panel.level = Some(Level {
        y: slo_ns,
        text: slo_name(view),
    });
    let places = std::iter::once(MEDIAN).chain((1..=end as u32).map(f64::from));
    let ticks = places.map(|place| (place, nines_name(place))).collect();
    Chart {
        description: "Latency by percentile, for an idle server and under load".into(),
        x: Axis::with_ticks(MEDIAN, end, ticks),
        x_label: "of packets".into(),
        panels: vec![panel],
        mark: None,
    }
}

impl Curve<'_> {
    /// A fine line, and dots at the percentiles that have names.
    fn series(&self) -> [Series; 2] {
        let latency = &self.step.latency;
        let end = nines_of(latency);
        let after_median = (FINENESS * MEDIAN) as u32 + 1;
        let fine = (after_median..=(FINENESS * end) as u32).map(|n| f64::from(n) / FINENESS);
        let coarse = (1..=end as u32).map(f64::from);
        let points = |places: &mut dyn Iterator<Item = f64>| {
            let places = std::iter::once(MEDIAN).chain(places);
            places.map(|place| self.point(place)).collect()
        };
        let line = Series::new(self.name, self.class, points(&mut fine.into_iter()));
        let dots = Series::new("", self.class, points(&mut coarse.into_iter()));
        [
            Series {
                has_dots: false,
                ..line
            },
            Series {
                has_line: false,
                ..dots
            },
        ]
    }

    fn point(&self, nines: f64) -> Point {
        let y = at_nines(&self.step.latency, nines);
        let (share, took) = (nines_name(nines), format::duration_ns(y));
        let tip = format!("{}: {share} within {took}", self.name);
        Point { x: nines, y, tip }
    }
}

/// How far to the right so many durations say something: one in a thousand needs a thousand.
fn nines_of(latency: &Latency) -> f64 {
    (latency.count() as f64).log10().clamp(1.0, 6.0)
}

fn at_nines(latency: &Latency, nines: f64) -> f64 {
    let percentile = 100.0 * (1.0 - 10_f64.powf(-nines));
    latency.percentile_ns(percentile).unwrap_or(1) as f64
}

/// The share of packets at so many nines: 2 is 99 %.
pub(super) fn nines_name(nines: f64) -> String {
    match nines as u32 {
        0 => "50 %".into(),
        1 => "90 %".into(),
        2 => "99 %".into(),
        more => format!("99.{} %", "9".repeat(more as usize - 2)),
    }
}

fn table(curves: &[Curve<'_>]) -> Table {
    let mut table = Table::new(
        "Latency by percentile",
        &[
            "",
            "load",
            "p50",
            "p90",
            "p99",
            "p99.9",
            "p99.99",
            "longest",
            "packets timed",
        ],
    );
    for Curve { name, step, .. } in curves {
        let size = format::count(f64::from(step.load()));
        let mut row = vec![(*name).to_string(), size];
        row.extend([50.0, 90.0, 99.0, 99.9, 99.99, 100.0].map(|percentile| {
            let ns = step.latency.percentile_ns(percentile);
            format::or_unknown(ns.map(|ns| ns as f64), format::duration_ns)
        }));
        row.push(format::count(step.latency.count() as f64));
        table.rows.push(row);
    }
    table
}
