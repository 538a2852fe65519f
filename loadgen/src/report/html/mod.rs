//! The report as one HTML file: no network, no library, charts as inline SVG.
//!
//! Each chart is drawn at three widths, of which the style sheet shows the one that fits, so that
//! text in it keeps its size. Under each are its figures as a table.

mod axis;
mod capacity;
mod chart;
mod cost;
mod course;
mod format;
mod forwarding;
mod headline;
mod heat_map;
mod joins;
mod load;
mod markup;
mod method;
mod mix;
mod percentiles;
mod reason;
mod shapes;
mod table;
mod view;

use super::calculator::SCRIPT;
use super::model::Results;
use markup::Markup;
use table::Table;
use view::View;

const STYLE: &str = include_str!("style.css");
const PAGE_SCRIPT: &str = include_str!("page.js");
const LOGO: &str = include_str!("logo.svg");

/// Draws the report.
pub fn render(results: &Results) -> String {
    let view = View::of(results);
    let mut out = Markup::new();
    out.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n");
    out.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n");
    // Nothing may be loaded from anywhere; what runs is in the file.
    out.raw("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; ");
    out.raw("style-src 'unsafe-inline'; script-src 'unsafe-inline'\"/>\n");
    let title = headline::title(&view);
    out.element("title", &[], format_args!("{title}: {}", view.server()));
    out.raw("\n<style>\n");
    out.raw(STYLE);
    out.raw("</style>\n</head>\n<body>\n<header>\n");
    out.raw(LOGO);
    let brand = if view.is_rising() {
        "Capacity report"
    } else {
        "Load report"
    };
    out.element("span", &[("class", &"brand")], brand);
    out.element("time", &[], &results.started_at);
    out.raw("<button type=\"button\" id=\"theme\" hidden=\"\">Dark</button>\n</header>\n<main>\n");
    headline::draw(&mut out, &view);
    load::draw(&mut out, &view);
    cost::draw(&mut out, &view);
    capacity::draw(&mut out, &view);
    method::draw(&mut out, &view);
    out.raw("</main>\n<footer>");
    out.text(&results.generator);
    out.raw("</footer>\n");
    // Both are literals; the calculator's numbers are in attributes of its form.
    out.raw("<script>\n'use strict';\n");
    out.raw(SCRIPT);
    out.raw(PAGE_SCRIPT);
    out.raw("</script>\n");
    out.raw("</body>\n</html>\n");
    out.into_string()
}

/// A chart with its title, a sentence about it, and its figures.
struct Figure {
    title: &'static str,
    remark: &'static str,
    body: Markup,
    table: Option<Table>,
}

impl Figure {
    fn draw(self, out: &mut Markup) {
        out.raw("<figure>\n<figcaption>");
        out.element("h3", &[], self.title);
        out.element("p", &[], self.remark);
        out.raw("</figcaption>\n");
        out.append(self.body);
        if let Some(table) = self.table {
            out.append(table.folded());
        }
        out.raw("</figure>\n");
    }
}

#[cfg(test)]
mod tests;
