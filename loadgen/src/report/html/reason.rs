//! Why the latency bound broke, in a sentence or two, with the readings it follows from.

use super::format;
use super::forwarding::bounds;
use super::view::View;
use crate::report::cause::{Burst, Cause, Evidence};
use crate::report::model::Step;
use crate::report::verdict::{Bottleneck, Breach};

/// Of the lowest load whose packets were late although nothing was used up.
pub(super) fn of(view: &View<'_>) -> Option<String> {
    let results = view.results;
    let broken = view.knee.as_ref()?.first_breaking?;
    let step = results.steps.get(broken)?;
    let is_late = |breach: &Breach| matches!(breach, Breach::Latency { p99_ns: Some(_) });
    results.slo.breaches(step).iter().find(|it| is_late(it))?;
    match Bottleneck::of(results, step) {
        Bottleneck::Bursts | Bottleneck::Within | Bottleneck::Outside | Bottleneck::Unknown => {
            sentence(view, step)
        }
        _ => None,
    }
}

fn sentence(view: &View<'_>, step: &Step) -> Option<String> {
    let evidence = Evidence::of(step)?;
    let load = view.load(f64::from(step.load()));
    let Some(own) = evidence.own else {
        let cpu = match step.usage {
            Some(_) => "its CPU was not used up",
            None => "its CPU was not watched",
        };
        return Some(format!(
            "At {load} {cpu}, and of its own forwarding it tells nothing: where packets waited is \
             not known."
        ));
    };
    let busy = match evidence.shard_cpu {
        Some(share) => format!(
            ", with {} of its busiest shard's CPU used",
            format::percent(share)
        ),
        None => String::new(),
    };
    let readings = format!(
        "At {load} its own p99 from a packet's arrival to the last copy is {}, end to end {}{busy}.",
        bounds(own),
        format::duration_ns(evidence.end_to_end_ns)
    );
    let conclusion = match evidence.cause() {
        Cause::Bursts => {
            let work = evidence.burst.map(|burst| work(&burst))?;
            format!("So packets wait for those that came with them: {work} on one shard.")
        }
        Cause::Within => match evidence.burst.map(|burst| work(&burst)) {
            Some(work) => format!(
                "So they wait within the server, and not for their frame alone: {work}. What else \
                 they wait for is not seen."
            ),
            None => "So they wait within the server. For what is not seen.".into(),
        },
        Cause::Outside => {
            "So they wait outside of its forwarding: on the way, in the kernel, or in the generator."
                .into()
        }
        Cause::Unknown if evidence.crosses_lanes => {
            "The copies that other shards made are not in that figure: where packets waited is not \
             known."
                .into()
        }
        Cause::Unknown => "That does not tell where packets waited.".into(),
    };
    Some(format!("{readings} {conclusion}"))
}

/// What a shard has to do for a frame, as a sum that a reader can redo.
fn work(burst: &Burst) -> String {
    let packets = match burst.packets {
        1 => "one packet".into(),
        packets => format!("{} packets of a frame", format::count(packets.into())),
    };
    format!(
        "{packets} in {} copies each at {} take {}",
        format::digits(burst.copies),
        format::duration_ns(burst.copy_ns),
        format::duration_ns(burst.takes_ns())
    )
}
