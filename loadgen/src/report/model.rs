//! What a run found: the model behind the HTML report, the JSON and the CSV.
//!
//! The generator fills [`Results`], one [`Step`] for each load it held; everything that can be
//! worked out from these (the knee, costs per packet, projections) is worked out by the report and
//! is not stored. So an old file re-rendered by a newer version gains what that version knows.
//!
//! Conventions:
//! - Counts and seconds of a step cover its *measured* window, without the time it took to raise
//!   the load. Rates are counts divided by [`Step::measured_s`], so they are not stored either.
//! - A *packet* is an RTP packet with media, a *bit* one of its UDP payload.
//! - What could not be read is `None`, never zero: a server given by URL alone has no CPU, one
//!   that is not Millrace has no shard counters.
//! - Latency is one-way, from the publisher's send to the subscriber's receive, in nanoseconds.
//!
//! The file is versioned by [`Results::schema`]. A field may be added with `#[serde(default)]`
//! under the same number; anything else raises it.

use super::latency::Latency;
use serde::{Deserialize, Serialize};

/// The version of the model this build writes and reads.
pub const SCHEMA: u32 = 1;

/// One run of the generator.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// Name and version of the generator, such as `millrace-loadgen 0.1.0`.
    pub generator: String,
    /// Start of the run, RFC 3339 in UTC.
    pub started_at: String,
    /// The command line, one argument each, the program first. Secrets are replaced before.
    pub command_line: Vec<String>,
    pub scenario: Scenario,
    pub slo: Slo,
    pub machine: Machine,
    pub server: Server,
    /// In the order they ran.
    pub steps: Vec<Step>,
    /// The run was ended early by the user; what was measured until then counts.
    pub interrupted: bool,
    /// What the generator's receiving costs, if that was measured in this run.
    #[serde(default)]
    pub own_cost: Option<OwnCost>,
    /// Sentences for the reader: what was limited, skipped, or is odd about this run.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// What the load consists of.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Scenario {
    /// `audio`, `meeting`, `livestream`, `screenshare`, `churn`, `mixed`, `idle`, or a file's
    /// stem.
    pub name: String,
    /// One sentence: who sends what to whom.
    pub description: String,
    /// What [`Step::size`] counts, in the plural: "viewers", "listeners", "joins per second".
    pub subscribers_noun: String,
    /// Codecs in use, such as `VP8` or `Opus`.
    pub codecs: Vec<String>,
    /// Seed of everything random in it.
    pub seed: u64,
}

/// What must hold for a step to pass.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Slo {
    /// Bound on the 99th percentile of the forwarding latency.
    pub latency_p99_ns_max: u64,
    /// Bound on packets lost as a share of those expected.
    pub loss_ratio_max: f64,
    /// Bound on the 99th percentile of a join.
    pub join_p99_ns_max: u64,
}

impl Default for Slo {
    fn default() -> Self {
        Slo {
            latency_p99_ns_max: 5_000_000,
            loss_ratio_max: 0.001,
            join_p99_ns_max: 2_000_000_000,
        }
    }
}

/// The machine the generator ran on; the server's too if [`Server::pid`] is known.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    pub cpu_model: String,
    /// CPUs that are online.
    pub vcpus: u32,
    /// Threads of a physical core, if known.
    pub threads_per_core: Option<u32>,
    pub memory_bytes: u64,
    /// Release of the kernel.
    pub kernel: String,
    /// Name of the hypervisor if the CPU says there is one.
    pub hypervisor: Option<String>,
    pub nics: Vec<Nic>,
}

/// A network interface and what it does by itself.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Nic {
    pub name: String,
    pub driver: Option<String>,
    pub mtu: u32,
    pub speed_mbps: Option<u32>,
    /// Segments UDP (`tx-udp-segmentation`). Where it does not, the kernel cuts trains itself.
    pub udp_segmentation: Option<bool>,
    /// Merges received UDP (`rx-udp-gro-forwarding` or `rx-gro-list`).
    pub udp_gro: Option<bool>,
    pub tx_checksum: Option<bool>,
}

/// The server under load.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Server {
    /// The address it was reached at.
    pub url: String,
    /// Name of its program, if its process is watched.
    pub name: String,
    /// What it calls its version in its answer to a join. It is free text of somebody else.
    pub version: String,
    pub node_id: Option<String>,
    /// Process that was watched from outside.
    pub pid: Option<u32>,
    /// CPUs its process may run on.
    pub cpus: Option<Vec<u32>>,
    /// Share of CPU time its control group grants, in CPUs; none if it is not limited.
    pub cpu_quota: Option<f64>,
    /// Threads that forward media, each with sockets of its own.
    pub shards: Option<u32>,
    /// `ring` or `mmsg` for Millrace.
    pub backend: Option<String>,
    /// Resident memory before the first client.
    pub rss_idle_bytes: Option<u64>,
}

/// Why a step was held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A few clients, to see the latency of an idle server.
    Idle,
    /// On the way up to the knee; also the single step of a scenario without a search.
    #[default]
    Raise,
    /// A share of the knee's load, 0.7 or 0.95, for the percentile curves.
    Hold,
    /// Beyond the knee, 1.5 or 2.0 times its load.
    Overload,
}

/// One load, held for a while.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Step {
    pub phase: Phase,
    /// Size of the load, in what the scenario counts; zero if that is subscribers.
    #[serde(default)]
    pub size: u32,
    /// For `Hold` and `Overload`: load as a share of the knee's.
    pub share_of_knee: Option<f64>,
    /// Start of the measured window, in seconds since the run's start.
    pub started_s: f64,
    /// Length of the measured window.
    pub measured_s: f64,
    pub offered: Offered,
    pub delivered: Delivered,
    pub latency: Latency,
    pub integrity: Integrity,
    pub freezes: Freezes,
    pub joins: Joins,
    /// Of the server's process, if it could be watched.
    pub usage: Option<ServerUsage>,
    /// Of each shard, if the server reports them.
    #[serde(default)]
    pub shards: Vec<ShardCounters>,
    pub generator: GeneratorUsage,
    /// One sample for each second or so of the run, also outside the measured window.
    #[serde(default)]
    pub series: Vec<Sample>,
}

/// What was asked of the server.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Offered {
    pub rooms: u32,
    pub publishers: u32,
    /// Participants that receive at least one track; a participant of a meeting is both.
    pub subscribers: u32,
    pub tracks_published: u32,
    pub tracks_subscribed: u32,
    /// Packets that publishers sent to the server.
    pub packets_in: u64,
    pub bytes_in: u64,
    /// Packets the server had to forward, if nothing is lost: each publisher's, of the layer in
    /// question, times its subscribers.
    pub packets_out: u64,
    pub bytes_out: u64,
    /// What publishers sent at one go, by its length.
    #[serde(default)]
    pub frames: Vec<FrameLen>,
}

/// How many frames had so many packets. A packet of sound is a frame of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FrameLen {
    pub packets: u32,
    pub count: u64,
}

/// What arrived at subscribers.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Delivered {
    pub packets: u64,
    pub bytes: u64,
    /// Packets of the sampled clients that were authenticated, parsed and timed.
    pub packets_timed: u64,
    /// What the sampled clients got of each encoding.
    #[serde(default)]
    pub layers: Vec<LayerBytes>,
}

/// Payload bytes of one encoding.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LayerBytes {
    /// One of [`crate::measure::LAYER_NAMES`].
    pub name: String,
    pub bytes: u64,
}

/// What became of packets on the way, seen by the sampled clients.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Integrity {
    /// Packets that should have come.
    pub expected: u64,
    /// Did not come, not even by retransmission.
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    /// Checksum of the payload differs.
    pub corrupted: u64,
    /// Failed authentication.
    pub forged: u64,
    /// Came by retransmission; counted as delivered.
    pub retransmitted: u64,
}

/// Gaps long enough to be seen or heard.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Freezes {
    pub count: u64,
    pub total_ms: u64,
    pub longest_ms: u64,
    /// Subscribers that had at least one.
    pub subscribers: u32,
}

/// Joins of this step, those that raised its load included.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Joins {
    pub attempted: u32,
    pub failed: u32,
    /// Time they were spread over.
    pub spread_s: f64,
    /// From opening the WebSocket until media can flow.
    pub latency: Latency,
    /// When they ended, by the seconds of the run; seconds without any are left out.
    #[serde(default)]
    pub series: Vec<JoinSample>,
}

/// Joins that ended within an interval.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct JoinSample {
    /// Start, in seconds since the run's start.
    pub at_s: f64,
    pub length_s: f64,
    pub joined: u32,
    /// Joins that failed, and sessions that broke later.
    pub failed: u32,
}

/// CPU and memory of the server's process during the measured window.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ServerUsage {
    pub cpu_user_s: f64,
    pub cpu_system_s: f64,
    pub threads: Vec<ThreadCpu>,
    /// At the end of the window.
    pub rss_bytes: u64,
    /// Datagrams its sockets dropped because a receive buffer was full.
    pub socket_drops: Option<u64>,
}

/// CPU of a thread of the server during the measured window.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ThreadCpu {
    pub name: String,
    pub role: ThreadRole,
    pub cpu_s: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThreadRole {
    /// Forwards media; the number is that of the shard.
    Shard(u32),
    Control,
    #[default]
    Other,
}

/// Counters of a shard over the measured window.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ShardCounters {
    pub shard: u32,
    pub rtp_received: u64,
    pub rtp_forwarded: u64,
    pub datagrams_sent: u64,
    /// Messages handed to the kernel, each a datagram or a train of them.
    pub trains: Option<u64>,
    /// System calls of the loop, all kinds.
    pub syscalls: Option<u64>,
    pub ticks: u64,
    /// Times its thread waited and was woken.
    #[serde(default)]
    pub wakes: Option<u64>,
    /// CPU of its thread by its own account.
    #[serde(default)]
    pub cpu_s: Option<f64>,
    /// Forwarding latency by its own account: from a packet's arrival until its last copy was handed
    /// to the kernel.
    #[serde(default)]
    pub forwarding: Vec<Bucket>,
    /// Packets that came over a lane from another shard.
    pub lane_packets: Option<u64>,
    /// Packets dropped because a lane was full.
    pub lane_drops: Option<u64>,
    /// Packets dropped because a send queue or the send arena was full.
    pub send_drops: Option<u64>,
}

/// How many were no longer than a bound.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Bucket {
    /// None for all.
    pub bound_us: Option<f64>,
    pub count: u64,
}

/// What the generator itself used, and whether it kept up.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct GeneratorUsage {
    pub cpu_s: f64,
    /// CPUs it may use.
    pub cpus: u32,
    /// Datagrams its own sockets dropped.
    pub socket_drops: u64,
    /// Why this step says nothing about the server, if it does not.
    pub limited_by: Option<String>,
}

/// Processor time of receiving, per packet: of doing nothing with it, of a media thread that counts,
/// times and answers, and of one that sends the answers as well. Fed in turns with the same packets.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct OwnCost {
    pub packets_per_s: f64,
    pub packet_bytes: f64,
    pub subscribers: u32,
    /// Subscribers of which each packet is decrypted, checked and timed.
    pub sampled: u32,
    /// Microseconds a packet, one value for each round.
    pub drain_us: Vec<f64>,
    /// Older files do not tell the sending apart.
    #[serde(default)]
    pub received_us: Vec<f64>,
    pub whole_us: Vec<f64>,
    /// Feedback and reports that were sent.
    #[serde(default)]
    pub answers_per_s: f64,
}

impl OwnCost {
    /// What a packet costs beyond being received, without the sending of answers where that is told
    /// apart, in microseconds: of each round, ascending.
    pub fn over_drain_us(&self) -> Vec<f64> {
        let received = if self.received_us.is_empty() {
            &self.whole_us
        } else {
            &self.received_us
        };
        by_round(received, &self.drain_us)
    }

    /// What the sending of answers takes of it, likewise. Empty where it is not told apart.
    pub fn answering_us(&self) -> Vec<f64> {
        by_round(&self.whole_us, &self.received_us)
    }
}

/// Values of the same round lie closer together than those of different ones: the machine is shared.
fn by_round(more: &[f64], less: &[f64]) -> Vec<f64> {
    let mut differences: Vec<_> = more.iter().zip(less).map(|(a, b)| a - b).collect();
    differences.sort_by(f64::total_cmp);
    differences
}

/// Of ascending values.
pub fn median(ascending: &[f64]) -> Option<f64> {
    ascending.get(ascending.len() / 2).copied()
}

/// One interval of the time series.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    /// Start, in seconds since the run's start.
    pub at_s: f64,
    pub length_s: f64,
    pub subscribers: u32,
    pub offered_bytes: u64,
    pub delivered_bytes: u64,
    pub delivered_packets: u64,
    pub lost: u64,
    pub latency: Latency,
    /// CPU share of each shard's thread, in the order of the shards.
    #[serde(default)]
    pub shard_cpu: Vec<f64>,
}
