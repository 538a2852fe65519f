//! Markup that cannot be broken by what it shows.
//!
//! Tags and attribute names are literals; everything else passes through [`Escaped`]. So a server
//! that calls itself `<script>` is shown as such.

use std::fmt::{self, Display, Write};

/// HTML, or SVG within it, that is also well-formed XML.
#[derive(Debug, Default)]
pub(super) struct Markup(String);

pub(super) type Attributes<'a> = &'a [(&'static str, &'a dyn Display)];

impl Markup {
    pub(super) fn new() -> Markup {
        Markup::default()
    }

    /// Markup as it stands. Only literals, so that nothing measured or received can get here.
    pub(super) fn raw(&mut self, trusted: &'static str) {
        self.0.push_str(trusted);
    }

    pub(super) fn append(&mut self, markup: Markup) {
        self.0.push_str(&markup.0);
    }

    pub(super) fn text(&mut self, text: impl Display) {
        // Writing to a string cannot fail.
        let _ = write!(Escaped(&mut self.0), "{text}");
    }

    pub(super) fn open(&mut self, tag: &'static str, attributes: Attributes<'_>) {
        self.start(tag, attributes);
        self.0.push('>');
    }

    pub(super) fn close(&mut self, tag: &'static str) {
        let _ = write!(self.0, "</{tag}>");
    }

    pub(super) fn empty(&mut self, tag: &'static str, attributes: Attributes<'_>) {
        self.start(tag, attributes);
        self.0.push_str("/>");
    }

    pub(super) fn element(
        &mut self,
        tag: &'static str,
        attributes: Attributes<'_>,
        text: impl Display,
    ) {
        self.open(tag, attributes);
        self.text(text);
        self.close(tag);
    }

    pub(super) fn line_end(&mut self) {
        self.0.push('\n');
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }

    fn start(&mut self, tag: &'static str, attributes: Attributes<'_>) {
        let _ = write!(self.0, "<{tag}");
        for (name, value) in attributes {
            let _ = write!(self.0, " {name}=\"");
            let _ = write!(Escaped(&mut self.0), "{value}");
            self.0.push('"');
        }
    }
}

/// Replaces what has a meaning in markup, and drops what XML cannot hold.
struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' | '\t' => self.0.push(character),
                // Directional overrides would let a name reorder the text around it.
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
                control if control.is_control() => {}
                other => self.0.push(other),
            }
        }
        Ok(())
    }
}

/// A coordinate, to a tenth of a pixel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Px(pub(super) f64);

impl Display for Px {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = if self.0.is_finite() {
            (self.0 * 10.0).round()
        } else {
            0.0
        };
        let value = tenths / 10.0;
        if tenths % 10.0 == 0.0 {
            write!(f, "{value:.0}")
        } else {
            write!(f, "{value:.1}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_cannot_become_markup() {
        let mut markup = Markup::new();
        markup.element(
            "p",
            &[("title", &"\" onload=\"x")],
            "<script>&'\u{202e}\u{0}",
        );
        assert_eq!(
            markup.into_string(),
            "<p title=\"&quot; onload=&quot;x\">&lt;script&gt;&amp;&#39;</p>"
        );
    }

    #[test]
    fn coordinates_are_short_and_finite() {
        let shown: Vec<String> = [1.0, -0.04, 12.345, f64::NAN, f64::INFINITY]
            .map(|value| Px(value).to_string())
            .to_vec();
        assert_eq!(shown, ["1", "-0", "12.3", "0", "0"]);
    }
}
