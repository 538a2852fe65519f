//! The instrument is proven by what is known beforehand: a relay between clients and node spoils
//! media, and the generator must find just that.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::support::{Node, hold};
use millrace_loadgen::capacity::{self, Observer, Search};
use millrace_loadgen::impair::Impairment;
use millrace_loadgen::relay::{Faults, Relay};
use millrace_loadgen::report::cause::{Cause, Evidence};
use millrace_loadgen::report::model::Step;
use millrace_loadgen::report::verdict::Breach;
use millrace_loadgen::run::{Live, Run};
use millrace_loadgen::scenario::from_toml;
use tokio::sync::watch;

/// A livestream of two viewers through a relay.
async fn through(faults: Faults, name: &str) -> (Step, Relay) {
    let node = Node::start(name);
    let relay = Relay::start(node.media, faults).await.unwrap();
    let mut config = node.config("livestream");
    config.server.media_address = Some(SocketAddr::new(relay.address.ip(), relay.address.port()));
    let (step, _) = hold(config, 2, 4).await;
    (step, relay)
}

fn ms(step: &Step, percentile: f64) -> f64 {
    step.latency.percentile_ns(percentile).unwrap() as f64 / 1e6
}

/// Every n-th of the packets that came, to a tenth and the edges of the window.
fn assert_share(found: u64, step: &Step, every: u64) {
    let expected = step.delivered.packets as f64 / every as f64;
    let tolerance = expected * 0.1 + 4.0;
    assert!(
        (found as f64 - expected).abs() < tolerance,
        "{found} instead of {expected}"
    );
}

#[tokio::test]
async fn a_slower_server_measures_slower() {
    let (plain, _relay) = through(Faults::default(), "plain").await;
    let faults = Faults {
        delay: Duration::from_millis(20),
        ..Faults::default()
    };
    let (slow, _relay) = through(faults, "slow").await;
    // The fastest packets: the others bear what else the machine is doing.
    let difference = ms(&slow, 5.0) - ms(&plain, 5.0);
    assert!((19.0..27.0).contains(&difference), "{difference} ms more");
    assert!(ms(&slow, 1.0) >= 20.0, "nothing was faster than the delay");
    // The server did not see them wait.
    let evidence = Evidence::of(&slow).unwrap();
    assert_eq!(evidence.cause(), Cause::Outside, "{evidence:?}");
    assert_eq!(slow.integrity.lost, 0);
}

/// Stops a process for a part of the time, until dropped: a server on a processor that others take.
struct Stumble {
    pid: u32,
    ended: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Stumble {
    const STOPPED: Duration = Duration::from_millis(40);
    const RUNNING: Duration = Duration::from_millis(60);

    fn begin(pid: u32) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                signal(pid, "-STOP");
                std::thread::sleep(Self::STOPPED);
                signal(pid, "-CONT");
                std::thread::sleep(Self::RUNNING);
            }
        });
        Self {
            pid,
            ended,
            thread: Some(thread),
        }
    }
}

impl Drop for Stumble {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        signal(self.pid, "-CONT");
    }
}

fn signal(pid: u32, signal: &str) {
    let sent = Command::new("kill")
        .args([signal, &pid.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

#[tokio::test]
async fn a_server_that_stumbles_breaks_the_service_level() {
    let node = Node::start("stumbles");
    let stumble = Stumble::begin(node.pid());
    let (step, results) = hold(node.config("livestream"), 2, 4).await;
    drop(stumble);
    // Two packets in five wait, up to 40 ms.
    assert!(ms(&step, 90.0) > 15.0, "p90 {} ms", ms(&step, 90.0));
    assert!(ms(&step, 10.0) < 15.0, "p10 {} ms", ms(&step, 10.0));
    let breaches = results.slo.breaches(&step);
    let by_latency = |it: &Breach| matches!(it, Breach::Latency { .. });
    assert!(breaches.iter().any(by_latency), "{breaches:?}");
    // They waited in its sockets, which it does see, and its CPU does not explain it.
    let evidence = Evidence::of(&step).unwrap();
    assert_eq!(evidence.cause(), Cause::Within, "{evidence:?}");
}

/// One speaker, and listeners.
const SPEAKER: &str = "name = \"speaker\"\ndescription = \"One speaks.\"\nnoun = \"listeners\"\n\
    size = 2\n[[group]]\nname = \"room\"\n\
    [[group.role]]\nname = \"speaker\"\ncount = 1\ntracks = [\"voice\"]\nsubscribe = false\n\
    [[group.role]]\nname = \"listener\"\ncount_per_unit = 1.0\n";

/// The knee of a search in which the generator was not the limit: on a machine that does other work a
/// packet of fifty that leaves late makes it one.
async fn knee(faults: Faults, name: &str) -> capacity::Found {
    let mut found = search(faults, name).await;
    for _ in 0..3 {
        if found.limited.is_none() {
            break;
        }
        found = search(faults, name).await;
    }
    found
}

/// Through a relay, with a bound on latency that a busy machine keeps.
async fn search(faults: Faults, name: &str) -> capacity::Found {
    let node = Node::start(name);
    let relay = Relay::start(node.media, faults).await.unwrap();
    let mut config = node.config("audio");
    config.scenario = from_toml(SPEAKER).unwrap();
    config.server.media_address = Some(relay.address);
    config.settle = Duration::from_millis(300);
    config.slo.latency_p99_ns_max = 60_000_000;
    let (_interrupt, interrupted) = watch::channel(false);
    let mut run = Run::start(config, interrupted).unwrap();
    let search = Search {
        start: 2,
        limit: 12,
        step: Duration::from_secs(1),
        hold: Duration::from_secs(1),
    };
    let found = capacity::find(&mut run, search, &mut Silent).await.unwrap();
    run.finish().await;
    found
}

struct Silent;

impl Observer for Silent {
    fn begin(&mut self, _: String) {}
    fn show(&mut self, _: &Live) {}
    fn held(&mut self, _: u32, _: &Step) {}
}

#[tokio::test]
async fn a_slower_server_has_a_lower_knee() {
    let plain = knee(Faults::default(), "whole").await;
    assert_eq!(plain.knee, Some(12), "{plain}");
    // 50 packets a second to each: 200 fill it.
    let faults = Faults {
        service: Duration::from_millis(5),
        ..Faults::default()
    };
    let slow = knee(faults, "busy").await;
    assert!((2..=5).contains(&slow.knee.unwrap()), "{slow}");
    let (_, breaches, _) = slow.breaking.as_ref().unwrap();
    assert!(matches!(breaches[0], Breach::Latency { .. }), "{slow}");
}

#[tokio::test]
async fn forged_packets_are_counted_as_forged() {
    let faults = Faults {
        forge_every: 20,
        ..Faults::default()
    };
    let (step, relay) = through(faults, "forged").await;
    assert!(relay.spoiled.forged.load(Ordering::Relaxed) > 0);
    assert_share(step.integrity.forged, &step, 20);
    assert_eq!(step.integrity.lost, 0);
    assert_eq!(step.integrity.duplicated, 0);
    assert_eq!(step.integrity.corrupted, 0);
}

#[tokio::test]
async fn duplicated_packets_are_counted_as_duplicated() {
    let faults = Faults {
        duplicate_every: 20,
        ..Faults::default()
    };
    let (step, _relay) = through(faults, "duplicated").await;
    assert_share(step.integrity.duplicated, &step, 20);
    assert_eq!(step.integrity.lost, 0);
    assert_eq!(step.integrity.forged, 0);
}

#[tokio::test]
async fn reordered_packets_are_counted_as_reordered() {
    let faults = Faults {
        reorder_every: 7,
        ..Faults::default()
    };
    let (step, _relay) = through(faults, "reordered").await;
    // Of every seventh packet those that do not end a frame: five of six or so.
    let expected = step.delivered.packets as f64 / 7.0;
    let share = step.integrity.reordered as f64 / expected;
    assert!((0.65..1.0).contains(&share), "{share}");
    assert_eq!(step.integrity.lost, 0);
    assert_eq!(step.integrity.duplicated, 0);
}

#[tokio::test]
async fn lost_packets_are_asked_for_and_recovered() {
    let faults = Faults {
        drop_every: 50,
        ..Faults::default()
    };
    let (step, _relay) = through(faults, "lost").await;
    assert_share(step.integrity.retransmitted, &step, 50);
    // One retransmission in fifty is dropped too, and asked for again.
    assert!(step.integrity.lost <= 2, "{} lost", step.integrity.lost);
}

#[tokio::test]
async fn an_impaired_client_is_impaired() {
    let node = Node::start("impaired");
    let mut config = node.config("livestream");
    config.scenario.impair_subscribers(Impairment {
        loss: 0.02,
        delay: Duration::from_millis(30),
        ..Impairment::default()
    });
    let (step, _) = hold(config, 3, 4).await;
    assert!(ms(&step, 1.0) >= 29.5, "{} ms", ms(&step, 1.0));
    assert!(ms(&step, 5.0) < 45.0, "{} ms", ms(&step, 5.0));
    // A request and its answer pass the same network: some need a second try.
    let recovered = step.integrity.retransmitted as f64;
    let expected = step.delivered.packets as f64 * 0.02;
    assert!(recovered > expected * 0.5, "{recovered} of {expected}");
    assert!(step.integrity.lost < 8, "{} lost", step.integrity.lost);
}
