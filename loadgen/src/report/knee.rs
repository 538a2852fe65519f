//! The knee: the load up to which the SLO holds.

use super::model::{Phase, Results, Slo, Step};
use super::verdict::{Bottleneck, Breach};

/// What is known about the knee.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// Between the last load that passed and the first that did not.
    Between,
    /// Every load passed, or the generator was the limit beyond it.
    AtLeast,
    /// Already the lowest load broke the SLO.
    Below,
}

/// The load up to which the SLO holds, and what ends it.
#[derive(Clone, PartialEq, Debug)]
pub struct Knee {
    pub bound: Bound,
    /// The load itself, interpolated between two steps.
    pub load: f64,
    pub delivered_pps: f64,
    pub delivered_bps: f64,
    /// CPU share of the busiest shard there.
    pub shard_cpu: Option<f64>,
    /// Indices into the steps.
    pub last_passing: Option<usize>,
    pub first_breaking: Option<usize>,
    /// The part of the SLO that breaks at the lowest load.
    pub breach: Option<Breach>,
    pub bottleneck: Option<Bottleneck>,
}

impl Knee {
    /// Finds it among the steps that raised the load; none if no step says anything.
    pub fn of(results: &Results) -> Option<Knee> {
        let mut raised: Vec<usize> = (0..results.steps.len())
            .filter(|index| matches!(results.steps[*index].phase, Phase::Raise | Phase::Idle))
            .collect();
        // A search may have bisected; a load tried twice counts as its worse outcome.
        raised.sort_by_key(|index| {
            let step = &results.steps[*index];
            (step.load(), results.slo.is_met(step))
        });
        let first_breaking = raised.iter().copied().find(|index| {
            let step = &results.steps[*index];
            step.is_conclusive() && !results.slo.is_met(step)
        });
        let ceiling = first_breaking.map(|index| results.steps[index].load());
        let last_passing = raised.iter().copied().rev().find(|index| {
            let step = &results.steps[*index];
            let is_below = ceiling.is_none_or(|ceiling| step.load() < ceiling);
            is_below && step.is_conclusive() && results.slo.is_met(step)
        });
        match (last_passing, first_breaking) {
            (None, None) => None,
            (Some(passing), None) => Some(Knee::at_least(results, passing)),
            (None, Some(breaking)) => Some(Knee::below(results, breaking)),
            (Some(passing), Some(breaking)) => Some(Knee::between(results, passing, breaking)),
        }
    }

    fn at_least(results: &Results, passing: usize) -> Knee {
        let step = &results.steps[passing];
        let is_generator_limited = results.steps.iter().any(|step| !step.is_conclusive());
        Knee {
            bound: Bound::AtLeast,
            last_passing: Some(passing),
            first_breaking: None,
            breach: None,
            bottleneck: is_generator_limited.then_some(Bottleneck::Generator),
            ..Knee::at(step, step, 0.0)
        }
    }

    fn below(results: &Results, breaking: usize) -> Knee {
        let step = &results.steps[breaking];
        Knee {
            bound: Bound::Below,
            first_breaking: Some(breaking),
            breach: results.slo.breaches(step).into_iter().next(),
            bottleneck: Some(Bottleneck::of(results, step)),
            ..Knee::at(step, step, 0.0)
        }
    }

    fn between(results: &Results, passing: usize, breaking: usize) -> Knee {
        let (low, high) = (&results.steps[passing], &results.steps[breaking]);
        let first = results
            .slo
            .breaches(high)
            .into_iter()
            .map(|breach| (crossing(&results.slo, low, breach), breach))
            .min_by(|(a, _), (b, _)| a.total_cmp(b));
        let (position, breach) = match first {
            Some((position, breach)) => (position, Some(breach)),
            None => (0.0, None),
        };
        Knee {
            last_passing: Some(passing),
            first_breaking: Some(breaking),
            breach,
            bottleneck: Some(Bottleneck::of(results, high)),
            ..Knee::at(low, high, position)
        }
    }

    /// The load at `position` (0 to 1) from one step to the next.
    fn at(low: &Step, high: &Step, position: f64) -> Knee {
        let mix = |from: f64, to: f64| from + position * (to - from);
        let cpu = |step: &Step| step.busiest_shard_cpu();
        Knee {
            bound: Bound::Between,
            load: mix(f64::from(low.load()), f64::from(high.load())),
            delivered_pps: mix(low.delivered_pps(), high.delivered_pps()),
            delivered_bps: mix(low.delivered_bps(), high.delivered_bps()),
            shard_cpu: cpu(low).zip(cpu(high)).map(|(from, to)| mix(from, to)),
            last_passing: None,
            first_breaking: None,
            breach: None,
            bottleneck: None,
        }
    }
}

/// Where between a passing step and a breaking one, from 0 to 1, the limit is crossed.
fn crossing(slo: &Slo, passing: &Step, breach: Breach) -> f64 {
    // Queues make latency grow by factors near the knee, so it is interpolated by its logarithm.
    let by_factor = |from: Option<u64>, to: u64, limit: u64| match from {
        Some(from) => {
            let ln = |ns: u64| (ns.max(1) as f64).ln();
            part(ln(from), ln(to), ln(limit))
        }
        None => 0.0,
    };
    match breach {
        Breach::Latency { p99_ns: Some(to) } => by_factor(
            passing.latency.percentile_ns(99.0),
            to,
            slo.latency_p99_ns_max,
        ),
        Breach::Loss { ratio } => part(passing.loss_ratio(), ratio, slo.loss_ratio_max),
        Breach::JoinLatency { p99_ns } => by_factor(
            passing.joins.latency.percentile_ns(99.0),
            p99_ns,
            slo.join_p99_ns_max,
        ),
        // Nothing to interpolate: it worked below and did not here.
        Breach::Latency { p99_ns: None } | Breach::JoinFailures { .. } => 0.0,
    }
}

fn part(from: f64, to: f64, limit: f64) -> f64 {
    if to > from {
        ((limit - from) / (to - from)).clamp(0.0, 1.0)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(subscribers: u32, p99_us: u64, lost: u64) -> Step {
        let mut step = Step {
            measured_s: 1.0,
            ..Step::default()
        };
        step.offered.subscribers = subscribers;
        step.offered.packets_out = 100_000;
        step.integrity.expected = 100_000;
        step.integrity.lost = lost;
        step.delivered.packets = u64::from(subscribers) * 100;
        step.latency.record_many_ns(p99_us * 1_000, 100);
        step
    }

    fn results(steps: Vec<Step>) -> Results {
        Results {
            steps,
            ..Results::default()
        }
    }

    #[test]
    fn latency_is_interpolated_by_its_logarithm() {
        // 5 ms is half way, by factors, from 1 ms to 25 ms.
        let knee = Knee::of(&results(vec![step(100, 1_000, 0), step(200, 25_000, 0)])).unwrap();
        assert_eq!(knee.bound, Bound::Between);
        assert!((knee.load - 150.0).abs() < 1.0, "{knee:?}");
        assert!((knee.delivered_pps - 15_000.0).abs() < 100.0);
        assert_eq!((knee.last_passing, knee.first_breaking), (Some(0), Some(1)));
    }

    #[test]
    fn the_part_that_breaks_first_decides() {
        // Loss crosses 0.1 % at a fifth of the way, latency half way.
        let knee = Knee::of(&results(vec![step(100, 1_000, 0), step(200, 25_000, 500)])).unwrap();
        assert!((knee.load - 120.0).abs() < 0.1, "{knee:?}");
        assert!(matches!(knee.breach, Some(Breach::Loss { .. })));
    }

    #[test]
    fn without_a_break_it_is_a_lower_bound() {
        let knee = Knee::of(&results(vec![step(100, 900, 0), step(200, 950, 0)])).unwrap();
        assert_eq!((knee.bound, knee.load), (Bound::AtLeast, 200.0));
        assert_eq!(knee.bottleneck, None);
    }

    #[test]
    fn a_limited_generator_proves_nothing_against_the_server() {
        let mut limited = step(200, 25_000, 0);
        limited.generator.limited_by = Some("own CPU".into());
        let knee = Knee::of(&results(vec![step(100, 900, 0), limited])).unwrap();
        assert_eq!((knee.bound, knee.load), (Bound::AtLeast, 100.0));
        assert_eq!(knee.bottleneck, Some(Bottleneck::Generator));
    }

    #[test]
    fn the_lowest_breaking_load_counts_whatever_the_order() {
        let steps = vec![
            step(400, 90_000, 0),
            step(200, 900, 0),
            step(300, 900, 0),
            step(250, 90_000, 0),
        ];
        let knee = Knee::of(&results(steps)).unwrap();
        assert_eq!((knee.last_passing, knee.first_breaking), (Some(1), Some(3)));
    }

    #[test]
    fn overload_and_holds_do_not_move_it() {
        let mut overload = step(50, 900_000, 0);
        overload.phase = Phase::Overload;
        let knee = Knee::of(&results(vec![overload, step(100, 900, 0)])).unwrap();
        assert_eq!((knee.bound, knee.load), (Bound::AtLeast, 100.0));
    }

    #[test]
    fn breaking_at_once_is_an_upper_bound() {
        let knee = Knee::of(&results(vec![step(100, 9_000, 0)])).unwrap();
        assert_eq!((knee.bound, knee.load), (Bound::Below, 100.0));
        assert_eq!(Knee::of(&results(Vec::new())), None);
    }
}
