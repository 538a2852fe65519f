//! How the figures came about: command, machine, server, bounds, and every step.

use super::format;
use super::markup::Markup;
use super::table::Table;
use super::view::View;
use crate::report::model::{Nic, Phase, Results, Step, median};
use crate::report::verdict::Bottleneck;

pub(super) fn draw(out: &mut Markup, view: &View<'_>) {
    out.raw("<section>\n<h2>How it was measured</h2>\n<figure>\n");
    command(out, view);
    out.raw("<div class=\"facts\">\n");
    facts(out, "Machine", machine(view));
    facts(out, "Server", server(view));
    facts(out, "Run", run(view));
    out.raw("</div>\n</figure>\n<figure class=\"steps\">\n<figcaption><h3>Every step</h3></figcaption>\n");
    out.append(steps(view).open());
    out.raw("\n</figure>\n</section>\n");
}

fn command(out: &mut Markup, view: &View<'_>) {
    let words: Vec<String> = view
        .results
        .command_line
        .iter()
        .map(|word| quoted(word))
        .collect();
    out.raw("<figcaption><h3>Command</h3></figcaption>\n");
    out.element("pre", &[("tabindex", &0)], words.join(" "));
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = !word.is_empty()
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c));
    if is_plain {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

type Facts = Vec<(&'static str, String)>;

fn machine(view: &View<'_>) -> Facts {
    let machine = &view.results.machine;
    let mut facts = vec![
        ("CPU", machine.cpu_model.clone()),
        (
            "vCPUs",
            match machine.threads_per_core {
                Some(1) => format!("{}, one thread per core", machine.vcpus),
                Some(threads) => format!("{}, {threads} threads per core", machine.vcpus),
                None => machine.vcpus.to_string(),
            },
        ),
        ("memory", format::bytes(machine.memory_bytes as f64)),
        ("kernel", machine.kernel.clone()),
    ];
    if let Some(hypervisor) = &machine.hypervisor {
        facts.push(("hypervisor", hypervisor.clone()));
    }
    facts.extend(machine.nics.iter().map(|nic| ("interface", interface(nic))));
    facts
}

fn interface(nic: &Nic) -> String {
    let mut text = format!("{}, MTU {}", nic.name, format::count(f64::from(nic.mtu)));
    if let Some(driver) = &nic.driver {
        text.push_str(&format!(", {driver}"));
    }
    if let Some(speed_mbps) = nic.speed_mbps {
        text.push_str(&format!(
            ", {}",
            format::bits_per_s(f64::from(speed_mbps) * 1e6)
        ));
    }
    for (name, state) in [
        ("UDP segmentation", nic.udp_segmentation),
        ("UDP GRO", nic.udp_gro),
        ("checksums", nic.tx_checksum),
    ] {
        if let Some(is_on) = state {
            text.push_str(&format!(", {name} {}", if is_on { "on" } else { "off" }));
        }
    }
    text
}

fn server(view: &View<'_>) -> Facts {
    let server = &view.results.server;
    let unknown = || format::UNKNOWN.to_string();
    let cpus = server.cpus.as_ref().map(|cpus| {
        let cpus: Vec<String> = cpus.iter().map(u32::to_string).collect();
        cpus.join(", ")
    });
    let mut facts = vec![
        ("name", view.server()),
        ("address", server.url.clone()),
        (
            "process",
            server
                .pid
                .map_or_else(|| "not watched".into(), |pid| pid.to_string()),
        ),
        ("may use CPUs", cpus.unwrap_or_else(unknown)),
        (
            "shards",
            server
                .shards
                .map_or_else(unknown, |shards| shards.to_string()),
        ),
        (
            "idle memory",
            format::or_unknown(server.rss_idle_bytes.map(|b| b as f64), format::bytes),
        ),
    ];
    if let Some(quota) = server.cpu_quota {
        facts.push(("limited to", format!("{} CPU", format::digits(quota))));
    }
    if let Some(backend) = &server.backend {
        facts.push(("network by", backend.clone()));
    }
    if let Some(node_id) = &server.node_id {
        facts.push(("node", node_id.clone()));
    }
    facts
}

/// What receiving costs the generator beyond what receiving alone costs.
fn own_cost(results: &Results) -> String {
    let Some(cost) = &results.own_cost else {
        return "not measured in this run".into();
    };
    let number = |rounds: &[f64]| {
        let mut ascending = rounds.to_vec();
        ascending.sort_by(f64::total_cmp);
        format::or_unknown(median(&ascending), format::digits)
    };
    let mut text = format!(
        "{} µs a packet over receiving alone, which took {} µs, at {} packets a second",
        number(&cost.over_drain_us()),
        number(&cost.drain_us),
        format::short(cost.packets_per_s)
    );
    let answering = cost.answering_us();
    if !answering.is_empty() {
        text += &format!(
            "; sending feedback and reports took {} µs more",
            number(&answering)
        );
    }
    text
}

fn run(view: &View<'_>) -> Facts {
    let results = view.results;
    let slo = &results.slo;
    vec![
        ("started", results.started_at.clone()),
        ("generator", results.generator.clone()),
        ("its own cost", own_cost(results)),
        (
            "scenario",
            format!(
                "{}: {}",
                results.scenario.name, results.scenario.description
            ),
        ),
        ("codecs", results.scenario.codecs.join(", ")),
        ("seed", results.scenario.seed.to_string()),
        (
            "bounds",
            format!(
                "p99 ≤ {}, loss ≤ {}, joins ≤ {} (p99)",
                format::bound_ns(slo.latency_p99_ns_max),
                format::percent(slo.loss_ratio_max),
                format::bound_ns(slo.join_p99_ns_max)
            ),
        ),
    ]
}

fn facts(out: &mut Markup, heading: &'static str, facts: Facts) {
    out.raw("<div>");
    out.element("h4", &[], heading);
    out.raw("<dl>");
    for (name, value) in facts {
        out.element("dt", &[], name);
        out.element(
            "dd",
            &[],
            if value.is_empty() {
                format::UNKNOWN.into()
            } else {
                value
            },
        );
    }
    out.raw("</dl></div>\n");
}

fn steps(view: &View<'_>) -> Table {
    let mut table = Table::new(
        "Every step, in the order they ran",
        &[
            "step",
            "verdict",
            "rooms",
            "load",
            "subscribers",
            "held",
            "p50",
            "p99",
            "p99.9",
            "lost",
            "double",
            "reorder",
            "corrupt",
            "forged",
            "resent",
            "freezes",
            "failed joins",
            "generator",
        ],
    );
    for (index, step) in view.results.steps.iter().enumerate() {
        table.rows.push(row(view, index, step));
    }
    table
}

fn row(view: &View<'_>, index: usize, step: &Step) -> Vec<String> {
    let count = |value: u64| format::count(value as f64);
    let latency = |percentile| {
        let ns = step.latency.percentile_ns(percentile);
        format::or_unknown(ns.map(|ns| ns as f64), format::duration_ns)
    };
    let phase = match (step.phase, step.share_of_knee) {
        (Phase::Idle, _) => "idle".into(),
        (Phase::Hold | Phase::Overload, Some(share)) => format::percent(share),
        (Phase::Hold, None) => "hold".into(),
        (Phase::Overload, None) => "overload".into(),
        (Phase::Raise, _) => "raise".into(),
    };
    let generator =
        step.generator.cpu_s / (step.measured_s * f64::from(step.generator.cpus.max(1)));
    let verdict = match Bottleneck::of(view.results, step) {
        Bottleneck::Generator => "generator-limited".into(),
        _ if view.results.slo.is_met(step) => "met".into(),
        Bottleneck::Unknown => "broken".into(),
        bottleneck => format!("broken: {bottleneck}"),
    };
    let (integrity, offered) = (&step.integrity, &step.offered);
    vec![
        format!("{}. {phase}", index + 1),
        verdict,
        count(offered.rooms.into()),
        count(step.load().into()),
        count(offered.subscribers.into()),
        format::seconds(step.measured_s),
        latency(50.0),
        latency(99.0),
        latency(99.9),
        format::percent(step.loss_ratio()),
        count(integrity.duplicated),
        count(integrity.reordered),
        count(integrity.corrupted),
        count(integrity.forged),
        count(integrity.retransmitted),
        count(step.freezes.count),
        count(step.joins.failed.into()),
        format::or_unknown(generator.is_finite().then_some(generator), format::percent),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_a_shell_needs_it() {
        assert_eq!(quoted("--url=ws://[::1]:7880"), "'--url=ws://[::1]:7880'");
        assert_eq!(quoted("--slo=p99,5ms"), "--slo=p99,5ms");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
