//! The data plane within this process, and its events' way to the rooms.

use std::sync::Arc;

use millrace_controlplane::config::{self, Config};
use millrace_dataplane::{Backend, Dataplane, StartError};
use millrace_shared::link::{CommandSink, Event, EventSink};
use tokio::sync::mpsc;

/// Events waiting for the control plane. A shard makes some hundred a second when a thousand
/// participants join at once.
const EVENTS_MAX: usize = 16_384;
/// Places kept for events that are told only once.
const EVENTS_RESERVED: usize = EVENTS_MAX / 2;

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
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let ports = config.udp_ports();
        let dataplane = millrace_dataplane::start(
            &millrace_dataplane::Config {
                udp_ports: (0..shards).filter_map(|n| ports.port_of(n)).collect(),
                bind: vec![
                    std::net::Ipv4Addr::UNSPECIFIED.into(),
                    std::net::Ipv6Addr::UNSPECIFIED.into(),
                ],
                advertise: config.advertised(&millrace_netio::local_addresses()),
                backend: backend(config.dataplane.backend),
            },
            |_| Box::new(Events(events.clone())),
        )?;
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

const fn backend(configured: config::Backend) -> Backend {
    match configured {
        config::Backend::Auto => Backend::Auto,
        config::Backend::Ring => Backend::Ring,
        config::Backend::Mmsg => Backend::Mmsg,
    }
}

/// A shard's end of the event queue.
struct Events(mpsc::Sender<Event>);

impl EventSink for Events {
    /// What is told again in a moment gives way first when the control plane is behind.
    fn send(&self, event: Event) {
        let repeats = matches!(
            event,
            Event::Speakers { .. } | Event::Reports { .. } | Event::Metrics { .. }
        );
        if repeats && self.0.capacity() < EVENTS_RESERVED {
            return;
        }
        if let Err(mpsc::error::TrySendError::Full(event)) = self.0.try_send(event) {
            tracing::error!(?event, "the control plane is too far behind: event lost");
        }
    }
}
