//! Finds the size of a load that keeps a server as busy as is wanted.

use millrace_loadgen::report::model::Step;

use crate::args::{Load, RunArguments, Server, Size};
use crate::run::{Outcome, Trial};

const LOOKS_MAX: usize = 5;
const LOOK_S: u64 = 3;
/// Near enough to the share of CPU that is wanted.
const NEAR: f64 = 0.07;
/// A server that loses more than this bears no more. Ten times what a service level allows: a load at
/// the limit loses a packet now and then.
const LOST_MAX: f64 = 0.01;
/// Nor one with more than one packet in a hundred later than this: its queue grows, or half a second
/// of it is left of each key frame.
const LATE_MAX_NS: u64 = 500_000_000;
/// Nor one that leaves out more, without a hole in its numbers. A frame at the edge of what is measured
/// may be counted on one side only.
const DELIVERED_MIN: f64 = 0.9;
/// Looks upwards go so much further, and lie between later.
const GROWTH: f64 = 1.35;

/// A size, and a sentence where it is not what was asked for.
pub(crate) struct Aimed {
    pub(crate) size: u32,
    pub(crate) note: Option<String>,
}

pub(crate) fn size(
    arguments: &RunArguments,
    server: &Server,
    load: &Load,
) -> Result<Aimed, String> {
    match load.size {
        Size::Fixed(size) => Ok(Aimed { size, note: None }),
        Size::Busy(share) => busy(arguments, server, load, share),
        Size::Most => most(arguments, server, load),
    }
}

fn start(load: &Load) -> u32 {
    match load.scenario.as_str() {
        "meetings" | "livestreams" => 2,
        "livestream" => 100,
        _ => 50,
    }
}

fn look(
    arguments: &RunArguments,
    server: &Server,
    load: &Load,
    size: u32,
    share: Option<f64>,
) -> Result<Outcome, String> {
    let trial = Trial {
        server,
        load,
        size,
        duration_s: LOOK_S,
        share,
    };
    let page = arguments.output.join("aiming.html");
    let outcome = trial.run(arguments, &page)?;
    let step = outcome.step()?;
    eprintln!(
        "  {} {size} on {}: {:.0} packets/s, server {:.1} % CPU{}",
        load.scenario,
        server.name,
        step.delivered.packets as f64 / step.measured_s,
        100.0 * outcome.cpu_s() / step.measured_s,
        if step.generator.limited_by.is_some() {
            ", generator limited"
        } else {
            ""
        }
    );
    Ok(outcome)
}

fn busy(
    arguments: &RunArguments,
    server: &Server,
    load: &Load,
    wanted: f64,
) -> Result<Aimed, String> {
    let mut size = start(load);
    // The largest that the generator bore.
    let mut borne = None;
    for _ in 0..LOOKS_MAX {
        let outcome = look(arguments, server, load, size, None)?;
        let step = outcome.step()?;
        let share = outcome.cpu_s() / step.measured_s;
        if step.generator.limited_by.is_some() && share < wanted {
            let size = borne.unwrap_or(size);
            let note = format!(
                "{}: the generator bears no more than {size}, which keeps the server less busy",
                server.name
            );
            return Ok(Aimed {
                size,
                note: Some(note),
            });
        }
        borne = Some(size);
        if (share / wanted - 1.0).abs() < NEAR {
            break;
        }
        // Packets get cheaper with more of them, so a large step falls short rather than beyond.
        let next = (f64::from(size) * (wanted / share.max(0.01)).min(4.0)).round() as u32;
        if next == size {
            break;
        }
        size = next.max(1);
    }
    Ok(Aimed { size, note: None })
}

/// The largest load that the server delivers within its share of a CPU. Beyond it a server works for
/// packets that come too late or are lost, which is not what a packet costs.
fn most(arguments: &RunArguments, server: &Server, load: &Load) -> Result<Aimed, String> {
    // Without a limit first, so that the share leads to where the limit will be.
    let first = start(load);
    let outcome = look(arguments, server, load, first, None)?;
    let used = outcome.cpu_s() / outcome.step()?.measured_s;
    let guess = f64::from(first) * arguments.share / used.max(0.01);
    let mut bounds = Bounds::default();
    let mut note = None;
    for _ in 0..LOOKS_MAX {
        let Some(size) = bounds.next(guess) else {
            break;
        };
        let outcome = look(arguments, server, load, size, Some(arguments.share))?;
        let step = outcome.step()?;
        if step.generator.limited_by.is_some() {
            note = Some(format!(
                "{}: the generator was the limit at {size}",
                server.name
            ));
        }
        bounds.note(size, is_borne(step));
    }
    if bounds.too_large.is_none() {
        note = Some(format!("{} was not brought to its limit", server.name));
    }
    match bounds.borne {
        Some(size) => Ok(Aimed { size, note }),
        None => Err(format!("{} bears none of {}", server.name, load.text)),
    }
}

fn is_borne(step: &Step) -> bool {
    let lost = step.integrity.lost as f64 / step.integrity.expected.max(1) as f64;
    let late_ns = step.latency.percentile_ns(99.0).unwrap_or(u64::MAX);
    let delivered = step.delivered.packets as f64 / step.offered.packets_out.max(1) as f64;
    step.generator.limited_by.is_none()
        && lost <= LOST_MAX
        && late_ns <= LATE_MAX_NS
        && delivered >= DELIVERED_MIN
}

/// Between which sizes the limit is.
#[derive(Default)]
struct Bounds {
    borne: Option<u32>,
    too_large: Option<u32>,
}

impl Bounds {
    fn note(&mut self, size: u32, is_borne: bool) {
        if is_borne {
            self.borne = Some(size);
        } else {
            self.too_large = Some(size);
        }
    }

    /// None when they are near enough.
    fn next(&self, guess: f64) -> Option<u32> {
        let size = match (self.borne.map(f64::from), self.too_large.map(f64::from)) {
            (None, None) => guess.ceil(),
            (Some(borne), None) => (borne * GROWTH).ceil(),
            (None, Some(too_large)) => (too_large * 0.7).floor().max(1.0),
            (Some(borne), Some(too_large)) => {
                if too_large / borne - 1.0 < NEAR {
                    return None;
                }
                (borne + too_large) / 2.0
            }
        };
        let size = size.round() as u32;
        (Some(size) != self.borne && Some(size) != self.too_large).then_some(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size found for a server that bears `limit`, and the looks it took.
    fn found(guess: f64, limit: u32) -> (Option<u32>, usize) {
        let mut bounds = Bounds::default();
        let mut looks = 0;
        while looks < LOOKS_MAX
            && let Some(size) = bounds.next(guess)
        {
            looks += 1;
            bounds.note(size, size <= limit);
        }
        (bounds.borne, looks)
    }

    #[test]
    fn the_largest_load_that_is_borne_is_found_from_either_side() {
        for (guess, limit) in [(500.0, 1000), (900.0, 1000), (1100.0, 1000), (1400.0, 1000)] {
            let (size, looks) = found(guess, limit);
            let size = size.unwrap();
            assert!(
                size <= limit && f64::from(size) > 0.86 * f64::from(limit),
                "{guess}: {size}"
            );
            assert!(looks <= LOOKS_MAX);
        }
        assert_eq!(found(2.0, 2).0, Some(2));
        assert_eq!(found(3.0, 2).0, Some(2));
        assert_eq!(found(4.0, 1).0, Some(1));
        assert_eq!(found(3.0, 0).0, None);
    }
}
