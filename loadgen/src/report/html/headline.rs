//! The top of the page: what the server carries, in one sentence and a few figures.

use super::format;
use super::markup::Markup;
use super::reason;
use super::view::{View, rounded_down};
use crate::report::knee::{Bound, Knee};
use crate::report::model::Step;
use crate::report::verdict::{Bottleneck, Breach};

pub(super) fn draw(out: &mut Markup, view: &View<'_>) {
    out.raw("<section class=\"headline\">\n");
    out.element("p", &[("class", &"kicker")], kicker(view));
    out.element("h1", &[], title(view));
    out.element("p", &[("class", &"lead")], lead(view));
    if let Some(reason) = reason::of(view) {
        out.element("p", &[("class", &"lead reason")], reason);
    }
    banners(out, view);
    tiles(out, view);
    out.raw("</section>\n");
}

fn kicker(view: &View<'_>) -> String {
    let scenario = &view.results.scenario;
    let server = &view.results.server;
    let cpus = match (server.cpu_quota, server.cpus.as_ref().map(Vec::len)) {
        (Some(quota), _) => format!(" · {} of a CPU", format::digits(quota)),
        (None, Some(1)) => " · one CPU".into(),
        (None, Some(cpus)) => format!(" · {cpus} CPUs"),
        (None, None) => String::new(),
    };
    format!("{} · {}{cpus}", view.server(), scenario.name)
}

/// The capacity. Also the title of the page.
pub(super) fn title(view: &View<'_>) -> String {
    let Some(knee) = &view.knee else {
        return "Nothing conclusive was measured".into();
    };
    let load = view.load(rounded_down(knee.load));
    match knee.bound {
        _ if !view.is_rising() => load,
        Bound::Between => load,
        Bound::AtLeast => format!("At least {load}"),
        Bound::Below => format!("Fewer than {load}"),
    }
}

fn lead(view: &View<'_>) -> String {
    let Some(knee) = &view.knee else {
        return "No step of this run says anything about the server.".into();
    };
    if let (false, Some(step)) = (view.is_rising(), view.steps.last()) {
        return lead_of_one(view, step);
    }
    let slo = &view.results.slo;
    let limits = format!(
        "99 % of packets forwarded within {} and at most {} lost",
        format::bound_ns(slo.latency_p99_ns_max),
        format::percent(slo.loss_ratio_max)
    );
    if knee.bound == Bound::Below {
        return format!(
            "Already the lowest load broke the bounds ({limits}): {}.",
            broken(knee)
        );
    }
    let carried = format!(
        "{} forwards {} packets/s, {}, with {limits}.",
        view.server(),
        format::short(knee.delivered_pps),
        format::bits_per_s(knee.delivered_bps),
    );
    match knee.bound {
        Bound::Between => format!("{carried} Beyond that {}.", broken(knee)),
        _ => format!("{carried} No load of this run brought it to its limit."),
    }
}

/// A run with one load: whether its bounds held.
fn lead_of_one(view: &View<'_>, step: &Step) -> String {
    let slo = &view.results.slo;
    let carried = format!(
        "{} forwarded {} packets/s, {}.",
        view.server(),
        format::short(step.delivered_pps()),
        format::bits_per_s(step.delivered_bps()),
    );
    let breaches: Vec<String> = slo
        .breaches(step)
        .into_iter()
        .map(|b| breach(view, b))
        .collect();
    if breaches.is_empty() {
        let p99 = step.latency.percentile_ns(99.0).map(|ns| ns as f64);
        return format!(
            "{carried} Every bound held: 99 % of packets within {} (bound {}), {} lost (bound {}).",
            format::or_unknown(p99, format::duration_ns),
            format::bound_ns(slo.latency_p99_ns_max),
            format::percent(step.loss_ratio()),
            format::percent(slo.loss_ratio_max)
        );
    }
    let why = match Bottleneck::of(view.results, step) {
        Bottleneck::Unknown => String::new(),
        bottleneck => format!(" Its limit was {bottleneck}."),
    };
    format!(
        "{carried} It did not stay within bounds: {}.{why}",
        breaches.join("; ")
    )
}

fn breach(view: &View<'_>, breach: Breach) -> String {
    let slo = &view.results.slo;
    match breach {
        Breach::Latency { p99_ns: None } => "nothing arrived".into(),
        Breach::Latency {
            p99_ns: Some(p99_ns),
        } => format!(
            "p99 of latency {}, bound {}",
            format::duration_ns(p99_ns as f64),
            format::bound_ns(slo.latency_p99_ns_max)
        ),
        Breach::Loss { ratio } => {
            let limit = format::percent(slo.loss_ratio_max);
            format!("{} lost, bound {limit}", format::percent(ratio))
        }
        Breach::JoinLatency { p99_ns } => format!(
            "p99 of joins {}, bound {}",
            format::duration_ns(p99_ns as f64),
            format::bound_ns(slo.join_p99_ns_max)
        ),
        Breach::JoinFailures { failed, attempted } => {
            format!("{failed} of {attempted} joins failed")
        }
    }
}

/// What broke, and why, as the end of a sentence.
fn broken(knee: &Knee) -> String {
    let what = match knee.breach {
        Some(Breach::Latency {
            p99_ns: Some(p99_ns),
        }) => format!(
            "latency breaks first (p99 {} at the next load)",
            format::duration_ns(p99_ns as f64)
        ),
        Some(Breach::Latency { p99_ns: None }) => "nothing arrives any more".into(),
        Some(Breach::Loss { ratio }) => format!(
            "packets are lost first ({} at the next load)",
            format::percent(ratio)
        ),
        Some(Breach::JoinLatency { p99_ns }) => format!(
            "joins become slow first (p99 {} at the next load)",
            format::duration_ns(p99_ns as f64)
        ),
        Some(Breach::JoinFailures { failed, attempted }) => format!(
            "joins fail first ({} of {} at the next load)",
            format::count(f64::from(failed)),
            format::count(f64::from(attempted))
        ),
        None => "a bound breaks".into(),
    };
    match knee.bottleneck {
        Some(Bottleneck::Unknown) | None => format!("{what}; no reading shows why"),
        Some(bottleneck) => format!("{what}, limited by {bottleneck}"),
    }
}

fn banners(out: &mut Markup, view: &View<'_>) {
    let results = view.results;
    let limited: Vec<&str> = results
        .steps
        .iter()
        .filter_map(|step| step.generator.limited_by.as_deref())
        .collect();
    if let [first, ..] = limited[..] {
        let text = format!(
            "The generator was the limit in {} of {} steps ({first}). These say nothing about the \
             server and are left out of its figures: it carries at least what is shown.",
            limited.len(),
            results.steps.len()
        );
        out.element("p", &[("class", &"banner"), ("role", &"note")], text);
    }
    if results.server.is_crowded(&results.machine) {
        let text = "The generator ran on the server's CPUs. They took them from each other, and \
                    latency includes that wait.";
        out.element("p", &[("class", &"banner plain"), ("role", &"note")], text);
    }
    if results.interrupted {
        let text = "The run was ended early. What was measured until then is shown.";
        out.element("p", &[("class", &"banner"), ("role", &"note")], text);
    }
    for note in &results.notes {
        out.element("p", &[("class", &"banner plain"), ("role", &"note")], note);
    }
}

fn tiles(out: &mut Markup, view: &View<'_>) {
    let at_70 = view.at_share(0.7);
    let timed = at_70
        .or_else(|| view.highest_held())
        .or(view.steps.last().copied());
    let (p50_name, p99_name) = match at_70 {
        Some(_) => ("Latency at 70 % load, p50", "Latency at 70 % load, p99"),
        None if !view.is_rising() => ("Latency, p50", "Latency, p99"),
        None => (
            "Latency at the highest load, p50",
            "Latency at the highest load, p99",
        ),
    };
    let p = |percentile| {
        let ns = timed.and_then(|step| step.latency.percentile_ns(percentile));
        format::or_unknown(ns.map(|ns| ns as f64), format::duration_ns)
    };
    let costs = view.costs.as_ref();
    let last = view.steps.last().copied().filter(|_| !view.is_rising());
    let reference = costs
        .and_then(|costs| view.results.steps.get(costs.step))
        .or(last);
    let memory = reference.and_then(|step| step.bytes_per_subscriber(&view.results.server));
    let joins = view
        .steps
        .iter()
        .filter(|step| view.results.slo.is_met(step) || !view.is_rising());
    let joins_per_s = joins.filter_map(|step| step.joins_per_s()).reduce(f64::max);
    let tiles: [Tile; 6] = [
        (
            "Packets per CPU second",
            format::or_unknown(reference.and_then(|s| s.packets_per_cpu_s()), format::short),
            "whole server, at the highest load that held",
        ),
        (
            "CPU per packet",
            format::or_unknown(
                reference
                    .and_then(|s| s.packets_per_cpu_s())
                    .map(|rate| 1e9 / rate),
                format::duration_ns,
            ),
            "everything included, kernel too",
        ),
        (p50_name, p(50.0), "publisher to subscriber, one way"),
        (p99_name, p(99.0), "the same, one packet in a hundred"),
        (
            "Memory per subscriber",
            format::or_unknown(memory, format::bytes),
            "growth of the server's resident memory",
        ),
        (
            "Joins per second",
            format::or_unknown(joins_per_s, format::digits),
            "in the busiest second within the bounds",
        ),
    ];
    draw_tiles(out, "tiles", &tiles);
}

/// A name, its figure, and a remark.
pub(super) type Tile = (&'static str, String, &'static str);

pub(super) fn draw_tiles(out: &mut Markup, class: &'static str, tiles: &[Tile]) {
    out.open("dl", &[("class", &class)]);
    out.line_end();
    for (name, value, remark) in tiles {
        out.raw("<div>");
        out.element("dt", &[], name);
        out.element("dd", &[("class", &"value")], value);
        out.element("dd", &[("class", &"remark")], remark);
        out.raw("</div>\n");
    }
    out.raw("</dl>\n");
}
