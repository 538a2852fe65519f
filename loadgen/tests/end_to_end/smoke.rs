//! The generator and a node of Millrace, end to end.

use std::sync::Arc;

use millrace_loadgen::media::recording::Recording;
use millrace_loadgen::report::cause::Burst;

use super::support::{Node, hold};

/// Everything that was to come came, once and whole.
fn assert_whole(step: &millrace_loadgen::report::model::Step) {
    assert_eq!(step.joins.failed, 0);
    let integrity = &step.integrity;
    assert_eq!(integrity.lost, 0);
    assert_eq!(integrity.duplicated, 0);
    assert_eq!(integrity.corrupted, 0);
    assert_eq!(integrity.forged, 0);
    // Packets on their way at either end of the window.
    let (wanted, came) = (
        step.offered.packets_out as f64,
        step.delivered.packets as f64,
    );
    assert!((came / wanted - 1.0).abs() < 0.08, "{came} of {wanted}");
    assert_eq!(step.latency.count(), step.delivered.packets_timed);
}

#[tokio::test]
async fn a_livestream_reaches_its_viewers() {
    let node = Node::start("livestream");
    let (step, results) = hold(node.config("livestream"), 5, 3).await;
    assert_eq!(step.offered.subscribers, 5);
    assert_whole(&step);
    // 1.6 Mbit/s to each of five.
    let mbps = step.delivered.bytes as f64 * 8.0 / step.measured_s / 1e6;
    assert!((7.0..10.0).contains(&mbps), "{mbps} Mbit/s");
    assert!(step.usage.as_ref().unwrap().rss_bytes > 1 << 20);
    assert!(results.notes.is_empty(), "{:?}", results.notes);
    // What it tells of itself, and not which LiveKit it is compatible with.
    assert_eq!(results.server.name, "Millrace");
    assert_eq!(results.server.version, env!("CARGO_PKG_VERSION"));
    let shard = &step.shards[0];
    let forwarded = shard.rtp_forwarded as f64 / step.delivered.packets as f64;
    // It tells once a second.
    assert!((0.5..1.5).contains(&forwarded), "{shard:?}");
    assert!(shard.cpu_s.unwrap() > 0.0 && shard.wakes.unwrap() > 0);
    assert!(step.mean_train().unwrap() >= 1.0);
    // A shard is one, however many threads it has.
    let shards = step.series.iter().map(|it| it.shard_cpu.len());
    assert!(shards.eq(step.series.iter().map(|_| step.shards.len())));
    assert!(step.forwarding_us(0.5).is_some(), "{:?}", shard.forwarding);
    let framed = step.offered.frames.iter();
    let framed: u64 = framed.map(|it| u64::from(it.packets) * it.count).sum();
    let framed = framed as f64 / step.offered.packets_in as f64;
    assert!((0.9..1.1).contains(&framed), "{:?}", step.offered.frames);
    // Each packet goes to five.
    let burst = Burst::of(&step).unwrap();
    assert!((4.5..5.5).contains(&burst.copies), "{burst:?}");
    let joined: u32 = step.joins.series.iter().map(|it| it.joined).sum();
    assert_eq!(joined, 6, "{:?}", step.joins.series);
}

#[tokio::test]
async fn one_connection_serves_both_directions() {
    let node = Node::start("single");
    let mut config = node.config("meeting");
    config.server.single = true;
    // Five cameras for each: more sections than the first offer has.
    let (step, results) = hold(config, 6, 3).await;
    assert_eq!(step.joins.failed, 0, "{:?}", results.notes);
    assert_eq!(step.integrity.lost, 0);
    assert_eq!(step.integrity.corrupted, 0);
    assert_eq!(step.offered.tracks_subscribed, 60);
    let (wanted, came) = (step.offered.bytes_out as f64, step.delivered.bytes as f64);
    assert!(
        (came / wanted - 1.0).abs() < 0.25,
        "{came} of {wanted} bytes"
    );
}

#[tokio::test]
async fn ten_speakers_are_heard_by_all() {
    let node = Node::start("audio");
    let (step, _) = hold(node.config("audio"), 3, 3).await;
    assert_eq!(step.offered.tracks_subscribed, 30);
    assert_whole(&step);
    let per_s = step.delivered.packets as f64 / step.measured_s;
    assert!(
        (1350.0..1650.0).contains(&per_s),
        "{per_s} packets a second"
    );
}

#[tokio::test]
async fn a_meeting_gets_the_layers_of_its_layout() {
    let node = Node::start("meeting");
    let (step, _) = hold(node.config("meeting"), 3, 3).await;
    assert_eq!(step.joins.failed, 0);
    assert_eq!(step.integrity.lost, 0);
    let (wanted, came) = (step.offered.bytes_out as f64, step.delivered.bytes as f64);
    assert!(
        (came / wanted - 1.0).abs() < 0.25,
        "{came} of {wanted} bytes"
    );
}

#[tokio::test]
async fn passers_by_come_and_go() {
    let node = Node::start("churn");
    let (step, results) = hold(node.config("churn"), 4, 6).await;
    // Six at the beginning, then up to four a second; the first of these have left again.
    assert!(
        (15..=31).contains(&step.joins.attempted),
        "{:?}",
        step.joins
    );
    assert_eq!(step.joins.failed, 0, "{:?}", results.notes);
    assert_eq!(step.integrity.lost, 0);
}

#[tokio::test]
async fn a_recording_is_played_again_and_again() {
    let node = Node::start("recording");
    let mut config = node.config("livestream");
    let recording = Recording::parse(&ivf()).unwrap();
    config.scenario.play(&Arc::new(recording));
    assert_eq!(config.scenario.codecs(), ["VP8"]);
    let (step, _) = hold(config, 2, 3).await;
    assert_whole(&step);
    // 25 frames a second of two packets, to two viewers.
    let per_s = step.delivered.packets as f64 / step.measured_s;
    assert!((88.0..112.0).contains(&per_s), "{per_s} packets a second");
}

/// Five frames of 2000 bytes at 25 a second, the first a key frame.
fn ivf() -> Vec<u8> {
    let mut file = b"DKIF\0\0\x20\0VP80".to_vec();
    file.extend_from_slice(&[
        0x80, 2, 0x68, 1, 25, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0,
    ]);
    for number in 0..5_u8 {
        let mut frame = vec![number; 2000];
        let key = number == 0;
        frame[..10].copy_from_slice(&[0x10, 0, 0, 0x9d, 1, 0x2a, 0x80, 2, 0x68, 1]);
        frame[0] = if key { 0x10 } else { 0x11 };
        file.extend_from_slice(&2000_u32.to_le_bytes());
        file.extend_from_slice(&[0; 8]);
        file.extend_from_slice(&frame);
    }
    file
}
