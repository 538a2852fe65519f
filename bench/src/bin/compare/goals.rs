//! The goals beside what was measured.

use std::path::Path;

use millrace_bench::stats::Spread;

use crate::figures::{
    CPU_EACH, CPU_PER_JOIN, CPU_PER_PACKET, INSIDE_P50, INSIDE_P99, LOST, MEAN_TRAIN, OF_CEILING,
    P50, P99, PACKETS_PER_CPU_S, RSS_EACH, RSS_KEPT, Rounds, cell,
};

#[derive(Copy, Clone, Debug)]
enum Bound {
    /// Of the first server's figure by the second's.
    RatioAtMost(f64),
    RatioAtLeast(f64),
    /// Of the first server's figure.
    AtMost(f64),
    AtLeast(f64),
}

use Bound::{AtLeast, AtMost, RatioAtLeast, RatioAtMost};

struct Goal {
    what: &'static str,
    /// The file of its load.
    load: &'static str,
    figure: &'static str,
    bound: Bound,
}

const fn goal(what: &'static str, load: &'static str, figure: &'static str, bound: Bound) -> Goal {
    Goal {
        what,
        load,
        figure,
        bound,
    }
}

#[rustfmt::skip]
const GOALS: [Goal; 32] = [
    goal("CPU per packet, livestream 1 x 100, us", "livestream-100", CPU_PER_PACKET, RatioAtMost(1.0 / 7.0)),
    goal("CPU per packet, livestream 1 x 200, us", "livestream-200", CPU_PER_PACKET, RatioAtMost(1.0 / 7.0)),
    goal("CPU per packet, audio 10 x 100, us", "audio-100", CPU_PER_PACKET, RatioAtMost(1.0 / 6.0)),
    goal("CPU per packet, audio, shard 80 % busy, us", "audio-80-", CPU_PER_PACKET, RatioAtMost(0.1)),
    goal("CPU per packet, meeting 10 x 10, us", "meeting-10", CPU_PER_PACKET, RatioAtMost(0.2)),
    goal("CPU per packet, meetings of 10, shard 50 % busy, us", "meetings-50-x10", CPU_PER_PACKET, RatioAtMost(1.0 / 8.0)),
    goal("packets per CPU-second, saturated, audio", "audio-max", PACKETS_PER_CPU_S, RatioAtLeast(10.0)),
    goal("packets per CPU-second, saturated, video", "livestream-max", PACKETS_PER_CPU_S, RatioAtLeast(10.0)),
    goal("share of the ceiling, audio", "audio-max", OF_CEILING, AtLeast(0.8)),
    goal("share of the ceiling, video", "livestream-max", OF_CEILING, AtLeast(0.8)),
    goal("mean train at 80 % load, video, one room", "livestream-80-", MEAN_TRAIN, AtLeast(4.0)),
    goal("mean train at 80 % load, video, rooms of 50", "livestreams-80-x50", MEAN_TRAIN, AtLeast(4.0)),
    goal("mean train at 80 % load, audio", "audio-80-", MEAN_TRAIN, AtLeast(3.0)),
    goal("arrival to last copy p50, audio 10 x 20, us", "audio-20", INSIDE_P50, AtMost(120.0)),
    goal("arrival to last copy p99, audio 10 x 20, us", "audio-20", INSIDE_P99, AtMost(500.0)),
    goal("end to end p50, audio 10 x 20, us", "audio-20", P50, AtMost(120.0)),
    goal("end to end p99, audio 10 x 20, us", "audio-20", P99, AtMost(500.0)),
    goal("arrival to last copy p50, livestream 1 x 100, us", "livestream-100", INSIDE_P50, AtMost(1_500.0)),
    goal("arrival to last copy p99, livestream 1 x 100, us", "livestream-100", INSIDE_P99, AtMost(4_000.0)),
    goal("end to end p50, livestream 1 x 100, us", "livestream-100", P50, AtMost(1_500.0)),
    goal("end to end p99, livestream 1 x 100, us", "livestream-100", P99, AtMost(4_000.0)),
    goal("end to end p99 at 80 % load, audio, us", "audio-80-", P99, AtMost(5_000.0)),
    goal("end to end p99 at 80 % load, video, one room, us", "livestream-80-", P99, AtMost(5_000.0)),
    goal("end to end p99 at 80 % load, video, rooms of 50, us", "livestreams-80-x50", P99, AtMost(5_000.0)),
    goal("lost at 80 % load, audio, %", "audio-80-", LOST, AtMost(0.0)),
    goal("lost at 80 % load, video, one room, %", "livestream-80-", LOST, AtMost(0.0)),
    goal("lost at 80 % load, video, rooms of 50, %", "livestreams-80-x50", LOST, AtMost(0.0)),
    goal("memory per silent participant, kB", "idle-1000", RSS_EACH, AtMost(48.0)),
    goal("memory kept after they left, %", "idle-1000", RSS_KEPT, AtMost(20.0)),
    goal("CPU of a silent participant, ms per s", "idle-1000", CPU_EACH, AtMost(0.03)),
    goal("CPU per join, ms", "join-300", CPU_PER_JOIN, AtMost(2.5)),
    goal("CPU per packet, 2 shards against 1, us", "shards-livestream-200", CPU_PER_PACKET, RatioAtMost(1.05)),
];

/// Viewers whose memory is the difference of two loads, so that what the first ones make once does
/// not count.
const VIEWERS: [(&str, f64); 2] = [("livestream-100", 100.0), ("livestream-200", 200.0)];
const VIEWER_KB_MAX: f64 = 64.0;

pub(crate) fn print(folder: &Path) {
    println!(
        "| what | ours | other | ratio by round | goal | reached |\n|---|---|---|---|---|---|"
    );
    for goal in &GOALS {
        let rounds = Rounds::read(&folder.join(goal.load).with_extension("json"));
        println!("{}", goal.row(rounds.as_ref()));
    }
    println!("{}", viewers(folder));
}

impl Goal {
    fn row(&self, rounds: Option<&Rounds>) -> String {
        let wanted = match self.bound {
            RatioAtMost(ratio) => format!("<= {ratio:.3}"),
            RatioAtLeast(ratio) => format!(">= {ratio}x"),
            AtMost(value) => format!("<= {value}"),
            AtLeast(value) => format!(">= {value}"),
        };
        let Some(rounds) = rounds else {
            return format!("| {} | - | - | - | {wanted} | not measured |", self.what);
        };
        let (ours, other) = (rounds.values(0, self.figure), rounds.values(1, self.figure));
        let ratios = rounds.ratios(self.figure);
        format!(
            "| {} | {} | {} | {} | {wanted} | {} |",
            self.what,
            cell(&ours),
            cell(&other),
            cell(&ratios),
            self.verdict(&ours, &ratios)
        )
    }

    fn verdict(&self, ours: &[f64], ratios: &[f64]) -> &'static str {
        let judged = match self.bound {
            RatioAtMost(_) | RatioAtLeast(_) => ratios,
            AtMost(_) | AtLeast(_) => ours,
        };
        if judged.is_empty() {
            return "not measured";
        }
        let median = Spread::of(judged).median;
        let reached = match self.bound {
            RatioAtMost(bound) | AtMost(bound) => median <= bound,
            RatioAtLeast(bound) | AtLeast(bound) => median >= bound,
        };
        if reached { "yes" } else { "**no**" }
    }
}

fn viewers(folder: &Path) -> String {
    let what = "memory per livestream viewer, 200 against 100, kB";
    let grown_kb = |server: usize| -> Option<f64> {
        let mut totals = VIEWERS.iter().map(|(load, viewers)| {
            let rounds = Rounds::read(&folder.join(load).with_extension("json"))?;
            let values = rounds.values(server, RSS_EACH);
            (!values.is_empty()).then(|| Spread::of(&values).median * viewers)
        });
        let (fewer, more) = (totals.next()??, totals.next()??);
        Some((more - fewer) / (VIEWERS[1].1 - VIEWERS[0].1))
    };
    let text = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |it| format!("{it:.0}"));
    let (ours, other) = (grown_kb(0), grown_kb(1));
    let ratio = ours.zip(other).map(|(ours, other)| ours / other);
    let reached = match ours {
        None => "not measured",
        Some(kb) if kb <= VIEWER_KB_MAX => "yes",
        Some(_) => "**no**",
    };
    format!(
        "| {what} | {} | {} | {} | <= {VIEWER_KB_MAX} | {reached} |",
        text(ours),
        text(other),
        ratio.map_or_else(|| "-".to_owned(), |it| format!("{it:.2}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_judged_by_its_median() {
        let goal = goal("x", "y", P50, AtMost(2.0));
        assert_eq!(goal.verdict(&[1.0, 2.0, 9.0], &[]), "yes");
        assert_eq!(goal.verdict(&[1.0, 3.0, 9.0], &[]), "**no**");
        assert_eq!(goal.verdict(&[], &[]), "not measured");
        let ratio = super::goal("x", "y", P50, RatioAtLeast(10.0));
        assert_eq!(ratio.verdict(&[1.0], &[9.0]), "**no**");
        assert!(ratio.row(None).ends_with("not measured |"));
    }
}
