//! What a machine of another size would carry, from costs measured on this one.
//!
//! The model is deliberately small, so that it can be written under the chart:
//!
//! ```text
//! load = min( S · u / (r · c),  0.8 · (v − S) / k )
//!
//! v  vCPUs of the machine                    S  shards, max(1, v − 1)
//! u  share of a shard's CPU at the knee      c  CPU of a shard per forwarded packet
//! r  packets per second per unit of load     k  other CPU per second per unit of load
//! ```
//!
//! Where packets grow faster than the load, as among people who all see each other, r is that of
//! the measured load n and what the shards bear is n · (S · u / (n · r · c))^(1/g).
//!
//! Under a CPU quota, u is the share of the quota in use, taken to hold for a whole CPU.
//! A server without shards uses all its CPUs for everything: S = v, and c is all its CPU.
//! A room that spans shards pays `l` more for each published packet and shard it reaches, so
//! that for one big room S · u becomes S · (u − p · l), with p packets published per second.

use super::knee::{Bound, Knee};
use super::model::{Phase, Results, Step};

/// Share of the control plane's CPU a plan may use. What is left is for joins in a burst: all
/// clients of a node that restarted come back within seconds.
pub const CONTROL_SHARE_MAX: f64 = 0.8;

/// Share of a CPU taken to be usable when the knee is not known. What was measured at a lower
/// load errs to the safe side: a busier shard sends longer trains and pays less for each packet.
pub const SHARE_ASSUMED: f64 = 0.8;

/// Costs of the server, measured at the highest load that passed.
#[derive(Clone, PartialEq, Debug)]
pub struct Costs {
    /// Whether its CPU could be told apart by shard.
    pub has_shards: bool,
    /// CPU of shards, or of all if it has none, per forwarded packet.
    pub shard_us_per_packet: f64,
    /// Share of it that is in use at the knee, of what `share_of` says.
    pub shard_share: f64,
    pub share_of: ShareOf,
    /// CPU of everything but shards, per subscriber and second.
    pub control_us_per_subscriber: f64,
    /// CPU per packet received over a lane, if the run shows it.
    pub lane_us_per_packet: Option<f64>,
    /// Whether rooms spanned shards, so that lanes are in `shard_us_per_packet`.
    pub has_lanes: bool,
    pub bytes_per_subscriber: Option<f64>,
    pub rss_idle_bytes: f64,
    /// The load they were measured at.
    pub load: f64,
    pub subscribers_per_load: f64,
    /// Packets per second for each unit of load.
    pub packets_per_load_s: f64,
    /// The power of the load that packets grow by: one for viewers of a stream, about two for
    /// people who all see each other.
    pub growth: f64,
    pub bits_per_packet: f64,
    /// Packets published per second at that load, and in how many rooms.
    pub published_pps: f64,
    pub rooms: u32,
    /// Whether the knee was found, so that `shard_share` is measured and not assumed.
    pub is_knee_known: bool,
    /// The step they were measured at.
    pub step: usize,
}

/// What a share of CPU is a share of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShareOf {
    /// The busiest shard's CPU.
    Shard,
    /// All CPUs the server may use, for it has no shards.
    AllCpus,
    /// The quota its control group has, which a shard with a CPU of its own would not have.
    Quota,
}

/// Which part of a machine is used up first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LimitedBy {
    Shards,
    ControlPlane,
}

/// What a machine carries.
#[derive(Clone, PartialEq, Debug)]
pub struct Projection {
    pub vcpus: u32,
    pub shards: u32,
    /// Measured by this run, not projected.
    pub is_measured: bool,
    /// The load, in what the scenario counts.
    pub load: f64,
    /// The same in one room over all shards, if the cost of lanes is known.
    pub load_one_room: Option<f64>,
    pub packets_per_s: f64,
    pub bits_per_s: f64,
    pub memory_bytes: Option<f64>,
    pub limited_by: LimitedBy,
}

impl Costs {
    /// None if the server's CPU was not watched, or no step passed.
    pub fn of(results: &Results, knee: &Knee) -> Option<Costs> {
        let index = reference_step(results)?;
        let step = &results.steps[index];
        let usage = step.usage.as_ref()?;
        let shard_cpu = step.shard_cpu();
        let has_shards = !shard_cpu.is_empty();
        let load = f64::from(step.load());
        let subscribers = f64::from(step.offered.subscribers);
        let forwarding_cpus = if has_shards {
            shard_cpu.iter().sum()
        } else {
            usage.cpu_s() / step.measured_s
        };
        if step.delivered_pps() <= 0.0 || load <= 0.0 || forwarding_cpus <= 0.0 {
            return None;
        }
        let available = results.server.cpus_available(&results.machine);
        let (share, share_of) = match results.server.cpu_quota {
            Some(_) => (step.server_cpus()? / available, ShareOf::Quota),
            None if !has_shards => (forwarding_cpus / available, ShareOf::AllCpus),
            // The busiest shard breaks first, whatever the others do.
            None => {
                let cpu = knee.shard_cpu.or_else(|| step.busiest_shard_cpu())?;
                (cpu, ShareOf::Shard)
            }
        };
        Some(Costs {
            has_shards,
            shard_us_per_packet: 1e6 * forwarding_cpus / step.delivered_pps(),
            // A run that stopped short of the knee says what a packet costs, but not how much of a
            // CPU may be used.
            shard_share: if knee.bound == Bound::Between {
                share.clamp(0.0, 1.0)
            } else {
                share.clamp(SHARE_ASSUMED, 1.0)
            },
            share_of,
            control_us_per_subscriber: if has_shards {
                1e6 * step.control_cpus()? / subscribers.max(1.0)
            } else {
                0.0
            },
            lane_us_per_packet: lane_cost_us(&results.steps),
            has_lanes: step.shards.iter().any(|shard| shard.lane_packets > Some(0)),
            bytes_per_subscriber: step.bytes_per_subscriber(&results.server),
            rss_idle_bytes: results.server.rss_idle_bytes.unwrap_or(0) as f64,
            packets_per_load_s: step.delivered_pps() / load,
            load,
            subscribers_per_load: subscribers / load,
            growth: growth(&results.steps, step),
            bits_per_packet: step.delivered_bps() / step.delivered_pps(),
            published_pps: step.published_pps(),
            rooms: step.offered.rooms,
            is_knee_known: knee.bound == Bound::Between,
            step: index,
        })
    }

    /// Shards a machine of this size runs.
    pub fn shards(&self, vcpus: u32) -> u32 {
        if self.has_shards {
            vcpus.saturating_sub(1).max(1)
        } else {
            vcpus.max(1)
        }
    }

    /// The load that the control plane of this machine bears; none if it is no limit.
    pub fn control_limit(&self, vcpus: u32) -> Option<f64> {
        let cpus = f64::from(vcpus.saturating_sub(self.shards(vcpus)));
        let is_limit =
            self.control_us_per_subscriber > 0.0 && self.subscribers_per_load > 0.0 && cpus > 0.0;
        is_limit.then(|| {
            let us_per_load = self.control_us_per_subscriber * self.subscribers_per_load;
            CONTROL_SHARE_MAX * cpus * 1e6 / us_per_load
        })
    }

    pub fn project(&self, vcpus: u32) -> Projection {
        let shards = self.shards(vcpus);
        let usable_us = self.shard_share * 1e6;
        let by_shards = self.load_of(f64::from(shards) * usable_us / self.shard_us_per_packet);
        let by_control = self.control_limit(vcpus).unwrap_or(f64::INFINITY);
        let one_room = self.lane_us_per_packet.map(|lane_us| {
            let lanes_us = if shards > 1 {
                self.published_pps * lane_us
            } else {
                0.0
            };
            let left_us = (usable_us - lanes_us).max(0.0);
            let pps = f64::from(shards) * left_us / self.shard_us_per_packet;
            self.load_of(pps).min(by_control)
        });
        let load = by_shards.min(by_control);
        let packets_per_s = self.packets_of(load);
        Projection {
            vcpus,
            shards,
            is_measured: false,
            load,
            // What is published grows too where packets grow faster than the load.
            load_one_room: one_room.filter(|_| self.rooms == 1 && self.growth == 1.0),
            packets_per_s,
            bits_per_s: packets_per_s * self.bits_per_packet,
            memory_bytes: self
                .bytes_per_subscriber
                .map(|bytes| self.rss_idle_bytes + load * self.subscribers_per_load * bytes),
            limited_by: if by_control < by_shards {
                LimitedBy::ControlPlane
            } else {
                LimitedBy::Shards
            },
        }
    }

    /// The load that makes so many packets per second.
    fn load_of(&self, packets_per_s: f64) -> f64 {
        let measured = self.load * self.packets_per_load_s;
        self.load * (packets_per_s / measured).powf(1.0 / self.growth)
    }

    fn packets_of(&self, load: f64) -> f64 {
        self.load * self.packets_per_load_s * (load / self.load).powf(self.growth)
    }
}

impl Projection {
    /// For each machine size: measured if the server had just that, else projected.
    pub fn for_sizes(results: &Results, knee: &Knee, costs: &Costs, vcpus: &[u32]) -> Vec<Self> {
        vcpus
            .iter()
            .map(|vcpus| {
                let projected = costs.project(*vcpus);
                let had = results.server.cpus.as_ref().map(Vec::len);
                let is_measured = had == Some(*vcpus as usize)
                    && !results.server.is_crowded(&results.machine)
                    && results.server.cpu_quota.is_none()
                    && knee.bound == Bound::Between;
                if !is_measured {
                    return projected;
                }
                Projection {
                    is_measured,
                    load: knee.load,
                    packets_per_s: knee.delivered_pps,
                    bits_per_s: knee.delivered_bps,
                    shards: results.server.shards.unwrap_or(projected.shards),
                    ..projected
                }
            })
            .collect()
    }
}

/// The passing step with the highest load, the holds near the knee included.
fn reference_step(results: &Results) -> Option<usize> {
    (0..results.steps.len())
        .filter(|index| {
            let step = &results.steps[*index];
            step.phase != Phase::Overload && step.is_conclusive() && results.slo.is_met(step)
        })
        .max_by_key(|index| results.steps[*index].load())
}

/// The power by which packets grow with the load, from a step well below `reference`. Between one
/// and two: a copy for each subscriber, and for each pair of them.
fn growth(steps: &[Step], reference: &Step) -> f64 {
    let (load, pps) = (f64::from(reference.load()), reference.delivered_pps());
    let range = load / 5.0..=load / 1.4;
    let below = steps
        .iter()
        .filter(|step| step.is_conclusive() && step.delivered_pps() > 0.0)
        .filter(|step| range.contains(&f64::from(step.load())))
        .min_by_key(|step| step.load());
    let power = below.map_or(1.0, |step| {
        (pps / step.delivered_pps()).ln() / (load / f64::from(step.load())).ln()
    });
    // A tenth is within what loss and the mix of layers do.
    if power.is_finite() && power > 1.1 {
        power.min(2.0)
    } else {
        1.0
    }
}

/// Fits each shard's CPU per second by `a + b · forwarded + c · received over lanes`, and gives
/// `c`. None unless shards with and without lane traffic were seen.
fn lane_cost_us(steps: &[Step]) -> Option<f64> {
    let samples: Vec<([f64; 3], f64)> = steps
        .iter()
        .filter(|step| step.is_conclusive() && step.phase != Phase::Overload)
        .flat_map(|step| {
            let cpus = step.shard_cpu();
            step.shards.iter().filter_map(move |shard| {
                let cpu = *cpus.get(shard.shard as usize)?;
                let forwarded = shard.rtp_forwarded as f64 / step.measured_s;
                let lane = shard.lane_packets? as f64 / step.measured_s;
                Some(([1.0, forwarded, lane], 1e6 * cpu))
            })
        })
        .collect();
    let used = samples.iter().filter(|(row, _)| row[2] > 0.0).count();
    if used < 2 || samples.len() - used < 2 {
        return None;
    }
    let [_, _, lane_us] = least_squares(&samples)?;
    (lane_us.is_finite() && lane_us >= 0.0).then_some(lane_us)
}

/// Solves the normal equations of a fit with three unknowns by Cramer's rule.
fn least_squares(samples: &[([f64; 3], f64)]) -> Option<[f64; 3]> {
    // Columns are scaled to one, or the determinant's size would say nothing about its meaning.
    let mut scale = [0.0_f64; 3];
    for (row, _) in samples {
        for (scale, value) in scale.iter_mut().zip(row) {
            *scale = scale.max(value.abs());
        }
    }
    let mut matrix = [[0.0; 3]; 3];
    let mut right = [0.0; 3];
    for (row, value) in samples {
        let row: [f64; 3] = std::array::from_fn(|column| row[column] / scale[column]);
        for i in 0..3 {
            for j in 0..3 {
                matrix[i][j] += row[i] * row[j];
            }
            right[i] += row[i] * value;
        }
    }
    let whole = determinant(&matrix);
    // Nearly dependent columns: lanes cannot be told from forwarding.
    if whole.is_nan() || whole.abs() < 1e-6 {
        return None;
    }
    Some(std::array::from_fn(|column| {
        let mut replaced = matrix;
        for (row, value) in replaced.iter_mut().zip(right) {
            row[column] = value;
        }
        determinant(&replaced) / whole / scale[column]
    }))
}

fn determinant(m: &[[f64; 3]; 3]) -> f64 {
    m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
        - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
        + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
}

#[cfg(test)]
#[path = "projection_tests.rs"]
mod tests;
