//! A Millrace node of its own for each test.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use millrace_loadgen::client::Server;
use millrace_loadgen::dial::Tls;
use millrace_loadgen::pump::RECEIVE_INTERVAL;
use millrace_loadgen::report::model::{Phase, Results, Slo, Step};
use millrace_loadgen::run::{Hold, Run, RunConfig, SETTLE, Sampling, SourceChoice};
use millrace_loadgen::scenario::built_in;
use millrace_loadgen::token::ApiKey;
use tokio::sync::watch;

/// One test at a time: what they measure is time, and each keeps two processes busy.
static TURN: Mutex<()> = Mutex::new(());

/// A node in a process, killed at the end.
pub(crate) struct Node {
    _turn: MutexGuard<'static, ()>,
    child: Child,
    pub(crate) url: String,
    pub(crate) media: SocketAddr,
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself, which the test then has noticed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    pub(crate) fn start(name: &str) -> Self {
        // A test that failed has had its turn.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let (http, udp) = free_ports();
        let log = std::env::temp_dir().join(format!("millrace-loadgen-{name}-{http}.log"));
        let child = Command::new(binary())
            .arg("--dev")
            .args(["--port", &http.to_string(), "--udp-port", &udp.to_string()])
            .args(["--rtc.tcp_port", "0"])
            .stdout(Stdio::null())
            .stderr(File::create(log).unwrap())
            .spawn()
            .unwrap();
        let node = Self {
            _turn: turn,
            child,
            url: format!("ws://127.0.0.1:{http}"),
            media: (Ipv4Addr::LOCALHOST, udp).into(),
        };
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, http)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "no node");
            std::thread::sleep(Duration::from_millis(50));
        }
        node
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn config(&self, scenario: &str) -> RunConfig {
        RunConfig {
            server: Server {
                url: self.url.clone(),
                key: ApiKey::new("devkey", "secret"),
                tls: Tls::NONE,
                single: false,
                media_address: None,
            },
            scenario: built_in(scenario).unwrap(),
            threads: vec![None],
            source: SourceChoice::Loopback,
            receive_interval: RECEIVE_INTERVAL,
            joins_per_s: 50.0,
            settle: SETTLE,
            sampling: Sampling::default(),
            pid: Some(self.child.id()),
            metrics: None,
            slo: Slo::default(),
            command_line: Vec::new(),
        }
    }
}

/// Holds one load for some seconds.
pub(crate) async fn hold(config: RunConfig, size: u32, seconds: u64) -> (Step, Results) {
    let (_interrupt, interrupted) = watch::channel(false);
    let mut run = Run::start(config, interrupted).unwrap();
    let hold = Hold {
        size,
        duration: Duration::from_secs(seconds),
        phase: Phase::Raise,
        share_of_knee: None,
    };
    let step = run.hold(hold, &mut |_| {}).await.unwrap().clone();
    (step, run.finish().await)
}

/// The server's binary: named by the environment, or built beside this test.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("MILLRACE_BIN") {
        return path.into();
    }
    // target/debug/deps/test
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let built = Command::new(env!("CARGO"))
        .current_dir(root)
        .args([
            "build",
            "--quiet",
            "--package",
            "millrace",
            "--bin",
            "millrace",
        ])
        .arg("--target-dir")
        .arg(profile.parent().unwrap())
        .args((profile.file_name().unwrap() == "release").then_some("--release"))
        .status()
        .unwrap();
    assert!(built.success(), "the server was not built");
    profile.join("millrace")
}

/// Ports that were free a moment ago.
fn free_ports() -> (u16, u16) {
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    (
        tcp.local_addr().unwrap().port(),
        udp.local_addr().unwrap().port(),
    )
}
