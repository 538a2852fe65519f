//! Line charts: panels one below the other that share the axis along the page.

use super::axis::Axis;
use super::markup::{Markup, Px};
pub(super) use super::shapes::{FULL, HALF};
use super::shapes::{Frame, Path, Width, line, open_svg, rect, text, x_axis};

/// Height of a line of text, and so the least distance between two labels.
const LINE_PX: f64 = 15.0;
/// Room above a panel for its heading, and above the first for marks.
const HEADING_PX: f64 = 28.0;
const MARKS_PX: f64 = 20.0;
const FOOT_PX: f64 = 46.0;
const GAP_PX: f64 = 16.0;

#[derive(Debug)]
pub(super) struct Chart {
    /// What it shows, in a sentence, for those who do not see it.
    pub(super) description: String,
    pub(super) x: Axis,
    pub(super) x_label: String,
    pub(super) panels: Vec<Panel>,
    pub(super) mark: Option<Mark>,
}

#[derive(Debug)]
pub(super) struct Panel {
    pub(super) heading: String,
    pub(super) y: Axis,
    pub(super) height_px: f64,
    pub(super) series: Vec<Series>,
    /// Shades the area between the first series and the one of this index.
    pub(super) band_to: Option<usize>,
    pub(super) level: Option<Level>,
    /// A line from corner to corner, where both axes agree.
    pub(super) diagonal: Option<&'static str>,
}

#[derive(Debug)]
pub(super) struct Series {
    pub(super) name: String,
    /// Colour in the style sheet.
    pub(super) class: &'static str,
    pub(super) points: Vec<Point>,
    /// Whether a line joins the points.
    pub(super) has_line: bool,
    /// Whether points are drawn, each with its tip.
    pub(super) has_dots: bool,
    /// For bars from the base line up to the points: how much of the axis along the page each takes.
    pub(super) bar_width: Option<f64>,
}

#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) tip: String,
}

/// A vertical line through all panels. What is beyond it is shaded.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) x: f64,
    pub(super) text: String,
}

/// A limit: a horizontal line.
#[derive(Debug)]
pub(super) struct Level {
    pub(super) y: f64,
    pub(super) text: String,
}

impl Panel {
    pub(super) fn new(heading: impl Into<String>, y: Axis, height_px: f64) -> Panel {
        Panel {
            heading: heading.into(),
            y,
            height_px,
            series: Vec::new(),
            band_to: None,
            level: None,
            diagonal: None,
        }
    }
}

impl Chart {
    /// Draws it at each width.
    pub(super) fn draw(&self, widths: &[Width]) -> Markup {
        let mut out = Markup::new();
        for width in widths {
            out.append(self.svg(*width));
            out.line_end();
        }
        out
    }

    fn svg(&self, width: Width) -> Markup {
        let margins = Margins::at(width.px, &self.panels);
        let marks_px = if self.mark.is_some() { MARKS_PX } else { 0.0 };
        let mut top = marks_px;
        let mut body = Markup::new();
        let mut frames = Vec::new();
        for panel in &self.panels {
            top += HEADING_PX;
            let frame = Frame {
                left: margins.left,
                right: width.px - margins.right,
                top,
                bottom: top + panel.height_px,
            };
            frames.push(frame);
            top = frame.bottom + GAP_PX;
        }
        let Some((first, last)) = frames.first().copied().zip(frames.last().copied()) else {
            return body;
        };
        let height = last.bottom + FOOT_PX;
        let x = self.x.clone().thinned(last.width());
        let whole = Frame {
            bottom: last.bottom,
            ..first
        };
        self.shade(&mut body, whole);
        // Below all text, whose outline then keeps it readable.
        self.draw_mark(&mut body, whole);
        for (panel, frame) in self.panels.iter().zip(&frames) {
            panel.draw(&mut body, *frame, &x);
        }
        x_axis(&mut body, last, &x, &self.x_label);

        let mut out = Markup::new();
        open_svg(&mut out, width, height, &self.description);
        out.append(body);
        out.close("svg");
        out
    }

    /// What lies beyond the mark.
    fn shade(&self, out: &mut Markup, whole: Frame) {
        let Some(mark) = &self.mark else {
            return;
        };
        let from = whole.x(&self.x, mark.x);
        if from < whole.right - 1.0 {
            rect(
                out,
                "beyond",
                [
                    from,
                    whole.top,
                    whole.right - from,
                    whole.bottom - whole.top,
                ],
            );
        }
    }

    fn draw_mark(&self, out: &mut Markup, whole: Frame) {
        let Some(mark) = &self.mark else {
            return;
        };
        let x = whole.x(&self.x, mark.x);
        line(out, "mark", [x, MARKS_PX, x, whole.bottom]);
        // Near an edge the text stays within the picture.
        let half = mark.text.chars().count() as f64 * 3.7;
        let (anchor, at) = if x + half > whole.right + 30.0 {
            ("end", x + 6.0)
        } else if x - half < whole.left - 20.0 {
            ("start", x - 6.0)
        } else {
            ("middle", x)
        };
        text(out, "mark-text", anchor, (at, MARKS_PX - 6.0), &mark.text);
    }
}

impl Panel {
    fn draw(&self, out: &mut Markup, frame: Frame, x: &Axis) {
        text(
            out,
            "heading",
            "start",
            (frame.left, frame.top - 11.0),
            &self.heading,
        );
        for (value, label) in &self.y.ticks {
            let y = frame.y(&self.y, *value);
            line(out, "grid", [frame.left, y, frame.right, y]);
            text(out, "tick", "end", (frame.left - 8.0, y + 4.0), label);
        }
        if let Some(name) = self.diagonal {
            let from = (frame.x(x, 0.0), frame.y(&self.y, 0.0));
            let end = x.max.min(self.y.max);
            let to = (frame.x(x, end), frame.y(&self.y, end));
            line(out, "diagonal", [from.0, from.1, to.0, to.1]);
            text(out, "diagonal-text", "end", (to.0 - 16.0, to.1 - 6.0), name);
        }
        self.draw_band(out, frame, x);
        if let Some(level) = &self.level {
            let y = frame.y(&self.y, level.y);
            line(out, "level", [frame.left, y, frame.right, y]);
        }
        for series in &self.series {
            if let Some(width) = series.bar_width {
                series.draw_bars(out, frame, x, &self.y, width);
            }
        }
        for series in self.series.iter().filter(|series| series.has_line) {
            series.draw_line(out, frame, x, &self.y);
        }
        for series in self.series.iter().filter(|series| series.has_dots) {
            series.draw_dots(out, frame, x, &self.y);
        }
        if let Some(level) = &self.level {
            let at = (frame.left + 6.0, frame.y(&self.y, level.y) - 6.0);
            text(out, "level-text", "start", at, &level.text);
        }
        self.draw_names(out, frame, x);
    }

    fn draw_band(&self, out: &mut Markup, frame: Frame, x: &Axis) {
        let (Some(first), Some(second)) = (
            self.series.first(),
            self.band_to.and_then(|index| self.series.get(index)),
        ) else {
            return;
        };
        let there = first.points.iter();
        let back = second.points.iter().rev();
        let mut path = Path::default();
        for point in there.chain(back) {
            path.to(frame.x(x, point.x), frame.y(&self.y, point.y));
        }
        out.empty("path", &[("class", &"band"), ("d", &path.closed())]);
    }

    /// Names beside the lines' ends, pushed apart where lines end close together.
    fn draw_names(&self, out: &mut Markup, frame: Frame, x: &Axis) {
        // Close to the panel's edge names stand beside it, clear of the axis.
        let beside = |end_x: f64| {
            if frame.right - end_x < 40.0 {
                frame.right
            } else {
                end_x
            }
        };
        let mut names: Vec<(f64, f64, &Series)> = self
            .series
            .iter()
            .filter(|series| !series.name.is_empty())
            .filter_map(|series| {
                let end = series.points.last()?;
                Some((frame.y(&self.y, end.y), beside(frame.x(x, end.x)), series))
            })
            .collect();
        names.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut places: Vec<f64> = names.iter().map(|name| name.0).collect();
        spread(&mut places, frame.top, frame.bottom);
        for ((_, end_x, series), y) in names.iter().zip(places) {
            out.element(
                "text",
                &[
                    ("class", &format_args!("name {}", series.class)),
                    ("x", &Px(end_x + 10.0)),
                    ("y", &Px(y + 4.0)),
                ],
                &series.name,
            );
        }
    }
}

impl Series {
    /// A line with a dot at each point.
    pub(super) fn new(name: impl Into<String>, class: &'static str, points: Vec<Point>) -> Series {
        Series {
            name: name.into(),
            class,
            points,
            has_line: true,
            has_dots: true,
            bar_width: None,
        }
    }

    /// A bar for each point, to the right of it.
    pub(super) fn bars(class: &'static str, width: f64, points: Vec<Point>) -> Series {
        Series {
            has_line: false,
            has_dots: false,
            bar_width: Some(width),
            ..Series::new("", class, points)
        }
    }

    fn draw_bars(&self, out: &mut Markup, frame: Frame, x: &Axis, y: &Axis, width: f64) {
        for point in &self.points {
            let left = frame.x(x, point.x);
            // A gap between bars, where they are wide enough to bear one.
            let whole = frame.x(x, point.x + width) - left;
            let gap = if whole > 4.0 { 1.0 } else { 0.0 };
            let top = frame.y(y, point.y);
            let class = format_args!("bars {}", self.class);
            out.open(
                "rect",
                &[
                    ("class", &class),
                    ("x", &Px(left)),
                    ("y", &Px(top)),
                    ("width", &Px((whole - gap).max(0.5))),
                    ("height", &Px(frame.bottom - top)),
                ],
            );
            out.element("title", &[], &point.tip);
            out.close("rect");
        }
    }

    fn draw_line(&self, out: &mut Markup, frame: Frame, x: &Axis, y: &Axis) {
        let mut path = Path::default();
        for point in &self.points {
            path.to(frame.x(x, point.x), frame.y(y, point.y));
        }
        let class = format_args!("line {}", self.class);
        out.empty("path", &[("class", &class), ("d", &path.open())]);
    }

    fn draw_dots(&self, out: &mut Markup, frame: Frame, x: &Axis, y: &Axis) {
        for point in &self.points {
            let (cx, cy) = (Px(frame.x(x, point.x)), Px(frame.y(y, point.y)));
            out.open("g", &[("class", &format_args!("dot {}", self.class))]);
            out.empty(
                "circle",
                &[("class", &"reach"), ("cx", &cx), ("cy", &cy), ("r", &9)],
            );
            out.empty(
                "circle",
                &[("class", &"spot"), ("cx", &cx), ("cy", &cy), ("r", &3.2)],
            );
            out.element("title", &[], &point.tip);
            out.close("g");
        }
    }
}

/// Room beside the panels.
#[derive(Debug)]
struct Margins {
    left: f64,
    right: f64,
}

impl Margins {
    fn at(width_px: f64, panels: &[Panel]) -> Margins {
        let longest = |texts: &mut dyn Iterator<Item = &String>| {
            texts.map(|text| text.chars().count()).max().unwrap_or(0) as f64
        };
        let ticks = longest(
            &mut panels
                .iter()
                .flat_map(|p| p.y.ticks.iter().map(|tick| &tick.1)),
        );
        let names = longest(&mut panels.iter().flat_map(|p| p.series.iter().map(|s| &s.name)));
        let right = if names > 0.0 {
            14.0 + 7.2 * names
        } else {
            14.0
        };
        Margins {
            left: 14.0 + 7.0 * ticks,
            right: right.min(width_px / 4.0),
        }
    }
}

/// Moves ascending places apart to a line's height, within bounds if they all fit.
fn spread(places: &mut [f64], top: f64, bottom: f64) {
    let mut least = top;
    for place in places.iter_mut() {
        *place = place.max(least);
        least = *place + LINE_PX;
    }
    let mut most = bottom;
    for place in places.iter_mut().rev() {
        *place = place.min(most);
        most = *place - LINE_PX;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_end_together_are_pushed_apart() {
        let mut places = [10.0, 11.0, 12.0, 80.0];
        spread(&mut places, 0.0, 100.0);
        assert_eq!(places, [10.0, 25.0, 40.0, 80.0]);
        let mut low = [95.0, 96.0, 97.0];
        spread(&mut low, 0.0, 100.0);
        assert_eq!(low, [70.0, 85.0, 100.0]);
    }
}
