//! The table of a run.

use crate::call::Window;

/// One attack and how it went.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) attack: &'static str,
    pub(crate) expected: &'static str,
    pub(crate) measured: String,
    pub(crate) pass: bool,
    /// Everything was as it should be but the call's latency.
    pub(crate) pass_but_slow: bool,
    pub(crate) slow: bool,
    pub(crate) window: Option<Window>,
    /// Memory of the node afterwards.
    pub(crate) rss: u64,
}

pub(crate) fn print(row: &Row) {
    let verdict = if row.pass { "ok  " } else { "FAIL" };
    println!("{verdict} {:<4} {}", row.id, row.attack);
    println!("          expected  {}", row.expected);
    println!("          measured  {}", row.measured);
    if let Some(window) = &row.window {
        println!(
            "          the call  p50 {} p99 {} (control flow p99 {}), {:.2} % delivered; memory {}",
            millis(window.p50_us),
            millis(window.p99_us),
            millis(window.control_p99_us),
            100.0 * window.delivered,
            mebibytes(row.rss)
        );
    }
}

/// As the table of the documentation has it.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut text = String::from(
        "| | attack | expected | measured | call's p99 (control) | |\n|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let p99 = row.window.as_ref().map_or_else(String::new, |window| {
            format!(
                "{} ({})",
                millis(window.p99_us),
                millis(window.control_p99_us)
            )
        });
        text += &format!(
            "| {} | {} | {} | {} | {p99} | {} |\n",
            row.id,
            row.attack,
            row.expected,
            row.measured.replace('|', "/"),
            if row.pass { "ok" } else { "**fails**" }
        );
    }
    text
}

pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

pub(crate) fn millis(micros: u64) -> String {
    format!("{:.2} ms", micros as f64 / 1_000.0)
}
