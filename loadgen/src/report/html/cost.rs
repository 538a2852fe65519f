//! What a packet, a subscriber and a join cost.

use super::axis::Axis;
use super::chart::{Chart, HALF, Panel, Series};
use super::format;
use super::headline::{Tile, draw_tiles};
use super::markup::Markup;
use super::table::Table;
use super::view::View;
use super::{Figure, forwarding, joins};
use crate::report::model::{Phase, Server, Step};

const HEIGHT_PX: f64 = 170.0;

/// A cost over the load.
struct Cost {
    title: &'static str,
    /// The title within a sentence.
    missing: &'static str,
    remark: &'static str,
    unit: &'static str,
    label: fn(f64) -> String,
    value: fn(&Step, &Server) -> Option<f64>,
}

pub(super) fn draw(out: &mut Markup, view: &View<'_>) {
    if !view.is_rising() {
        return draw_of_one(out, view);
    }
    out.raw("<section>\n<h2>What it costs</h2>\n<div class=\"pair\">\n");
    let mut missing = Vec::new();
    for cost in &COSTS {
        if !draw_cost(out, view, cost) {
            missing.push(cost.missing);
        }
    }
    joins::draw_time(out, view);
    out.raw("</div>\n");
    if !forwarding::is_told(view) {
        missing.push("its own forwarding latency");
    }
    if !missing.is_empty() {
        let text = format!(
            "Not known for this server: {}. CPU and memory are read from its process on the same \
             machine, the others from its metrics.",
            missing.join(", ")
        );
        out.element("p", &[("class", &"remark")], text);
    }
    joins::draw_rate(out, view);
    out.raw("</section>\n");
}

/// The costs of a run with one load, over which nothing can be drawn.
fn draw_of_one(out: &mut Markup, view: &View<'_>) {
    let Some(step) = view.steps.last() else {
        return;
    };
    let mut tiles: Vec<Tile> = Vec::new();
    for cost in &COSTS {
        let value = (cost.value)(step, &view.results.server);
        tiles.push((cost.title, format::or_unknown(value, cost.label), cost.unit));
    }
    let join = |percentile| {
        let ns = step.joins.latency.percentile_ns(percentile);
        format::or_unknown(ns.map(|ns| ns as f64), format::duration_ns)
    };
    let rate = format::or_unknown(step.joins_per_s(), format::digits);
    tiles.extend([
        ("Joins per second", rate, "in the busiest second"),
        ("Time of a join, p50", join(50.0), "until media can flow"),
        ("Time of a join, p99", join(99.0), "one in a hundred"),
    ]);
    out.raw("<section>\n<h2>What it costs</h2>\n");
    draw_tiles(out, "tiles four", &tiles);
    joins::draw_rate(out, view);
    out.raw("</section>\n");
}

const COSTS: [Cost; 5] = [
    Cost {
        title: "Packets per CPU second",
        missing: "packets per CPU second",
        remark: "Delivered packets for each second of CPU the whole server used.",
        unit: "packets per CPU second",
        label: format::short,
        value: |step, _| step.packets_per_cpu_s(),
    },
    Cost {
        title: "Mean train",
        missing: "mean train",
        remark: "Datagrams to one destination that left as one message (GSO). Trains grow by \
                 themselves as load rises.",
        unit: "datagrams per message",
        label: format::digits,
        value: |step, _| step.mean_train(),
    },
    Cost {
        title: "System calls per packet",
        missing: "system calls per packet",
        remark: "All system calls of the shards, for each packet they forwarded.",
        unit: "system calls per packet",
        label: format::digits,
        value: |step, _| step.syscalls_per_packet(),
    },
    Cost {
        title: "Wake-ups per second",
        missing: "wake-ups per second",
        remark: "How often the shards' threads were woken, all together.",
        unit: "wake-ups per second",
        label: format::short,
        value: |step, _| step.wakes_per_s(),
    },
    Cost {
        title: "Memory per subscriber",
        missing: "memory per subscriber",
        remark: "Growth of resident memory since the first client, for each subscriber.",
        unit: "bytes of memory",
        label: format::bytes,
        // Divided by a few clients, the noise of the process would be all there is to see.
        value: |step, server| {
            let is_idle = step.phase == Phase::Idle;
            step.bytes_per_subscriber(server).filter(|_| !is_idle)
        },
    },
];

fn draw_cost(out: &mut Markup, view: &View<'_>, cost: &Cost) -> bool {
    let points = view.points("", cost.label, |step| {
        (cost.value)(step, &view.results.server)
    });
    let Some(most) = points.iter().map(|point| point.y).reduce(f64::max) else {
        return false;
    };
    let mut table = Table::new(cost.title, &["", cost.unit]);
    for point in &points {
        let load = view.load(point.x);
        table.rows.push(vec![load, (cost.label)(point.y)]);
    }
    let mut panel = Panel::new(cost.unit, Axis::from_zero(most, 4, cost.label), HEIGHT_PX);
    panel.series = vec![Series::new("", "p50", points)];
    let chart = Chart {
        description: format!("{} over the number of {}", cost.title, view.noun()),
        x: Axis::to_just(view.load_max(), 5, format::count),
        x_label: view.noun().into(),
        panels: vec![panel],
        mark: view.mark(),
    };
    Figure {
        title: cost.title,
        remark: cost.remark,
        body: chart.draw(&HALF),
        table: Some(table),
    }
    .draw(out);
    true
}
