//! Both backends against the real kernel, on loopback. Every case runs on each; one that the host
//! cannot run says so.

use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use millrace_shared::ice::Tuple;

use crate::{Backend, BackendFacts, Config, Doorbell, NetIo, OpenError, TrainHint, Transmit, open};

macro_rules! on_both_backends {
    ($($case:ident),* $(,)?) => {
        mod ring { $(#[test] fn $case() { super::run(super::Backend::Ring, super::$case); })* }
        mod mmsg { $(#[test] fn $case() { super::run(super::Backend::Mmsg, super::$case); })* }
    };
}

#[path = "../denial.rs"]
mod denial;
#[path = "open.rs"]
mod opening;
mod park;
mod receive;
mod send;

/// Runs `case`, unless the host denies the ring.
fn run(backend: Backend, case: fn(Backend)) {
    match open(&config(backend), &Doorbell::new().unwrap()) {
        Err(OpenError::RingDenied(reason)) => skip(&reason),
        Err(error) => panic!("{error}"),
        Ok(_) => case(backend),
    }
}

/// Past the capture of the test harness, so that it shows although the test passes.
fn skip(reason: &str) {
    let name = thread::current().name().unwrap_or_default().to_owned();
    writeln!(std::io::stderr(), "SKIPPED {name}: {reason}").unwrap();
}

fn config(backend: Backend) -> Config {
    Config {
        backend,
        ..Config::on_port(0)
    }
}

struct Node {
    io: Box<dyn NetIo>,
    doorbell: Doorbell,
    facts: BackendFacts,
}

#[derive(PartialEq, Eq, Debug)]
struct Received {
    path: Tuple,
    payload: Vec<u8>,
    truncated: bool,
}

impl Node {
    fn open(config: &Config) -> Self {
        let doorbell = Doorbell::new().unwrap();
        let (io, facts) = open(config, &doorbell).unwrap();
        Self {
            io,
            doorbell,
            facts,
        }
    }

    fn addr(&self, ip: &str) -> SocketAddr {
        SocketAddr::new(ip.parse().unwrap(), self.facts.bound[0].port())
    }

    /// Parks and receives until `count` datagrams have come or two seconds have passed.
    fn receive(&mut self, count: usize) -> Vec<Received> {
        let deadline = Instant::now() + Duration::from_secs(2);
        let mut received = Vec::new();
        while received.len() < count && Instant::now() < deadline {
            self.io.park(Some(Duration::from_millis(100)));
            let (rx, _) = self.io.split();
            while let Some(datagram) = rx.receive() {
                received.push(Received {
                    path: datagram.tuple(),
                    payload: datagram.payload.to_vec(),
                    truncated: datagram.truncated,
                });
            }
        }
        received
    }

    fn path_to(&self, peer: &UdpSocket) -> Tuple {
        let remote = peer.local_addr().unwrap();
        Tuple {
            local: SocketAddr::new(remote.ip(), self.facts.bound[0].port()),
            remote,
        }
    }
}

/// Fills a datagram with `mark`; false if there is no room.
fn send(tx: &mut dyn Transmit, path: &Tuple, hint: &mut TrainHint, len: usize, mark: u8) -> bool {
    let room = tx.reserve(path, hint, len);
    room.map(|bytes| {
        assert_eq!(bytes.len(), len);
        bytes.fill(mark);
    })
    .is_some()
}

fn peer(ip: &str) -> UdpSocket {
    let peer = UdpSocket::bind(SocketAddr::new(ip.parse().unwrap(), 0)).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    peer
}

/// Length and first byte of the next `count` datagrams.
fn lens_and_marks(peer: &UdpSocket, count: usize) -> Vec<(usize, u8)> {
    let mut buffer = [0; 65_536];
    (0..count)
        .map_while(|_| {
            let len = peer.recv(&mut buffer).ok()?;
            Some((len, buffer[0]))
        })
        .collect()
}
