//! How the server takes a rising load: latency, CPU, loss, bitrate.

use super::axis::Axis;
use super::chart::{Chart, FULL, Level, Mark, Panel, Point, Series};
use super::format;
use super::markup::Markup;
use super::table::Table;
use super::view::View;
use super::{Figure, course, forwarding, heat_map, percentiles};
use crate::measure::LAYER_NAMES;
use crate::report::model::{Step, ThreadRole};

/// Colours of shards; more shards than these share them.
pub(super) const SHARDS: [&str; 8] = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"];
/// Loss below this is drawn as none: it is one packet in a hundred thousand.
const LOSS_MIN: f64 = 1e-5;

pub(super) const PERCENTILES: [(f64, &str, &str); 3] = [
    (50.0, "p50", "p50"),
    (99.0, "p99", "p99"),
    (99.9, "p99.9", "p999"),
];

pub(super) fn draw(out: &mut Markup, view: &View<'_>) {
    if view.is_rising() {
        out.raw("<section>\n<h2>Where it bends</h2>\n");
        knee(out, view);
        bitrate(out, view);
    } else {
        out.raw("<section>\n<h2>How it went</h2>\n");
        // Without a time series, a chart with one point has to do.
        if !course::draw(out, view) {
            knee(out, view);
        }
    }
    layers(out, view);
    out.raw("</section>\n<section>\n<h2>How long packets take</h2>\n");
    percentiles::draw(out, view);
    forwarding::draw(out, view);
    over_time(out, view);
    out.raw("</section>\n");
}

/// Bitrates of the encodings, where more than one came: who gets which is the server's choice.
fn layers(out: &mut Markup, view: &View<'_>) {
    let came = |name: &&&str| {
        let mut rates = view.steps.iter().filter_map(|step| step.layer_bps(name));
        rates.any(|bps| bps > 0.0)
    };
    let names: Vec<&str> = LAYER_NAMES.iter().filter(came).copied().collect();
    if names.len() < 2 {
        return;
    }
    let mut columns = vec![""];
    columns.extend(&names);
    let mut table = Table::new("Payload of each encoding at all subscribers", &columns);
    for step in &view.steps {
        let mut row = vec![view.load(f64::from(step.load()))];
        row.extend(
            names
                .iter()
                .map(|name| format::or_unknown(step.layer_bps(name), format::bits_per_s)),
        );
        table.rows.push(row);
    }
    Figure {
        title: "Bitrate of each encoding",
        remark: "Payload that subscribers got: sound, and video's encodings from the lowest, q, to the \
                 highest, f. From the share of the sampled ones.",
        body: table.open(),
        table: None,
    }
    .draw(out);
}

fn knee(out: &mut Markup, view: &View<'_>) {
    let mut panels = vec![latency_panel(view)];
    panels.extend(cpu_panel(view));
    panels.push(loss_panel(view));
    let chart = Chart {
        description: format!(
            "Forwarding latency, CPU and loss over the number of {}; the figures are in the table \
             below",
            view.noun()
        ),
        x: Axis::to_just(view.load_max(), 8, format::count),
        x_label: view.noun().into(),
        panels,
        mark: view.mark(),
    };
    let mut table = Table::new(
        format!("Latency, CPU and loss by number of {}", view.noun()),
        &[
            "",
            "p50",
            "p90",
            "p99",
            "p99.9",
            "longest",
            "busiest shard",
            "server CPUs",
            "lost",
            "SLO",
        ],
    );
    for step in &view.steps {
        let latency = |percentile| {
            let ns = step.latency.percentile_ns(percentile);
            format::or_unknown(ns.map(|ns| ns as f64), format::duration_ns)
        };
        table.rows.push(vec![
            view.load(f64::from(step.load())),
            latency(50.0),
            latency(90.0),
            latency(99.0),
            latency(99.9),
            latency(100.0),
            format::or_unknown(step.busiest_shard_cpu(), format::percent),
            format::or_unknown(step.server_cpus(), format::digits),
            format::percent(step.loss_ratio()),
            if view.results.slo.is_met(step) {
                "met".into()
            } else {
                "broken".into()
            },
        ]);
    }
    Figure {
        title: "Latency, CPU and loss against load",
                remark: match view.mark() {
            Some(_) => {
                "One-way latency from the publisher's send to the subscriber's receive. Left of the \
                 knee every bound holds; the shaded side is overload."
            }
            None => "One-way latency from the publisher's send to the subscriber's receive.",
        },
        body: chart.draw(&FULL),
        table: Some(table),
    }
    .draw(out);
}

fn latency_panel(view: &View<'_>) -> Panel {
    let all = || {
        let of = |step: &&Step| PERCENTILES.map(|(p, _, _)| step.latency.percentile_ns(p));
        view.steps.iter().flat_map(of).flatten()
    };
    let slo_ns = view.results.slo.latency_p99_ns_max as f64;
    let lowest = all().min().map_or(slo_ns / 100.0, |ns| ns as f64);
    let highest = all().max().map_or(slo_ns, |ns| ns as f64).max(slo_ns);
    let y = Axis::logarithmic(0.8 * lowest, 1.4 * highest, format::duration_ns);
    let mut panel = Panel::new("Forwarding latency", y, 260.0);
    panel.series = PERCENTILES
        .iter()
        .map(|(percentile, name, class)| {
            let value = |step: &Step| step.latency.percentile_ns(*percentile).map(|ns| ns as f64);
            Series::new(*name, class, view.points(name, format::duration_ns, value))
        })
        .collect();
    panel.band_to = Some(1);
    panel.level = Some(Level {
        y: slo_ns,
        text: slo_name(view),
    });
    panel
}

pub(super) fn slo_name(view: &View<'_>) -> String {
    format!(
        "SLO: p99 ≤ {}",
        format::bound_ns(view.results.slo.latency_p99_ns_max)
    )
}

/// CPU of each shard, or of the whole server if it has none.
fn cpu_panel(view: &View<'_>) -> Option<Panel> {
    let shards = view.steps.iter().map(|step| step.shard_cpu().len()).max()?;
    if shards == 0 {
        let points = view.points("CPUs", format::digits, Step::server_cpus);
        let most = points.iter().map(|point| point.y).reduce(f64::max)?;
        let axis = Axis::from_zero(most, 4, format::digits);
        let mut panel = Panel::new("CPUs the server used", axis, 120.0);
        panel.series = vec![Series::new("all", "c0", points)];
        return Some(panel);
    }
    let axis = Axis::from_zero(1.0, 4, format::percent);
    let mut panel = Panel::new("CPU of each shard; dotted: any other thread", axis, 130.0);
    for shard in 0..shards {
        let name = if shards > 4 {
            format!("s{shard}")
        } else {
            format!("shard {shard}")
        };
        let value = |step: &Step| step.shard_cpu().get(shard).copied();
        let points = view.points(&name, format::percent, value);
        let class = SHARDS[shard % SHARDS.len()];
        panel.series.push(Series::new(name, class, points));
    }
    let points = view.points("busiest other thread", format::percent, busiest_other);
    panel.series.push(Series::new("other", "other", points));
    Some(panel)
}

/// CPU share of the thread that is busiest of those that forward nothing.
fn busiest_other(step: &Step) -> Option<f64> {
    let threads = &step.usage.as_ref()?.threads;
    threads
        .iter()
        .filter(|thread| !matches!(thread.role, ThreadRole::Shard(_)))
        .map(|thread| thread.cpu_s / step.measured_s)
        .filter(|share| share.is_finite())
        .reduce(f64::max)
}

fn loss_panel(view: &View<'_>) -> Panel {
    let limit = view.results.slo.loss_ratio_max;
    let most = view
        .steps
        .iter()
        .map(|step| step.loss_ratio())
        .fold(10.0 * limit, f64::max);
    let axis = Axis::logarithmic(LOSS_MIN, most.min(1.0) * 1.2, format::percent);
    let mut panel = Panel::new("Packets lost; none at the base line", axis, 120.0);
    let points = view.points("lost", format::percent, |step| Some(step.loss_ratio()));
    panel.series = vec![Series::new("loss", "loss", points)];
    panel.level = Some(Level {
        y: limit,
        text: format!("SLO: loss ≤ {}", format::percent(limit)),
    });
    panel
}

fn bitrate(out: &mut Markup, view: &View<'_>) {
    let mut table = Table::new(
        "Offered and delivered bitrate",
        &[
            "",
            "offered",
            "delivered",
            "offered packets/s",
            "delivered packets/s",
        ],
    );
    let mut points = Vec::new();
    for step in &view.steps {
        let load = view.load(f64::from(step.load()));
        let (offered, delivered) = (step.offered_bps(), step.delivered_bps());
        points.push(Point {
            x: offered,
            y: delivered,
            tip: format!(
                "{load}: {} offered, {} delivered",
                format::bits_per_s(offered),
                format::bits_per_s(delivered)
            ),
        });
        table.rows.push(vec![
            load,
            format::bits_per_s(offered),
            format::bits_per_s(delivered),
            format::count(step.offered_pps()),
            format::count(step.delivered_pps()),
        ]);
    }
    points.sort_by(|a, b| a.x.total_cmp(&b.x));
    let most = points
        .iter()
        .map(|point| point.x.max(point.y))
        .fold(0.0, f64::max);
    let y = Axis::from_zero(most, 4, format::bits_per_s);
    let mut panel = Panel::new("Delivered", y, 240.0);
    panel.diagonal = Some("all of it");
    panel.series = vec![Series::new("", "p50", points)];
    let mark = view
        .mark()
        .zip(view.knee.as_ref())
        .map(|(mark, knee)| Mark {
            x: knee.delivered_bps,
            ..mark
        });
    let chart = Chart {
        description: "Delivered bitrate over offered bitrate".into(),
        x: Axis::to_just(most, 8, format::bits_per_s),
        x_label: "offered".into(),
        panels: vec![panel],
        mark,
    };
    Figure {
        title: "Offered against delivered",
        remark: "UDP payload of media per second, all subscribers together. Below the dashed line, \
                 packets are missing.",
        body: chart.draw(&FULL),
        table: Some(table),
    }
    .draw(out);
}

fn over_time(out: &mut Markup, view: &View<'_>) {
    let Some(body) = heat_map::draw(view.results) else {
        return;
    };
    let mut table = Table::new(
        "Latency of each step, in the order they ran",
        &[
            "start", "held for", "load", "p50", "p99", "p99.9", "longest", "lost",
        ],
    );
    for step in &view.results.steps {
        let mut row = vec![
            format::seconds(step.started_s),
            format::seconds(step.measured_s),
            view.load(f64::from(step.load())),
        ];
        row.extend([50.0, 99.0, 99.9, 100.0].map(|percentile| {
            let ns = step.latency.percentile_ns(percentile);
            format::or_unknown(ns.map(|ns| ns as f64), format::duration_ns)
        }));
        row.push(format::percent(step.loss_ratio()));
        table.rows.push(row);
    }
    Figure {
        title: "Latency over time",
        remark: "Each column is an interval of the run; the darker a cell, the more of its packets \
                 took that long. The line is p99, the dashed one its bound. The strip above names \
                 the load held, green where every bound held.",
        body,
        table: Some(table),
    }
    .draw(out);
}
