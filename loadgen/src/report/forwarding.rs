//! The server's own forwarding latency, as it tells it: from a packet's arrival until its last copy
//! was handed to the kernel, in buckets.

use super::model::{Bucket, Step};

/// Where a percentile lies: between the bounds of a bucket, which is all that buckets tell.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Quantile {
    pub above_ns: f64,
    /// None beyond the last bound.
    pub up_to_ns: Option<f64>,
    /// As if packets were spread evenly between the bounds; beyond the last one, that bound.
    pub estimate_ns: f64,
}

impl Step {
    /// Buckets of all shards together: how many packets took no longer than each bound. Empty if the
    /// server tells none.
    pub fn forwarding(&self) -> Vec<Bucket> {
        let Some(longest) = self.shards.iter().max_by_key(|it| it.forwarding.len()) else {
            return Vec::new();
        };
        let total = |index: usize| -> u64 {
            let buckets = self.shards.iter().filter_map(|it| it.forwarding.get(index));
            buckets.map(|bucket| bucket.count).sum()
        };
        let bounds = longest.forwarding.iter().enumerate();
        let buckets: Vec<_> = bounds
            .map(|(index, bucket)| Bucket {
                bound_us: bucket.bound_us,
                count: total(index),
            })
            .collect();
        let is_empty = buckets.last().is_none_or(|all| all.count == 0);
        if is_empty { Vec::new() } else { buckets }
    }

    /// The forwarding latency that `share` of all packets did not exceed.
    pub fn forwarding_quantile(&self, share: f64) -> Option<Quantile> {
        quantile(&self.forwarding(), share)
    }

    /// Its estimate in microseconds.
    pub fn forwarding_us(&self, share: f64) -> Option<f64> {
        Some(self.forwarding_quantile(share)?.estimate_ns / 1e3)
    }
}

fn quantile(buckets: &[Bucket], share: f64) -> Option<Quantile> {
    let wanted = share * buckets.last()?.count as f64;
    let (mut above_ns, mut below) = (0.0, 0.0);
    for bucket in buckets {
        let count = bucket.count as f64;
        let Some(up_to_ns) = bucket.bound_us.map(|us| us * 1e3) else {
            break;
        };
        if count >= wanted {
            let part = (wanted - below) / (count - below);
            let part = if part.is_finite() { part } else { 1.0 };
            return Some(Quantile {
                above_ns,
                up_to_ns: Some(up_to_ns),
                estimate_ns: above_ns + part * (up_to_ns - above_ns),
            });
        }
        (above_ns, below) = (up_to_ns, count);
    }
    Some(Quantile {
        above_ns,
        up_to_ns: None,
        estimate_ns: above_ns,
    })
}

#[cfg(test)]
mod tests {
    use super::super::model::ShardCounters;
    use super::*;

    fn shard(counts: &[(Option<f64>, u64)]) -> ShardCounters {
        let bucket = |(bound_us, count): &(_, _)| Bucket {
            bound_us: *bound_us,
            count: *count,
        };
        ShardCounters {
            forwarding: counts.iter().map(bucket).collect(),
            ..ShardCounters::default()
        }
    }

    fn step() -> Step {
        let counts = [(Some(50.0), 10), (Some(100.0), 95), (None, 100)];
        Step {
            shards: vec![shard(&counts)],
            ..Step::default()
        }
    }

    #[test]
    fn a_percentile_lies_between_bounds() {
        let median = step().forwarding_quantile(0.5).unwrap();
        assert_eq!(
            (median.above_ns, median.up_to_ns),
            (50_000.0, Some(100_000.0))
        );
        // 40 of the 85 between the bounds.
        assert!((median.estimate_ns - 73_529.4).abs() < 0.1, "{median:?}");
        let lowest = step().forwarding_quantile(0.05).unwrap();
        assert_eq!(
            (lowest.above_ns, lowest.up_to_ns, lowest.estimate_ns),
            (0.0, Some(50_000.0), 25_000.0)
        );
    }

    #[test]
    fn beyond_the_last_bound_only_that_bound_is_known() {
        let tail = step().forwarding_quantile(0.99).unwrap();
        assert_eq!(
            (tail.above_ns, tail.up_to_ns, tail.estimate_ns),
            (100_000.0, None, 100_000.0)
        );
    }

    #[test]
    fn shards_add_up() {
        let mut step = step();
        let quick = [(Some(50.0), 900), (Some(100.0), 900), (None, 900)];
        step.shards.push(shard(&quick));
        let counts: Vec<_> = step.forwarding().iter().map(|it| it.count).collect();
        assert_eq!(counts, [910, 995, 1000]);
        assert_eq!(
            step.forwarding_quantile(0.5).unwrap().up_to_ns,
            Some(50_000.0)
        );
    }

    #[test]
    fn a_server_that_tells_nothing_has_none() {
        let mut silent = Step::default();
        assert_eq!(silent.forwarding_quantile(0.5), None);
        silent.shards = vec![shard(&[(Some(50.0), 0), (None, 0)])];
        assert_eq!(silent.forwarding_us(0.5), None);
    }
}
