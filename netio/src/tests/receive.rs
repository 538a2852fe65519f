//! What arrives.

use super::*;

on_both_backends![
    receives_with_both_addresses,
    tells_how_long_a_datagram_waited,
    replies_leave_from_the_address_the_peer_used,
    closed_ports_do_not_stall_reception,
    empty_and_overlong_datagrams,
    a_burst_beyond_the_receive_buffers,
    buffers_that_run_out_come_back,
    a_drain_is_bounded,
    forwarding_within_the_receive_loop,
];

fn receives_with_both_addresses(backend: Backend) {
    let mut node = Node::open(&config(backend));
    for ip in ["127.0.0.1", "127.0.0.2", "::1"] {
        if ip == "::1" && node.facts.bound.len() < 2 {
            skip(&format!("IPv6: {:?}", node.facts.notes));
            continue;
        }
        let peer = peer(if ip == "::1" { ip } else { "127.0.0.1" });
        peer.send_to(b"to you", node.addr(ip)).unwrap();
        let expected = Received {
            path: Tuple {
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

fn tells_how_long_a_datagram_waited(backend: Backend) {
    let mut node = Node::open(&config(backend));
    let peer = peer("127.0.0.1");
    let delay = Duration::from_millis(20);
    let sent = Instant::now();
    peer.send_to(b"early", node.addr("127.0.0.1")).unwrap();
    thread::sleep(delay);
    let mut waited = None;
    while waited.is_none() && sent.elapsed() < Duration::from_secs(2) {
        node.io.park(Some(Duration::from_millis(100)));
        let (rx, _) = node.io.split();
        waited = rx.receive().map(|datagram| datagram.waited);
    }
    let waited = waited.unwrap();
    assert!((delay..=sent.elapsed()).contains(&waited), "{waited:?}");
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

/// Sends numbered datagrams, twice, before any is received, and expects them all in order.
fn burst(node: &mut Node, count: u32) {
    if node
        .facts
        .notes
        .iter()
        .any(|note| note.contains("rmem_max"))
    {
        skip(&format!("{:?}", node.facts.notes));
        return;
    }
    let peer = peer("127.0.0.1");
    let to = node.addr("127.0.0.1");
    for round in 0..2 {
        for number in 0..count {
            peer.send_to(&number.to_be_bytes(), to).unwrap();
        }
        let received = node.receive(count as usize);
        let numbers: Vec<_> = received
            .iter()
            .map(|datagram| u32::from_be_bytes(datagram.payload[..].try_into().unwrap()))
            .collect();
        assert!(numbers.iter().copied().eq(0..count), "round {round}");
    }
    let counters = node.io.counters().receive;
    assert_eq!(counters.datagrams, 2 * u64::from(count));
    assert_eq!(counters.bytes, 8 * u64::from(count));
    assert_eq!(counters.errors, 0);
}

fn a_burst_beyond_the_receive_buffers(backend: Backend) {
    let mut node = Node::open(&config(backend));
    burst(&mut node, 5_000);
}

fn buffers_that_run_out_come_back(backend: Backend) {
    let mut node = Node::open(&Config {
        receive_buffers: 8,
        ..config(backend)
    });
    burst(&mut node, 500);
    // Reading into the same buffers again, the other backend cannot run out.
    let starved = node.io.counters().receive.starved;
    assert_eq!(starved > 50, backend == Backend::Ring, "{starved}");
}

fn a_drain_is_bounded(backend: Backend) {
    let mut node = Node::open(&Config {
        drain_max: 100,
        ..config(backend)
    });
    let peer = peer("127.0.0.1");
    for _ in 0..400 {
        // Small: the default receive buffer of an unprivileged process holds them.
        peer.send_to(b"!", node.addr("127.0.0.1")).unwrap();
    }
    let mut drains = Vec::new();
    while drains.iter().sum::<usize>() < 400 && drains.len() < 400 {
        node.io.park(Some(Duration::from_millis(100)));
        let (rx, _) = node.io.split();
        let mut drained = 0;
        while rx.receive().is_some() {
            drained += 1;
        }
        drains.push(drained);
    }
    assert_eq!(drains.iter().sum::<usize>(), 400);
    // The ring overshoots by what one entry into the kernel yields.
    assert!(drains.iter().all(|drained| *drained < 140), "{drains:?}");
    assert!(drains.len() <= 6, "{drains:?}");
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
