//! The shards' events on their way to the control plane that is connected.
#![expect(
    clippy::disallowed_types,
    reason = "a counter that shards raise when their events found no place"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError, select};
use millrace_shared::ids::ShardId;
use millrace_shared::limits::EVENTS_QUEUED_MAX;
use millrace_shared::link::codec::{FrameError, write_message};
use millrace_shared::link::{
    Event, EventLosses, EventOverflow, EventSink, ToControlplane, is_repeated,
};

/// Places kept for events that are told only once.
const EVENTS_RESERVED: usize = EVENTS_QUEUED_MAX / 2;
/// Bytes gathered for one write.
const WRITE_LEN: usize = 64 * 1024;

/// Events that found no place, neither in the queue nor with their shard: the control plane has to
/// start anew.
#[derive(Debug, Default)]
pub(super) struct Lost(AtomicU64);

/// A shard's end of the queue.
pub(super) struct ShardEvents {
    shard: ShardId,
    queue: Sender<(ShardId, Event)>,
    overflow: EventOverflow,
    lost: Arc<Lost>,
}

impl ShardEvents {
    pub(super) fn new(shard: ShardId, queue: Sender<(ShardId, Event)>, lost: Arc<Lost>) -> Self {
        Self {
            shard,
            queue,
            overflow: EventOverflow::default(),
            lost,
        }
    }
}

impl EventSink for ShardEvents {
    /// What is told again in a moment gives way first when the control plane is behind; what is
    /// told only once waits here when the queue is full.
    fn send(&self, event: Event) {
        let lost = self.overflow.send(event, |event| {
            if is_repeated(&event) && self.queue.len() > EVENTS_QUEUED_MAX - EVENTS_RESERVED {
                return Err(event);
            }
            match self.queue.try_send((self.shard, event)) {
                Err(TrySendError::Full((_, event))) => Err(event),
                // It ends with the process only.
                Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
            }
        });
        if lost.is_err() {
            self.lost.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn losses(&self) -> EventLosses {
        self.overflow.losses()
    }
}

/// A control plane that has its memos and waits for the rest.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) stream: UnixStream,
    /// Of the snapshots that it is to get.
    pub(super) token: u64,
}

struct Listener {
    stream: UnixStream,
    token: u64,
    /// Shards whose snapshot is sent: what they say now is news.
    complete: BTreeSet<ShardId>,
    lost_before: u64,
}

pub(super) struct Outgoing {
    queue: Receiver<(ShardId, Event)>,
    attached: Receiver<Attached>,
    lost: Arc<Lost>,
    hellos: BTreeMap<ShardId, Event>,
    listener: Option<Listener>,
    bytes: Vec<u8>,
}

impl Outgoing {
    pub(super) fn new(
        queue: Receiver<(ShardId, Event)>,
        attached: Receiver<Attached>,
        lost: Arc<Lost>,
    ) -> Self {
        Self {
            queue,
            attached,
            lost,
            hellos: BTreeMap::new(),
            listener: None,
            bytes: Vec::new(),
        }
    }

    /// Ends with the shards.
    pub(super) fn run(mut self) {
        loop {
            select! {
                recv(self.queue) -> event => match event {
                    Ok((shard, event)) => self.take(shard, event),
                    Err(_) => return,
                },
                recv(self.attached) -> attached => match attached {
                    Ok(attached) => self.attach(attached),
                    Err(_) => return,
                },
            }
            while self.bytes.len() < WRITE_LEN
                && let Ok((shard, event)) = self.queue.try_recv()
            {
                self.take(shard, event);
            }
            self.flush();
        }
    }

    fn attach(&mut self, attached: Attached) {
        self.bytes.clear();
        self.listener = Some(Listener {
            stream: attached.stream,
            token: attached.token,
            complete: BTreeSet::new(),
            lost_before: self.lost.0.load(Ordering::Relaxed),
        });
        for hello in self.hellos.values().cloned().collect::<Vec<_>>() {
            self.write(hello);
        }
    }

    fn take(&mut self, shard: ShardId, event: Event) {
        if matches!(event, Event::Hello(_)) {
            self.hellos.insert(shard, event.clone());
        }
        let Some(listener) = &mut self.listener else {
            return;
        };
        let wanted = match &event {
            Event::Hello(_) => true,
            Event::Snapshot(part) => {
                let asked = part.token == listener.token;
                if asked && part.last {
                    listener.complete.insert(shard);
                }
                asked
            }
            // Before its snapshot: contained in it.
            _ => listener.complete.contains(&shard),
        };
        if wanted {
            self.write(event);
        }
    }

    fn write(&mut self, event: Event) {
        match write_message(&ToControlplane::Event(event), &mut self.bytes) {
            Ok(()) => {}
            // Reports of more copies than the limits foresee.
            Err(error @ FrameError::TooLong(_)) => tracing::error!(%error, "event not sent"),
            Err(error) => tracing::error!(%error, "event not written"),
        }
    }

    fn flush(&mut self) {
        let written = self.listener.as_mut().map(|listener| {
            let lost = self.lost.0.load(Ordering::Relaxed) - listener.lost_before;
            if lost > 0 {
                return Err(io::Error::other(format!("{lost} events found no place")));
            }
            listener.stream.write_all(&self.bytes)
        });
        self.bytes.clear();
        if let Some(Err(error)) = written
            && let Some(listener) = self.listener.take()
        {
            let _ = listener.stream.shutdown(Shutdown::Both);
            if matches!(
                error.kind(),
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
            ) {
                // It went by itself, as `link-in` says.
                return;
            }
            tracing::warn!(%error, "the control plane does not keep up: the link is closed");
        }
    }
}
