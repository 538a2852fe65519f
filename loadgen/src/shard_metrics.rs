//! What Millrace tells of its shards in Prometheus' text form. Other servers tell nothing of the
//! kind, and are read all the same: they have no shards then.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::timeout;

use crate::dial::{Address, DialError, Tls, get};
use crate::report::model::{Bucket, ShardCounters};

/// A server that is busy forwarding may take a while.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Where a server tells its metrics.
#[derive(Clone, Debug)]
pub struct MetricsPage {
    address: Address,
    path: String,
    tls: Tls,
}

/// All metrics at one moment.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Exposition {
    /// By name, with the number of the shard if it has one, of those without other labels.
    values: HashMap<(String, Option<u32>), f64>,
    /// Histograms: bounds with how many are no longer, ascending.
    buckets: HashMap<(String, u32), Vec<(f64, f64)>>,
    /// Labels of metrics whose value says nothing.
    facts: HashMap<String, Labels>,
}

type Labels = Vec<(String, String)>;

impl MetricsPage {
    /// Of a server with this URL, unless `url` names a page.
    pub fn new(server: &str, url: Option<&str>, tls: &Tls) -> Result<Self, DialError> {
        let address = Address::parse(url.unwrap_or(server))?;
        let path = match url {
            Some(_) if !address.path.is_empty() => address.path.clone(),
            Some(_) => "/metrics".to_owned(),
            None => format!("{}/metrics", address.path),
        };
        Ok(Self {
            address,
            path,
            tls: tls.clone(),
        })
    }

    pub async fn read(&self) -> Result<Exposition, DialError> {
        let body = timeout(TIMEOUT, get(&self.address, &self.path, &self.tls)).await;
        let body = body.unwrap_or_else(|_| Err(DialError::Status("nothing".to_owned())))?;
        Ok(Exposition::parse(&body))
    }
}

impl Exposition {
    pub fn parse(text: &str) -> Self {
        let mut exposition = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((name, labels, value)) = sample(line) {
                exposition.insert(name, labels, value);
            }
        }
        exposition
    }

    /// Labels of the node are on all and tell nothing apart.
    fn insert(&mut self, name: &str, labels: Labels, value: f64) {
        let mut shard = None;
        let mut bound = None;
        let mut others = 0;
        for (label, text) in &labels {
            match label.as_str() {
                "node_id" | "node_type" => {}
                "shard" => shard = text.parse().ok(),
                "le" => bound = text.parse().ok(),
                _ => others += 1,
            }
        }
        if let (Some(shard), Some(bound), 0) = (shard, bound, others) {
            let key = (name.to_owned(), shard);
            self.buckets.entry(key).or_default().push((bound, value));
        } else if others == 0 {
            self.values.insert((name.to_owned(), shard), value);
        } else if value == 1.0 {
            self.facts.insert(name.to_owned(), labels);
        }
    }

    fn shards(&self) -> BTreeMap<u32, ()> {
        let shards = self.values.keys().filter_map(|(_, shard)| *shard);
        shards.map(|shard| (shard, ())).collect()
    }

    fn fact(&self, name: &str, label: &str) -> Option<&str> {
        let labels = self.facts.get(name)?;
        let found = labels.iter().find(|(known, _)| known == label);
        found.map(|(_, text)| text.as_str())
    }

    /// `io_uring` or `sendmmsg`.
    pub fn backend(&self) -> Option<&str> {
        self.fact("millrace_shard_backend", "backend")
    }

    /// Millrace's own version; in its answers to clients it names the LiveKit it is compatible with.
    pub fn version(&self) -> Option<&str> {
        self.fact("millrace_build", "version")
    }

    /// What has no labels but the shard's, summed over shards: counters by name without `_total`,
    /// buckets of histograms by name and bound, as `name_bucket/0.001`.
    pub fn sums(&self) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for ((name, _), value) in &self.values {
            let name = name.strip_suffix("_total").unwrap_or(name);
            *sums.entry(name.to_owned()).or_default() += value;
        }
        for ((name, _), buckets) in &self.buckets {
            for (bound, count) in buckets {
                *sums.entry(format!("{name}/{bound}")).or_default() += count;
            }
        }
        sums
    }

    fn grown_buckets(&self, earlier: &Self, name: &str, shard: u32) -> Vec<Bucket> {
        let key = (name.to_owned(), shard);
        let (Some(now), Some(then)) = (self.buckets.get(&key), earlier.buckets.get(&key)) else {
            return Vec::new();
        };
        let pairs = now.iter().zip(then);
        pairs
            .map(|((bound_s, now), (_, then))| Bucket {
                // Of the last there is none.
                bound_us: (*bound_s < 1e9).then_some(bound_s * 1e6),
                count: (now - then).max(0.0).round() as u64,
            })
            .collect()
    }

    /// What each shard counted since `earlier`.
    pub fn since(&self, earlier: &Self) -> Vec<ShardCounters> {
        let shards = self.shards();
        shards
            .into_keys()
            .map(|shard| {
                let grown = |name: &str| {
                    let key = (name.to_owned(), Some(shard));
                    let (now, then) = (self.values.get(&key)?, earlier.values.get(&key)?);
                    Some((now - then).max(0.0))
                };
                let count = |name: &str| grown(name).map(|it| it.round() as u64);
                let datagrams_sent = count("millrace_shard_datagrams_sent_total").unwrap_or(0);
                let forwarding = "millrace_shard_forwarding_seconds_bucket";
                ShardCounters {
                    shard,
                    forwarding: self.grown_buckets(earlier, forwarding, shard),
                    rtp_received: count("millrace_shard_rtp_received_total").unwrap_or(0),
                    // Nearly all that is sent is forwarded.
                    rtp_forwarded: count("millrace_shard_rtp_forwarded_total")
                        .unwrap_or(datagrams_sent),
                    datagrams_sent,
                    trains: count("millrace_shard_trains_total"),
                    syscalls: count("millrace_shard_syscalls_total"),
                    ticks: count("millrace_shard_ticks_total").unwrap_or(0),
                    wakes: count("millrace_shard_wakes_total"),
                    cpu_s: grown("millrace_shard_cpu_seconds_total"),
                    lane_packets: count("millrace_lane_packets_received_total"),
                    lane_drops: count("millrace_lane_packets_lost_total"),
                    send_drops: None,
                }
            })
            .collect()
    }
}

/// `name{label="value",...} number`, and what may follow.
fn sample(line: &str) -> Option<(&str, Labels, f64)> {
    let (name, labels, rest) = match line.find(['{', ' '])? {
        at if line.as_bytes().get(at) == Some(&b'{') => {
            let (labels, rest) = labels(line.get(at + 1..)?)?;
            (line.get(..at)?, labels, rest)
        }
        at => (line.get(..at)?, Vec::new(), line.get(at..)?),
    };
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some((name, labels, value))
}

/// Labels up to the closing brace, and what is behind it.
fn labels(mut text: &str) -> Option<(Labels, &str)> {
    let mut labels = Vec::new();
    loop {
        text = text.trim_start_matches([',', ' ']);
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, quoted) = text.split_once("=\"")?;
        let (value, rest) = unquote(quoted)?;
        labels.push((name.to_owned(), value));
        text = rest;
    }
}

/// Up to the closing quote, without escapes, and what is behind it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "\
# HELP millrace_shard_ticks Passes of the loop.\n\
# TYPE millrace_shard_ticks counter\n\
millrace_shard_ticks_total{node_id=\"ND_1\",node_type=\"SERVER\",shard=\"0\"} 100\n\
millrace_shard_ticks_total{node_id=\"ND_1\",node_type=\"SERVER\",shard=\"1\"} 7\n\
millrace_shard_datagrams_sent_total{shard=\"0\"} 5000\n\
millrace_shard_trains_total{shard=\"0\"} 1000\n\
millrace_shard_send_errors_total{shard=\"0\",reason=\"full\"} 3\n\
millrace_shard_forwarding_seconds_bucket{le=\"0.0001\",shard=\"0\"} 10\n\
millrace_shard_forwarding_seconds_bucket{le=\"+Inf\",shard=\"0\"} 12\n\
millrace_shard_cpu_seconds_total{shard=\"0\"} 1.5\n";

    const AFTER: &str = "\
millrace_shard_ticks_total{shard=\"0\"} 350\n\
millrace_shard_ticks_total{shard=\"1\"} 8\n\
millrace_shard_datagrams_sent_total{shard=\"0\"} 9000\n\
millrace_shard_trains_total{shard=\"0\"} 2000 1700000000\n\
millrace_shard_cpu_seconds_total{shard=\"0\"} 2.25\n\
millrace_shard_forwarding_seconds_bucket{le=\"0.0001\",shard=\"0\"} 90\n\
millrace_shard_forwarding_seconds_bucket{le=\"+Inf\",shard=\"0\"} 112\n\
millrace_shard_backend{shard=\"0\",backend=\"io_uring\",reason=\"a \\\"b\\\", c\"} 1\n\
# EOF\n";

    #[test]
    fn shards_are_told_apart() {
        let shards = Exposition::parse(AFTER).since(&Exposition::parse(BEFORE));
        assert_eq!(shards.len(), 2);
        assert_eq!((shards[0].ticks, shards[1].ticks), (250, 1));
        assert_eq!(shards[0].datagrams_sent, 4000);
        assert_eq!(shards[0].trains, Some(1000));
        assert_eq!(shards[0].cpu_s, Some(0.75));
        assert_eq!(shards[0].syscalls, None);
        assert_eq!(shards[1].trains, None);
        let bucket = |bound_us, count| Bucket { bound_us, count };
        assert_eq!(
            shards[0].forwarding,
            [bucket(Some(100.0), 80), bucket(None, 100)]
        );
    }

    #[test]
    fn facts_are_labels() {
        let exposition = Exposition::parse(AFTER);
        assert_eq!(exposition.backend(), Some("io_uring"));
        assert_eq!(exposition.version(), None);
    }

    #[test]
    fn what_another_server_says_is_no_shard() {
        let text = "livekit_packet_total{direction=\"incoming\",node_id=\"x\"} 5\ngarbage{\nx y\n";
        let exposition = Exposition::parse(text);
        assert!(exposition.since(&Exposition::default()).is_empty());
    }

    #[test]
    fn pages_stand_beside_the_server_unless_named() {
        let page = |server: &str, url| MetricsPage::new(server, url, &Tls::NONE).unwrap();
        assert_eq!(page("ws://h:7880", None).path, "/metrics");
        let other = page("ws://h:7880", Some("http://h:6789/"));
        assert_eq!(
            (other.path.as_str(), other.address.port),
            ("/metrics", 6789)
        );
    }
}
