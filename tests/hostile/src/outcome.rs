//! What went wrong, in words for who reads the run.

use std::fmt::Display;

pub(crate) type Outcome<T> = Result<T, String>;

/// Names what failed.
pub(crate) trait Said<T> {
    fn said(self, what: &str) -> Outcome<T>;
}

impl<T, E: Display> Said<T> for Result<T, E> {
    fn said(self, what: &str) -> Outcome<T> {
        self.map_err(|error| format!("{what}: {error}"))
    }
}

impl<T> Said<T> for Option<T> {
    fn said(self, what: &str) -> Outcome<T> {
        self.ok_or_else(|| format!("{what}: nothing"))
    }
}
