//! A step in words, for the terminal.

use millrace_loadgen::capacity::describe;
use millrace_loadgen::measure::LAYER_NAMES;
use millrace_loadgen::report::latency::Latency;
use millrace_loadgen::report::model::{OwnCost, Slo, Step, median};

/// What a step measured, a line each.
pub(crate) fn lines(step: &Step, slo: &Slo) -> Vec<String> {
    let seconds = step.measured_s.max(1e-3);
    let per_s = |count: u64| count as f64 / seconds;
    let mbps = |bytes: u64| per_s(bytes) * 8.0 / 1e6;
    let (offered, delivered) = (&step.offered, &step.delivered);
    let mut lines = vec![
        format!(
            "{} publishers, {} subscribers in {} rooms, {} copies of tracks, for {seconds:.1} s",
            offered.publishers, offered.subscribers, offered.rooms, offered.tracks_subscribed
        ),
        format!(
            "in {:.0} packets/s ({:.2} Mbit/s); wanted {:.0} ({:.2}); came {:.0} ({:.2})",
            per_s(offered.packets_in),
            mbps(offered.bytes_in),
            per_s(offered.packets_out),
            mbps(offered.bytes_out),
            per_s(delivered.packets),
            mbps(delivered.bytes)
        ),
        format!("latency {}", percentiles(&step.latency)),
        faults(step),
    ];
    lines.extend(layers(step));
    if step.joins.attempted > 0 {
        lines.push(format!(
            "joins {} ({} failed): {}",
            step.joins.attempted,
            step.joins.failed,
            percentiles(&step.joins.latency)
        ));
    }
    if let Some(usage) = &step.usage {
        let cpu = usage.cpu_user_s + usage.cpu_system_s;
        let per_packet = match delivered.packets {
            0 => String::new(),
            packets => format!(
                " {:.2} us per packet forwarded,",
                cpu * 1e6 / packets as f64
            ),
        };
        lines.push(format!(
            "server {:.1} % CPU,{per_packet} {:.1} MB, {} datagrams dropped at its sockets",
            cpu / seconds * 100.0,
            usage.rss_bytes as f64 / 1e6,
            usage.socket_drops.unwrap_or(0)
        ));
    }
    lines.extend(shards(step));
    lines.push(format!(
        "generator {:.1} % CPU{}",
        step.generator.cpu_s / seconds * 100.0,
        match &step.generator.limited_by {
            Some(why) => format!("; LIMITED BY ITSELF: {why}"),
            None => String::new(),
        }
    ));
    let breaches = slo.breaches(step);
    lines.extend(
        breaches
            .iter()
            .map(|it| format!("SLO broken: {}", describe(it))),
    );
    lines
}

/// Bitrates of the encodings, where there was any.
fn layers(step: &Step) -> Option<String> {
    let rates = LAYER_NAMES.iter().filter_map(|name| {
        let bps = step.layer_bps(name).filter(|bps| *bps > 0.0)?;
        Some(format!("{name} {:.2}", bps / 1e6))
    });
    let rates: Vec<_> = rates.collect();
    (!rates.is_empty()).then(|| format!("payload by encoding, Mbit/s: {}", rates.join(", ")))
}

/// What the server tells of its shards.
fn shards(step: &Step) -> Option<String> {
    let wakes = step.wakes_per_s()?;
    let mut words = vec![format!("{wakes:.0} wake-ups/s")];
    words.extend(step.mean_train().map(|it| format!("mean train {it:.2}")));
    words.extend(
        step.syscalls_per_packet()
            .map(|it| format!("{it:.3} system calls a packet")),
    );
    for (share, name) in [(0.5, "p50"), (0.99, "p99")] {
        words.extend(step.forwarding_quantile(share).map(|it| {
            let low = it.above_ns / 1e3;
            match it.up_to_ns {
                Some(high) => format!("forwarding {name} {low:.0}-{:.0} us", high / 1e3),
                None => format!("forwarding {name} above {low:.0} us"),
            }
        }));
    }
    Some(format!("shards {}", words.join(", ")))
}

/// What receiving costs, a line each.
pub(crate) fn own_cost(cost: &OwnCost) -> Vec<String> {
    let row = |name: &str, rounds: &[f64]| {
        let mut ascending = rounds.to_vec();
        ascending.sort_by(f64::total_cmp);
        let at = |value: Option<&f64>| value.copied().unwrap_or(f64::NAN);
        format!(
            "{name:<24} {:.3} us (min {:.3}, max {:.3})",
            median(&ascending).unwrap_or(f64::NAN),
            at(ascending.first()),
            at(ascending.last())
        )
    };
    vec![
        format!(
            "{:.0} packets/s of {:.0} bytes to {} subscribers, {} of them sampled",
            cost.packets_per_s, cost.packet_bytes, cost.subscribers, cost.sampled
        ),
        row("receiving alone", &cost.drain_us),
        row("with clients", &cost.received_us),
        row("and answers sent", &cost.whole_us),
        row("so the generator takes", &cost.over_drain_us()),
        format!(
            "{} ({:.0} a second)",
            row("and for sending answers", &cost.answering_us()),
            cost.answers_per_s
        ),
    ]
}

fn faults(step: &Step) -> String {
    let integrity = &step.integrity;
    format!(
        "lost {} of {} ({:.4} %), duplicated {}, reordered {}, corrupted {}, forged {}, recovered \
         {}; {} freezes of {} ms",
        integrity.lost,
        integrity.expected,
        integrity.lost as f64 / integrity.expected.max(1) as f64 * 100.0,
        integrity.duplicated,
        integrity.reordered,
        integrity.corrupted,
        integrity.forged,
        integrity.retransmitted,
        step.freezes.count,
        step.freezes.total_ms
    )
}

fn percentiles(latency: &Latency) -> String {
    let ms = |percentile| {
        let ns = latency.percentile_ns(percentile);
        ns.map_or_else(|| "-".to_owned(), |ns| format!("{:.3}", ns as f64 / 1e6))
    };
    format!(
        "p50 {} p90 {} p99 {} p99.9 {} max {} ms of {}",
        ms(50.0),
        ms(90.0),
        ms(99.0),
        ms(99.9),
        ms(100.0),
        latency.count()
    )
}
