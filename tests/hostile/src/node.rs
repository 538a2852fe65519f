//! The node under attack: a process of its own, seen from outside.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::outcome::{Outcome, Said as _};
use crate::token::ApiKey;

/// How long a node may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Shards report their counters once a second.
const METRICS_AGE: Duration = Duration::from_millis(1_300);
/// Kernel ticks of `/proc/<pid>/stat`: fixed at 100 a second on Linux for user space.
const TICKS_PER_SECOND: u64 = 100;

/// A running node; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Node {
    child: Child,
    pub(crate) http: SocketAddr,
    pub(crate) udp: SocketAddr,
    pub(crate) key: ApiKey,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

/// Counters of `/metrics` by name, labels included.
pub(crate) type Metrics = BTreeMap<String, u64>;

impl Node {
    pub(crate) fn start(binary: &Path) -> Outcome<Self> {
        let folder = tempfile::tempdir().said("temporary folder")?;
        let (tcp_port, udp_port) = (free_tcp_port()?, free_udp_port()?);
        let key = ApiKey::new("hostilekey", "a-secret-of-the-hostile-suite-that-is-long");
        let log = folder.path().join("log");
        let out = File::create(&log).said("log file")?;
        let config = format!(
            "port: {tcp_port}\nbind_addresses: [0.0.0.0]\nrtc: {{udp_port: {udp_port}, node_ip: 127.0.0.1}}\n\
             keys: {{{}: {}}}\n",
            key.name, key.secret
        );
        let child = Command::new(binary)
            .args(["--config-body", &config])
            .stdin(Stdio::null())
            .stdout(out.try_clone().said("log file")?)
            .stderr(out)
            .spawn()
            .said("start of the node")?;
        let mut node = Self {
            child,
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, tcp_port)),
            udp: SocketAddr::from((Ipv4Addr::LOCALHOST, udp_port)),
            key,
            log,
            _folder: folder,
        };
        let begin = Instant::now();
        while node.metrics_now().is_err() {
            node.check()?;
            if begin.elapsed() > START_TIMEOUT {
                return Err(format!("the node does not listen:\n{}", node.log_tail()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(node)
    }

    /// Whether it still runs, and has not said that it panicked.
    pub(crate) fn check(&mut self) -> Outcome<()> {
        if let Some(status) = self.child.try_wait().said("state of the node")? {
            return Err(format!(
                "the node ended with {status}:\n{}",
                self.log_tail()
            ));
        }
        let log = self.log();
        if log.contains("panicked at") {
            return Err(format!("the node panicked:\n{}", self.log_tail()));
        }
        Ok(())
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Resident memory in bytes.
    pub(crate) fn rss(&self) -> u64 {
        let status = fs::read_to_string(self.proc("status")).unwrap_or_default();
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB"))
            .and_then(|kib| kib.trim().parse::<u64>().ok())
            .map_or(0, |kib| kib * 1024)
    }

    /// CPU time used since its start.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(self.proc("stat")).unwrap_or_default();
        // The name, in parentheses, may contain anything.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks: u64 = fields
            .split_ascii_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.child.id())
    }

    /// Datagrams that the kernel dropped because the node's socket was full.
    pub(crate) fn overflowed(&self) -> u64 {
        let port = format!(":{:04X}", self.udp.port());
        ["/proc/net/udp", "/proc/net/udp6"]
            .iter()
            .filter_map(|table| fs::read_to_string(table).ok())
            .flat_map(|table| {
                let rows = table.lines().map(str::to_owned).collect::<Vec<_>>();
                rows.into_iter()
            })
            .filter_map(|row| {
                let mut fields = row.split_ascii_whitespace();
                let local = fields.nth(1)?.to_owned();
                let drops = fields.last()?.parse::<u64>().ok()?;
                local.ends_with(&port).then_some(drops)
            })
            .sum()
    }

    /// Counters that include everything up to this call.
    pub(crate) fn metrics(&self) -> Outcome<Metrics> {
        std::thread::sleep(METRICS_AGE);
        self.metrics_now()
    }

    fn metrics_now(&self) -> Outcome<Metrics> {
        let (status, body) = self.get("/metrics")?;
        if status != 200 {
            return Err(format!("/metrics answered {status}"));
        }
        Ok(body
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let (name, value) = line.rsplit_once(' ')?;
                Some((without_node(name), value.parse::<f64>().ok()? as u64))
            })
            .collect())
    }

    /// A GET on a connection of its own.
    pub(crate) fn get(&self, target: &str) -> Outcome<(u16, String)> {
        let head = format!("GET {target} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
        let answer = exchange(self.http, head.as_bytes())?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .ok_or_else(|| format!("no HTTP answer: {head:.80}"))?;
        Ok((status, body.to_owned()))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends bytes and reads until the other side closes or falls silent.
pub(crate) fn exchange(to: SocketAddr, bytes: &[u8]) -> Outcome<String> {
    let mut stream = TcpStream::connect(to).said("connect")?;
    let timeout = Some(Duration::from_secs(10));
    stream.set_read_timeout(timeout).said("socket")?;
    // The node may refuse before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    if answer.is_empty() {
        read.said("answer")?;
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The name without the labels that every counter has.
fn without_node(name: &str) -> String {
    let Some((name, labels)) = name.split_once('{') else {
        return name.to_owned();
    };
    let own: Vec<&str> = labels
        .trim_end_matches('}')
        .split(',')
        .filter(|label| !label.starts_with("node_"))
        .collect();
    if own.is_empty() {
        name.to_owned()
    } else {
        format!("{name}{{{}}}", own.join(","))
    }
}

fn free_tcp_port() -> Outcome<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).said("free port")?;
    Ok(listener.local_addr().said("free port")?.port())
}

fn free_udp_port() -> Outcome<u16> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).said("free port")?;
    Ok(socket.local_addr().said("free port")?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_the_labels_of_the_node() {
        let name = r#"millrace_refusals_total{node_id="ND",node_type="SERVER",limit="x"}"#;
        assert_eq!(without_node(name), r#"millrace_refusals_total{limit="x"}"#);
        let name = r#"millrace_drop_x_total{node_id="ND",node_type="SERVER"}"#;
        assert_eq!(without_node(name), "millrace_drop_x_total");
    }
}
