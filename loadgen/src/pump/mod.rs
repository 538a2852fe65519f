//! Media threads. Each has one network and many clients' transports on it, told apart by their
//! local addresses; the control side reaches it through a queue and a doorbell.

mod drain;
mod locals;
mod peer;
mod thread;
mod wait;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use millrace_netio::{Doorbell, NetCounters};
use millrace_shared::dtls::Identity;
use millrace_shared::link::IceCredentials;
use millrace_shared::time::{Epoch, Timestamp, UNIX_EPOCH_SINCE_1900};
use thiserror::Error;
use tokio::sync::mpsc::UnboundedSender;

use crate::impair::Impairment;
use crate::measure::Meter;
use crate::sdp::Description;
use crate::stream::publisher::PublishedTrack;
use crate::stream::receiver::StreamMap;
use crate::transport::Keys;

use locals::Locals;
pub use locals::Source;

/// One transport of one client.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct PeerId(pub u32);

/// A transport to add.
#[derive(Debug)]
pub struct NewPeer {
    pub id: PeerId,
    /// From [`PumpHandle::take_local`].
    pub local: SocketAddr,
    pub ice: IceCredentials,
    /// Every packet is decrypted, checked and timed as long as this rank is sampled, see
    /// [`Command::SampleUpTo`]; otherwise, and of a peer without rank, counted by its header.
    pub sample_rank: Option<u32>,
    pub impairment: Option<Impairment>,
    pub seed: u64,
    /// Its connection, if that was agreed on already: without checks and handshake.
    pub established: Option<Box<Established>>,
    pub events: UnboundedSender<(PeerId, PeerEvent)>,
}

/// A connection that is there from the beginning.
#[derive(Debug)]
pub struct Established {
    pub remote: SocketAddr,
    pub keys: Keys,
    pub map: StreamMap,
    /// Whatever it would send is made and not sent: to learn what the sending costs.
    pub silent: bool,
}

/// What the control side tells a media thread.
#[derive(Debug)]
pub enum Command {
    Add(Box<NewPeer>),
    /// The server's description; `offered` says whether ours was the offer.
    Remote {
        peer: PeerId,
        description: Box<Description>,
        offered: bool,
    },
    Candidate {
        peer: PeerId,
        addr: SocketAddr,
    },
    /// Begins to send these tracks, as soon as the transport is connected.
    Publish {
        peer: PeerId,
        tracks: Vec<PublishedTrack>,
    },
    /// Sends bytes as they are from the transport's address, to the server's or another.
    Inject {
        peer: PeerId,
        to: Option<SocketAddr>,
        datagram: Vec<u8>,
    },
    /// Says goodbye and forgets the transport.
    Remove(PeerId),
    /// Ranks above this one are not sampled any more. All are until then.
    SampleUpTo(u32),
    /// Hands over what was measured since the last time.
    Sample,
    Stop,
}

/// What a media thread tells the one who added a transport.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PeerEvent {
    Connected {
        local: SocketAddr,
        remote: SocketAddr,
        keys: Box<Keys>,
    },
    /// The first packet of media has come.
    Media,
    Failed(&'static str),
    /// The server closed the transport.
    Closed,
}

/// What a media thread measured since its last sample.
#[derive(Clone, Debug)]
pub struct Sample {
    pub thread: usize,
    pub meter: Meter,
    /// Totals of its network.
    pub net: NetCounters,
    pub peers: usize,
    /// CPU time of the thread.
    pub cpu: Duration,
    /// When it was taken.
    pub at: Timestamp,
}

/// One media thread to start.
#[derive(Clone, Debug)]
pub struct PumpConfig {
    pub index: usize,
    /// CPU to be pinned to.
    pub cpu: Option<usize>,
    pub source: Source,
    /// How long packets may lie before they are looked at; see [`RECEIVE_INTERVAL`].
    pub receive_interval: Duration,
    pub epoch: Epoch,
    pub identity: Identity,
}

/// How long packets lie at most while more of them come, unless a run says otherwise. A wake-up
/// costs as much as ten packets; the kernel notes arrivals, so that no latency is in it.
pub const RECEIVE_INTERVAL: Duration = Duration::from_micros(300);

/// What a media thread does with what it receives.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Task {
    Clients,
    /// Nothing: to learn what receiving alone costs.
    Drain,
}

#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PumpError {
    #[error("the media thread's network: {0}")]
    Net(#[from] millrace_netio::OpenError),
    #[error("the media thread: {0}")]
    Thread(#[from] io::Error),
    #[error("the media thread ended")]
    Ended,
}

/// Sends commands to a media thread. Clones reach the same one.
#[derive(Clone, Debug)]
pub struct PumpHandle {
    commands: Sender<Command>,
    doorbell: Doorbell,
    locals: Arc<Mutex<Locals>>,
}

impl PumpHandle {
    /// An address for a new transport; its thread takes it back when the transport is removed.
    /// `None` when all are in use.
    pub fn take_local(&self) -> Option<SocketAddr> {
        self.locals.lock().ok()?.take()
    }

    /// A thread that has ended takes no more commands, and needs none.
    pub fn send(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            self.doorbell.ring();
        }
    }
}

/// A running media thread.
#[derive(Debug)]
pub struct Pump {
    handle: PumpHandle,
    thread: JoinHandle<()>,
    pub ports: Vec<u16>,
}

impl Pump {
    /// Starts the thread and waits until its sockets are open.
    pub fn start(config: PumpConfig, samples: UnboundedSender<Sample>) -> Result<Self, PumpError> {
        Self::spawn(config, samples, Task::Clients)
    }

    /// Starts a thread that receives just like a media thread, and does nothing with what comes.
    pub fn start_drain(
        config: PumpConfig,
        samples: UnboundedSender<Sample>,
    ) -> Result<Self, PumpError> {
        Self::spawn(config, samples, Task::Drain)
    }

    fn spawn(
        config: PumpConfig,
        samples: UnboundedSender<Sample>,
        task: Task,
    ) -> Result<Self, PumpError> {
        let doorbell = Doorbell::new()?;
        let (commands, queue) = crossbeam_channel::unbounded();
        let (started_tx, started) = mpsc::sync_channel(1);
        let bell = doorbell.clone();
        let name = match task {
            Task::Clients => format!("media-{}", config.index),
            Task::Drain => format!("drain-{}", config.index),
        };
        let body = move || body(&config, task, &queue, &bell, samples, &started_tx);
        let thread = std::thread::Builder::new().name(name).spawn(body)?;
        let (ports, locals) = started.recv().map_err(|_| PumpError::Ended)??;
        Ok(Self {
            handle: PumpHandle {
                commands,
                doorbell,
                locals,
            },
            thread,
            ports,
        })
    }

    pub fn handle(&self) -> PumpHandle {
        self.handle.clone()
    }

    /// Ends the thread; its last sample is sent before.
    pub fn stop(self) {
        self.handle.send(Command::Stop);
        if self.thread.join().is_err() {
            tracing::error!("a media thread ended by a panic");
        }
    }
}

/// The clock that send times and arrivals are read from: one for all threads of a run.
pub fn epoch() -> Epoch {
    let since_unix = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Epoch {
        instant: Instant::now(),
        since_1900: since_unix + UNIX_EPOCH_SINCE_1900,
    }
}

/// The ports bound, and the addresses to hand out.
type Started = (Vec<u16>, Arc<Mutex<Locals>>);

fn body(
    config: &PumpConfig,
    task: Task,
    commands: &Receiver<Command>,
    doorbell: &Doorbell,
    samples: UnboundedSender<Sample>,
    started: &mpsc::SyncSender<Result<Started, PumpError>>,
) {
    if let Some(cpu) = config.cpu
        && let Err(error) = millrace_netio::pin_to_cpu(cpu)
    {
        tracing::warn!(cpu, %error, "the media thread is not pinned");
    }
    let opened = millrace_netio::open(&config.source.net_config(), doorbell);
    let (io, facts) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            // The starter has gone only if it panicked.
            let _ = started.send(Err(error.into()));
            return;
        }
    };
    for note in &facts.notes {
        tracing::warn!(thread = config.index, "{note}");
    }
    let ports = facts.bound.iter().map(SocketAddr::port).collect();
    let locals = Arc::new(Mutex::new(Locals::new(&config.source, &facts.bound)));
    let _ = started.send(Ok((ports, Arc::clone(&locals))));
    match task {
        Task::Clients => thread::MediaThread::new(config, locals, samples).run(io, commands),
        Task::Drain => drain::run(config, io, commands, &samples),
    }
}
