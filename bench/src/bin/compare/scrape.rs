//! A server's own counters, if it is Millrace: read inside of its network by a process of ours that
//! prints them, and summed over shards.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use millrace_loadgen::shard_metrics::Exposition;

/// As [`Exposition::sums`] has them.
pub(crate) type Counters = BTreeMap<String, f64>;

/// Reading costs the server a little, which must not show.
const PERIOD: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(1);

/// One line each time, until nobody reads them or the server has no such page.
pub(crate) fn print_for_ever(address: &str) -> Result<(), String> {
    loop {
        let counters = parse(&page(address)?);
        if counters.is_empty() {
            return Err(format!("{address} has no counters of shards"));
        }
        let line: Vec<_> = counters
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut out = std::io::stdout();
        if writeln!(out, "{}", line.join(" ")).is_err() || out.flush().is_err() {
            return Ok(());
        }
        std::thread::sleep(PERIOD);
    }
}

fn page(address: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{address}: {error}");
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(failed)?;
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// A line of [`print_for_ever`].
pub(crate) fn read_line(line: &str) -> Counters {
    line.split(' ')
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect()
}

fn parse(page: &str) -> Counters {
    let mut counters = Exposition::parse(page).sums();
    counters.retain(|name, _| name.starts_with("millrace_"));
    counters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_summed_up() {
        let page = "HTTP/1.1 200 OK\r\n\r\n# TYPE millrace_shard_wakes counter\n\
                    millrace_shard_wakes_total{shard=\"0\"} 5\n\
                    millrace_shard_wakes_total{shard=\"1\"} 7\nlivekit_room_total 1\n";
        let counters = parse(page);
        assert_eq!(counters.get("millrace_shard_wakes"), Some(&12.0));
        assert_eq!(counters.len(), 1);
        assert_eq!(read_line("a=1 b=2.5").get("b"), Some(&2.5));
    }

    #[test]
    fn buckets_keep_their_bounds() {
        let page = "millrace_x_bucket{le=\"0.001\",shard=\"0\"} 5\n\
                    millrace_x_bucket{le=\"0.001\",shard=\"1\"} 6\n";
        assert_eq!(parse(page).get("millrace_x_bucket/0.001"), Some(&11.0));
    }
}
