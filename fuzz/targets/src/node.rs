//! Rooms without media, on a runtime of the run's own.

use std::net::Ipv4Addr;
use std::sync::Arc;

use millrace_controlplane::room::{Rooms, Settings};
use millrace_shared::ids::ShardId;
use millrace_shared::link::{Command, CommandSink, Event, Fingerprint, Hello, LocalAddress};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

/// Nobody carries the commands out.
struct Ignore;

impl CommandSink for Ignore {
    fn send(&self, _shard: ShardId, _command: Command) {}
}

pub(crate) struct Node {
    pub(crate) rooms: Rooms,
    /// The rooms end with it.
    _events: mpsc::Sender<Event>,
}

/// Virtual time: what waits does not keep the fuzzer waiting.
pub(crate) fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build();
    runtime.expect("a runtime without IO starts")
}

impl Node {
    pub(crate) async fn start() -> Self {
        let (events, incoming) = mpsc::channel(16);
        let rooms = Rooms::start(Settings::default(), Arc::new(Ignore), incoming);
        let hello = Hello {
            shard: ShardId(0),
            addresses: vec![LocalAddress {
                ip: Ipv4Addr::LOCALHOST.into(),
                port: 7882,
            }],
            fingerprint: Fingerprint([7; 32]),
            backend: "none".into(),
        };
        let sent = events.send(Event::Hello(Box::new(hello))).await;
        sent.expect("the rooms listen");
        rooms.ready().await;
        Self {
            rooms,
            _events: events,
        }
    }
}
