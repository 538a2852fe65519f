//! Tables: the figures behind each chart, for reading, copying and screen readers.

use super::markup::Markup;

#[derive(Debug)]
pub(super) struct Table {
    pub(super) caption: String,
    /// The first column names the row.
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(caption: impl Into<String>, columns: &[&str]) -> Table {
        Table {
            caption: caption.into(),
            columns: columns.iter().map(|column| (*column).to_string()).collect(),
            rows: Vec::new(),
        }
    }

    /// Closed below a chart, opened by the reader and for print.
    pub(super) fn folded(&self) -> Markup {
        let mut out = Markup::new();
        out.open("details", &[("class", &"figures")]);
        out.element("summary", &[], "Figures");
        out.append(self.open());
        out.close("details");
        out.line_end();
        out
    }

    pub(super) fn open(&self) -> Markup {
        let mut out = Markup::new();
        // It scrolls sideways where it is wider than the page, also by keyboard.
        out.open(
            "div",
            &[
                ("class", &"scroll"),
                ("tabindex", &0),
                ("role", &"region"),
                ("aria-label", &self.caption),
            ],
        );
        out.open("table", &[]);
        out.element("caption", &[], &self.caption);
        out.raw("<thead><tr>");
        for column in &self.columns {
            out.element("th", &[("scope", &"col")], column);
        }
        out.raw("</tr></thead><tbody>\n");
        for row in &self.rows {
            out.raw("<tr>");
            for (index, cell) in row.iter().enumerate() {
                if index == 0 {
                    out.element("th", &[("scope", &"row")], cell);
                } else {
                    out.element("td", &[], cell);
                }
            }
            out.raw("</tr>\n");
        }
        out.raw("</tbody></table></div>");
        out
    }
}
