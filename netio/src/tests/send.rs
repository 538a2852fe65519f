//! What leaves.

use std::rc::Rc;

use super::*;
use millrace_shared::ice::Tuple;

use crate::mmsg::MmsgIo;
use crate::ring::RingIo;
use crate::socket::{Socket, SocketOptions};

on_both_backends![
    trains_arrive_as_datagrams,
    a_shorter_datagram_closes_its_train,
    interleaved_destinations_keep_their_own_trains,
    a_stale_or_foreign_hint_joins_nothing,
    more_trains_than_the_arena_holds,
    a_full_batch_leaves_before_submit,
    a_train_stays_open_while_its_thread_lingers,
    refused_offload_sends_singly_and_is_remembered,
    send_errors_are_counted_and_do_not_stall,
    unserved_paths_are_refused,
];

fn trains_arrive_as_datagrams(backend: Backend) {
    let mut node = Node::open(&config(backend));
    for ip in ["127.0.0.1", "::1"] {
        if ip == "::1" && node.facts.bound.len() < 2 {
            skip(&format!("IPv6: {:?}", node.facts.notes));
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

fn a_train_stays_open_while_its_thread_lingers(backend: Backend) {
    let mut node = Node::open(&config(backend));
    let peer = peer("127.0.0.1");
    let path = node.path_to(&peer);
    let mut hint = TrainHint::default();
    assert!(send(node.io.split().1, &path, &mut hint, 100, 1));
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(5) {
        node.io.linger(Duration::from_millis(5));
    }
    assert_eq!(node.io.counters().send.trains, 0);
    // What arrives is there afterwards.
    peer.send_to(&[7], node.addr("127.0.0.1")).unwrap();
    node.io.linger(Duration::from_secs(2));
    assert!(node.io.split().0.receive().is_some());
    assert!(send(node.io.split().1, &path, &mut hint, 100, 2));
    node.io.submit();
    assert_eq!(lens_and_marks(&peer, 2), [(100, 1), (100, 2)]);
    assert_eq!(node.io.counters().send.trains, 1);
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
    let path = Tuple {
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
    let broadcast = Tuple {
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
        let path = Tuple {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
        };
        assert!(!send(tx, &path, &mut TrainHint::default(), 8, 0));
    }
    assert_eq!(node.io.counters().send.path_unserved, 2);
}
