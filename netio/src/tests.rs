//! Both backends against the real kernel, on loopback. Every case runs on each; one that the host
//! cannot run says so.

use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use crate::mmsg::MmsgIo;
use crate::ring::RingIo;
use crate::socket::{Socket, SocketOptions};
use crate::{
    Backend, BackendFacts, Config, Doorbell, NetIo, OpenError, Path, TrainHint, Transmit, open,
};

macro_rules! on_both_backends {
    ($($case:ident),* $(,)?) => {
        mod ring { $(#[test] fn $case() { super::run(super::Backend::Ring, super::$case); })* }
        mod mmsg { $(#[test] fn $case() { super::run(super::Backend::Mmsg, super::$case); })* }
    };
}

on_both_backends![
    receives_with_both_addresses,
    replies_leave_from_the_address_the_peer_used,
    trains_arrive_as_datagrams,
    a_shorter_datagram_closes_its_train,
    interleaved_destinations_keep_their_own_trains,
    a_stale_or_foreign_hint_joins_nothing,
    more_trains_than_the_arena_holds,
    a_full_batch_leaves_before_submit,
    refused_offload_sends_singly_and_is_remembered,
    send_errors_are_counted_and_do_not_stall,
    unserved_paths_are_refused,
    closed_ports_do_not_stall_reception,
    empty_and_overlong_datagrams,
    a_burst_beyond_the_receive_buffers,
    forwarding_within_the_receive_loop,
    the_doorbell_wakes_a_park,
    no_ring_of_the_doorbell_is_lost,
    park_keeps_its_timeout,
    a_dropped_backend_frees_its_port,
    a_port_in_use_is_named,
    reuse_port_shares_a_port,
];

/// Runs `case`, unless the host denies the ring.
fn run(backend: Backend, case: fn(Backend)) {
    match open(&config(backend), &Doorbell::new().unwrap()) {
        Err(OpenError::RingDenied(reason)) => eprintln!("SKIPPED: {reason}"),
        Err(error) => panic!("{error}"),
        Ok(_) => case(backend),
    }
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
    path: Path,
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
                    path: datagram.path(),
                    payload: datagram.payload.to_vec(),
                    truncated: datagram.truncated,
                });
            }
        }
        received
    }

    fn path_to(&self, peer: &UdpSocket) -> Path {
        let remote = peer.local_addr().unwrap();
        Path {
            local: SocketAddr::new(remote.ip(), self.facts.bound[0].port()),
            remote,
        }
    }
}

/// Fills a datagram with `mark`; false if there is no room.
fn send(tx: &mut dyn Transmit, path: &Path, hint: &mut TrainHint, len: usize, mark: u8) -> bool {
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

fn receives_with_both_addresses(backend: Backend) {
    let mut node = Node::open(&config(backend));
    for ip in ["127.0.0.1", "127.0.0.2", "::1"] {
        if ip == "::1" && node.facts.bound.len() < 2 {
            eprintln!("SKIPPED for IPv6: {:?}", node.facts.notes);
            continue;
        }
        let peer = peer(if ip == "::1" { ip } else { "127.0.0.1" });
        peer.send_to(b"to you", node.addr(ip)).unwrap();
        let expected = Received {
            path: Path {
                local: node.addr(ip),
                remote: peer.local_addr().unwrap(),
            },
            payload: b"to you".to_vec(),
            truncated: false,
        };
        assert_eq!(node.receive(1), [expected]);
    }
    assert!(node.io.counters().receive.bytes >= 12);
}

fn replies_leave_from_the_address_the_peer_used(backend: Backend) {
    let mut node = Node::open(&config(backend));
    let peer = peer("127.0.0.1");
    for ip in ["127.0.0.2", "127.0.0.1", "127.0.0.3"] {
        peer.send_to(b"?", node.addr(ip)).unwrap();
        let path = node.receive(1)[0].path;
        let (_, tx) = node.io.split();
        assert!(send(tx, &path, &mut TrainHint::default(), 5, b'!'));
        node.io.submit();
        let mut buffer = [0; 16];
        let answer = peer.recv_from(&mut buffer).unwrap();
        assert_eq!(answer, (5, node.addr(ip)));
    }
}

fn trains_arrive_as_datagrams(backend: Backend) {
    let mut node = Node::open(&config(backend));
    for ip in ["127.0.0.1", "::1"] {
        if ip == "::1" && node.facts.bound.len() < 2 {
            eprintln!("SKIPPED for IPv6: {:?}", node.facts.notes);
            continue;
        }
        let peer = peer(ip);
        let path = node.path_to(&peer);
        let before = node.io.counters().send;
        let mut hint = TrainHint::default();
        for mark in 0..20 {
            assert!(send(node.io.split().1, &path, &mut hint, 1200, mark));
        }
        node.io.submit();
        let expected: Vec<_> = (0..20).map(|mark| (1200, mark)).collect();
        assert_eq!(lens_and_marks(&peer, 20), expected);
        let sent = node.io.counters().send;
        assert_eq!(sent.trains - before.trains, 3, "8 + 8 + 4");
        assert_eq!(sent.datagrams - before.datagrams, 20);
        assert_eq!(sent.bytes - before.bytes, 24_000);
    }
}

fn a_shorter_datagram_closes_its_train(backend: Backend) {
    let mut node = Node::open(&config(backend));
    let peer = peer("127.0.0.1");
    let path = node.path_to(&peer);
    let mut hint = TrainHint::default();
    let lens = [500, 500, 80, 80, 500, 501, 1];
    for (len, mark) in lens.into_iter().zip(0..) {
        assert!(send(node.io.split().1, &path, &mut hint, len, mark));
    }
    node.io.submit();
    let expected: Vec<_> = lens.into_iter().zip(0..).collect();
    assert_eq!(lens_and_marks(&peer, lens.len()), expected);
    // [500 500 80] [80] [500] [501 1]: a longer one does not fit behind shorter ones.
    assert_eq!(node.io.counters().send.trains, 4);
}

fn interleaved_destinations_keep_their_own_trains(backend: Backend) {
    let mut node = Node::open(&config(backend));
    let peers = [peer("127.0.0.1"), peer("127.0.0.1")];
    let mut hints = [TrainHint::default(); 2];
    for mark in 0..8 {
        for (peer, hint) in peers.iter().zip(&mut hints) {
            let path = node.path_to(peer);
            assert!(send(node.io.split().1, &path, hint, 300, mark));
        }
    }
    node.io.submit();
    let expected: Vec<_> = (0..8).map(|mark| (300, mark)).collect();
    for peer in &peers {
        assert_eq!(lens_and_marks(peer, 8), expected);
    }
    assert_eq!(node.io.counters().send.trains, 2);
}

fn a_stale_or_foreign_hint_joins_nothing(backend: Backend) {
    let mut node = Node::open(&config(backend));
    let peers = [peer("127.0.0.1"), peer("127.0.0.1")];
    let paths = peers.each_ref().map(|peer| node.path_to(peer));
    let mut hint = TrainHint::default();
    assert!(send(node.io.split().1, &paths[0], &mut hint, 9, 1));
    node.io.submit();
    // Its train has left.
    assert!(send(node.io.split().1, &paths[0], &mut hint, 9, 2));
    // Its train waits, for the other peer.
    assert!(send(node.io.split().1, &paths[1], &mut hint, 9, 3));
    node.io.submit();
    assert_eq!(lens_and_marks(&peers[0], 2), [(9, 1), (9, 2)]);
    assert_eq!(lens_and_marks(&peers[1], 1), [(9, 3)]);
    assert_eq!(node.io.counters().send.trains, 3);
}

fn more_trains_than_the_arena_holds(backend: Backend) {
    let mut node = Node::open(&Config {
        trains: 4,
        trains_per_submission: 3,
        ..config(backend)
    });
    let peer = peer("127.0.0.1");
    let path = node.path_to(&peer);
    for mark in 0..100 {
        // A new hint each time: one train each.
        let mut hint = TrainHint::default();
        assert!(send(node.io.split().1, &path, &mut hint, 50, mark));
    }
    node.io.submit();
    let expected: Vec<_> = (0..100).map(|mark| (50, mark)).collect();
    assert_eq!(lens_and_marks(&peer, 100), expected);
    let sent = node.io.counters().send;
    assert_eq!((sent.trains, sent.arena_full), (100, 0));
}

fn a_full_batch_leaves_before_submit(backend: Backend) {
    let mut node = Node::open(&Config {
        trains_per_submission: 8,
        ..config(backend)
    });
    let peers = [peer("127.0.0.1"), peer("127.0.0.1")];
    let paths = peers.each_ref().map(|peer| node.path_to(peer));
    let (mut open_hint, mut full_hint) = (TrainHint::default(), TrainHint::default());
    peers[1].set_nonblocking(true).unwrap();
    // One train stays open while others fill up beside it, many times the queue's length.
    assert!(send(node.io.split().1, &paths[0], &mut open_hint, 40, 0));
    let mut arrived = 0;
    for packet in 0..8_000u32 {
        assert!(send(
            node.io.split().1,
            &paths[1],
            &mut full_hint,
            40,
            packet as u8
        ));
        if packet % 64 == 0 {
            arrived += lens_and_marks(&peers[1], 100).len();
        }
    }
    assert!(arrived >= 7_500, "{arrived} of 8,000 arrived early");
    assert!(send(node.io.split().1, &paths[0], &mut open_hint, 40, 1));
    node.io.submit();
    assert_eq!(lens_and_marks(&peers[0], 2), [(40, 0), (40, 1)]);
    assert_eq!(node.io.counters().send.trains, 1_001);
}

fn refused_offload_sends_singly_and_is_remembered(backend: Backend) {
    let options = SocketOptions {
        reuse_port: false,
        buffer_len: 1 << 20,
    };
    let socket = Socket::open("127.0.0.1:0".parse().unwrap(), options).unwrap();
    // The kernel refuses to segment for sockets without checksums (EINVAL).
    socket.set(libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).unwrap();
    let local = socket.bound;
    let config = config(backend);
    let sockets: Rc<[Socket]> = [socket].into();
    let doorbell = Doorbell::new().unwrap();
    let mut io: Box<dyn NetIo> = match backend {
        Backend::Mmsg => Box::new(MmsgIo::new(&config, sockets, doorbell).unwrap()),
        _ => Box::new(RingIo::new(&config, sockets, doorbell).unwrap()),
    };
    let peer = peer("127.0.0.1");
    let path = Path {
        local,
        remote: peer.local_addr().unwrap(),
    };
    let mut hint = TrainHint::default();
    for mark in 0..16 {
        assert!(send(io.split().1, &path, &mut hint, 700, mark));
    }
    io.submit();
    for mark in 16..20 {
        assert!(send(io.split().1, &path, &mut hint, 700, mark));
    }
    io.submit();
    let expected: Vec<_> = (0..20).map(|mark| (700, mark)).collect();
    assert_eq!(lens_and_marks(&peer, 20), expected);
    let sent = io.counters().send;
    assert_eq!((sent.datagrams, sent.gso_refused), (20, 2));
    assert_eq!(sent.errors.total(), 0);
}

fn send_errors_are_counted_and_do_not_stall(backend: Backend) {
    let mut node = Node::open(&config(backend));
    let peer = peer("127.0.0.1");
    let good = node.path_to(&peer);
    let broadcast = Path {
        local: node.facts.bound[0],
        // EACCES without SO_BROADCAST.
        remote: "255.255.255.255:9".parse().unwrap(),
    };
    let mut hints = [TrainHint::default(); 3];
    assert!(send(node.io.split().1, &good, &mut hints[0], 30, 1));
    for mark in 0..3 {
        assert!(send(node.io.split().1, &broadcast, &mut hints[1], 30, mark));
    }
    assert!(send(node.io.split().1, &good, &mut hints[2], 30, 2));
    node.io.submit();
    assert_eq!(lens_and_marks(&peer, 2), [(30, 1), (30, 2)]);
    let sent = node.io.counters().send;
    assert_eq!((sent.datagrams, sent.trains), (2, 2));
    assert_eq!((sent.errors.denied, sent.errors.total()), (3, 3));
}

fn unserved_paths_are_refused(backend: Backend) {
    let mut node = Node::open(&config(backend));
    let port = node.facts.bound[0].port();
    let (_, tx) = node.io.split();
    for (local, remote) in [
        (format!("127.0.0.1:{}", port ^ 1), "127.0.0.1:9"),
        (format!("127.0.0.1:{port}"), "[::1]:9"),
    ] {
        let path = Path {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
        };
        assert!(!send(tx, &path, &mut TrainHint::default(), 8, 0));
    }
    assert_eq!(node.io.counters().send.path_unserved, 2);
}

fn closed_ports_do_not_stall_reception(backend: Backend) {
    let mut node = Node::open(&config(backend));
    let closed = node.path_to(&peer("127.0.0.1"));
    let peer = peer("127.0.0.1");
    for mark in 0..5 {
        let mut hint = TrainHint::default();
        assert!(send(node.io.split().1, &closed, &mut hint, 20, mark));
        node.io.submit();
        peer.send_to(&[mark], node.addr("127.0.0.1")).unwrap();
        assert_eq!(node.receive(1)[0].payload, [mark]);
    }
}

fn empty_and_overlong_datagrams(backend: Backend) {
    let mut node = Node::open(&config(backend));
    let peer = peer("127.0.0.1");
    let to = node.addr("127.0.0.1");
    for len in [0, 1500, 0, 0, 1501, 9000, 1] {
        peer.send_to(&vec![7; len], to).unwrap();
    }
    let received = node.receive(7);
    let seen: Vec<_> = received
        .iter()
        .map(|datagram| (datagram.payload.len(), datagram.truncated))
        .collect();
    let cut = (1500, true);
    let whole = |len| (len, false);
    assert_eq!(
        seen,
        [
            whole(0),
            whole(1500),
            whole(0),
            whole(0),
            cut,
            cut,
            whole(1)
        ]
    );
    assert_eq!(node.io.counters().receive.truncated, 2);
}

fn a_burst_beyond_the_receive_buffers(backend: Backend) {
    const BURST: u32 = 5_000;
    let mut node = Node::open(&config(backend));
    if node
        .facts
        .notes
        .iter()
        .any(|note| note.contains("rmem_max"))
    {
        eprintln!("SKIPPED: {:?}", node.facts.notes);
        return;
    }
    let peer = peer("127.0.0.1");
    let to = node.addr("127.0.0.1");
    for round in 0..2 {
        for number in 0..BURST {
            peer.send_to(&number.to_be_bytes(), to).unwrap();
        }
        let received = node.receive(BURST as usize);
        let numbers: Vec<_> = received
            .iter()
            .map(|datagram| u32::from_be_bytes(datagram.payload[..].try_into().unwrap()))
            .collect();
        assert!(numbers.iter().copied().eq(0..BURST), "round {round}");
    }
    let counters = node.io.counters();
    assert_eq!(counters.receive.datagrams, 2 * u64::from(BURST));
    eprintln!("{counters:?}");
}

fn forwarding_within_the_receive_loop(backend: Backend) {
    // The second peer's copy is sent while the first peer's datagram is borrowed, with an arena so
    // small that reserving submits and reaps in the middle of the loop.
    let mut node = Node::open(&Config {
        trains: 2,
        trains_per_submission: 1,
        receive_buffers: 8,
        ..config(backend)
    });
    let [from, to] = [peer("127.0.0.1"), peer("127.0.0.1")];
    let path = node.path_to(&to);
    for number in 0..64u8 {
        from.send_to(&[number; 10], node.addr("127.0.0.1")).unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut forwarded = 0;
    while forwarded < 64 && Instant::now() < deadline {
        let (rx, tx) = node.io.split();
        while let Some(datagram) = rx.receive() {
            let room = tx.reserve(&path, &mut TrainHint::default(), 10);
            room.unwrap().copy_from_slice(datagram.payload);
            forwarded += 1;
        }
        node.io.park(Some(Duration::from_millis(100)));
    }
    node.io.submit();
    let expected: Vec<_> = (0..64).map(|number| (10, number)).collect();
    assert_eq!(lens_and_marks(&to, 64), expected);
}

fn the_doorbell_wakes_a_park(backend: Backend) {
    let mut node = Node::open(&config(backend));
    node.io.park(Some(Duration::ZERO));
    for _ in 0..3 {
        let doorbell = node.doorbell.clone();
        let ringer = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            doorbell.ring();
        });
        let start = Instant::now();
        node.io.park(Some(Duration::from_secs(10)));
        assert!(start.elapsed() >= Duration::from_millis(15));
        assert!(start.elapsed() < Duration::from_secs(5));
        ringer.join().unwrap();
        // Rung while awake: the next park returns at once, the one after it waits.
        node.doorbell.ring();
        let start = Instant::now();
        node.io.park(Some(Duration::from_secs(10)));
        assert!(start.elapsed() < Duration::from_secs(5));
        let start = Instant::now();
        node.io.park(Some(Duration::from_millis(10)));
        node.io.park(Some(Duration::from_millis(10)));
        assert!(start.elapsed() >= Duration::from_millis(9));
    }
}

fn no_ring_of_the_doorbell_is_lost(backend: Backend) {
    const RINGS: u32 = 20_000;
    let mut node = Node::open(&config(backend));
    let doorbell = node.doorbell.clone();
    let (pushed, queue) = std::sync::mpsc::sync_channel::<u32>(1);
    let ringer = thread::spawn(move || {
        for number in 0..RINGS {
            // Waits until the last one is taken, so that every ring matters.
            pushed.send(number).unwrap();
            doorbell.ring();
        }
    });
    let mut taken = 0;
    while taken < RINGS {
        let drained = queue.try_iter().count() as u32;
        taken += drained;
        if taken < RINGS {
            let start = Instant::now();
            node.io.park(Some(Duration::from_secs(20)));
            assert!(start.elapsed() < Duration::from_secs(10), "after {taken}");
        }
    }
    ringer.join().unwrap();
}

fn park_keeps_its_timeout(backend: Backend) {
    let mut node = Node::open(&config(backend));
    node.io.park(Some(Duration::ZERO));
    for timeout in [Duration::from_micros(500), Duration::from_millis(20)] {
        let late = (0..20).map(|_| {
            let start = Instant::now();
            node.io.park(Some(timeout));
            let elapsed = start.elapsed();
            assert!(elapsed >= timeout, "{elapsed:?} of {timeout:?}");
            elapsed - timeout
        });
        // The best of several, because others use the machine too.
        let late = late.min().unwrap();
        assert!(
            late < Duration::from_millis(2),
            "{late:?} after {timeout:?}"
        );
    }
}

fn a_dropped_backend_frees_its_port(backend: Backend) {
    let mut node = Node::open(&config(backend));
    let port = node.facts.bound[0].port();
    let peer = peer("127.0.0.1");
    for number in 0..20u8 {
        // With receives armed, datagrams unread and a train unsent.
        peer.send_to(&[number], node.addr("127.0.0.1")).unwrap();
        let path = node.path_to(&peer);
        let (_, tx) = node.io.split();
        assert!(send(tx, &path, &mut TrainHint::default(), 10, number));
        drop(node);
        node = Node::open(&Config {
            backend,
            ..Config::on_port(port)
        });
    }
}

fn a_port_in_use_is_named(backend: Backend) {
    let node = Node::open(&config(backend));
    let port = node.facts.bound[0].port();
    let again = Config {
        backend,
        ..Config::on_port(port)
    };
    let error = open(&again, &Doorbell::new().unwrap()).map(|_| ());
    let text = error.unwrap_err().to_string();
    assert!(text.contains(&format!("UDP port {port} on 0.0.0.0 is in use")));
    assert!(text.contains(&format!("ss -lunp 'sport = :{port}'")));
}

fn reuse_port_shares_a_port(backend: Backend) {
    let mut first = Node::open(&Config {
        reuse_port: true,
        ..config(backend)
    });
    let mut second = Node::open(&Config {
        reuse_port: true,
        ..Config {
            backend,
            ..Config::on_port(first.facts.bound[0].port())
        }
    });
    let peers: Vec<_> = (0..16).map(|_| peer("127.0.0.1")).collect();
    for peer in &peers {
        peer.send_to(b"?", first.addr("127.0.0.1")).unwrap();
    }
    // The kernel spreads the peers by a hash with a secret: any split will do, losing none.
    let mut received = 0;
    let deadline = Instant::now() + Duration::from_secs(2);
    while received < peers.len() && Instant::now() < deadline {
        for node in [&mut first, &mut second] {
            node.io.park(Some(Duration::from_millis(1)));
            let (rx, _) = node.io.split();
            while rx.receive().is_some() {
                received += 1;
            }
        }
    }
    assert_eq!(received, peers.len());
}
