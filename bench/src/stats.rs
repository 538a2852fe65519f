//! How a figure varied over the rounds of a run.

use std::fmt;

/// Minimum, median and maximum.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    /// Of no values: zeros.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = |offset: usize| sorted.get((sorted.len() + offset) / 2 - offset);
        let at = |value: Option<&f64>| value.copied().unwrap_or_default();
        Self {
            min: at(sorted.first()),
            median: if sorted.is_empty() {
                0.0
            } else {
                f64::midpoint(at(middle(0)), at(middle(1)))
            },
            max: at(sorted.last()),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, median, max } = self;
        let digits = match median.abs() {
            _ if *max == 0.0 => 0,
            0.0..0.1 => 3,
            0.1..10.0 => 2,
            10.0..100.0 => 1,
            _ => 0,
        };
        write!(f, "{median:.digits$}")?;
        if min < max {
            write!(f, " ({min:.digits$}-{max:.digits$})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 2.5, 4.0));
        assert_eq!(Spread::of(&[5.0, 1.0, 3.0]).median, 3.0);
        assert_eq!(Spread::of(&[7.0]).median, 7.0);
        assert_eq!(Spread::of(&[]).median, 0.0);
    }

    #[test]
    fn a_single_value_has_no_range() {
        assert_eq!(Spread::of(&[12.34]).to_string(), "12.3");
        assert_eq!(Spread::of(&[0.034]).to_string(), "0.034");
        assert_eq!(Spread::of(&[0.0]).to_string(), "0");
        assert_eq!(Spread::of(&[1.0, 2.0, 3.0]).to_string(), "2.00 (1.00-3.00)");
    }
}
