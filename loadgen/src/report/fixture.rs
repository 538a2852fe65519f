//! A made-up run for tests of the report, shaped by a simple queue. It is no measurement, and is
//! not built outside of tests.

use super::latency::Latency;
use super::model::*;

/// Packets per second and viewer, and their size: a camera at 720p.
const PPS: f64 = 178.0;
const BYTES: f64 = 1_130.0;
const SHARDS: u32 = 3;
/// Viewers that fill all shards.
const FULL: f64 = 12_400.0;

/// A search for the knee of a livestream on four CPUs, with everything known.
pub(super) fn livestream() -> Results {
    let mut results = Results {
        schema: SCHEMA,
        generator: "millrace-loadgen 0.1.0".into(),
        started_at: "2026-11-21T14:03:27Z".into(),
        command_line: [
            "millrace-loadgen",
            "capacity",
            "--url",
            "ws://127.0.0.1:7880",
            "--scenario",
            "livestream",
            "--server-pid",
            "4711",
            "--slo-p99",
            "5ms",
            "-o",
            "report.html",
        ]
        .map(String::from)
        .to_vec(),
        scenario: Scenario {
            name: "livestream".into(),
            description: "one camera and its voice to all viewers".into(),
            subscribers_noun: "viewers".into(),
            codecs: vec!["H264".into(), "Opus".into()],
            seed: 7,
        },
        machine: machine(),
        server: Server {
            url: "ws://127.0.0.1:7880".into(),
            name: "Millrace".into(),
            version: "0.1.0".into(),
            node_id: Some("ND_example".into()),
            pid: Some(4_711),
            cpus: Some(vec![0, 1, 2, 3]),
            cpu_quota: None,
            shards: Some(SHARDS),
            backend: Some("ring".into()),
            rss_idle_bytes: Some(31_000_000),
        },
        ..Results::default()
    };
    let mut started_s = 4.0;
    let mut push = |phase, share_of_knee, viewers: u32| {
        let step = step(phase, share_of_knee, viewers, started_s);
        started_s += step.measured_s + 6.0;
        results.steps.push(step);
    };
    push(Phase::Idle, None, 20);
    for viewers in (1..=12).map(|thousand| thousand * 1_000) {
        push(Phase::Raise, None, viewers);
    }
    for (phase, share) in [
        (Phase::Hold, 0.7),
        (Phase::Hold, 0.95),
        (Phase::Overload, 1.5),
        (Phase::Overload, 2.0),
    ] {
        push(phase, Some(share), (11_400.0 * share) as u32);
    }
    results
}

/// One load of a server given by its address alone.
pub(super) fn foreign() -> Results {
    let mut results = livestream();
    results.server = Server {
        url: "wss://sfu.example.org".into(),
        name: "<script>alert('x')</script>\u{202e}".into(),
        version: "\"><img src=x onerror=alert(1)>".into(),
        ..Server::default()
    };
    results.scenario.subscribers_noun = String::new();
    results.notes.push("</p><script>alert(2)</script>".into());
    results.interrupted = true;
    results.steps.truncate(4);
    for step in &mut results.steps {
        step.usage = None;
        step.shards.clear();
    }
    results.steps[3].generator.limited_by = Some("own CPU 98 % <busy>".into());
    results
}

/// A scenario with one load, and some loss.
pub(super) fn single() -> Results {
    let mut results = livestream();
    results.steps.truncate(4);
    results.steps.drain(..3);
    results.steps[0].started_s = 0.0;
    for (second, sample) in results.steps[0].series.iter_mut().enumerate() {
        sample.at_s = second as f64;
        sample.lost = if second == 11 { 37 } else { 0 };
    }
    results
}

/// A server whose threads do not say what they do.
pub(super) fn whole() -> Results {
    let mut results = livestream();
    results.server.name = "Other".into();
    results.server.shards = None;
    results.server.backend = None;
    for step in &mut results.steps {
        step.shards.clear();
        if let Some(usage) = &mut step.usage {
            for thread in &mut usage.threads {
                thread.role = ThreadRole::Other;
            }
        }
    }
    results
}

fn machine() -> Machine {
    let nic = |name: &str, driver: &str, mtu, speed_mbps, udp_segmentation| Nic {
        name: name.into(),
        driver: Some(driver.into()),
        mtu,
        speed_mbps,
        udp_segmentation: Some(udp_segmentation),
        udp_gro: Some(false),
        tx_checksum: Some(true),
    };
    Machine {
        cpu_model: "Example CPU with eight cores".into(),
        vcpus: 8,
        threads_per_core: Some(1),
        memory_bytes: 16_000_000_000,
        kernel: "6.18.44".into(),
        hypervisor: Some("KVM".into()),
        nics: vec![
            nic("eth0", "virtio_net", 1_400, Some(10_000), false),
            nic("veth-lg", "veth", 1_500, Some(10_000), false),
        ],
    }
}

fn one_layer(bytes: u64) -> Vec<LayerBytes> {
    let name = "q".into();
    vec![LayerBytes { name, bytes }]
}

fn step(phase: Phase, share_of_knee: Option<f64>, viewers: u32, started_s: f64) -> Step {
    let load = f64::from(viewers) / FULL;
    let measured_s = if phase == Phase::Raise { 20.0 } else { 30.0 };
    let offered_pps = f64::from(viewers) * PPS;
    let carried = if load > 1.0 { 1.0 / load } else { 1.0 };
    let loss = (1.0 - carried).max(if load > 0.93 {
        0.004 * (load - 0.93)
    } else {
        0.0
    });
    let packets_out = (offered_pps * measured_s) as u64;
    let delivered = (packets_out as f64 * (1.0 - loss)) as u64;
    let expected = packets_out / 20;
    let mut step = Step {
        phase,
        share_of_knee,
        started_s,
        measured_s,
        ..Step::default()
    };
    step.offered = Offered {
        rooms: 1,
        publishers: 1,
        subscribers: viewers,
        tracks_published: 2,
        tracks_subscribed: 2 * viewers,
        packets_in: (PPS * measured_s) as u64,
        bytes_in: (PPS * measured_s * BYTES) as u64,
        packets_out,
        bytes_out: packets_out * BYTES as u64,
        frames: frames(measured_s),
    };
    step.delivered = Delivered {
        packets: delivered,
        bytes: delivered * BYTES as u64,
        packets_timed: delivered / 20,
        layers: one_layer(delivered / 20 * BYTES as u64),
    };
    step.latency = latency(load, 40_000, 1.0);
    step.integrity = Integrity {
        expected,
        lost: (expected as f64 * loss) as u64,
        duplicated: if load > 1.0 { 12 } else { 0 },
        reordered: (expected as f64 * 2e-6) as u64,
        corrupted: 0,
        forged: 0,
        retransmitted: (expected as f64 * loss / 3.0) as u64,
    };
    step.freezes.count = if load > 1.0 { (load * 900.0) as u64 } else { 0 };
    step.joins.attempted = if phase == Phase::Idle { 20 } else { 1_000 };
    step.joins.spread_s = 1_000.0 / (120.0 + 300.0 * load.min(1.0));
    for n in 0..200 {
        let spread = (0.9 * probit((f64::from(n) + 0.5) / 200.0)).exp();
        let base_ms = 42.0 * (1.0 + 3.0 * load.powi(4));
        step.joins
            .latency
            .record_ns((base_ms * spread * 1e6) as u64);
    }
    step.joins.series = join_series(&step, load);
    step.joins.failed = step.joins.series.iter().map(|it| it.failed).sum();
    use_cpu(&mut step, load, offered_pps * carried);
    step.generator = GeneratorUsage {
        cpu_s: measured_s * (0.2 + 2.4 * load.min(1.3)),
        cpus: 4,
        socket_drops: 0,
        limited_by: None,
    };
    step.series = series(&step, load);
    step
}

/// Trains grow with load, and with them a packet becomes cheaper.
fn use_cpu(step: &mut Step, load: f64, pps: f64) {
    let train = 1.3 + 4.4 * load.min(1.0).powf(0.8);
    let measured_s = step.measured_s;
    let mut threads = Vec::new();
    for shard in 0..SHARDS {
        let uneven = 1.0 - 0.025 * f64::from(shard);
        let share = (0.006 + 0.985 * load.powf(0.93) * uneven).min(0.995);
        threads.push(ThreadCpu {
            name: format!("shard-{shard}"),
            role: ThreadRole::Shard(shard),
            cpu_s: share * measured_s,
        });
        let forwarded = pps / f64::from(SHARDS) * measured_s;
        step.shards.push(ShardCounters {
            shard,
            rtp_received: (PPS * measured_s) as u64,
            rtp_forwarded: forwarded as u64,
            datagrams_sent: forwarded as u64,
            trains: Some((forwarded / train) as u64),
            syscalls: Some((forwarded / train / (1.0 + 18.0 * load)) as u64),
            ticks: (measured_s * (300.0 + 3_900.0 * (load * 6.0).tanh() - 2_600.0 * load.min(1.0)))
                as u64,
            wakes: Some((measured_s * 280.0 * (1.0 + load)) as u64),
            cpu_s: Some(share * measured_s),
            forwarding: buckets(&step.latency),
            lane_packets: Some(if shard == 0 {
                0
            } else {
                (PPS * measured_s) as u64
            }),
            lane_drops: Some(0),
            send_drops: Some(0),
        });
    }
    threads.push(ThreadCpu {
        name: "control".into(),
        role: ThreadRole::Control,
        cpu_s: measured_s * (0.004 + 0.21 * load),
    });
    let cpu_s: f64 = threads.iter().map(|thread| thread.cpu_s).sum();
    step.usage = Some(ServerUsage {
        cpu_user_s: 0.31 * cpu_s,
        cpu_system_s: 0.69 * cpu_s,
        threads,
        rss_bytes: 31_000_000 + (load * FULL * 58_000.0) as u64 + 4_000_000,
        socket_drops: Some(0),
    });
}

/// Sound, and 30 pictures a second of four packets, one in sixty of twelve.
fn frames(measured_s: f64) -> Vec<FrameLen> {
    let pictures = 30.0 * measured_s;
    let len = |packets, count: f64| FrameLen {
        packets,
        count: count as u64,
    };
    vec![
        len(1, 50.0 * measured_s),
        len(4, pictures * 59.0 / 60.0),
        len(12, pictures / 60.0),
    ]
}

/// At an even rate until the step begins; under overload one in twenty fails.
fn join_series(step: &Step, load: f64) -> Vec<JoinSample> {
    let seconds = step.joins.spread_s.ceil().min(step.started_s.floor()) as u32;
    let each = step.joins.attempted / seconds.max(1);
    let failed = if load > 1.0 { each / 20 } else { 0 };
    (0..seconds)
        .map(|second| JoinSample {
            at_s: step.started_s.floor() - f64::from(seconds - second),
            length_s: 1.0,
            joined: each - failed,
            failed,
        })
        .collect()
}

/// A server's own account, in buckets of factors of the square root of two: nine tenths of all.
fn buckets(latency: &Latency) -> Vec<Bucket> {
    let bound = |index: i32| 16.0 * 2_f64.powf(f64::from(index) / 2.0);
    let within = |bound_us: f64| latency.count_between_ns(0, (1e3 * bound_us / 0.9) as u64);
    let bounds = (0..26).map(bound).map(|bound_us| Bucket {
        bound_us: Some(bound_us),
        count: within(bound_us),
    });
    let all = Bucket {
        bound_us: None,
        count: latency.count(),
    };
    bounds.chain([all]).collect()
}

fn series(step: &Step, load: f64) -> Vec<Sample> {
    (0..step.measured_s as u32)
        .map(|second| {
            let wobble = 1.0 + 0.12 * (f64::from(second) * 1.7 + load * 9.0).sin();
            Sample {
                at_s: step.started_s + f64::from(second),
                length_s: 1.0,
                subscribers: step.offered.subscribers,
                offered_bytes: (step.offered_bps() / 8.0) as u64,
                delivered_bytes: (step.delivered_bps() / 8.0) as u64,
                delivered_packets: step.delivered_pps() as u64,
                lost: 0,
                latency: latency(load, 3_000, wobble),
                shard_cpu: step.shard_cpu(),
            }
        })
        .collect()
}

/// Log-normal around a service time that grows as a queue's does, with a rare stall.
fn latency(load: f64, count: u32, factor: f64) -> Latency {
    let mut latency = Latency::new();
    let waiting = 1.0 + 0.9 * load / (1.06 - load.min(1.0));
    let backlog_us = if load > 1.0 {
        60_000.0 * (load - 1.0)
    } else {
        0.0
    };
    // The bulk in few steps, the tail one by one: drawing is not worth a million logarithms.
    let bulk = count / 10 * 9;
    let coarse = (0..bulk / 100).map(|n| (100 * n + 50, 100));
    for (n, weight) in coarse.chain((bulk..count).map(|n| (n, 1))) {
        let share = (f64::from(n) + 0.5) / f64::from(count);
        let width = 0.42 + 0.35 * load.min(1.0);
        let body_us = 118.0 * factor * waiting * (width * probit(share)).exp();
        let stall_us = if share > 0.9985 {
            900.0 * factor * (1.0 + load)
        } else {
            0.0
        };
        let total_us = body_us + stall_us + backlog_us * share;
        latency.record_many_ns((1e3 * total_us) as u64, weight);
    }
    latency
}

/// Quantile of the normal distribution, near enough for a picture (Shore, 1982).
fn probit(share: f64) -> f64 {
    if share < 0.5 {
        return -probit(1.0 - share);
    }
    5.5556 * (1.0 - ((1.0 - share) / share).powf(0.1186))
}
