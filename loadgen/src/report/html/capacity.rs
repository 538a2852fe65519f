//! What machines of other sizes carry.

use super::format;
use super::markup::Markup;
use super::mix;
use super::table::Table;
use super::view::{View, rounded_down};
use crate::report::projection::{CONTROL_SHARE_MAX, Costs, LimitedBy, Projection, ShareOf};
use crate::report::verdict::Bottleneck;

const SIZES_VCPUS: [u32; 3] = [2, 4, 8];

pub(super) fn draw(out: &mut Markup, view: &View<'_>) {
    out.raw("<section>\n<h2>What a machine carries</h2>\n");
    match (&view.knee, &view.costs) {
        (Some(knee), Some(costs)) => {
            let sizes = Projection::for_sizes(view.results, knee, costs, &SIZES_VCPUS);
            draw_sizes(out, view, costs, &sizes);
            if let Some(prices) = view.prices() {
                mix::draw(out, &prices);
            }
        }
                _ if view.steps.iter().any(|step| step.usage.is_some()) => out.element(
            "p",
            &[("class", &"banner plain")],
            "Nothing is projected from this run, for no load of it stayed within bounds.",
        ),
        _ => out.element(
            "p",
            &[("class", &"banner plain")],
            "Other machine sizes are projected from the server's CPU, which was not watched: run the \
             generator on its machine, with its process id.",
        ),
    }
    out.raw("</section>\n");
}

fn draw_sizes(out: &mut Markup, view: &View<'_>, costs: &Costs, sizes: &[Projection]) {
    let most = sizes.iter().map(|size| size.load).fold(1.0, f64::max);
    out.raw("<figure>\n<figcaption><h3>Capacity by size of the machine</h3>");
    out.raw(
        "<p>Solid bars are measured by this run, hatched ones projected by the formula below.</p>",
    );
    out.raw("</figcaption>\n<div class=\"sizes\">\n");
    for size in sizes {
        draw_size(out, view, size, size.load / most);
    }
    out.raw("</div>\n");
    formula(out, view, costs);
    let mut table = Table::new(
        "Capacity by size of the machine",
        &[
            "",
            "",
            "capacity",
            "packets/s",
            "bitrate",
            "memory",
            "limited by",
            "one big room",
        ],
    );
    for size in sizes {
        table.rows.push(vec![
            format!("{} vCPU", size.vcpus),
            if size.is_measured {
                "measured".into()
            } else {
                "projected".into()
            },
            view.load(rounded_down(size.load)),
            format::short(size.packets_per_s),
            format::bits_per_s(size.bits_per_s),
            format::or_unknown(size.memory_bytes, format::bytes),
            limited_by(size).into(),
            format::or_unknown(size.load_one_room.map(rounded_down), format::count),
        ]);
    }
    out.append(table.folded());
    out.raw("</figure>\n");
}

fn limited_by(size: &Projection) -> &'static str {
    match size.limited_by {
        LimitedBy::Shards => "forwarding",
        LimitedBy::ControlPlane => "control plane",
    }
}

fn draw_size(out: &mut Markup, view: &View<'_>, size: &Projection, part: f64) {
    let (class, how) = if size.is_measured {
        ("fill measured", "measured")
    } else {
        ("fill projected", "projected")
    };
    out.raw("<div class=\"size\">");
    out.element(
        "b",
        &[("class", &"vcpus")],
        format_args!("{} vCPU", size.vcpus),
    );
    out.raw("<span class=\"bar\">");
    let style = format!("width:{:.1}%", 100.0 * part);
    out.element("span", &[("class", &class), ("style", &style)], "");
    out.raw("</span>");
    out.open("span", &[("class", &"carries")]);
    out.element("b", &[], view.load(rounded_down(size.load)));
    out.element("em", &[("class", &how)], how);
    let remark = format!(
        "{} packets/s · {} · {}",
        format::short(size.packets_per_s),
        format::bits_per_s(size.bits_per_s),
        format::or_unknown(size.memory_bytes, format::bytes)
    );
    out.element("small", &[], remark);
    out.raw("</span></div>\n");
}

/// The model in words and numbers: a reader must be able to redo the sum.
fn formula(out: &mut Markup, view: &View<'_>, costs: &Costs) {
    let noun = view.noun();
    let processors = if costs.has_shards { "S" } else { "v" };
    let forwarding = if costs.growth == 1.0 {
        format!("{processors} · u / (r · c)")
    } else {
        format!("n · ({processors} · u / (n · r · c))^(1/g)")
    };
    let formula = if costs.has_shards {
        format!("{noun} = min( {forwarding},  {CONTROL_SHARE_MAX} · (v − S) / k )")
    } else {
        format!("{noun} = {forwarding}")
    };
    out.raw("<div class=\"formula\">\n");
    out.element("code", &[], formula);
    out.raw("<dl>");
    for (name, meaning) in terms(costs) {
        out.element("dt", &[], name);
        out.element("dd", &[], meaning);
    }
    out.raw("</dl>\n");
    // Below this, a queue that waits for its own CPU is an unlikely reason.
    if costs.is_knee_known && costs.shard_share < 0.5 {
        out.element("p", &[], with_cpu_to_spare(view));
    }
    out.raw("</div>\n");
}

/// What a knee means that is not the CPU's.
fn with_cpu_to_spare(view: &View<'_>) -> &'static str {
    let bottleneck = view.knee.as_ref().and_then(|knee| knee.bottleneck);
    match bottleneck {
        Some(Bottleneck::Bursts) => {
            "The bounds broke with CPU to spare, for the size of a room: one shard copies each \
             packet to all of it. Further rooms fit beside it, a bigger one on that shard does not. \
             These projections leave that CPU unused."
        }
        _ => {
            "The bounds broke with CPU to spare: something else stood in the way, such as other \
             programs on the machine. These projections take it to stay there."
        }
    }
}

fn terms(costs: &Costs) -> Vec<(&'static str, String)> {
    let share_of = match costs.share_of {
        ShareOf::Shard => "share of a shard's CPU in use",
        ShareOf::AllCpus => "share of the server's CPUs in use",
        ShareOf::Quota => "share of its CPU quota in use, taken to hold for whole CPUs,",
    };
    let knee = match (costs.is_knee_known, costs.share_of) {
        (false, _) => "at most: assumed, for this run did not reach the knee",
        (true, ShareOf::Shard) => "at the knee",
        (true, ShareOf::AllCpus | ShareOf::Quota) => "at the highest load that held",
    };
    let price = micros(costs.shard_us_per_packet);
    let rate = format::digits(costs.packets_per_load_s);
    let mut terms = vec![
        ("v", "vCPUs of the machine".to_string()),
        (
            "u",
            format!("{}, {share_of} {knee}", format::percent(costs.shard_share)),
        ),
        ("r", format!("{rate} packets/s for each of them")),
    ];
    if costs.growth != 1.0 {
        terms.push((
            "n",
            format!("{}, the load that was measured", format::count(costs.load)),
        ));
        terms.push((
            "g",
            format!(
                "{}, the power by which packets grow",
                format::digits(costs.growth)
            ),
        ));
    }
    if !costs.has_shards {
        terms.push((
            "c",
            format!("{price}, CPU of the whole server per forwarded packet"),
        ));
        return terms;
    }
    let lane = match costs.lane_us_per_packet {
        Some(us) => format!(
            "{}; one big room gets S · (u − p · l) / (r · c)",
            micros(us)
        ),
        None if costs.has_lanes => "not told apart by this run, so contained in c".into(),
        None => "not shown by this run: rooms are taken to stay on one shard".into(),
    };
    let control = micros(costs.control_us_per_subscriber * costs.subscribers_per_load);
    terms.extend([
        ("S", "shards: v − 1, at least one".into()),
        ("c", format!("{price}, CPU of a shard per forwarded packet")),
        ("k", format!("{control} of other CPU per second for each")),
        (
            "l",
            format!("CPU per published packet and further shard (lane): {lane}"),
        ),
    ]);
    terms
}

fn micros(us: f64) -> String {
    format::duration_ns(1e3 * us)
}
