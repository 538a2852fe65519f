//! What is shown while a run goes on.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use millrace_loadgen::capacity::Observer;
use millrace_loadgen::report::model::Step;
use millrace_loadgen::run::Live;

/// A bar for the load that is being held; lines of their own where nobody watches.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new(1000);
        if let Ok(style) = ProgressStyle::with_template("{prefix:<22} {wide_bar:.cyan/blue} {msg}")
        {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    /// A new load begins.
    pub(crate) fn begin_load(&mut self, name: String) {
        self.bar.set_prefix(name);
        self.bar.set_position(0);
    }

    pub(crate) fn show_live(&self, live: &Live) {
        let Some(second) = &live.second else {
            self.position(f64::from(live.joined), f64::from(live.wanted));
            self.bar
                .set_message(format!("{} of {} joined", live.joined, live.wanted));
            return;
        };
        self.position(live.elapsed_s, live.duration_s);
        self.bar.set_message(format!(
            "in {} out {} pkt/s, {} Mbit/s; p50 {:.2} p99 {:.2} ms; lost {}",
            thousands(second.sent_per_s),
            thousands(second.received_per_s),
            thousands(second.received_bps / 1e6),
            second.p50_ms,
            second.p99_ms,
            second.lost
        ));
    }

    /// A line that stays.
    pub(crate) fn say(&self, line: &str) {
        if self.bar.is_hidden() {
            println!("{line}");
        } else {
            self.bar.println(line);
        }
    }

    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }

    fn position(&self, done: f64, whole: f64) {
        let share = if whole > 0.0 { done / whole } else { 0.0 };
        self.bar
            .set_position((share.clamp(0.0, 1.0) * 1000.0) as u64);
    }
}

impl Observer for Progress {
    fn begin(&mut self, name: String) {
        self.begin_load(name);
    }

    fn show(&mut self, live: &Live) {
        self.show_live(live);
    }

    fn held(&mut self, size: u32, step: &Step) {
        let ms = |percentile| {
            let ns = step.latency.percentile_ns(percentile);
            ns.unwrap_or(0) as f64 / 1e6
        };
        let usage = step.usage.as_ref();
        let cpu = usage.map_or(0.0, |usage| usage.cpu_user_s + usage.cpu_system_s);
        let packets_per_s = step.delivered.packets as f64 / step.measured_s.max(1e-3);
        self.say(&format!(
            "{:?} {size}: {} pkt/s, p50 {:.2} p99 {:.2} ms, lost {}, server {:.0} % CPU{}",
            step.phase,
            thousands(packets_per_s),
            ms(50.0),
            ms(99.0),
            step.integrity.lost,
            cpu / step.measured_s.max(1e-3) * 100.0,
            match &step.generator.limited_by {
                Some(why) => format!(" (generator: {why})"),
                None => String::new(),
            }
        ));
    }
}

/// To three digits, with a k or an M.
fn thousands(number: f64) -> String {
    match number {
        0.0..1e3 => format!("{number:.0}"),
        1e3..1e6 => format!("{:.1}k", number / 1e3),
        _ => format!("{:.2}M", number / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(thousands(999.0), "999");
        assert_eq!(thousands(17_800.0), "17.8k");
        assert_eq!(thousands(1_234_000.0), "1.23M");
    }
}
