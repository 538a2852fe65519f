//! Servers under comparison: started on the bed, and held to a share of their CPU.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use millrace_bench::bed::Bed;

use crate::args::{Origin, Server};

const PORT: u16 = 7_880;
pub(crate) const KEY: &str = "devkey";
pub(crate) const SECRET: &str = "a-secret-of-the-bench-bed-with-32-characters";
const SERVER_CPU: usize = 0;
pub(crate) const LOAD_CPU: usize = 1;
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// A server listens before its buffers are there: 20 MB of Millrace's come up to 50 ms later, and would count as
/// its participants'.
const AFTER_START: Duration = Duration::from_secs(1);
/// Short beside the time that packets wait in sockets, and ten ticks of the kernel's clock.
const PERIOD_US: u64 = 10_000;

/// A server that can be loaded now. Fields end in order: the server before its bed.
pub(crate) struct Ready {
    pub(crate) url: String,
    pub(crate) pid: u32,
    child: Option<Running>,
    /// Cannot go before the process has.
    limit: Option<Limit>,
    pub(crate) bed: Option<Bed>,
}

/// A process that ends with its owner.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Ready {
    pub(crate) fn start(server: &Server) -> Result<Self, String> {
        let words = match &server.origin {
            Origin::Command(words) => words,
            Origin::Running { url, pid } => {
                return Ok(Self {
                    url: url.clone(),
                    pid: *pid,
                    child: None,
                    limit: None,
                    bed: None,
                });
            }
        };
        let bed = Bed::make()?;
        let child = spawn(&bed, words)?;
        let mut ready = Self {
            url: format!("ws://{}:{PORT}", Bed::server_address()),
            pid: child.0.id(),
            child: Some(child),
            limit: None,
            bed: Some(bed),
        };
        ready.wait_until_it_listens()?;
        Ok(ready)
    }

    /// From now on the server gets no more than a share of its CPU.
    pub(crate) fn limit(&mut self, share: f64) -> Result<(), String> {
        self.limit = Some(Limit::set(self.pid, share)?);
        Ok(())
    }

    fn wait_until_it_listens(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        while let (Some(bed), Some(child)) = (&self.bed, &mut self.child) {
            if bed.listens(PORT)? {
                break;
            }
            if let Ok(Some(status)) = child.0.try_wait() {
                return Err(format!("the server ended with {status}"));
            }
            if begun.elapsed() > START_TIMEOUT {
                return Err(format!("the server does not listen on {}", self.url));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(AFTER_START);
        Ok(())
    }
}

/// A program without a path is the one built with us, if there is one.
fn beside_us(program: &str) -> String {
    let built = std::env::current_exe().map(|this| this.with_file_name(program));
    match built {
        Ok(built) if !program.contains('/') && built.is_file() => built.display().to_string(),
        _ => program.to_owned(),
    }
}

fn spawn(bed: &Bed, words: &[String]) -> Result<Running, String> {
    let (program, rest) = words.split_first().ok_or("an empty command")?;
    let program = &beside_us(program);
    let config = format!(
        "port: {PORT}\nrtc:\n  udp_port: 7882\n  tcp_port: 7881\n  use_external_ip: false\n\
         logging:\n  level: warn\nkeys:\n  {KEY}: {SECRET}\n"
    );
    Bed::command(&bed.server_namespace, SERVER_CPU, program)
        .args(rest)
        .args(["--node-ip", &Bed::server_address().to_string()])
        .env("LIVEKIT_CONFIG", config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(Running)
        .map_err(|error| format!("{program} does not start: {error}"))
}

/// A control group of its own, gone when dropped.
struct Limit {
    folder: PathBuf,
}

impl Limit {
    fn set(pid: u32, share: f64) -> Result<Self, String> {
        let unified = Path::new("/sys/fs/cgroup");
        let has_cpu = fs::read_to_string(unified.join("cgroup.controllers"))
            .is_ok_and(|list| list.split_whitespace().any(|it| it == "cpu"));
        let quota_us = (share * PERIOD_US as f64) as u64;
        let root = if has_cpu {
            unified.to_owned()
        } else {
            unified.join("cpu")
        };
        let limit = Self {
            folder: root.join(format!("bench-{}", std::process::id())),
        };
        fs::create_dir_all(&limit.folder).map_err(|error| limit.failed(&error))?;
        if has_cpu {
            limit.write("cpu.max", &format!("{quota_us} {PERIOD_US}"))?;
        } else {
            limit.write("cpu.cfs_period_us", &PERIOD_US.to_string())?;
            limit.write("cpu.cfs_quota_us", &quota_us.to_string())?;
        }
        limit.write("cgroup.procs", &pid.to_string())?;
        Ok(limit)
    }

    fn write(&self, file: &str, text: &str) -> Result<(), String> {
        fs::write(self.folder.join(file), text).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &std::io::Error) -> String {
        let folder = self.folder.display();
        format!("{folder}: {error}: limiting a server needs a cpu control group and root")
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        // A process that was killed stays a member until it has gone.
        for _ in 0..20 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
