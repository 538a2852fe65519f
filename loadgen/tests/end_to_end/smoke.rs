//! The generator and a node of Millrace, end to end.

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
    assert!((came / wanted - 1.0).abs() < 0.05, "{came} of {wanted}");
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
    assert!(step.usage.unwrap().rss_bytes > 1 << 20);
    assert!(results.notes.is_empty(), "{:?}", results.notes);
}

#[tokio::test]
async fn ten_speakers_are_heard_by_all() {
    let node = Node::start("audio");
    let (step, _) = hold(node.config("audio"), 3, 3).await;
    assert_eq!(step.offered.tracks_subscribed, 30);
    assert_whole(&step);
    let per_s = step.delivered.packets as f64 / step.measured_s;
    assert!(
        (1450.0..1550.0).contains(&per_s),
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
