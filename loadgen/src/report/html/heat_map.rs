//! Latency over time: a column for each interval, darker where more of its packets were.

use super::axis::Axis;
use super::format;
use super::markup::{Markup, Px};
use super::shapes::{FULL, Frame, Path, Width, line, open_svg, rect, text, x_axis};
use crate::report::latency::Latency;
use crate::report::model::{Phase, Results, Sample, Step};

/// Shades, from few packets to most of an interval's.
const SHADES: [&str; 7] = ["h1", "h2", "h3", "h4", "h5", "h6", "h7"];
/// Share of an interval's packets from which each shade starts, by factors of about three: the
/// tail of one packet in a thousand must be seen beside the bulk.
const SHADE_FROM: [f64; 7] = [0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.25];
/// Bands by which latency is told apart: twelve for each factor of ten.
const BANDS_PER_DECADE: f64 = 12.0;
/// More columns than this are joined: they would be thinner than two pixels.
const COLUMNS_MAX: usize = 360;
const HEIGHT_PX: f64 = 300.0;
const STRIP_PX: f64 = 20.0;

/// Intervals joined to columns.
struct Column {
    from_s: f64,
    until_s: f64,
    subscribers: u32,
    latency: Latency,
}

/// Draws it at each width; none if no interval counted a packet.
pub(super) fn draw(results: &Results) -> Option<Markup> {
    let columns = columns(results);
    let lowest = columns
        .iter()
        .filter_map(|c| c.latency.percentile_ns(0.0))
        .min()?;
    let highest = columns.iter().filter_map(|c| c.latency.max_ns()).max()?;
    let top = (highest as f64).max(1.5 * results.slo.latency_p99_ns_max as f64);
    let y = Axis::logarithmic(
        0.9 * (lowest as f64).max(1.0),
        1.1 * top,
        format::duration_ns,
    );
    let end = columns
        .iter()
        .map(|column| column.until_s)
        .fold(0.0, f64::max);
    let mut out = Markup::new();
    for width in FULL {
        svg(&mut out, width, results, &columns, &y, end);
        out.line_end();
    }
    Some(out)
}

fn columns(results: &Results) -> Vec<Column> {
    let samples: Vec<&Sample> = results
        .steps
        .iter()
        .flat_map(|step| &step.series)
        .filter(|sample| !sample.latency.is_empty())
        .collect();
    let each = samples.len().div_ceil(COLUMNS_MAX).max(1);
    let mut columns = Vec::new();
    for joined in samples.chunks(each) {
        let mut latency = Latency::new();
        for sample in joined {
            latency.add(&sample.latency);
        }
        if let [first, ..] = joined
            && let [.., last] = joined
        {
            columns.push(Column {
                from_s: first.at_s,
                until_s: last.at_s + last.length_s,
                subscribers: last.subscribers,
                latency,
            });
        }
    }
    columns
}

fn svg(out: &mut Markup, width: Width, results: &Results, columns: &[Column], y: &Axis, end: f64) {
    let noun = match results.scenario.subscribers_noun.as_str() {
        "" => "subscribers",
        noun => noun,
    };
    let frame = Frame {
        left: 62.0,
        right: width.px - 10.0,
        top: STRIP_PX + 28.0,
        bottom: STRIP_PX + 28.0 + HEIGHT_PX,
    };
    let x = Axis::time(end, ((frame.right - frame.left) / 90.0) as u32);
    open_svg(
        out,
        width,
        frame.bottom + 46.0,
        "Heat map of forwarding latency over the time of the run",
    );
    text(
        out,
        "heading",
        "start",
        (frame.left, 13.0),
        &format!("Load held, {noun}"),
    );
    rect(
        out,
        "field",
        [
            frame.left,
            frame.top,
            frame.right - frame.left,
            frame.bottom - frame.top,
        ],
    );
    for (value, label) in &y.ticks {
        let at = frame.y(y, *value);
        line(out, "grid", [frame.left, at, frame.right, at]);
        text(out, "tick", "end", (frame.left - 8.0, at + 4.0), label);
    }
    cells(out, frame, &x, y, columns);
    let slo = frame.y(y, results.slo.latency_p99_ns_max as f64);
    line(out, "level", [frame.left, slo, frame.right, slo]);
    p99_line(out, frame, &x, y, columns);
    for step in &results.steps {
        step_strip(out, frame, &x, results, step);
    }
    tips(out, frame, &x, columns);
    x_axis(out, frame, &x, "time since the start of the run");
    out.close("svg");
}

/// One path for each shade, so that thousands of cells stay small.
fn cells(out: &mut Markup, frame: Frame, x: &Axis, y: &Axis, columns: &[Column]) {
    let bands = ((y.max / y.min).log10() * BANDS_PER_DECADE).ceil().max(1.0) as u32;
    let bound = |band: u32| y.min * (y.max / y.min).powf(f64::from(band) / f64::from(bands));
    let mut paths: [Path; 7] = std::array::from_fn(|_| Path::default());
    for column in columns {
        let (left, right) = (frame.x(x, column.from_s), frame.x(x, column.until_s));
        let total = column.latency.count() as f64;
        for band in 0..bands {
            let (low, high) = (bound(band), bound(band + 1));
            let count = column.latency.count_between_ns(low as u64, high as u64);
            if count == 0 {
                continue;
            }
            let share = count as f64 / total;
            let shade = SHADE_FROM
                .iter()
                .rposition(|from| share >= *from)
                .unwrap_or(0);
            let (top, bottom) = (frame.y(y, high), frame.y(y, low));
            if let Some(path) = paths.get_mut(shade) {
                path.rect([left, top, right - left + 0.2, bottom - top + 0.2]);
            }
        }
    }
    for (class, path) in SHADES.into_iter().zip(paths) {
        out.empty("path", &[("class", &class), ("d", &path.open())]);
    }
}

fn p99_line(out: &mut Markup, frame: Frame, x: &Axis, y: &Axis, columns: &[Column]) {
    let mut path = Path::default();
    let mut until_s = 0.0;
    for column in columns {
        // While the load was raised nothing was measured, and nothing is drawn.
        if column.from_s > until_s + 0.5 {
            path.lift();
        }
        until_s = column.until_s;
        if let Some(p99_ns) = column.latency.percentile_ns(99.0) {
            let at = frame.y(y, p99_ns as f64);
            path.to(frame.x(x, column.from_s), at);
            path.to(frame.x(x, column.until_s), at);
        }
    }
    out.empty("path", &[("class", &"p99-over"), ("d", &path.open())]);
}

/// The load of a step, above the time it was held.
fn step_strip(out: &mut Markup, frame: Frame, x: &Axis, results: &Results, step: &Step) {
    let left = frame.x(x, step.started_s);
    let right = frame.x(x, step.started_s + step.measured_s);
    let class = if !step.is_conclusive() {
        "strip limited"
    } else if results.slo.is_met(step) {
        "strip met"
    } else {
        "strip broken"
    };
    out.open("g", &[]);
    let (top, width) = (frame.top - STRIP_PX - 4.0, (right - left - 1.5).max(1.0));
    rect(out, class, [left, top, width, STRIP_PX]);
    let (long, short) = step_names(step);
    let fits = |name: &str| name.chars().count() as f64 * 7.4 + 6.0 <= width;
    let name = [long, short].into_iter().find(|name| fits(name));
    if let Some(name) = name {
        text(
            out,
            "strip-text",
            "middle",
            (left + width / 2.0, top + 14.0),
            &name,
        );
    }
    let title = format!(
        "{} {} held for {}",
        format::count(f64::from(step.load())),
        results.scenario.subscribers_noun,
        format::seconds(step.measured_s)
    );
    out.element("title", &[], title);
    out.close("g");
}

/// A long and a short name of a step.
fn step_names(step: &Step) -> (String, String) {
    let size = format::count(f64::from(step.load()));
    match (step.phase, step.share_of_knee) {
        (Phase::Idle, _) => ("idle".into(), size),
        (Phase::Hold | Phase::Overload, Some(share)) => {
            let share = format!("{:.0}%", 100.0 * share);
            (format!("{share} · {size}"), share)
        }
        // 1,000, or 1k where that is too long.
        _ => {
            let short = format::tick(&format::short(f64::from(step.load())));
            (size, short.replace('\u{202f}', ""))
        }
    }
}

/// An invisible bar over each column says its figures.
fn tips(out: &mut Markup, frame: Frame, x: &Axis, columns: &[Column]) {
    for column in columns {
        let (left, right) = (frame.x(x, column.from_s), frame.x(x, column.until_s));
        let shown = |percentile| {
            let ns = column.latency.percentile_ns(percentile);
            format::or_unknown(ns.map(|ns| ns as f64), format::duration_ns)
        };
        out.open(
            "rect",
            &[
                ("class", &"reach"),
                ("x", &Px(left)),
                ("y", &Px(frame.top)),
                ("width", &Px(right - left)),
                ("height", &Px(frame.bottom - frame.top)),
            ],
        );
        let tip = format!(
            "{}, {} receiving: p50 {}, p99 {}, longest {}",
            format::seconds(column.from_s),
            format::count(f64::from(column.subscribers)),
            shown(50.0),
            shown(99.0),
            shown(100.0)
        );
        out.element("title", &[], tip);
        out.close("rect");
    }
}
