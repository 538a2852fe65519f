//! libFuzzer over the targets of `fuzz/`, with the nightly toolchain that it needs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::count::Counts;

/// What it is built and tried with.
const CARGO_FUZZ_VERSION: &str = "0.13.2";
/// Each target, when no time is given.
const SECONDS_DEFAULT: u64 = 30;
/// The planted bug is found within two seconds on a small machine.
const CANARY_SECONDS: u64 = 60;
const CANARY: &str = "canary";

/// `cargo xtask fuzz [target] [seconds]`.
pub(crate) fn fuzz(root: &Path, arguments: &[&str]) -> Result<Counts, String> {
    let mut counts = Counts::default();
    if let Err(sentence) = tools() {
        println!("SKIPPED fuzz: {sentence}");
        counts.skipped += 1;
        return Ok(counts);
    }
    let (seconds, wanted): (Vec<&str>, Vec<&str>) = arguments
        .iter()
        .partition(|word| word.parse::<u64>().is_ok());
    let seconds = seconds
        .first()
        .and_then(|text| text.parse().ok())
        .unwrap_or(SECONDS_DEFAULT);
    let run = Run::prepare(root)?;
    let targets: Vec<String> = run
        .targets()?
        .into_iter()
        .filter(|name| wanted.is_empty() || wanted.contains(&name.as_str()))
        .collect();
    if targets.is_empty() {
        return Err(format!("there is no target {}", wanted.join(" ")));
    }
    run.build()?;
    for target in targets {
        let passed = if target == CANARY {
            run.canary()?
        } else {
            run.target(&target, seconds)?
        };
        if passed {
            counts.passed += 1;
        } else {
            counts.failed += 1;
        }
    }
    Ok(counts)
}

/// A nightly toolchain, which we leave to the user, and cargo-fuzz, which is installed.
fn tools() -> Result<(), String> {
    if !quiet("rustup", &["run", "nightly", "rustc", "--version"]) {
        return Err(
            "there is no nightly toolchain; `rustup toolchain install nightly` brings it".into(),
        );
    }
    if quiet("cargo", &["fuzz", "--version"]) {
        return Ok(());
    }
    println!("installing cargo-fuzz {CARGO_FUZZ_VERSION}");
    let package = format!("cargo-fuzz@{CARGO_FUZZ_VERSION}");
    let install = ["install", "--locked", "--quiet", package.as_str()];
    match Command::new("cargo").args(install).status() {
        Ok(status) if status.success() => Ok(()),
        _ => Err(format!(
            "cargo-fuzz is not there and `cargo install --locked {package}` failed"
        )),
    }
}

fn quiet(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Folders of the fuzz package and of what runs leave behind.
struct Run {
    package: PathBuf,
    built: PathBuf,
    left: PathBuf,
}

impl Run {
    fn prepare(root: &Path) -> Result<Self, String> {
        let package = root.join("fuzz");
        // What is fuzzed has the versions of what is shipped.
        fs::copy(root.join("Cargo.lock"), package.join("Cargo.lock"))
            .map_err(|error| format!("Cargo.lock: {error}"))?;
        Ok(Self {
            package,
            built: root.join("target/fuzz"),
            left: root.join("target/fuzz-runs"),
        })
    }

    fn targets(&self) -> Result<Vec<String>, String> {
        let folder = self.package.join("fuzz_targets");
        let files = fs::read_dir(&folder).map_err(|error| format!("{folder:?}: {error}"))?;
        let mut names: Vec<String> = files
            .filter_map(|file| Some(file.ok()?.path().file_stem()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        // The proof that bugs are found comes before the absence of bugs.
        names.sort_by_key(|name| name != CANARY);
        Ok(names)
    }

    fn cargo_fuzz(&self, words: &[&str]) -> Command {
        let mut command = Command::new("rustup");
        command
            .args(["run", "nightly", "cargo", "fuzz"])
            .args(words)
            // Memory errors are not what is looked for: the fuzzed crates have no unsafe code.
            .args(["--sanitizer", "none"])
            .current_dir(&self.package)
            .env("CARGO_TARGET_DIR", &self.built)
            .env_remove("RUSTUP_TOOLCHAIN");
        command
    }

    fn build(&self) -> Result<(), String> {
        println!("== fuzz build");
        let status = self.cargo_fuzz(&["build"]).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            _ => Err("the fuzz targets do not build".into()),
        }
    }

    /// Runs libFuzzer; true if it found nothing.
    fn target(&self, name: &str, seconds: u64) -> Result<bool, String> {
        let corpus = self.package.join("corpus").join(name);
        let (clean, log) = self.libfuzzer(name, Some(&corpus), seconds)?;
        let executed = statistic(&log, "number_of_executed_units");
        if clean {
            println!("ok    fuzz {name}: {executed} executions in {seconds} s");
        } else {
            let artifacts = self.left.join(name);
            println!(
                "FAIL  fuzz {name}: the input lies in {}",
                artifacts.display()
            );
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            tail.iter().rev().for_each(|line| println!("      {line}"));
        }
        Ok(clean)
    }

    /// From nothing: its corpus has the answer.
    fn canary(&self) -> Result<bool, String> {
        let begun = std::time::Instant::now();
        let (clean, log) = self.libfuzzer(CANARY, None, CANARY_SECONDS)?;
        let executed = statistic(&log, "number_of_executed_units");
        if clean {
            println!("FAIL  fuzz {CANARY}: {executed} executions and its bug is not found");
        } else {
            let seconds = begun.elapsed().as_secs_f64();
            println!("ok    fuzz {CANARY}: its bug is found in {seconds:.1} s");
        }
        Ok(!clean)
    }

    fn libfuzzer(
        &self,
        name: &str,
        corpus: Option<&Path>,
        seconds: u64,
    ) -> Result<(bool, String), String> {
        let work = self.left.join(name).join("corpus");
        if corpus.is_none() {
            // What an earlier run found would be found at once.
            let _ = fs::remove_dir_all(&work);
        }
        fs::create_dir_all(&work).map_err(|error| format!("{work:?}: {error}"))?;
        let artifacts = format!("-artifact_prefix={}/", self.left.join(name).display());
        let time = format!("-max_total_time={seconds}");
        let mut command = self.cargo_fuzz(&["run"]);
        command.arg(name).arg(&work).args(corpus).args([
            "--",
            &time,
            &artifacts,
            "-max_len=4096",
            "-timeout=20",
            "-rss_limit_mb=2048",
            "-print_final_stats=1",
        ]);
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("fuzz {name}: {error}"))?;
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        if !log.contains("stat::") && !log.contains("deadly signal") {
            return Err(format!("fuzz {name} did not run:\n{log}"));
        }
        Ok((output.status.success(), log))
    }
}

fn statistic<'a>(log: &'a str, name: &str) -> &'a str {
    log.lines()
        .find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name))
        .map_or("?", |rest| rest.trim_start_matches(':').trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_are_read_from_libfuzzers_statistics() {
        let log = "Done\nstat::number_of_executed_units: 1816377\nstat::peak_rss_mb: 32\n";
        assert_eq!(statistic(log, "number_of_executed_units"), "1816377");
        assert_eq!(statistic("", "number_of_executed_units"), "?");
    }
}
