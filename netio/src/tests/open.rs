//! Sockets, ports, and the choice of a backend.

use std::fs;
use std::process::Command;

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
        if let Err(error) = denial::deny_io_uring() {
            skip(&format!("this host allows no seccomp filter: {error}"));
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

/// kernel.io_uring_disabled at 1 leaves io_uring to the privileged: here to everybody but one
/// thread, and for a moment.
#[test]
fn a_sysctl_that_denies_the_ring_is_named() {
    const SETTING: &str = "/proc/sys/kernel/io_uring_disabled";
    struct Restored(String);
    impl Drop for Restored {
        fn drop(&mut self) {
            let _ = fs::write(SETTING, &self.0);
        }
    }

    let denied = thread::spawn(|| {
        let before = fs::read_to_string(SETTING).unwrap_or_default();
        if before.trim() != "0" {
            skip(&format!("{SETTING} is {before:?} already, or not there"));
            return;
        }
        let restored = Restored(before);
        if let Err(error) = fs::write(SETTING, "1") {
            skip(&format!("{SETTING} may not be set: {error}"));
            return;
        }
        denial::become_unprivileged().unwrap();
        let node = Node::open(&config(Backend::Auto));
        drop(restored);
        assert_eq!(node.facts.name, "sendmmsg");
        let reason = &node.facts.reason;
        assert!(reason.contains("kernel.io_uring_disabled"), "{reason}");
        assert!(reason.contains("set it to 0"), "{reason}");
    });
    denied.join().unwrap();
}

/// In a process of its own, which is this one again: the limit is the whole process's.
#[test]
fn a_limit_on_locked_memory_is_named() {
    if std::env::var_os(LIMITED).is_none() {
        let test = "tests::opening::a_limit_on_locked_memory_is_named";
        let mut again = Command::new(std::env::current_exe().unwrap());
        let again = again.args(["--exact", test, "--nocapture"]);
        let output = again.env(LIMITED, "1").output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        text.lines()
            .filter(|line| line.starts_with("SKIPPED"))
            .for_each(skip);
        assert!(output.status.success(), "{text}");
        return;
    }
    let ring = open(&config(Backend::Ring), &Doorbell::new().unwrap());
    if let Err(error) = ring {
        skip(&error.to_string());
        return;
    }
    denial::limit_locked_memory(0).unwrap();
    let node = Node::open(&config(Backend::Auto));
    let reason = &node.facts.reason;
    if node.facts.name == "io_uring" {
        // A kernel whose rings do not count.
        skip("this kernel's rings need no locked memory");
        return;
    }
    assert!(reason.contains("ulimit -l"), "{reason}");
    assert!(reason.contains("LimitMEMLOCK="), "{reason}");
}

const LIMITED: &str = "MILLRACE_TEST_LOCKED_MEMORY_LIMITED";
