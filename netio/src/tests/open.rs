//! Sockets, ports, and the choice of a backend.

use super::*;

on_both_backends![
    a_dropped_backend_frees_its_port,
    a_port_in_use_is_named,
    a_port_about_to_be_released_is_waited_for,
    reuse_port_shares_a_port,
];

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

fn a_port_about_to_be_released_is_waited_for(backend: Backend) {
    let holder = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let release = thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        drop(holder);
    });
    let node = Node::open(&Config {
        backend,
        ..Config::on_port(port)
    });
    assert_eq!(node.facts.bound[0].port(), port);
    release.join().unwrap();
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

#[test]
fn a_denied_ring_is_replaced_and_explained() {
    // The filter of a container runtime, for this thread only.
    let denied = thread::spawn(|| {
        if !deny_io_uring() {
            skip("this host allows no seccomp filter");
            return;
        }
        let asked = config(Backend::Ring);
        let error = open(&asked, &Doorbell::new().unwrap()).map(|_| ());
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("io_uring was refused (io_uring_setup: "),
            "{text}"
        );

        let mut node = Node::open(&config(Backend::Auto));
        assert_eq!(node.facts.name, "sendmmsg");
        assert!(node.facts.reason.contains("seccomp"), "{:?}", node.facts);
        let peer = peer("127.0.0.1");
        peer.send_to(b"!", node.addr("127.0.0.1")).unwrap();
        assert_eq!(node.receive(1).len(), 1);
    });
    denied.join().unwrap();
}

/// Makes io_uring_setup fail with EPERM on the calling thread, for the rest of its life.
#[expect(unsafe_code, reason = "prctl takes pointers")]
fn deny_io_uring() -> bool {
    let step = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let denied = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let mut filter = [
        // The system call's number is the first word of seccomp_data.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            libc::SYS_io_uring_setup as u32,
        ),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, denied),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the program and its filter live across the calls, which copy them.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            ) == 0
    }
}
