//! Two network namespaces joined by a veth pair that cuts trains: with UDP segmentation offload
//! switched off the kernel segments in software and the receiver gets single datagrams. Loopback
//! and a plain veth hand trains over whole, which no network does.

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};

/// Where clients are: the first of [`CLIENTS_MAX`] addresses, all of the client's namespace.
pub const CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 0);
pub const CLIENTS_MAX: u32 = 1 << 16;
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);

/// The namespaces, gone when dropped.
#[derive(Debug)]
pub struct Bed {
    /// Of the server's and the client's side.
    pub server_namespace: String,
    pub client_namespace: String,
}

impl Bed {
    /// Fails with a sentence that says what is missing.
    pub fn make() -> Result<Self, String> {
        let tag = std::process::id();
        let bed = Self {
            server_namespace: format!("bench-server-{tag}"),
            client_namespace: format!("bench-client-{tag}"),
        };
        let (server, client) = (&bed.server_namespace, &bed.client_namespace);
        let (near, far) = (format!("bs{tag}"), format!("bc{tag}"));
        run(&format!("ip netns add {server}"))?;
        run(&format!("ip netns add {client}"))?;
        run(&format!(
            "ip link add {near} netns {server} type veth peer name {far} netns {client}"
        ))?;
        for (namespace, device, address) in [(server, &near, SERVER), (client, &far, GATEWAY)] {
            run(&format!("ip -n {namespace} link set lo up"))?;
            run(&format!(
                "ip -n {namespace} address add {address}/30 dev {device}"
            ))?;
            run(&format!("ip -n {namespace} link set {device} up"))?;
            run(&format!(
                "ip netns exec {namespace} ethtool -K {device} tx-udp-segmentation off gro off"
            ))?;
        }
        run(&format!(
            "ip -n {server} route add {CLIENTS}/16 via {GATEWAY}"
        ))?;
        run(&format!(
            "ip -n {client} route add local {CLIENTS}/16 dev lo"
        ))?;
        Ok(bed)
    }

    pub const fn server_address() -> IpAddr {
        IpAddr::V4(SERVER)
    }

    /// Address number `n` of the clients.
    pub fn client_address(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(CLIENTS.to_bits() + 256 + n))
    }

    /// A command that runs in a namespace, pinned to a CPU.
    pub fn command(namespace: &str, cpu: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", namespace, "taskset", "-c"])
            .arg(cpu.to_string())
            .arg(program);
        command
    }

    /// Whether somebody in the server's namespace listens on a TCP port.
    pub fn listens(&self, port: u16) -> Result<bool, String> {
        let listening = output(&format!(
            "ip netns exec {} ss -Hltn sport = :{port}",
            self.server_namespace
        ))?;
        Ok(!listening.trim().is_empty())
    }

    /// UDP datagrams that arrived in the client's namespace, dropped ones included.
    pub fn datagrams_arrived(&self) -> Result<u64, String> {
        let snmp = output(&format!(
            "ip netns exec {} cat /proc/net/snmp",
            self.client_namespace
        ))?;
        let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let (names, values) = lines.next().zip(lines.next()).ok_or("no UDP counters")?;
        let counted = |wanted: &str| {
            let mut pairs = names.split(' ').zip(values.split(' '));
            let value = pairs.find(|(name, _)| *name == wanted);
            value.and_then(|(_, value)| value.parse::<u64>().ok())
        };
        let fields = ["InDatagrams", "InErrors", "NoPorts"];
        Ok(fields.into_iter().filter_map(counted).sum())
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for namespace in [&self.server_namespace, &self.client_namespace] {
            // One that was never made is not missed.
            let _ = run(&format!("ip netns delete {namespace}"));
        }
    }
}

fn run(line: &str) -> Result<(), String> {
    output(line).map(drop)
}

fn output(line: &str) -> Result<String, String> {
    let mut words = line.split(' ');
    let program = words.next().unwrap_or_default();
    let output = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("`{line}`: {error}: install {program}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!(
            "`{line}`: {} (root, iproute2 and ethtool are needed)",
            said.trim()
        ))
    }
}
