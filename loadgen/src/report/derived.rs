//! Rates and costs of a step, worked out from its counts.

use std::collections::BTreeMap;

use super::model::{Machine, Sample, Server, ServerUsage, Step, ThreadRole};

impl Step {
    /// Size of the load, in what the scenario counts.
    pub fn load(&self) -> u32 {
        if self.size > 0 {
            self.size
        } else {
            self.offered.subscribers
        }
    }

    /// Packets per second the server had to send.
    pub fn offered_pps(&self) -> f64 {
        rate(self.offered.packets_out, self.measured_s)
    }

    pub fn offered_bps(&self) -> f64 {
        8.0 * rate(self.offered.bytes_out, self.measured_s)
    }

    /// Packets per second that publishers sent.
    pub fn published_pps(&self) -> f64 {
        rate(self.offered.packets_in, self.measured_s)
    }

    pub fn delivered_pps(&self) -> f64 {
        rate(self.delivered.packets, self.measured_s)
    }

    pub fn delivered_bps(&self) -> f64 {
        8.0 * rate(self.delivered.bytes, self.measured_s)
    }

    /// Payload bits per second of an encoding at all subscribers, by what the sampled ones got of it.
    /// None when nothing was sampled.
    pub fn layer_bps(&self, name: &str) -> Option<f64> {
        let layers = &self.delivered.layers;
        let bytes = layers.iter().find(|it| it.name == name)?.bytes;
        let packets = self.delivered.packets as f64;
        let sampled = ratio(self.delivered.packets_timed as f64, packets)?;
        ratio(8.0 * rate(bytes, self.measured_s), sampled)
    }

    /// Lost packets as a share of those that should have come.
    pub fn loss_ratio(&self) -> f64 {
        ratio(self.integrity.lost as f64, self.integrity.expected as f64).unwrap_or(0.0)
    }

    /// Joins that succeeded in the busiest second; their mean rate where seconds were not kept.
    pub fn joins_per_s(&self) -> Option<f64> {
        let seconds = self.joins.series.iter();
        let rates = seconds.filter_map(|it| ratio(f64::from(it.joined), it.length_s));
        let mean = ratio(f64::from(self.joins.attempted), self.joins.spread_s);
        rates.reduce(f64::max).or(mean)
    }

    /// CPU seconds the server used per second.
    pub fn server_cpus(&self) -> Option<f64> {
        ratio(self.usage.as_ref()?.cpu_s(), self.measured_s)
    }

    /// CPU share of each shard's thread, in the order of the shards. Empty if unknown. Of a process
    /// that is not watched the shards' own account is taken.
    pub fn shard_cpu(&self) -> Vec<f64> {
        let Some(usage) = &self.usage else {
            let told = self.shards.iter().map(|shard| shard.cpu_s);
            let shares = told.map(|cpu_s| ratio(cpu_s?, self.measured_s));
            return shares.collect::<Option<_>>().unwrap_or_default();
        };
        let shards = usage.shard_cpu_s().into_values();
        shards
            .map(|cpu_s| ratio(cpu_s, self.measured_s).unwrap_or(0.0))
            .collect()
    }

    /// CPU share of the busiest shard.
    pub fn busiest_shard_cpu(&self) -> Option<f64> {
        self.shard_cpu().into_iter().reduce(f64::max)
    }

    /// CPUs used by the control plane's threads and all others that forward nothing.
    pub fn control_cpus(&self) -> Option<f64> {
        let usage = self.usage.as_ref()?;
        let shards: f64 = self.shard_cpu().iter().sum();
        Some((ratio(usage.cpu_s(), self.measured_s)? - shards).max(0.0))
    }

    /// Packets delivered for each CPU second of the whole server.
    pub fn packets_per_cpu_s(&self) -> Option<f64> {
        ratio(self.delivered.packets as f64, self.usage.as_ref()?.cpu_s())
    }

    /// Mean number of datagrams in a message handed to the kernel.
    pub fn mean_train(&self) -> Option<f64> {
        let datagrams: u64 = self.shards.iter().map(|shard| shard.datagrams_sent).sum();
        let trains: u64 = self
            .shards
            .iter()
            .map(|shard| shard.trains)
            .sum::<Option<_>>()?;
        ratio(datagrams as f64, trains as f64)
    }

    /// System calls of the shards for each packet they forwarded.
    pub fn syscalls_per_packet(&self) -> Option<f64> {
        let packets: u64 = self.shards.iter().map(|shard| shard.rtp_forwarded).sum();
        let syscalls: u64 = self
            .shards
            .iter()
            .map(|shard| shard.syscalls)
            .sum::<Option<_>>()?;
        ratio(syscalls as f64, packets as f64)
    }

    /// Wake-ups of all shards per second; passes of their loops where they do not tell.
    pub fn wakes_per_s(&self) -> Option<f64> {
        let wakes = self
            .shards
            .iter()
            .map(|shard| shard.wakes.unwrap_or(shard.ticks));
        let wakes: u64 = wakes.sum();
        ratio(wakes as f64, self.measured_s).filter(|_| wakes > 0)
    }

    /// What each subscriber added to the server's resident memory.
    pub fn bytes_per_subscriber(&self, server: &Server) -> Option<f64> {
        let grown = self
            .usage
            .as_ref()?
            .rss_bytes
            .saturating_sub(server.rss_idle_bytes?);
        ratio(grown as f64, f64::from(self.offered.subscribers))
    }

    /// Whether the step says something about the server.
    pub fn is_conclusive(&self) -> bool {
        self.generator.limited_by.is_none()
    }
}

impl Server {
    /// Whether the generator had to run on the same CPUs.
    pub fn is_crowded(&self, machine: &Machine) -> bool {
        let listed = self.cpus.as_ref().map(Vec::len);
        listed.is_some_and(|cpus| cpus >= machine.vcpus as usize)
    }

    /// CPUs it may use at once, on a machine that is its own.
    pub fn cpus_available(&self, machine: &Machine) -> f64 {
        let listed = self.cpus.as_ref().map(Vec::len);
        let whole = listed.unwrap_or(machine.vcpus as usize).max(1) as f64;
        self.cpu_quota.map_or(whole, |quota| quota.min(whole))
    }
}

impl ServerUsage {
    pub fn cpu_s(&self) -> f64 {
        self.cpu_user_s + self.cpu_system_s
    }

    /// Of each shard. It may have several threads: one more does its blocking calls.
    pub fn shard_cpu_s(&self) -> BTreeMap<u32, f64> {
        let mut shards = BTreeMap::new();
        for thread in &self.threads {
            if let ThreadRole::Shard(shard) = thread.role {
                *shards.entry(shard).or_default() += thread.cpu_s;
            }
        }
        shards
    }
}

impl Sample {
    pub fn offered_bps(&self) -> f64 {
        8.0 * rate(self.offered_bytes, self.length_s)
    }

    pub fn delivered_bps(&self) -> f64 {
        8.0 * rate(self.delivered_bytes, self.length_s)
    }
}

fn rate(count: u64, over_s: f64) -> f64 {
    ratio(count as f64, over_s).unwrap_or(0.0)
}

/// A quotient, unless there is nothing to divide by. An empty sum of options is zero, and so none.
fn ratio(value: f64, by: f64) -> Option<f64> {
    let quotient = value / by;
    (by > 0.0 && quotient.is_finite()).then_some(quotient)
}

#[cfg(test)]
mod tests {
    use super::super::model::{JoinSample, LayerBytes, ShardCounters, ThreadCpu};
    use super::*;

    fn step() -> Step {
        let mut step = Step {
            measured_s: 10.0,
            ..Step::default()
        };
        step.offered.subscribers = 100;
        step.delivered.packets = 1_000_000;
        step.delivered.bytes = 100_000_000;
        step.usage = Some(ServerUsage {
            cpu_user_s: 1.0,
            cpu_system_s: 4.0,
            threads: [(1, 2.0), (0, 1.5), (1, 0.5)]
                .map(|(shard, cpu_s)| ThreadCpu {
                    name: format!("shard-{shard}"),
                    role: ThreadRole::Shard(shard),
                    cpu_s,
                })
                .to_vec(),
            rss_bytes: 30_000_000,
            socket_drops: None,
        });
        step
    }

    #[test]
    fn encodings_are_those_of_the_sampled_share() {
        let mut step = step();
        step.delivered.packets_timed = 250_000;
        assert_eq!(step.layer_bps("f"), None);
        step.delivered.layers.push(LayerBytes {
            name: "f".into(),
            bytes: 1_000_000,
        });
        assert_eq!(step.layer_bps("f"), Some(8.0 * 1e6 / 10.0 * 4.0));
        step.delivered.packets_timed = 0;
        assert_eq!(step.layer_bps("f"), None);
    }

    #[test]
    fn cpu_is_told_apart_by_shard() {
        let step = step();
        assert_eq!(step.shard_cpu(), [0.15, 0.25]);
        assert_eq!(step.busiest_shard_cpu(), Some(0.25));
        assert!((step.control_cpus().unwrap() - 0.1).abs() < 1e-9);
        assert_eq!(step.packets_per_cpu_s(), Some(200_000.0));
    }

    #[test]
    fn memory_is_the_growth_since_idle() {
        let mut server = Server::default();
        assert_eq!(step().bytes_per_subscriber(&server), None);
        server.rss_idle_bytes = Some(20_000_000);
        assert_eq!(step().bytes_per_subscriber(&server), Some(100_000.0));
        server.rss_idle_bytes = Some(40_000_000);
        assert_eq!(step().bytes_per_subscriber(&server), Some(0.0));
    }

    #[test]
    fn what_is_unknown_stays_unknown() {
        let step = Step::default();
        assert_eq!(step.server_cpus(), None);
        assert_eq!(step.packets_per_cpu_s(), None);
        assert_eq!(step.mean_train(), None);
        assert_eq!(step.syscalls_per_packet(), None);
        assert_eq!(step.joins_per_s(), None);
        assert_eq!((step.delivered_pps(), step.loss_ratio()), (0.0, 0.0));
    }

    #[test]
    fn the_busiest_second_is_the_rate_of_joins() {
        let mut step = step();
        step.joins.attempted = 60;
        step.joins.spread_s = 4.0;
        assert_eq!(step.joins_per_s(), Some(15.0));
        let sample = |at_s, joined, failed| JoinSample {
            at_s,
            length_s: 1.0,
            joined,
            failed,
        };
        step.joins.series = vec![sample(3.0, 12, 0), sample(4.0, 41, 7)];
        assert_eq!(step.joins_per_s(), Some(41.0));
    }

    #[test]
    fn trains_and_syscalls_are_means_over_shards() {
        let mut step = step();
        let shard = |datagrams_sent, trains, syscalls| ShardCounters {
            rtp_forwarded: datagrams_sent,
            datagrams_sent,
            trains,
            syscalls,
            ..ShardCounters::default()
        };
        step.shards = vec![
            shard(800, Some(100), Some(30)),
            shard(200, Some(100), Some(20)),
        ];
        assert_eq!(step.mean_train(), Some(5.0));
        assert_eq!(step.syscalls_per_packet(), Some(0.05));
        step.shards.push(shard(10, None, None));
        assert_eq!(
            (step.mean_train(), step.syscalls_per_packet()),
            (None, None)
        );
    }
}
