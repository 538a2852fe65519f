//! Finding the load up to which the service level holds.

use std::fmt;
use std::time::Duration;

use crate::report::model::{Phase, Step};
use crate::report::verdict::{Bottleneck, Breach};
use crate::run::{Hold, Live, Run, RunError};

/// Steps up multiply the load by this until it breaks.
const STRIDE: f64 = 1.6;
/// The knee is known well enough when what breaks is no further above what holds.
const PRECISION: f64 = 1.1;
/// Beside the knee: how latency looks below it, and how the server bears too much.
const HOLDS: [(f64, Phase); 4] = [
    (0.70, Phase::Hold),
    (0.95, Phase::Hold),
    (1.50, Phase::Overload),
    (2.00, Phase::Overload),
];

/// How to search.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Search {
    pub start: u32,
    /// Load beyond which not to look.
    pub limit: u32,
    /// How long a load is held on the way.
    pub step: Duration,
    /// How long the loads around the knee are held.
    pub hold: Duration,
}

/// Whom a search tells how it goes.
pub trait Observer {
    fn begin(&mut self, name: String);
    fn show(&mut self, live: &Live);
    fn held(&mut self, size: u32, step: &Step);
}

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Found {
    /// The largest load that held.
    pub knee: Option<u32>,
    /// The smallest that did not, with how.
    pub breaking: Option<(u32, Vec<Breach>, Option<Bottleneck>)>,
    /// The generator gave out first, at this load.
    pub limited: Option<(u32, String)>,
    pub noun: String,
}

/// Searches, then holds the loads around what was found. Every load becomes a step of the run's
/// results.
pub async fn find(
    run: &mut Run,
    search: Search,
    observer: &mut dyn Observer,
) -> Result<Found, RunError> {
    let mut found = Found {
        noun: run.noun().to_owned(),
        ..Found::default()
    };
    let idle = (search.start / 10).max(1);
    hold(run, (idle, Phase::Idle, None), search.step, observer).await?;
    let mut size = search.start;
    while size <= search.limit && !run.is_interrupted() {
        let step = hold(run, (size, Phase::Raise, None), search.step, observer).await?;
        found.judge(run, size, &step);
        match found.next(size, search.limit) {
            Some(next) => size = next,
            None => break,
        }
    }
    if let Some(knee) = found.knee {
        for (share, phase) in HOLDS {
            if run.is_interrupted() {
                break;
            }
            let size = ((f64::from(knee) * share).round() as u32).max(1);
            hold(run, (size, phase, Some(share)), search.hold, observer).await?;
        }
    }
    Ok(found)
}

async fn hold(
    run: &mut Run,
    (size, phase, share_of_knee): (u32, Phase, Option<f64>),
    duration: Duration,
    observer: &mut dyn Observer,
) -> Result<Step, RunError> {
    let name = match phase {
        Phase::Idle => "idle",
        Phase::Raise => "raise",
        Phase::Hold => "hold",
        Phase::Overload => "overload",
    };
    observer.begin(format!("{name} {size}"));
    let hold = Hold {
        size,
        duration,
        phase,
        share_of_knee,
    };
    let step = run
        .hold(hold, &mut |live| observer.show(live))
        .await?
        .clone();
    observer.held(size, &step);
    Ok(step)
}

impl Found {
    fn judge(&mut self, run: &Run, size: u32, step: &Step) {
        let breaches = run.slo().breaches(step);
        if let Some(why) = &step.generator.limited_by {
            // Whatever it broke may be our own fault; whatever it held, it held.
            if breaches.is_empty() {
                self.passed(size);
            }
            let lowest = self.limited.as_ref().is_none_or(|(known, _)| size < *known);
            if lowest {
                self.limited = Some((size, why.clone()));
            }
        } else if breaches.is_empty() {
            self.passed(size);
        } else {
            let is_read = step.usage.is_some() || !step.shards.is_empty();
            let bottleneck = is_read.then(|| run.bottleneck(step));
            self.breaking = Some((size, breaches, bottleneck));
        }
    }

    fn passed(&mut self, size: u32) {
        self.knee = Some(self.knee.map_or(size, |knee| knee.max(size)));
    }

    /// The load to try after `size`; `None` when the knee is known.
    fn next(&self, size: u32, limit: u32) -> Option<u32> {
        let breaking = self.breaking.as_ref().map(|(size, ..)| *size);
        let limited = self.limited.as_ref().map(|(size, _)| *size);
        let ceiling = breaking.into_iter().chain(limited).min();
        let next = match (self.knee, ceiling) {
            (Some(knee), Some(ceiling)) if knee >= ceiling => return None,
            (Some(knee), Some(ceiling)) => {
                let close = f64::from(ceiling) <= f64::from(knee) * PRECISION;
                if close || ceiling - knee <= 1 {
                    return None;
                }
                knee + (ceiling - knee) / 2
            }
            (None, Some(ceiling)) => ceiling / 2,
            (_, None) if size >= limit => return None,
            (_, None) => ((f64::from(size) * STRIDE).ceil() as u32).min(limit),
        };
        (next > 0).then_some(next)
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = &self.noun;
        match self.knee {
            Some(knee) => write!(f, "the service level holds up to {knee} {noun}")?,
            None => write!(f, "the service level held at no load")?,
        }
        if let Some((size, breaches, bottleneck)) = &self.breaking {
            let words: Vec<_> = breaches.iter().map(describe).collect();
            write!(f, "; at {size} it breaks: {}", words.join(", "))?;
            if let Some(bottleneck) = bottleneck {
                write!(f, "; what gave out first: {bottleneck}")?;
            }
        }
        if let Some((size, why)) = &self.limited {
            write!(f, "; at {size} the generator itself is the limit: {why}")?;
        }
        Ok(())
    }
}

/// A breach in words.
pub fn describe(breach: &Breach) -> String {
    let ms = |ns: u64| ns as f64 / 1e6;
    match breach {
        Breach::Latency { p99_ns: Some(ns) } => format!("latency p99 {:.2} ms", ms(*ns)),
        Breach::Latency { p99_ns: None } => "nothing arrived".to_owned(),
        Breach::Loss { ratio } => format!("loss {:.3} %", ratio * 100.0),
        Breach::JoinLatency { p99_ns } => format!("join p99 {:.0} ms", ms(*p99_ns)),
        Breach::JoinFailures { failed, attempted } => {
            format!("{failed} of {attempted} joins failed")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches a server that holds up to `knee`, with a generator that holds up to `own`.
    fn search(start: u32, limit: u32, knee: u32, own: u32) -> (Found, Vec<u32>) {
        let mut found = Found::default();
        let mut tried = Vec::new();
        let mut size = start;
        loop {
            tried.push(size);
            assert!(tried.len() < 50, "{tried:?}");
            if size > own {
                found.limited = Some((size, "test".to_owned()));
            } else if size <= knee {
                found.passed(size);
            } else {
                found.breaking = Some((size, Vec::new(), None));
            }
            match found.next(size, limit) {
                Some(next) => size = next,
                None => return (found, tried),
            }
        }
    }

    #[test]
    fn the_knee_is_found_to_a_tenth() {
        for knee in [1, 7, 20, 21, 333, 4999] {
            let (found, tried) = search(20, 10_000, knee, u32::MAX);
            let (low, high) = (found.knee.unwrap(), found.breaking.unwrap().0);
            assert!(low <= knee && knee < high, "{knee}: {low}..{high}");
            assert!(
                f64::from(high) <= f64::from(low) * PRECISION || high - low == 1,
                "{knee}: {low}..{high}"
            );
            assert!(tried.len() < 25);
        }
    }

    #[test]
    fn the_limit_ends_a_search() {
        let (found, tried) = search(20, 100, 1000, u32::MAX);
        assert_eq!(found.knee, Some(100));
        assert_eq!(found.breaking, None);
        assert_eq!(tried.last(), Some(&100));
    }

    #[test]
    fn the_generators_own_limit_is_not_taken_for_the_servers() {
        let (found, _) = search(20, 10_000, 1000, 100);
        assert!(found.knee.unwrap() <= 100);
        assert_eq!(found.breaking, None);
        assert!(found.to_string().contains("generator itself is the limit"));
    }
}
