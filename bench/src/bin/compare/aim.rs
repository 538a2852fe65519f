//! Finds the size of a load that keeps a server as busy as is wanted.

use crate::args::{Load, RunArguments, Server, Size};
use crate::run::{Outcome, Trial};

const LOOKS_MAX: usize = 5;
const LOOK_S: u64 = 3;
/// Near enough to the share of CPU that is wanted.
const NEAR: f64 = 0.07;
/// A larger load that delivers no more than this has found the limit.
const GROWTH_MIN: f64 = 1.04;

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

fn most(arguments: &RunArguments, server: &Server, load: &Load) -> Result<Aimed, String> {
    // Without a limit first, so that the share leads to where the limit will be.
    let first = start(load);
    let outcome = look(arguments, server, load, first, None)?;
    let used = outcome.cpu_s() / outcome.step()?.measured_s;
    let mut size = (f64::from(first) * arguments.share / used.max(0.01)).ceil() as u32;
    let mut best = (0.0, size);
    for _ in 0..LOOKS_MAX {
        let outcome = look(arguments, server, load, size, Some(arguments.share))?;
        let step = outcome.step()?;
        let delivered = step.delivered.packets as f64 / step.measured_s;
        if step.generator.limited_by.is_some() {
            let note = format!("{}: the generator was the limit at {size}", server.name);
            let size = if best.0 > 0.0 { best.1 } else { size };
            return Ok(Aimed {
                size,
                note: Some(note),
            });
        }
        if delivered < best.0 * GROWTH_MIN {
            break;
        }
        best = (delivered, size);
        size = (f64::from(size) * 1.3).ceil() as u32;
    }
    Ok(Aimed {
        size: best.1,
        note: None,
    })
}
