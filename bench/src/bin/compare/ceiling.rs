//! The raw limit at the size and mean train of a run, measured right after it.

use std::process::{Command, Stdio};

use crate::figures::{CPU_PER_PACKET, Figures, MEAN_TRAIN, OF_CEILING};

/// Of each round.
const PACKETS: &str = "100000";

/// Adds the ceiling to the figures of a server that tells its mean train. The size needs nothing
/// added for header and tag: the generator counts whole UDP payloads.
pub(crate) fn compare(figures: &mut Figures) -> Result<(), String> {
    let figure = |name: &str| figures.get(name).copied();
    let (Some(train), Some(bytes), Some(ours_us)) = (
        figure(MEAN_TRAIN),
        figure("bytes per packet"),
        figure(CPU_PER_PACKET),
    ) else {
        return Ok(());
    };
    let (shorter, longer) = (train.floor().max(1.0), train.ceil().max(1.0));
    let short_ns = measure(bytes, shorter)?;
    let long_ns = if longer > shorter {
        measure(bytes, longer)?
    } else {
        short_ns
    };
    let ceiling_us = (short_ns + (long_ns - short_ns) * (train - shorter).max(0.0)) / 1e3;
    figures.insert("ceiling, us per packet".to_owned(), ceiling_us);
    figures.insert(OF_CEILING.to_owned(), ceiling_us / ours_us);
    Ok(())
}

/// CPU ns per packet of the raw loop.
fn measure(bytes: f64, train: f64) -> Result<f64, String> {
    let program = std::env::current_exe()
        .map_err(|error| error.to_string())?
        .with_file_name("ceiling");
    let output = Command::new(&program)
        .args(["--sizes", &format!("{bytes:.0}")])
        .args(["--trains", &format!("{train:.0}")])
        .args(["--calls", "raw", "--packets", PACKETS])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{}: {error}: build it", program.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    median(&said).ok_or_else(|| format!("the ceiling was not measured: {said}"))
}

/// Of a line such as `140 B, train  1, raw: 758 (741-790)  (...)`.
fn median(said: &str) -> Option<f64> {
    let (_, rest) = said.split_once("raw: ")?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_found() {
        let said = "CPU ns\n  140 B, train  1,  raw: 758 (741-790)  (100.0 % arrived)\n";
        assert_eq!(median(said), Some(758.0));
        assert_eq!(median("nothing"), None);
    }
}
