//! Whether a step met the SLO, and what broke first if it did not.

use super::cause::{Cause, Evidence};
use super::model::{Results, Slo, Step, ThreadRole};
use std::fmt;

/// A thread this busy has no time left: below it, queues still drain between two bursts.
const CPU_SHARE_FULL: f64 = 0.95;

/// A part of the SLO that did not hold.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Breach {
    /// Forwarding latency; none means that nothing arrived at all.
    Latency {
        p99_ns: Option<u64>,
    },
    Loss {
        ratio: f64,
    },
    /// Joins were too slow.
    JoinLatency {
        p99_ns: u64,
    },
    /// Joins failed altogether.
    JoinFailures {
        failed: u32,
        attempted: u32,
    },
}

/// What stands in the way of more load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bottleneck {
    /// The generator, so that the step says nothing about the server.
    Generator,
    ShardCpu,
    ControlCpu,
    /// All CPU the server may use.
    Cpu,
    /// Datagrams dropped at the server's sockets, or its sends refused.
    Socket,
    /// A queue between shards overflowed.
    Lane,
    Memory,
    /// A shard copies what comes at one go to all, which takes longer than the SLO allows.
    Bursts,
    /// Packets wait within the server although its CPU is not used up.
    Within,
    /// Packets wait before they arrive at the server, or after they left it.
    Outside,
    /// No reading points anywhere.
    Unknown,
}

impl Slo {
    /// The parts of it a step broke; none if it passed.
    pub fn breaches(&self, step: &Step) -> Vec<Breach> {
        let mut breaches = Vec::new();
        let p99_ns = step.latency.percentile_ns(99.0);
        let is_late = p99_ns.map_or(step.offered.packets_out > 0, |p99_ns| {
            p99_ns > self.latency_p99_ns_max
        });
        if is_late {
            breaches.push(Breach::Latency { p99_ns });
        }
        let ratio = step.loss_ratio();
        if ratio > self.loss_ratio_max {
            breaches.push(Breach::Loss { ratio });
        }
        if let Some(p99_ns) = step.joins.latency.percentile_ns(99.0)
            && p99_ns > self.join_p99_ns_max
        {
            breaches.push(Breach::JoinLatency { p99_ns });
        }
        if step.joins.failed > 0 {
            breaches.push(Breach::JoinFailures {
                failed: step.joins.failed,
                attempted: step.joins.attempted,
            });
        }
        breaches
    }

    pub fn is_met(&self, step: &Step) -> bool {
        self.breaches(step).is_empty()
    }
}

impl Bottleneck {
    /// What a step ran into, by its readings. Meaningful for a step that broke the SLO: of the
    /// causes that apply, the one that makes the others follow comes first.
    pub fn of(results: &Results, step: &Step) -> Bottleneck {
        let (server, machine) = (&results.server, &results.machine);
        if !step.is_conclusive() {
            return Bottleneck::Generator;
        }
        let usage = step.usage.as_ref();
        if step.shards.iter().any(|shard| shard.lane_drops > Some(0))
            && step
                .busiest_shard_cpu()
                .is_none_or(|cpu| cpu < CPU_SHARE_FULL)
        {
            return Bottleneck::Lane;
        }
        if step.busiest_shard_cpu() >= Some(CPU_SHARE_FULL) {
            return Bottleneck::ShardCpu;
        }
        let is_socket_full = usage.is_some_and(|usage| usage.socket_drops > Some(0))
            || step.shards.iter().any(|shard| shard.send_drops > Some(0));
        if is_socket_full {
            return Bottleneck::Socket;
        }
        // Nine tenths: what is left belongs to the kernel's socket buffers.
        let memory_max = machine.memory_bytes / 10 * 9;
        if usage.is_some_and(|usage| memory_max > 0 && usage.rss_bytes > memory_max) {
            return Bottleneck::Memory;
        }
        if step.server_cpus() >= Some(CPU_SHARE_FULL * server.cpus_available(machine)) {
            return Bottleneck::Cpu;
        }
        let full_s = CPU_SHARE_FULL * step.measured_s;
        let full = usage.and_then(|usage| usage.threads.iter().find(|t| t.cpu_s >= full_s));
        if let Some(thread) = full {
            return match thread.role {
                ThreadRole::Control => Bottleneck::ControlCpu,
                ThreadRole::Shard(_) | ThreadRole::Other => Bottleneck::Cpu,
            };
        }
        let is_late = |breach: &Breach| matches!(breach, Breach::Latency { .. });
        if results.slo.breaches(step).iter().any(is_late) {
            Bottleneck::of_late(step)
        } else {
            Bottleneck::Unknown
        }
    }

    /// Of a step whose packets are late although nothing is used up.
    fn of_late(step: &Step) -> Bottleneck {
        match Evidence::of(step).map_or(Cause::Unknown, |evidence| evidence.cause()) {
            Cause::Bursts => Bottleneck::Bursts,
            Cause::Within => Bottleneck::Within,
            Cause::Outside => Bottleneck::Outside,
            Cause::Unknown => Bottleneck::Unknown,
        }
    }
}

impl fmt::Display for Bottleneck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bottleneck::Generator => "the generator",
            Bottleneck::ShardCpu => "CPU of a shard",
            Bottleneck::ControlCpu => "CPU of the control plane",
            Bottleneck::Cpu => "its CPU",
            Bottleneck::Socket => "a full socket",
            Bottleneck::Lane => "a lane between shards",
            Bottleneck::Memory => "memory",
            Bottleneck::Bursts => "bursts on one shard",
            Bottleneck::Within => "a wait within the server",
            Bottleneck::Outside => "something outside the server",
            Bottleneck::Unknown => "nothing that was watched",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::latency::Latency;
    use super::super::model::{Bucket, Machine, Server, ServerUsage, ShardCounters, ThreadCpu};
    use super::*;

    fn passing() -> Step {
        let mut step = Step {
            measured_s: 10.0,
            ..Step::default()
        };
        step.offered.packets_out = 10_000;
        step.integrity.expected = 10_000;
        step.latency.record_many_ns(300_000, 10_000);
        step.usage = Some(ServerUsage::default());
        step
    }

    fn busy(role: ThreadRole, cpu_s: f64) -> Step {
        let mut step = passing();
        step.usage = Some(ServerUsage {
            threads: vec![ThreadCpu {
                name: String::new(),
                role,
                cpu_s,
            }],
            ..ServerUsage::default()
        });
        step
    }

    /// On a machine of eight CPUs and a thousand bytes.
    fn of(step: &Step) -> Bottleneck {
        let machine = Machine {
            vcpus: 8,
            memory_bytes: 1_000,
            ..Machine::default()
        };
        let results = Results {
            machine,
            ..Results::default()
        };
        Bottleneck::of(&results, step)
    }

    #[test]
    fn each_part_of_the_slo_can_break() {
        let slo = Slo::default();
        assert!(slo.is_met(&passing()));

        let mut late = passing();
        late.latency.record_many_ns(6_000_000, 200);
        assert!(matches!(slo.breaches(&late)[..], [Breach::Latency { .. }]));

        let mut lossy = passing();
        lossy.integrity.lost = 11;
        assert_eq!(slo.breaches(&lossy), [Breach::Loss { ratio: 0.0011 }]);

        let mut slow = passing();
        slow.joins.latency.record_ns(3_000_000_000);
        assert!(matches!(
            slo.breaches(&slow)[..],
            [Breach::JoinLatency { .. }]
        ));

        let mut refused = passing();
        refused.joins.failed = 1;
        assert_eq!(slo.breaches(&refused).len(), 1);
    }

    #[test]
    fn a_server_that_forwards_nothing_is_late() {
        let mut silent = passing();
        silent.latency = Latency::new();
        assert_eq!(
            Slo::default().breaches(&silent),
            [Breach::Latency { p99_ns: None }]
        );
    }

    #[test]
    fn readings_name_the_bottleneck() {
        let shard = busy(ThreadRole::Shard(0), 9.6);
        assert_eq!(of(&shard), Bottleneck::ShardCpu);
        let control = busy(ThreadRole::Control, 9.6);
        assert_eq!(of(&control), Bottleneck::ControlCpu);

        let mut socket = busy(ThreadRole::Shard(0), 6.0);
        socket.usage.as_mut().unwrap().socket_drops = Some(3);
        assert_eq!(of(&socket), Bottleneck::Socket);

        let mut lane = busy(ThreadRole::Shard(0), 6.0);
        lane.shards = vec![ShardCounters {
            lane_drops: Some(1),
            ..ShardCounters::default()
        }];
        assert_eq!(of(&lane), Bottleneck::Lane);

        let mut memory = passing();
        memory.usage.as_mut().unwrap().rss_bytes = 950;
        assert_eq!(of(&memory), Bottleneck::Memory);
        assert_eq!(of(&passing()), Bottleneck::Unknown);
    }

    #[test]
    fn a_used_up_quota_is_the_servers_cpu() {
        let mut step = busy(ThreadRole::Other, 2.9);
        step.usage.as_mut().unwrap().cpu_user_s = 2.9;
        let limited = Server {
            cpu_quota: Some(0.3),
            ..Server::default()
        };
        let results = Results {
            server: limited,
            ..Results::default()
        };
        assert_eq!(Bottleneck::of(&results, &step), Bottleneck::Cpu);
        assert_eq!(of(&step), Bottleneck::Unknown);
        assert_eq!(of(&busy(ThreadRole::Other, 9.6)), Bottleneck::Cpu);
    }

    #[test]
    fn late_packets_have_a_cause_only_if_they_are_late() {
        let mut step = busy(ThreadRole::Shard(0), 3.0);
        let bucket = |bound_us| Bucket { bound_us, count: 9 };
        step.shards = vec![ShardCounters {
            forwarding: vec![bucket(Some(8_000.0)), bucket(None)],
            ..ShardCounters::default()
        }];
        // In time, and lossy.
        step.integrity.lost = 500;
        assert_eq!(of(&step), Bottleneck::Unknown);
        step.latency.record_many_ns(8_000_000, 10_000);
        assert_eq!(of(&step), Bottleneck::Within);
        step.latency.record_many_ns(80_000_000, 10_000);
        assert_eq!(of(&step), Bottleneck::Outside);
        step.shards.clear();
        assert_eq!(of(&step), Bottleneck::Unknown);
        // A used-up shard says enough.
        let mut full = busy(ThreadRole::Shard(0), 9.6);
        full.latency.record_many_ns(80_000_000, 10_000);
        assert_eq!(of(&full), Bottleneck::ShardCpu);
    }

    #[test]
    fn a_limited_generator_explains_everything() {
        let mut step = busy(ThreadRole::Shard(0), 9.9);
        step.generator.limited_by = Some("own CPU".into());
        assert_eq!(of(&step), Bottleneck::Generator);
    }
}
