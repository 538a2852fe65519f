//! The two planes as two processes, as an operator runs them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Long enough for a machine that builds something else at the same time.
const PATIENCE: Duration = Duration::from_secs(20);

struct Plane {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Drop for Plane {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Plane {
    fn start(command: &str, config: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_millrace"))
            .arg(command)
            .env("LIVEKIT_CONFIG", config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        Self { child, log }
    }

    fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// The last line of one that ends by itself with an error.
    fn failure(mut self) -> String {
        let status = until("the process ends", || self.child.try_wait().unwrap());
        assert_eq!(status.code(), Some(1), "{}", self.log());
        until("its last words", || {
            self.log.lock().unwrap().last().cloned()
        })
    }
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

struct Node {
    directory: TempDir,
    port: u16,
    config: String,
}

impl Node {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let udp_port = UdpSocket::bind("0.0.0.0:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let config = format!(
            "port: {port}\nbind_addresses: [127.0.0.1]\nrtc: {{udp_port: {udp_port}}}\n\
             keys: {{key: a-secret-of-thirty-two-characters}}\n\
             dataplane: {{shards: 1, socket: {}}}\n",
            directory.path().join("link.sock").display()
        );
        Self {
            directory,
            port,
            config,
        }
    }

    fn start(&self, command: &str) -> Plane {
        Plane::start(command, &self.config)
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("link.sock")
    }

    /// What `/` answers; none while nobody listens.
    fn health(&self) -> Option<u16> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .ok()?;
        let mut response = String::new();
        stream.read_to_string(&mut response).ok()?;
        response.split(' ').nth(1)?.parse().ok()
    }

    fn wait_health(&self, wanted: u16) {
        until(&format!("health {wanted}"), || {
            (self.health() == Some(wanted)).then_some(())
        });
    }
}

#[test]
fn the_planes_start_in_any_order_and_either_may_die() {
    let node = Node::new();
    let control = node.start("controlplane");
    node.wait_health(503);
    let data = node.start("dataplane");
    node.wait_health(200);

    // Dropping kills.
    drop(data);
    assert!(node.socket().exists(), "a killed process leaves its socket");
    node.wait_health(503);
    let data = node.start("dataplane");
    node.wait_health(200);

    drop(control);
    until("the data plane sees it", || {
        data.log()
            .contains("the control plane is gone")
            .then_some(())
    });
    let _control = node.start("controlplane");
    node.wait_health(200);
}

#[test]
fn a_second_plane_of_a_kind_is_refused_with_a_sentence() {
    let node = Node::new();
    let _data = node.start("dataplane");
    let control = node.start("controlplane");
    node.wait_health(200);

    let second = Node::new();
    let config = second.config.replace(
        &second.directory.path().display().to_string(),
        &node.directory.path().display().to_string(),
    );
    let said = Plane::start("controlplane", &config).failure();
    let process = format!("process {}", control.child.id());
    assert!(said.contains(&process), "{said}");

    let said = Plane::start("dataplane", &config).failure();
    assert!(said.contains("another data plane serves"), "{said}");
    // The first ones did not notice.
    assert_eq!(node.health(), Some(200));
}
