//! Costs and projections against numbers worked out by hand.

use super::*;
use crate::report::model::{ServerUsage, ShardCounters, ThreadCpu, ThreadRole};

/// 100 packets per second for each subscriber, at 2 µs of shard and 1 ms per second of control.
fn step(subscribers: u32, p99_us: u64) -> Step {
    let pps = f64::from(subscribers) * 100.0;
    let mut step = Step {
        measured_s: 10.0,
        ..Step::default()
    };
    step.offered.rooms = 1;
    step.offered.subscribers = subscribers;
    step.offered.packets_in = 1_000;
    step.offered.packets_out = (pps * 10.0) as u64;
    step.delivered.packets = step.offered.packets_out;
    step.delivered.bytes = step.delivered.packets * 125;
    step.latency.record_many_ns(p99_us * 1_000, 100);
    let thread = |name: &str, role, cpu_s| ThreadCpu {
        name: name.into(),
        role,
        cpu_s,
    };
    let (shard_s, control_s) = (pps * 10.0 * 2e-6, f64::from(subscribers) * 10.0 * 1e-3);
    step.usage = Some(ServerUsage {
        cpu_user_s: shard_s,
        cpu_system_s: control_s,
        threads: vec![
            thread("shard-0", ThreadRole::Shard(0), shard_s),
            thread("control", ThreadRole::Control, control_s),
        ],
        rss_bytes: 10_000_000 + u64::from(subscribers) * 50_000,
        socket_drops: Some(0),
    });
    step
}

fn results() -> Results {
    let mut results = Results {
        steps: vec![step(100, 500), step(400, 1_000), step(500, 25_000)],
        ..Results::default()
    };
    results.server.rss_idle_bytes = Some(10_000_000);
    results
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * b.abs().max(1.0)
}

#[test]
fn costs_are_those_of_the_highest_passing_load() {
    let results = results();
    let knee = Knee::of(&results).unwrap();
    let costs = Costs::of(&results, &knee).unwrap();
    assert_eq!(costs.step, 1);
    assert!(close(costs.shard_us_per_packet, 2.0), "{costs:?}");
    assert!(close(costs.control_us_per_subscriber, 1_000.0));
    assert!(close(costs.packets_per_load_s, 100.0));
    assert!(close(costs.bits_per_packet, 1_000.0));
    assert!(close(costs.bytes_per_subscriber.unwrap(), 50_000.0));
    // Half way, by factors, between 400 and 500 subscribers at 0.02 % of a CPU each.
    assert!((costs.shard_share - 0.09).abs() < 1e-3);
    assert_eq!(costs.lane_us_per_packet, None);
}

#[test]
fn more_shards_carry_proportionally_more() {
    let results = results();
    let mut costs = Costs::of(&results, &Knee::of(&results).unwrap()).unwrap();
    costs.shard_share = 0.9;
    costs.control_us_per_subscriber = 10.0;
    let carried = |vcpus| costs.project(vcpus).load;
    // 0.9 s of CPU per second at 200 µs per subscriber and second.
    assert!(close(carried(2), 4_500.0));
    assert!(close(carried(4), 13_500.0));
    assert!(close(carried(8), 31_500.0));
    assert!(close(carried(1), 4_500.0));
    let four = costs.project(4);
    assert_eq!((four.shards, four.limited_by), (3, LimitedBy::Shards));
    assert!(close(four.bits_per_s, 13_500.0 * 100.0 * 1_000.0));
    assert!(close(four.memory_bytes.unwrap(), 10e6 + 13_500.0 * 50e3));
}

#[test]
fn one_control_cpu_bounds_many_shards() {
    let results = results();
    let mut costs = Costs::of(&results, &Knee::of(&results).unwrap()).unwrap();
    costs.shard_share = 0.9;
    costs.control_us_per_subscriber = 100.0;
    let eight = costs.project(8);
    assert!(close(eight.load, 8_000.0));
    assert_eq!(eight.limited_by, LimitedBy::ControlPlane);
}

#[test]
fn lanes_take_their_part_of_each_shard() {
    let results = results();
    let mut costs = Costs::of(&results, &Knee::of(&results).unwrap()).unwrap();
    costs.shard_share = 0.9;
    costs.control_us_per_subscriber = 0.0;
    costs.lane_us_per_packet = Some(1.0);
    costs.published_pps = 1_000.0;
    // 1 ms of each second of each of three shards.
    let four = costs.project(4);
    assert!(close(four.load_one_room.unwrap(), 3.0 * 0.899e6 / 200.0));
    assert!(close(costs.project(2).load_one_room.unwrap(), 4_500.0));
}

#[test]
fn only_what_the_server_had_counts_as_measured() {
    let mut results = results();
    results.server.cpus = Some(vec![0, 1]);
    results.machine.vcpus = 4;
    let knee = Knee::of(&results).unwrap();
    let costs = Costs::of(&results, &knee).unwrap();
    let sizes = Projection::for_sizes(&results, &knee, &costs, &[2, 4, 8]);
    let measured: Vec<bool> = sizes.iter().map(|size| size.is_measured).collect();
    assert_eq!(measured, [true, false, false]);
    assert!(close(sizes[0].load, knee.load));

    results.machine.vcpus = 2;
    let shared = Projection::for_sizes(&results, &knee, &costs, &[2]);
    assert!(!shared[0].is_measured, "the generator took its part");

    results.machine.vcpus = 4;
    results.server.cpu_quota = Some(0.5);
    let sizes = Projection::for_sizes(&results, &knee, &costs, &[2]);
    assert!(!sizes[0].is_measured);
}

#[test]
fn a_server_without_shards_uses_every_cpu_alike() {
    let mut results = results();
    results.server.cpus = Some(vec![0]);
    for step in &mut results.steps {
        for thread in &mut step.usage.as_mut().unwrap().threads {
            thread.role = ThreadRole::Other;
        }
    }
    let knee = Knee::of(&results).unwrap();
    let costs = Costs::of(&results, &knee).unwrap();
    assert!(!costs.has_shards);
    // 2 µs of shard and 10 µs of control for each packet.
    assert!(close(costs.shard_us_per_packet, 12.0));
    assert!(close(costs.shard_share, 0.48));
    assert_eq!(costs.shards(4), 4);
    assert_eq!(costs.control_limit(4), None);
}

#[test]
fn under_a_quota_its_share_counts() {
    let mut results = results();
    results.server.cpu_quota = Some(0.6);
    let costs = Costs::of(&results, &Knee::of(&results).unwrap()).unwrap();
    assert_eq!(costs.share_of, ShareOf::Quota);
    // 0.08 CPUs of shard and 0.4 of control.
    assert!(close(costs.shard_share, 0.8), "{costs:?}");
}

#[test]
fn without_a_knee_a_share_is_assumed() {
    let mut results = results();
    results.steps.truncate(2);
    let costs = Costs::of(&results, &Knee::of(&results).unwrap()).unwrap();
    assert!(!costs.is_knee_known);
    assert!(close(costs.shard_share, SHARE_ASSUMED));
}

#[test]
fn people_who_see_each_other_grow_by_the_square() {
    let mut results = results();
    for step in &mut results.steps {
        let people = u64::from(step.offered.subscribers);
        step.delivered.packets = people * people * 10;
    }
    let mut costs = Costs::of(&results, &Knee::of(&results).unwrap()).unwrap();
    assert!(close(costs.growth, 2.0), "{costs:?}");
    costs.control_us_per_subscriber = 0.0;
    // 400 people at the measured load; four times the packets are twice the people.
    costs.shard_us_per_packet = costs.shard_share * 1e6 / (4.0 * 160_000.0);
    let two = costs.project(2);
    assert!(close(two.load, 800.0), "{two:?}");
    assert!(close(two.packets_per_s, 640_000.0));
}

#[test]
fn a_load_may_count_something_else_than_subscribers() {
    let mut results = results();
    for step in &mut results.steps {
        step.size = step.offered.subscribers / 20;
    }
    let knee = Knee::of(&results).unwrap();
    assert!((20.0..25.0).contains(&knee.load));
    let costs = Costs::of(&results, &knee).unwrap();
    assert!(close(costs.packets_per_load_s, 2_000.0));
    assert!(close(costs.control_us_per_subscriber, 1_000.0));
    // 0.8 of a CPU at 1 ms per second for each of twenty in a unit.
    assert!(close(costs.control_limit(2).unwrap(), 40.0));
}

#[test]
fn without_cpu_there_is_no_projection() {
    let mut results = results();
    for step in &mut results.steps {
        step.usage = None;
    }
    let knee = Knee::of(&results).unwrap();
    assert_eq!(Costs::of(&results, &knee), None);
}

#[test]
fn the_cost_of_lanes_is_found_in_the_shards_cpu() {
    let mut steps = Vec::new();
    for (forwarded, lane) in [(1e4, 0.0), (2e4, 500.0), (5e4, 900.0), (9e4, 100.0)] {
        let mut both = step(10, 500);
        let cpu_s = |forwarded: f64, lane: f64| 10.0 * (0.01 + 1.5e-6 * forwarded + 4e-6 * lane);
        both.shards = vec![
            counters(0, forwarded, 0.0),
            counters(1, forwarded / 2.0, lane),
        ];
        both.usage.as_mut().unwrap().threads =
            [cpu_s(forwarded, 0.0), cpu_s(forwarded / 2.0, lane)]
                .into_iter()
                .enumerate()
                .map(|(shard, cpu_s)| ThreadCpu {
                    name: String::new(),
                    role: ThreadRole::Shard(shard as u32),
                    cpu_s,
                })
                .collect();
        steps.push(both);
    }
    let lane_us = lane_cost_us(&steps).unwrap();
    assert!((lane_us - 4.0).abs() < 1e-3, "{lane_us}");
    for step in &mut steps {
        step.shards[1].lane_packets = Some(0);
    }
    assert_eq!(lane_cost_us(&steps), None);
}

fn counters(shard: u32, forwarded_pps: f64, lane_pps: f64) -> ShardCounters {
    ShardCounters {
        shard,
        rtp_forwarded: (forwarded_pps * 10.0) as u64,
        lane_packets: Some((lane_pps * 10.0) as u64),
        ..ShardCounters::default()
    }
}
