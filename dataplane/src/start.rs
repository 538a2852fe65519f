//! Starting and ending the data plane.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "start reads the clock once, and hands the command queues to the control plane"
)]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use millrace_netio::{Config as NetConfig, Doorbell, OpenError};
use millrace_shared::dtls::{Identity, IdentityError};
use millrace_shared::ids::ShardId;
use millrace_shared::link::{Command, CommandSink, EventSink, LocalAddress};
use millrace_shared::time::{Epoch, UNIX_EPOCH_SINCE_1900};

use crate::shard::host::{CommandQueue, Host, HostConfig};
use crate::shard::lanes::{self, LaneLimits};
use crate::speakers::SpeakerConfig;

pub use millrace_netio::Backend;

/// What the operator decides about the data plane.
#[derive(Clone, Debug)]
pub struct Config {
    /// UDP port of each shard; their number is the number of shards. Either all differ, or all are
    /// the same: then the kernel chooses among them.
    pub udp_ports: Vec<u16>,
    /// Addresses to receive on; the unspecified ones by default.
    pub bind: Vec<IpAddr>,
    /// Addresses to advertise, best first.
    pub advertise: Vec<IpAddr>,
    pub backend: Backend,
    /// When a track counts as speaking.
    pub speakers: SpeakerConfig,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    #[error(transparent)]
    Net(#[from] OpenError),
    #[error("the shard's thread does not start: {0}")]
    Thread(#[source] io::Error),
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// The running shards.
#[derive(Debug)]
pub struct Dataplane {
    hosts: Vec<Host>,
    commands: Arc<Commands>,
}

/// The command queues of all shards.
#[derive(Debug)]
struct Commands(Vec<CommandQueue>);

/// Starts one shard per UDP port. Each says [`millrace_shared::link::Event::Hello`] first.
pub fn start(
    config: &Config,
    mut events: impl FnMut(ShardId) -> Box<dyn EventSink>,
) -> Result<Dataplane, StartError> {
    let epoch = epoch_now();
    let identity = Identity::generate()?;
    let mut hosts = Vec::new();
    let mut queues = Vec::new();
    let shards = config.udp_ports.len();
    let doorbells = (0..shards)
        .map(|_| Doorbell::new())
        .collect::<Result<Vec<_>, _>>()
        .map_err(StartError::Thread)?;
    let lanes = lanes::mesh(shards, LaneLimits::default(), |to| {
        let doorbell = doorbells[usize::from(to.0)].clone();
        Box::new(move || doorbell.ring())
    });
    let one_port = shards > 1
        && config
            .udp_ports
            .iter()
            .all(|port| *port == config.udp_ports[0]);
    if one_port {
        // Sockets that share a port would share it with another process as well.
        millrace_netio::ensure_free(&net_config(config, config.udp_ports[0], false))?;
    }
    let ends = lanes.into_iter().zip(doorbells.clone());
    for ((index, port), (lanes, doorbell)) in (0..).zip(config.udp_ports.iter().copied()).zip(ends)
    {
        let id = ShardId(u16::try_from(index).unwrap_or(u16::MAX));
        let addresses = config
            .advertise
            .iter()
            .map(|ip| LocalAddress { ip: *ip, port })
            .collect();
        let host = HostConfig {
            id,
            cpu: cpu_of(index, shards),
            net: net_config(config, port, one_port),
            epoch,
            identity: identity.clone(),
            addresses,
            speakers: config.speakers,
            seed: seed(id),
            lanes,
            one_port,
            doorbell,
        };
        let (host, queue) = Host::start(host, events(id))?;
        hosts.push(host);
        queues.push(queue);
    }
    Ok(Dataplane {
        hosts,
        commands: Arc::new(Commands(queues)),
    })
}

impl Dataplane {
    /// Where the control plane puts its commands.
    pub fn commands(&self) -> Arc<dyn CommandSink> {
        self.commands.clone()
    }

    /// Says goodbye to every peer, ends the shards and waits for them.
    pub fn shut_down(self) {
        for queue in &self.commands.0 {
            queue.send(Command::Shutdown);
        }
        for host in self.hosts {
            host.join();
        }
    }
}

impl CommandSink for Commands {
    fn send(&self, shard: ShardId, command: Command) {
        match self.0.get(usize::from(shard.0)) {
            Some(queue) => queue.send(command),
            None => tracing::error!(%shard, "a command for a shard that does not exist"),
        }
    }
}

fn epoch_now() -> Epoch {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Epoch {
        instant: Instant::now(),
        since_1900: UNIX_EPOCH_SINCE_1900 + since_1970,
    }
}

fn net_config(config: &Config, port: u16, one_port: bool) -> NetConfig {
    NetConfig {
        backend: config.backend,
        reuse_port: one_port,
        bind: config
            .bind
            .iter()
            .map(|ip| SocketAddr::new(*ip, port))
            .collect(),
        ..NetConfig::default()
    }
}

/// The last CPUs go to the shards, the first stay with the control plane. When there are not
/// enough, the shards share: the scheduler decides.
fn cpu_of(index: usize, shards: usize) -> Option<usize> {
    let allowed = millrace_netio::allowed_cpus();
    let first = allowed.len().checked_sub(shards)?;
    allowed.get(first + index).copied()
}

/// Start values need no secrecy, only to differ from one start to the next.
fn seed(id: ShardId) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(id)
}
