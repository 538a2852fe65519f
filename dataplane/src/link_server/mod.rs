//! The data plane's end of the link over a Unix socket.
//!
//! Three threads, none of which a packet meets: `link-accept` decides who may connect, `link-in`
//! takes commands and memos of the control plane that is connected, `link-out` sends it the shards'
//! events and lets them fall while nobody listens.
#![expect(
    clippy::disallowed_types,
    reason = "the socket's threads share who is connected; no shard reads it"
)]

mod accept;
mod incoming;
mod memos;
mod outgoing;
mod socket;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender};
use millrace_shared::ids::ShardId;
use millrace_shared::limits::EVENTS_QUEUED_MAX;
use millrace_shared::link::{CommandSink, Event, EventSink};

pub use socket::BindError;

use accept::Presence;
use outgoing::{Lost, ShardEvents};
use socket::BoundSocket;

/// A bound socket whose shards are still to start.
#[derive(Debug)]
pub struct LinkListener {
    socket: BoundSocket,
    events: Sender<(ShardId, Event)>,
    queue: Receiver<(ShardId, Event)>,
    lost: Arc<Lost>,
}

/// The socket while it is served. Its file goes when this is dropped.
#[derive(Debug)]
pub struct LinkServer {
    socket: BoundSocket,
}

impl LinkListener {
    /// Takes the path: a socket that a dead process left there is replaced, one that is served is
    /// not.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        let socket = BoundSocket::bind(path)?;
        let (events, queue) = crossbeam_channel::bounded(EVENTS_QUEUED_MAX);
        Ok(Self {
            socket,
            events,
            queue,
            lost: Arc::default(),
        })
    }

    /// Where this shard puts its events.
    pub fn event_sink(&self, shard: ShardId) -> Box<dyn EventSink> {
        Box::new(ShardEvents::new(
            shard,
            self.events.clone(),
            Arc::clone(&self.lost),
        ))
    }

    /// Serves one control plane after the other.
    pub fn serve(self, commands: Arc<dyn CommandSink>, shards: u16) -> io::Result<LinkServer> {
        let presence = Arc::new(Presence::default());
        // Both without a place: who hands something over knows that it is in hand.
        let (attach, attached) = crossbeam_channel::bounded(0);
        let (accepted, connections) = crossbeam_channel::bounded(0);
        let listener = self.socket.listener()?;
        let out = outgoing::Outgoing::new(self.queue, attached, self.lost);
        spawn("link-out", move || out.run())?;
        let incoming =
            incoming::Incoming::new(connections, attach, commands, shards, Arc::clone(&presence));
        spawn("link-in", move || incoming.run())?;
        spawn("link-accept", move || {
            accept::run(&listener, &accepted, &presence);
        })?;
        Ok(LinkServer {
            socket: self.socket,
        })
    }
}

impl LinkServer {
    pub fn path(&self) -> &PathBuf {
        self.socket.path()
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new()
        .name(name.into())
        .spawn(body)
        .map(drop)
}
