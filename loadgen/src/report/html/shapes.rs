//! What charts are made of: lines, rectangles, text, paths, and where they go.

use super::axis::Axis;
use super::markup::{Markup, Px};

/// The widths a chart is drawn at; the style sheet shows the one that fits the window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Width {
    pub(super) px: f64,
    pub(super) class: &'static str,
}

/// For charts as wide as the page.
pub(super) const FULL: [Width; 3] = [
    Width {
        px: 1080.0,
        class: "wide",
    },
    Width {
        px: 680.0,
        class: "medium",
    },
    Width {
        px: 350.0,
        class: "narrow",
    },
];

/// For two charts side by side, where there is room for that.
pub(super) const HALF: [Width; 3] = [
    Width {
        px: 520.0,
        class: "wide",
    },
    Width {
        px: 330.0,
        class: "medium",
    },
    Width {
        px: 350.0,
        class: "narrow",
    },
];

/// Where a panel lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
}

impl Frame {
    pub(super) fn width(&self) -> f64 {
        self.right - self.left
    }

    pub(super) fn x(&self, axis: &Axis, value: f64) -> f64 {
        self.left + axis.place(value) * self.width()
    }

    pub(super) fn y(&self, axis: &Axis, value: f64) -> f64 {
        self.bottom - axis.place(value) * (self.bottom - self.top)
    }
}

/// The `d` of a path.
#[derive(Debug, Default)]
pub(super) struct Path {
    text: String,
    is_down: bool,
}

impl Path {
    pub(super) fn to(&mut self, x: f64, y: f64) {
        self.text.push(if self.is_down { 'L' } else { 'M' });
        self.is_down = true;
        self.text.push_str(&format!("{} {}", Px(x), Px(y)));
    }

    /// The next point begins a new line.
    pub(super) fn lift(&mut self) {
        self.is_down = false;
    }

    pub(super) fn rect(&mut self, [x, y, width, height]: [f64; 4]) {
        self.text.push_str(&format!(
            "M{} {}h{}v{}h{}z",
            Px(x),
            Px(y),
            Px(width),
            Px(height),
            Px(-width)
        ));
    }

    pub(super) fn open(self) -> String {
        self.text
    }

    pub(super) fn closed(mut self) -> String {
        if !self.text.is_empty() {
            self.text.push('Z');
        }
        self.text
    }
}

pub(super) fn open_svg(out: &mut Markup, width: Width, height: f64, description: &str) {
    out.open(
        "svg",
        &[
            ("class", &width.class),
            (
                "viewBox",
                &format_args!("0 0 {} {}", Px(width.px), Px(height)),
            ),
            ("role", &"img"),
            ("aria-label", &description),
        ],
    );
}

pub(super) fn x_axis(out: &mut Markup, frame: Frame, axis: &Axis, label: &str) {
    line(
        out,
        "base",
        [frame.left, frame.bottom, frame.right, frame.bottom],
    );
    for (value, label) in &axis.ticks {
        let x = frame.x(axis, *value);
        line(out, "base", [x, frame.bottom, x, frame.bottom + 4.0]);
        text(out, "tick", "middle", (x, frame.bottom + 18.0), label);
    }
    text(
        out,
        "axis",
        "end",
        (frame.right, frame.bottom + 37.0),
        label,
    );
}

pub(super) fn line(out: &mut Markup, class: &'static str, [x1, y1, x2, y2]: [f64; 4]) {
    out.empty(
        "line",
        &[
            ("class", &class),
            ("x1", &Px(x1)),
            ("y1", &Px(y1)),
            ("x2", &Px(x2)),
            ("y2", &Px(y2)),
        ],
    );
}

pub(super) fn rect(out: &mut Markup, class: &'static str, [x, y, width, height]: [f64; 4]) {
    out.empty(
        "rect",
        &[
            ("class", &class),
            ("x", &Px(x)),
            ("y", &Px(y)),
            ("width", &Px(width)),
            ("height", &Px(height)),
        ],
    );
}

pub(super) fn text(
    out: &mut Markup,
    class: &'static str,
    anchor: &'static str,
    (x, y): (f64, f64),
    text: &str,
) {
    out.element(
        "text",
        &[
            ("class", &class),
            ("text-anchor", &anchor),
            ("x", &Px(x)),
            ("y", &Px(y)),
        ],
        text,
    );
}
