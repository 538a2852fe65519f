//! The data plane: within this process, with its events' way to the rooms, or alone.

use std::error::Error;
use std::sync::Arc;

use millrace_controlplane::config::{self, Config};
use millrace_dataplane::link_server::LinkListener;
use millrace_dataplane::speakers::SpeakerConfig;
use millrace_dataplane::{Backend, Dataplane, StartError};
use millrace_shared::limits::EVENTS_QUEUED_MAX;
use millrace_shared::link::{
    CommandSink, Event, EventLosses, EventOverflow, EventSink, is_repeated,
};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::cli::Invocation;
use crate::node;
use crate::signals::Signals;

/// Places kept for events that are told only once.
const EVENTS_RESERVED: usize = EVENTS_QUEUED_MAX / 2;

/// The running data plane.
#[derive(Debug)]
pub(crate) struct Media {
    dataplane: Dataplane,
}

impl Media {
    /// Starts the shards; what they tell comes by the receiver.
    pub(crate) fn start(
        config: &Config,
        shards: usize,
    ) -> Result<(Self, mpsc::Receiver<Event>), StartError> {
        let (events, receiver) = mpsc::channel(EVENTS_QUEUED_MAX);
        let dataplane = millrace_dataplane::start(&dataplane(config, shards), |_| {
            Box::new(Events::new(events.clone()))
        })?;
        Ok((Self { dataplane }, receiver))
    }

    pub(crate) fn commands(&self) -> Arc<dyn CommandSink> {
        self.dataplane.commands()
    }

    /// Blocks until every shard has ended.
    pub(crate) fn shut_down(self) {
        self.dataplane.shut_down();
    }
}

/// Runs the data plane alone until a signal ends it. Control planes come and go meanwhile.
pub(crate) fn run_dataplane(invocation: &Invocation) -> Result<(), Box<dyn Error>> {
    let config = node::load(invocation)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(serve_link(&config));
    runtime.shutdown_background();
    done
}

async fn serve_link(config: &Config) -> Result<(), Box<dyn Error>> {
    let signals = Signals::listen()?;
    let shards = config.shards(node::available_cpus());
    // The socket first: a data plane that runs already is told apart by it, before its ports are.
    let listener = LinkListener::bind(&config.link_socket())?;
    let dataplane = millrace_dataplane::start(&dataplane(config, shards), |shard| {
        listener.event_sink(shard)
    })?;
    let shards = u16::try_from(shards)?;
    let server = listener.serve(dataplane.commands(), shards)?;
    tracing::info!(
        socket = %server.path().display(),
        udp = %config.udp_ports(),
        shards,
        "data plane ready"
    );
    signals.wait_for_end().await;
    let ended = tokio::task::spawn_blocking(move || dataplane.shut_down());
    if timeout(node::MEDIA_SHUTDOWN_TIMEOUT, ended).await.is_err() {
        tracing::warn!("some shards did not end in time");
    }
    drop(server);
    Ok(())
}

fn dataplane(config: &Config, shards: usize) -> millrace_dataplane::Config {
    let ports = config.udp_ports();
    millrace_dataplane::Config {
        udp_ports: (0..shards).filter_map(|n| ports.port_of(n)).collect(),
        bind: vec![
            std::net::Ipv4Addr::UNSPECIFIED.into(),
            std::net::Ipv6Addr::UNSPECIFIED.into(),
        ],
        advertise: config.advertised(&millrace_netio::local_addresses()),
        backend: backend(config.dataplane.backend),
        speakers: speakers(&config.audio),
    }
}

/// Shorter intervals than this say nothing about speech: five packets.
const SPEAKERS_INTERVAL_MS_MIN: u32 = 100;

fn speakers(audio: &config::AudioConfig) -> SpeakerConfig {
    SpeakerConfig {
        active_level: audio.active_level,
        min_percentile: audio.min_percentile,
        update_interval_ms: audio.update_interval.max(SPEAKERS_INTERVAL_MS_MIN),
        smooth_intervals: audio.smooth_intervals,
    }
}

const fn backend(configured: config::Backend) -> Backend {
    match configured {
        config::Backend::Auto => Backend::Auto,
        config::Backend::Ring => Backend::Ring,
        config::Backend::Mmsg => Backend::Mmsg,
    }
}

/// A shard's end of the event queue.
struct Events {
    queue: mpsc::Sender<Event>,
    overflow: EventOverflow,
}

impl Events {
    fn new(queue: mpsc::Sender<Event>) -> Self {
        Self {
            queue,
            overflow: EventOverflow::default(),
        }
    }
}

impl EventSink for Events {
    /// What is told again in a moment gives way first when the control plane is behind; what is told
    /// only once waits here when the queue is full.
    fn send(&self, event: Event) {
        let lost = self.overflow.send(event, |event| {
            if is_repeated(&event) && self.queue.capacity() < EVENTS_RESERVED {
                return Err(event);
            }
            match self.queue.try_send(event) {
                Err(mpsc::error::TrySendError::Full(event)) => Err(event),
                // Without rooms nobody needs to know.
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            }
        });
        if let Err(event) = lost {
            tracing::error!(?event, "the control plane is too far behind: event lost");
        }
    }

    fn losses(&self) -> EventLosses {
        self.overflow.losses()
    }
}
