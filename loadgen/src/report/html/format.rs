//! Numbers as people read them: three digits, a unit, and thousands set apart.

/// A thin space: the number and its unit stay on one line and close together.
const THIN: char = '\u{202f}';

/// What stands for a number that is not known.
pub(super) const UNKNOWN: &str = "–";

/// A count, with its thousands set apart.
pub(super) fn count(value: f64) -> String {
    if !value.is_finite() {
        return UNKNOWN.into();
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    if value <= -0.5 {
        text.push('−');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three significant digits.
pub(super) fn digits(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 1_000.0 {
        count(value)
    } else if magnitude >= 99.95 || value == 0.0 {
        format!("{value:.0}")
    } else if magnitude >= 9.995 {
        format!("{value:.1}")
    } else if magnitude >= 0.1 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}

/// A duration in the unit that suits it.
pub(super) fn duration_ns(ns: f64) -> String {
    scaled(ns, &[(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")])
}

pub(super) fn bits_per_s(bps: f64) -> String {
    scaled(
        bps,
        &[
            (1e9, "Gbit/s"),
            (1e6, "Mbit/s"),
            (1e3, "kbit/s"),
            (1.0, "bit/s"),
        ],
    )
}

pub(super) fn bytes(bytes: f64) -> String {
    scaled(bytes, &[(1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")])
}

/// A large count, shortened: 1.24 M.
pub(super) fn short(value: f64) -> String {
    scaled(value, &[(1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")])
}

/// Two digits.
pub(super) fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    let trimmed = |text: String| text.trim_end_matches('0').to_string();
    let text = if !percent.is_finite() {
        return UNKNOWN.into();
    } else if percent == 0.0 {
        "0".into()
    } else if percent >= 999.5 {
        count(percent)
    } else if percent >= 9.95 {
        format!("{percent:.0}")
    } else if percent >= 0.995 {
        format!("{percent:.1}")
    } else if percent >= 0.0995 {
        trimmed(format!("{percent:.2}"))
    } else if percent >= 0.000_5 {
        trimmed(format!("{percent:.3}"))
    } else {
        "< 0.001".into()
    };
    format!("{text}{THIN}%")
}

pub(super) fn seconds(value: f64) -> String {
    if !value.is_finite() {
        UNKNOWN.into()
    } else if value >= 60.0 && value.round() % 60.0 == 0.0 {
        format!("{}{THIN}min", count(value / 60.0))
    } else if value >= 60.0 {
        let whole = value.round();
        format!(
            "{}{THIN}min {}{THIN}s",
            count((whole / 60.0).floor()),
            count(whole % 60.0)
        )
    } else if value.fract() == 0.0 {
        format!("{value:.0}{THIN}s")
    } else {
        format!("{}{THIN}s", digits(value))
    }
}

/// A bound as people write it: 5 ms, not 5.00 ms.
pub(super) fn bound_ns(ns: u64) -> String {
    tick(&duration_ns(ns as f64))
}

/// Applies a format to what may be unknown.
pub(super) fn or_unknown(value: Option<f64>, format: fn(f64) -> String) -> String {
    value.map_or_else(|| UNKNOWN.into(), format)
}

fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    // The unit is chosen after rounding, or 999.9 µs would be shown as 1,000 µs.
    let unit = units
        .iter()
        .find(|(size, _)| value.abs() >= 0.9995 * size)
        .or(units.last());
    let Some((size, name)) = unit else {
        return digits(value);
    };
    let text = digits(value / size);
    // Nothing is smaller than one nanosecond, bit or byte.
    let text = if *size == 1.0 && value.fract() == 0.0 {
        count(value)
    } else {
        text
    };
    if name.is_empty() {
        text
    } else {
        format!("{text}{THIN}{name}")
    }
}

/// A tick's label: as short as it can be without being wrong.
pub(super) fn tick(text: &str) -> String {
    match text.split_once(THIN) {
        Some((number, unit)) if number.contains('.') => {
            let number = number.trim_end_matches('0').trim_end_matches('.');
            format!("{number}{THIN}{unit}")
        }
        None if text.contains('.') => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        _ => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_unit() {
        let cases = [
            (duration_ns(231_000.0), "231 µs"),
            (duration_ns(5_050_000.0), "5.05 ms"),
            (duration_ns(999_900.0), "1.00 ms"),
            (duration_ns(40.0), "40 ns"),
            (duration_ns(1.5e9), "1.50 s"),
            (bits_per_s(3.021e9), "3.02 Gbit/s"),
            (bytes(61_500.0), "61.5 kB"),
            (short(1_240_000.0), "1.24 M"),
            (short(12.0), "12"),
            (percent(0.5), "50 %"),
            (percent(0.001), "0.1 %"),
            (percent(0.000_012), "0.001 %"),
            (percent(0.000_000_1), "< 0.001 %"),
            (percent(0.0), "0 %"),
            (percent(0.0123), "1.2 %"),
            (percent(0.00924), "0.92 %"),
            (percent(17.08), "1,708 %"),
            (seconds(135.0), "2 min 15 s"),
            (seconds(120.0), "2 min"),
            (seconds(30.0), "30 s"),
            (seconds(f64::NAN), UNKNOWN),
            (count(f64::NAN), UNKNOWN),
        ];
        for (shown, expected) in cases {
            assert_eq!(shown.replace(THIN, " "), expected);
        }
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(count(0.0), "0");
        assert_eq!(count(999.6), "1,000");
        assert_eq!(count(1_234_567.0), "1,234,567");
        assert_eq!(count(-1_234.0), "−1,234");
    }

    #[test]
    fn ticks_lose_idle_zeros() {
        assert_eq!(tick(&duration_ns(1e6)).replace(THIN, " "), "1 ms");
        assert_eq!(tick(&duration_ns(2.5e6)).replace(THIN, " "), "2.5 ms");
        assert_eq!(tick("0.50"), "0.5");
        assert_eq!(tick("1,000"), "1,000");
    }
}
