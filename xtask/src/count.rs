//! Counts tests over several runners, by their closing lines.

use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, rhs: Self) {
        self.passed += rhs.passed;
        self.failed += rhs.failed;
        self.skipped += rhs.skipped;
    }
}

/// The closing line: `N passed, N failed, N skipped`.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

impl Counts {
    /// Sums every closing line in `output`: cargo's `test result: ok. 3 passed; 0 failed; 1
    /// ignored; ...`, and the plain `3 passed, 0 failed, 1 skipped`. Where a step ran our own
    /// command, which closes with the sum of steps of its own, that sum is not counted again.
    pub(crate) fn read(output: &str) -> Self {
        let mut sum = Self::default();
        let mut behind_a_step = false;
        for line in output.lines() {
            let line = line.trim();
            let cargo = line.starts_with("test result:");
            let plain = line.contains(" passed, ") && line.contains(" failed");
            let sums_up_steps = plain && behind_a_step;
            behind_a_step = ends_step(line);
            if (cargo || plain) && !sums_up_steps {
                sum += Self {
                    passed: number_before(line, "passed"),
                    failed: number_before(line, "failed"),
                    skipped: number_before(line, "ignored") + number_before(line, "skipped"),
                };
            }
        }
        sum
    }
}

/// The last line of a step: what it was, and how long it took.
pub(crate) fn step_end(name: &str, took: Duration) -> String {
    format!("== {name}: {:.0} s", took.as_secs_f64())
}

fn ends_step(line: &str) -> bool {
    let seconds = line
        .strip_prefix("== ")
        .and_then(|it| it.strip_suffix(" s"));
    let seconds = seconds.and_then(|it| Some(it.rsplit_once(": ")?.1));
    seconds.is_some_and(|it| it.parse::<u64>().is_ok())
}

fn number_before(line: &str, word: &str) -> u64 {
    let mut previous = "";
    for token in line
        .split([' ', ';', ',', '.'])
        .filter(|token| !token.is_empty())
    {
        if token == word {
            return previous.parse().unwrap_or(0);
        }
        previous = token;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_closing_lines_are_read() {
        let output = "running 3 tests\n\
            test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out\n\
            cell x ok\n4 passed, 1 failed, 2 skipped\n";
        assert_eq!(
            Counts::read(output),
            Counts {
                passed: 7,
                failed: 3,
                skipped: 3
            }
        );
    }

    #[test]
    fn the_sum_of_a_nested_command_is_not_counted_again() {
        let nested = |steps: &[&str]| {
            let mut output = String::new();
            for closing in steps {
                let end = step_end("browser cells", Duration::from_secs(30));
                output += &format!("== browser cells\n{closing}\n{end}\n");
            }
            output
        };
        let one = nested(&["66 passed, 0 failed, 1 skipped"]) + "66 passed, 0 failed, 1 skipped\n";
        assert_eq!(
            Counts::read(&one).to_string(),
            "66 passed, 0 failed, 1 skipped"
        );
        let two = nested(&[
            "test result: ok. 3 passed; 0 failed",
            "2 passed, 1 failed, 0 skipped",
        ]);
        let two = two + "5 passed, 1 failed, 0 skipped\n";
        assert_eq!(
            Counts::read(&two).to_string(),
            "5 passed, 1 failed, 0 skipped"
        );
    }
}
