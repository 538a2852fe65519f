//! Axes: values to coordinates, and round numbers to write beside them.

use super::format;

/// How values are spread along an axis, and which.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) min: f64,
    pub(super) max: f64,
    is_logarithmic: bool,
    /// Values with a grid line, and how to write them.
    pub(super) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From zero to beyond `max`, by a round number of about `wanted` ticks.
    pub(super) fn from_zero(max: f64, wanted: u32, label: fn(f64) -> String) -> Axis {
        let max = if max.is_finite() && max > 0.0 {
            max
        } else {
            1.0
        };
        let step = round_step(max / f64::from(wanted.max(1)));
        let count = (max / step - 1e-9).ceil().max(1.0);
        let ticks = (0..=count as u32)
            .map(|index| f64::from(index) * step)
            .map(|value| (value, tick(value, label)))
            .collect();
        Axis {
            min: 0.0,
            max: count * step,
            is_logarithmic: false,
            ticks,
        }
    }

    /// Like [`Axis::from_zero`], but ends just at `max`, as an axis along the page should.
    pub(super) fn to_just(max: f64, wanted: u32, label: fn(f64) -> String) -> Axis {
        let mut axis = Axis::from_zero(max, wanted, label);
        if max.is_finite() && max > 0.0 {
            axis.max = max;
            axis.ticks.retain(|(value, _)| *value <= max * 1.000_1);
        }
        axis
    }

    /// Around `min` and `max`, by factors of ten divided into 1, 2, 5.
    pub(super) fn logarithmic(min: f64, max: f64, label: fn(f64) -> String) -> Axis {
        let min = if min.is_finite() && min > 0.0 {
            min
        } else {
            1.0
        };
        let max = if max.is_finite() {
            max.max(min * 10.0)
        } else {
            min * 10.0
        };
        let decades = (max / min).log10();
        let factors: &[f64] = if decades <= 2.2 {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0]
        };
        let first = min.log10().floor() as i32;
        let last = max.log10().ceil() as i32;
        let ticks = (first..=last)
            .flat_map(|power| {
                factors
                    .iter()
                    .map(move |factor| factor * 10_f64.powi(power))
            })
            .filter(|value| (min * 0.999..=max * 1.001).contains(value))
            .map(|value| (value, tick(value, label)))
            .collect();
        Axis {
            min,
            max,
            is_logarithmic: true,
            ticks,
        }
    }

    /// From zero to `end_s` seconds, with ticks where a clock has them.
    pub(super) fn time(end_s: f64, wanted: u32) -> Axis {
        const STEPS_S: [f64; 14] = [
            1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0,
            7_200.0,
        ];
        let end_s = if end_s.is_finite() && end_s > 0.0 {
            end_s
        } else {
            1.0
        };
        let least_s = end_s / f64::from(wanted.max(1));
        let step_s = STEPS_S.into_iter().find(|step_s| *step_s >= least_s);
        let step_s = step_s.unwrap_or_else(|| round_step(least_s));
        let ticks = (0..=(end_s / step_s) as u32)
            .map(|index| f64::from(index) * step_s)
            .map(|value| (value, tick(value, format::seconds)))
            .collect();
        Axis::with_ticks(0.0, end_s, ticks)
    }

    /// With ticks of the caller's choice.
    pub(super) fn with_ticks(min: f64, max: f64, ticks: Vec<(f64, String)>) -> Axis {
        Axis {
            min,
            max,
            is_logarithmic: false,
            ticks,
        }
    }

    /// Where a value lies, 0 at the axis' start, 1 at its end; beyond it is at the end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = if self.is_logarithmic {
            (value.max(self.min) / self.min).ln() / (self.max / self.min).ln()
        } else {
            (value - self.min) / (self.max - self.min)
        };
        if place.is_finite() {
            place.clamp(0.0, 1.0)
        } else {
            0.0
        }
    }

    /// Thins ticks so that their labels have room on `length_px`.
    pub(super) fn thinned(mut self, length_px: f64) -> Axis {
        let longest = self
            .ticks
            .iter()
            .map(|(_, label)| label.chars().count())
            .max();
        let label_px = 7.0 * longest.unwrap_or(0) as f64 + 12.0;
        let room = (length_px / label_px).floor().max(2.0) as usize;
        if self.ticks.len() > room {
            let every = self.ticks.len().div_ceil(room);
            let mut index = 0;
            self.ticks.retain(|_| {
                index += 1;
                (index - 1) % every == 0
            });
        }
        self
    }
}

/// Nothing needs no unit.
fn tick(value: f64, label: fn(f64) -> String) -> String {
    if value == 0.0 {
        "0".into()
    } else {
        format::tick(&label(value))
    }
}

/// 1, 2 or 5 times a power of ten, at least `step`.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let factor = step / power;
    let rounded = [1.0, 2.0, 2.5, 5.0]
        .into_iter()
        .find(|round| factor <= round * 1.000_001)
        .unwrap_or(10.0);
    rounded * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks
            .iter()
            .map(|(_, label)| label.replace('\u{202f}', " "))
            .collect()
    }

    #[test]
    fn ticks_are_round_and_reach_the_maximum() {
        let axis = Axis::from_zero(1_840.0, 5, format::count);
        assert_eq!(labels(&axis), ["0", "500", "1,000", "1,500", "2,000"]);
        let axis = Axis::to_just(1_840.0, 5, format::count);
        assert_eq!(labels(&axis), ["0", "500", "1,000", "1,500"]);
        assert!((axis.place(920.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn logarithmic_ticks_are_decades_when_there_are_many() {
        let axis = Axis::logarithmic(5e4, 2e8, format::duration_ns);
        assert_eq!(labels(&axis), ["100 µs", "1 ms", "10 ms", "100 ms"]);
        let axis = Axis::logarithmic(1e5, 5e6, format::duration_ns);
        assert_eq!(
            labels(&axis),
            ["100 µs", "200 µs", "500 µs", "1 ms", "2 ms", "5 ms"]
        );
        assert!((axis.place(1e5 * 50_f64.sqrt()) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn time_has_the_ticks_of_a_clock() {
        let minutes = Axis::time(490.0, 8);
        assert_eq!(labels(&minutes), ["0", "2 min", "4 min", "6 min", "8 min"]);
        assert_eq!(labels(&Axis::time(34.0, 4)), ["0", "10 s", "20 s", "30 s"]);
    }

    #[test]
    fn odd_values_stay_on_the_axis() {
        for value in [f64::NAN, f64::INFINITY, -5.0, 0.0] {
            let axis = Axis::from_zero(value, 4, format::count);
            assert!(axis.max > 0.0 && !axis.ticks.is_empty());
            let axis = Axis::logarithmic(value, value, format::count);
            assert!((0.0..=1.0).contains(&axis.place(value)));
        }
    }
}
