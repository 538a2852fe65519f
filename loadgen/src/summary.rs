//! A step in words, for the terminal.

use millrace_loadgen::capacity::describe;
use millrace_loadgen::report::latency::Latency;
use millrace_loadgen::report::model::{Slo, Step};

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
        lines.push(format!(
            "server {:.1} % CPU, {:.2} us per packet forwarded, {:.1} MB, {} datagrams dropped at \
             its sockets",
            cpu / seconds * 100.0,
            cpu * 1e6 / delivered.packets.max(1) as f64,
            usage.rss_bytes as f64 / 1e6,
            usage.socket_drops.unwrap_or(0)
        ));
    }
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
