//! Results as JSON and CSV.

use super::cause::Burst;
use super::html::render;
use super::model::{Results, SCHEMA, Step};
use super::verdict::Bottleneck;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Why results could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResultsError {
    #[error("not results of millrace-loadgen: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("results of version {found}; this build reads version {SCHEMA}")]
    Version { found: u32 },
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
}

impl Results {
    /// Reads what [`Results::write`] wrote as JSON.
    pub fn read(path: &Path) -> Result<Results, ResultsError> {
        let text = fs::read_to_string(path).map_err(|error| ResultsError::File {
            path: path.into(),
            error,
        })?;
        Results::from_json(&text)
    }

    /// Writes the report to `page`, and JSON and CSV beside it under the same name.
    pub fn write(&self, page: &Path) -> Result<(), ResultsError> {
        self.write_page(page)?;
        write(&page.with_extension("json"), &self.to_json()?)?;
        write(&page.with_extension("csv"), &self.to_csv())
    }

    /// Writes the report alone.
    pub fn write_page(&self, page: &Path) -> Result<(), ResultsError> {
        write(page, &render(self))
    }

    pub fn to_json(&self) -> Result<String, ResultsError> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }

    pub fn from_json(text: &str) -> Result<Results, ResultsError> {
        // The version first: another one's fields would only give a puzzling message.
        #[derive(serde::Deserialize)]
        struct Version {
            schema: u32,
        }
        let Version { schema: found } = serde_json::from_str(text)?;
        if found != SCHEMA {
            return Err(ResultsError::Version { found });
        }
        Ok(serde_json::from_str(text)?)
    }

    /// A line for each step, after a line that names the columns (RFC 4180).
    pub fn to_csv(&self) -> String {
        let mut text = String::new();
        let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
        text.push_str(&names.join(","));
        text.push_str("\r\n");
        for step in &self.steps {
            for (index, (_, cell)) in COLUMNS.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_cell(&mut text, &cell(self, step));
            }
            text.push_str("\r\n");
        }
        text
    }
}

fn write(path: &Path, text: &str) -> Result<(), ResultsError> {
    fs::write(path, text).map_err(|error| ResultsError::File {
        path: path.into(),
        error,
    })
}

type Cell = fn(&Results, &Step) -> String;

/// Every column: a unit at the end of its name, empty where nothing is known.
const COLUMNS: &[(&str, Cell)] = &[
    ("server", |r, _| {
        format!("{} {}", r.server.name, r.server.version)
    }),
    ("scenario", |r, _| r.scenario.name.clone()),
    ("phase", |_, s| format!("{:?}", s.phase).to_lowercase()),
    ("share_of_knee", |_, s| number(s.share_of_knee)),
    ("started_s", |_, s| number(Some(s.started_s))),
    ("measured_s", |_, s| number(Some(s.measured_s))),
    ("rooms", |_, s| s.offered.rooms.to_string()),
    ("publishers", |_, s| s.offered.publishers.to_string()),
    ("size", |_, s| s.load().to_string()),
    ("subscribers", |_, s| s.offered.subscribers.to_string()),
    ("tracks_subscribed", |_, s| {
        s.offered.tracks_subscribed.to_string()
    }),
    ("published_pps", |_, s| number(Some(s.published_pps()))),
    ("offered_pps", |_, s| number(Some(s.offered_pps()))),
    ("offered_bps", |_, s| number(Some(s.offered_bps()))),
    ("delivered_pps", |_, s| number(Some(s.delivered_pps()))),
    ("delivered_bps", |_, s| number(Some(s.delivered_bps()))),
    ("audio_bps", |_, s| number(s.layer_bps("audio"))),
    ("video_q_bps", |_, s| number(s.layer_bps("q"))),
    ("video_h_bps", |_, s| number(s.layer_bps("h"))),
    ("video_f_bps", |_, s| number(s.layer_bps("f"))),
    ("latency_p50_us", |_, s| latency(s, 50.0)),
    ("latency_p90_us", |_, s| latency(s, 90.0)),
    ("latency_p99_us", |_, s| latency(s, 99.0)),
    ("latency_p999_us", |_, s| latency(s, 99.9)),
    ("latency_max_us", |_, s| {
        number(s.latency.max_ns().map(|ns| ns as f64 / 1e3))
    }),
    ("forwarding_p50_us", |_, s| number(s.forwarding_us(0.5))),
    ("forwarding_p99_us", |_, s| number(s.forwarding_us(0.99))),
    ("packets_timed", |_, s| {
        s.delivered.packets_timed.to_string()
    }),
    ("expected", |_, s| s.integrity.expected.to_string()),
    ("lost", |_, s| s.integrity.lost.to_string()),
    ("duplicated", |_, s| s.integrity.duplicated.to_string()),
    ("reordered", |_, s| s.integrity.reordered.to_string()),
    ("corrupted", |_, s| s.integrity.corrupted.to_string()),
    ("forged", |_, s| s.integrity.forged.to_string()),
    ("retransmitted", |_, s| {
        s.integrity.retransmitted.to_string()
    }),
    ("freezes", |_, s| s.freezes.count.to_string()),
    ("freezes_total_ms", |_, s| s.freezes.total_ms.to_string()),
    ("joins", |_, s| s.joins.attempted.to_string()),
    ("joins_failed", |_, s| s.joins.failed.to_string()),
    ("joins_per_s", |_, s| number(s.joins_per_s())),
    ("join_p50_ms", |_, s| join(s, 50.0)),
    ("join_p99_ms", |_, s| join(s, 99.0)),
    ("server_cpu_s", |_, s| {
        number(s.usage.as_ref().map(|usage| usage.cpu_s()))
    }),
    ("busiest_shard_cpu", |_, s| number(s.busiest_shard_cpu())),
    ("server_rss_bytes", |_, s| {
        number(s.usage.as_ref().map(|usage| usage.rss_bytes as f64))
    }),
    ("packets_per_cpu_s", |_, s| number(s.packets_per_cpu_s())),
    ("mean_train_packets", |_, s| number(s.mean_train())),
    ("syscalls_per_packet", |_, s| {
        number(s.syscalls_per_packet())
    }),
    ("wakes_per_s", |_, s| number(s.wakes_per_s())),
    ("copies_per_packet", |_, s| burst(s, |it| it.copies)),
    ("cpu_per_copy_us", |_, s| burst(s, |it| it.copy_ns / 1e3)),
    ("frame_packets_p99", |_, s| {
        number(s.offered.frame_place(0.99).map(f64::from))
    }),
    ("frame_takes_us", |_, s| burst(s, |it| it.takes_ns() / 1e3)),
    ("bytes_per_subscriber", |r, s| {
        number(s.bytes_per_subscriber(&r.server))
    }),
    ("generator_cpu_s", |_, s| number(Some(s.generator.cpu_s))),
    ("generator_limited_by", |_, s| {
        s.generator.limited_by.clone().unwrap_or_default()
    }),
    ("slo_met", |r, s| r.slo.is_met(s).to_string()),
    ("bottleneck", |r, s| match r.slo.is_met(s) {
        true => String::new(),
        false => Bottleneck::of(r, s).to_string(),
    }),
];

fn number(value: Option<f64>) -> String {
    let Some(value) = value else {
        return String::new();
    };
    let mut text = String::new();
    let decimals = if value.abs() >= 1e4 { 3 } else { 6 };
    // Writing to a string cannot fail.
    let _ = write!(text, "{value:.decimals$}");
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    text
}

fn latency(step: &Step, percentile: f64) -> String {
    number(
        step.latency
            .percentile_ns(percentile)
            .map(|ns| ns as f64 / 1e3),
    )
}

fn burst(step: &Step, value: fn(&Burst) -> f64) -> String {
    number(Burst::of(step).as_ref().map(value))
}

fn join(step: &Step, percentile: f64) -> String {
    number(
        step.joins
            .latency
            .percentile_ns(percentile)
            .map(|ns| ns as f64 / 1e6),
    )
}

fn write_cell(out: &mut String, cell: &str) {
    // A spreadsheet takes a leading sign of a formula for one; a server's name must not be run.
    let is_formula = cell.starts_with(['=', '+', '@', '\t', '\r'])
        || (cell.starts_with('-') && cell.parse::<f64>().is_err());
    let guard = if is_formula { "'" } else { "" };
    if is_formula || cell.contains([',', '"', '\r', '\n']) {
        out.push('"');
        out.push_str(guard);
        out.push_str(&cell.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(cell);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn json_gives_back_the_results() {
        let results = fixture::livestream();
        let text = results.to_json().unwrap();
        // Not assert_eq, which would print thousands of lines.
        assert!(Results::from_json(&text).unwrap() == results);
    }

    #[test]
    fn another_version_is_refused_by_its_number() {
        let error = Results::from_json(r#"{"schema": 9, "odd": true}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "results of version 9; this build reads version 1"
        );
        assert!(Results::from_json("[]").is_err());
        assert!(Results::from_json(r#"{"schema": 1}"#).is_err());
    }

    #[test]
    fn all_three_files_are_written_and_the_json_is_read_back() {
        let directory =
            std::env::temp_dir().join(format!("millrace-report-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let page = directory.join("report.html");
        let results = fixture::foreign();
        results.write(&page).unwrap();
        let again = Results::read(&directory.join("report.json")).unwrap();
        assert!(again == results);
        assert!(
            fs::read_to_string(&page)
                .unwrap()
                .starts_with("<!DOCTYPE html>")
        );
        assert!(directory.join("report.csv").exists());
        fs::remove_dir_all(&directory).unwrap();
        let error = Results::read(&page).unwrap_err().to_string();
        assert!(error.contains("report.html: "), "{error}");
    }

    /// RFC 4180 §2: quoted cells may hold commas, quotes and line ends.
    fn parse(text: &str) -> Vec<Vec<String>> {
        let mut rows = vec![vec![String::new()]];
        let mut is_quoted = false;
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            let row = rows.last_mut().unwrap();
            match character {
                '"' if is_quoted && characters.peek() == Some(&'"') => {
                    characters.next();
                    row.last_mut().unwrap().push('"');
                }
                '"' => is_quoted = !is_quoted,
                ',' if !is_quoted => row.push(String::new()),
                '\r' if !is_quoted => {}
                '\n' if !is_quoted => rows.push(vec![String::new()]),
                other => row.last_mut().unwrap().push(other),
            }
        }
        rows.pop();
        rows
    }

    #[test]
    fn csv_has_a_line_for_each_step_and_gives_back_its_numbers() {
        let mut results = fixture::livestream();
        results.server.name = "=cmd|\"x\",\n1".into();
        let rows = parse(&results.to_csv());
        assert_eq!(rows.len(), results.steps.len() + 1);
        let column = |name: &str| rows[0].iter().position(|known| known == name).unwrap();
        for (row, step) in rows[1..].iter().zip(&results.steps) {
            assert_eq!(row.len(), COLUMNS.len());
            assert_eq!(
                row[0],
                format!("'=cmd|\"x\",\n1 {}", results.server.version)
            );
            assert_eq!(
                row[column("subscribers")],
                step.offered.subscribers.to_string()
            );
            let p99_us: f64 = row[column("latency_p99_us")].parse().unwrap();
            let p99_ns = step.latency.percentile_ns(99.0).unwrap() as f64;
            assert!((p99_us * 1e3 - p99_ns).abs() <= 1e-6 * p99_ns);
            let delivered: f64 = row[column("delivered_pps")].parse().unwrap();
            assert!((delivered - step.delivered_pps()).abs() <= 0.5);
            let forwarding_us: f64 = row[column("forwarding_p99_us")].parse().unwrap();
            assert!((forwarding_us - step.forwarding_us(0.99).unwrap()).abs() <= 0.001);
            let frame_us: f64 = row[column("frame_takes_us")].parse().unwrap();
            let burst = Burst::of(step).unwrap();
            assert!((frame_us * 1e3 - burst.takes_ns()).abs() <= 1.0);
            let is_met = row[column("slo_met")] == "true";
            assert_eq!(is_met, results.slo.is_met(step));
            assert_eq!(is_met, row[column("bottleneck")].is_empty());
        }
    }

    #[test]
    fn what_is_unknown_is_an_empty_cell() {
        let mut results = Results::default();
        results.steps.push(Step::default());
        let rows = parse(&results.to_csv());
        for unknown in ["mean_train_packets", "forwarding_p99_us", "frame_takes_us"] {
            let column = rows[0].iter().position(|name| name == unknown).unwrap();
            assert_eq!(rows[1][column], "", "{unknown}");
        }
    }
}
