//! Counts tests over several runners, by their closing lines.

use std::fmt;
use std::ops::AddAssign;

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
    /// ignored; ...`, and the plain `3 passed, 0 failed, 1 skipped`.
    pub(crate) fn read(output: &str) -> Self {
        let mut sum = Self::default();
        for line in output.lines() {
            let line = line.trim();
            let cargo = line.starts_with("test result:");
            let plain = line.contains(" passed, ") && line.contains(" failed");
            if cargo || plain {
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
}
