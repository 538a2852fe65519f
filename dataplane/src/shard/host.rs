//! What runs a shard: a glommio executor where io_uring is allowed, a plain pinned thread where it
//! is not. The shard itself knows neither.
//!
//! glommio places and pins the executor. The loop parks in netio and never yields to glommio's
//! reactor: its timers and channels sleep while we park, so nothing here uses them.
#![expect(
    clippy::disallowed_methods,
    reason = "the host reads the clock for the shard"
)]

use std::io;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use millrace_netio::{Backend, BackendFacts, Config as NetConfig, Doorbell, NetIo};
use millrace_shared::dtls::Identity;
use millrace_shared::ids::ShardId;
use millrace_shared::limits::COMMANDS_QUEUED_MAX;
use millrace_shared::link::{Command, Event, EventSink, Hello, LocalAddress};
use millrace_shared::time::{Epoch, Timestamp};

use super::lanes::Lanes;
use super::{Shard, ShardSetup};
use crate::StartError;
use crate::speakers::SpeakerConfig;

/// Longest park: a wake-up of an idle shard once a second feeds its metrics.
const PARK_MAX: Duration = Duration::from_secs(1);

/// The thread's CPU time is a system call, and told once a second.
const CPU_TIME_INTERVAL: Duration = Duration::from_secs(1);

/// One shard to start.
#[derive(Debug)]
pub(crate) struct HostConfig {
    pub(crate) id: ShardId,
    pub(crate) cpu: Option<usize>,
    pub(crate) net: NetConfig,
    pub(crate) epoch: Epoch,
    pub(crate) identity: Identity,
    /// Addresses to advertise, best first.
    pub(crate) addresses: Vec<LocalAddress>,
    pub(crate) speakers: SpeakerConfig,
    pub(crate) seed: u64,
    pub(crate) lanes: Lanes,
    pub(crate) one_port: bool,
    /// Wakes the shard.
    pub(crate) doorbell: Doorbell,
}

/// The way commands take to a shard.
#[derive(Debug)]
pub(crate) struct CommandQueue {
    id: ShardId,
    commands: Sender<Command>,
    doorbell: Doorbell,
}

/// The thread that runs a shard.
#[derive(Debug)]
pub(crate) enum Host {
    Glommio(ExecutorJoinHandle<()>),
    Plain(JoinHandle<()>),
}

impl Host {
    /// Starts the thread and waits until its sockets are open.
    pub(crate) fn start(
        config: HostConfig,
        events: Box<dyn EventSink>,
    ) -> Result<(Self, CommandQueue), StartError> {
        let doorbell = config.doorbell.clone();
        let (commands, queue) = crossbeam_channel::bounded(COMMANDS_QUEUED_MAX);
        let (started_tx, started) = mpsc::sync_channel(1);
        let id = config.id;
        let ring = config.net.backend != Backend::Mmsg && millrace_netio::ring_allowed();
        let cpu = config.cpu;
        let body: Body = Box::new(move || run(config, events, queue, &started_tx));
        let host = if ring {
            on_glommio(id, cpu, body)
        } else {
            on_thread(id, cpu, body)
        }?;
        match started.recv() {
            Ok(Ok(())) => Ok((
                host,
                CommandQueue {
                    id,
                    commands,
                    doorbell,
                },
            )),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(StartError::Thread(io::Error::other(
                "the shard's thread ended",
            ))),
        }
    }

    /// Waits for the shard to end.
    pub(crate) fn join(self) {
        let panicked = match self {
            Self::Glommio(handle) => handle.join().is_err(),
            Self::Plain(handle) => handle.join().is_err(),
        };
        if panicked {
            tracing::error!("a shard ended by a panic");
        }
    }
}

impl CommandQueue {
    /// Never blocks. A full queue means that the shard hangs; its commands are lost, loudly.
    pub(crate) fn send(&self, command: Command) {
        match self.commands.try_send(command) {
            Ok(()) => self.doorbell.ring(),
            Err(TrySendError::Full(_)) => tracing::error!(
                shard = %self.id,
                limit = COMMANDS_QUEUED_MAX,
                "the shard takes no commands: a command is lost"
            ),
            Err(TrySendError::Disconnected(_)) => {}
        }
    }
}

fn thread_name(id: ShardId) -> String {
    format!("shard-{id}")
}

/// What a shard's thread runs.
type Body = Box<dyn FnOnce() + Send>;

/// On an executor, or on a plain thread where glommio does not start: it wants 512 KiB of locked
/// memory and several rings, and says so only on the thread it has made.
fn on_glommio(id: ShardId, cpu: Option<usize>, body: Body) -> Result<Host, StartError> {
    let placement = cpu.map_or(Placement::Unbound, Placement::Fixed);
    let (entered_tx, entered) = mpsc::sync_channel(1);
    let (bodies, to_run) = mpsc::sync_channel::<Body>(1);
    let spawned = LocalExecutorBuilder::new(placement)
        .name(&thread_name(id))
        .spawn(move || async move {
            // Both ends live as long as the starter waits.
            if entered_tx.send(()).is_ok()
                && let Ok(body) = to_run.recv()
            {
                body();
            }
        });
    let error = match spawned {
        Ok(handle) if entered.recv().is_ok() => {
            let given = bodies.send(body);
            debug_assert!(given.is_ok(), "the executor waits for its shard");
            return Ok(Host::Glommio(handle));
        }
        Ok(handle) => handle.join().err().map(|error| error.to_string()),
        Err(error) => Some(error.to_string()),
    };
    let reason = error.unwrap_or_default();
    tracing::warn!(shard = %id, reason, "glommio does not start: the shard runs on a plain thread");
    on_thread(id, cpu, body)
}

fn on_thread(id: ShardId, cpu: Option<usize>, body: Body) -> Result<Host, StartError> {
    let pinned = move || {
        if let Some(cpu) = cpu
            && let Err(error) = millrace_netio::pin_to_cpu(cpu)
        {
            tracing::warn!(shard = %id, cpu, %error, "the shard is not pinned");
        }
        body();
    };
    std::thread::Builder::new()
        .name(thread_name(id))
        .spawn(pinned)
        .map(Host::Plain)
        .map_err(StartError::Thread)
}

fn run(
    config: HostConfig,
    events: Box<dyn EventSink>,
    commands: Receiver<Command>,
    started: &mpsc::SyncSender<Result<(), StartError>>,
) {
    let opened = millrace_netio::open(&config.net, &config.doorbell);
    let (io, facts) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            // The starter has gone only if it panicked.
            let _ = started.send(Err(StartError::Net(error)));
            return;
        }
    };
    announce(&config, &facts, events.as_ref());
    let _ = started.send(Ok(()));
    let now = config.epoch.timestamp(Instant::now());
    let setup = ShardSetup {
        id: config.id,
        epoch: config.epoch,
        identity: config.identity,
        events,
        speakers: config.speakers,
        seed: config.seed,
        lanes: config.lanes,
        one_port: config.one_port,
    };
    run_loop(Shard::new(setup, now), io, &commands, &config.epoch);
}

fn announce(config: &HostConfig, facts: &BackendFacts, events: &dyn EventSink) {
    tracing::info!(
        shard = %config.id,
        cpu = config.cpu,
        backend = facts.name,
        reason = %facts.reason,
        "shard started"
    );
    for note in &facts.notes {
        tracing::warn!(shard = %config.id, "{note}");
    }
    events.send(Event::Hello(Box::new(Hello {
        shard: config.id,
        addresses: config.addresses.clone(),
        fingerprint: config.identity.fingerprint(),
        backend: format!("{}: {}", facts.name, facts.reason),
    })));
}

fn run_loop(mut shard: Shard, mut io: Box<dyn NetIo>, commands: &Receiver<Command>, epoch: &Epoch) {
    let clock = || epoch.timestamp(Instant::now());
    let mut cpu_due = Timestamp::default();
    loop {
        let began = clock();
        let deadline = shard.tick(began, io.as_mut(), &mut commands.try_iter());
        if shard.stopping() {
            // What the goodbye wrote has been submitted by the tick.
            return;
        }
        let now = clock();
        if shard.is_lingering() {
            io.linger(wait(deadline, now));
            continue;
        }
        shard.note_handed_over(began, now);
        if now >= cpu_due {
            cpu_due = now + CPU_TIME_INTERVAL;
            shard.note_cpu_time(millrace_netio::thread_cpu_time());
        }
        // Also when something is due already: a park of no time takes in what has arrived, and
        // without it due timers would shut packets out.
        io.park(Some(wait(deadline, now)));
    }
}

fn wait(deadline: Timestamp, now: Timestamp) -> Duration {
    deadline.since(now).min(PARK_MAX)
}
