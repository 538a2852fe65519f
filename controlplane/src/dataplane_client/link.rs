//! The link over the data plane's Unix socket.
//!
//! One task connects, takes what the data plane kept of the control plane before, and then carries
//! commands one way and events the other. When the data plane ends, its clients are told to join
//! anew and the task connects again. Frames: [`millrace_shared::link`].

mod restoring;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use millrace_shared::ids::{MemoKey, ShardId};
use millrace_shared::limits::COMMANDS_QUEUED_MAX;
use millrace_shared::link::codec::{FrameBuffer, read_message, write_frame, write_message};
use millrace_shared::link::{
    Command, CommandSink, Event, Greeting, Opening, OpeningError, ToControlplane, ToDataplane,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use crate::room::Rooms;
use restoring::Restoring;

const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// How often the log says that the data plane is still missed.
const MISSED_INTERVAL: Duration = Duration::from_secs(30);
/// Every shard sends its counters once a second: one silent for so long hangs.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long one write may take before the data plane counts as hanging.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes gathered for one write, and messages taken from the queue at a time.
const WRITE_LEN: usize = 256 * 1024;
const BATCH_MAX: usize = 256;
const READ_LEN: usize = 16 * 1024;

/// Why there can be no link.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    #[error("the data plane at {path} refused: {sentence}")]
    Refused { path: String, sentence: String },
    #[error("{error} (socket {path})")]
    Opening { path: String, error: OpeningError },
}

/// Where rooms put their commands and memos.
#[derive(Clone, Debug)]
pub struct LinkCommands {
    queue: mpsc::Sender<Queued>,
    /// Something found no place: the link is of no use any more.
    overflowed: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Queued {
    Message(ToDataplane),
    /// Everything before it has been written.
    Flush(oneshot::Sender<()>),
}

/// The task's side.
#[derive(Debug)]
pub struct Link {
    path: PathBuf,
    queue: mpsc::Receiver<Queued>,
    overflowed: Arc<AtomicBool>,
    events: mpsc::Sender<Event>,
    /// No data plane was connected yet: what it kept is wanted.
    restores: bool,
}

/// A link to the data plane that serves `path`; its events go to `events`.
pub fn open(path: PathBuf, events: mpsc::Sender<Event>) -> (LinkCommands, Link) {
    let (commands, queue) = mpsc::channel(COMMANDS_QUEUED_MAX);
    let overflowed = Arc::new(AtomicBool::new(false));
    let link = Link {
        path,
        queue,
        overflowed: Arc::clone(&overflowed),
        events,
        restores: true,
    };
    let commands = LinkCommands {
        queue: commands,
        overflowed,
    };
    (commands, link)
}

impl LinkCommands {
    fn push(&self, message: ToDataplane) {
        if let Err(TrySendError::Full(_)) = self.queue.try_send(Queued::Message(message))
            && !self.overflowed.swap(true, Ordering::Relaxed)
        {
            tracing::error!(
                limit = COMMANDS_QUEUED_MAX,
                "the data plane takes no commands: the link is given up"
            );
        }
    }

    /// Waits until what was sent so far is written.
    pub async fn flush(&self) {
        let (written, done) = oneshot::channel();
        if self.queue.send(Queued::Flush(written)).await.is_ok() {
            // Without a link there is nothing to wait for.
            let _ = done.await;
        }
    }
}

impl CommandSink for LinkCommands {
    fn send(&self, shard: ShardId, command: Command) {
        self.push(ToDataplane::Command { shard, command });
    }

    fn remembers(&self) -> bool {
        true
    }

    fn remember(&self, key: MemoKey, memo: Bytes) {
        self.push(ToDataplane::Remember { key, memo });
    }

    fn forget(&self, key: MemoKey) {
        self.push(ToDataplane::Forget { key });
    }
}

/// A connection whose data plane has greeted.
struct Connection {
    stream: UnixStream,
    received: FrameBuffer,
    greeting: Greeting,
}

impl Link {
    /// Runs for as long as a link is possible.
    pub async fn run(mut self, rooms: Rooms) -> LinkError {
        loop {
            let connection = match self.connect().await {
                Ok(connection) => connection,
                Err(error) => return error,
            };
            let (pid, build) = (connection.greeting.pid, connection.greeting.build.clone());
            match self.restore(connection, &rooms).await {
                Ok((reader, writer, received)) => {
                    tracing::info!(pid, build, "data plane connected");
                    self.restores = false;
                    let error = self.carry(reader, writer, received).await;
                    tracing::error!(
                        %error,
                        "the data plane is gone: every client is told to join anew"
                    );
                    rooms.dataplane_lost().await;
                }
                Err(error) => {
                    tracing::warn!(%error, "the data plane went before it told what it holds");
                    sleep(RETRY_MIN).await;
                }
            }
        }
    }

    /// Tries until there is somebody.
    async fn connect(&mut self) -> Result<Connection, LinkError> {
        let mut wait = RETRY_MIN;
        let mut said: Option<Instant> = None;
        loop {
            let error = match self.try_connect().await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(refused)) => return Err(refused),
                Err(error) => error,
            };
            if said.is_none_or(|said| said.elapsed() >= MISSED_INTERVAL) {
                said = Some(Instant::now());
                tracing::warn!(
                    path = %self.path.display(),
                    %error,
                    "no data plane is there yet; trying until one is"
                );
            }
            sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    async fn try_connect(&mut self) -> io::Result<Result<Connection, LinkError>> {
        let mut stream = UnixStream::connect(&self.path).await?;
        // What was meant for the data plane before is of no use to this one.
        while self.queue.try_recv().is_ok() {}
        self.overflowed.store(false, Ordering::Relaxed);
        let opening = Opening::Greeting(Greeting {
            build: concat!("Millrace ", env!("CARGO_PKG_VERSION")).into(),
            pid: std::process::id(),
            shards: 0,
            token: 0,
            restores: self.restores,
        });
        let mut frame = Vec::new();
        write_frame(&opening.encode(), &mut frame).map_err(io::Error::other)?;
        stream.write_all(&frame).await?;
        let mut received = FrameBuffer::default();
        let answer = timeout(SILENCE_MAX, next_frame(&mut stream, &mut received)).await??;
        let path = || self.path.display().to_string();
        Ok(match Opening::decode(&answer) {
            Ok(Opening::Greeting(greeting)) => Ok(Connection {
                stream,
                received,
                greeting,
            }),
            Ok(Opening::Refusal(sentence)) => Err(LinkError::Refused {
                path: path(),
                sentence,
            }),
            Err(error) => Err(LinkError::Opening {
                path: path(),
                error,
            }),
        })
    }

    /// Takes what the data plane holds, and rebuilds the rooms from it.
    async fn restore(
        &mut self,
        connection: Connection,
        rooms: &Rooms,
    ) -> io::Result<(OwnedReadHalf, OwnedWriteHalf, FrameBuffer)> {
        let Connection {
            mut stream,
            mut received,
            greeting,
        } = connection;
        let mut restoring = Restoring::new(greeting.shards, greeting.token);
        let deadline = Instant::now() + SILENCE_MAX;
        while !restoring.is_complete() {
            let frame = next_frame(&mut stream, &mut received);
            let frame = tokio::time::timeout_at(deadline, frame).await??;
            let message = read_message(&frame).map_err(io::Error::other)?;
            restoring.take(message);
        }
        let (restored, news) = restoring.finish();
        rooms.restore(restored);
        for event in news {
            self.forward(event).await;
        }
        let (reader, writer) = stream.into_split();
        Ok((reader, writer, received))
    }

    /// Carries messages until the link breaks.
    async fn carry(
        &mut self,
        reader: OwnedReadHalf,
        writer: OwnedWriteHalf,
        received: FrameBuffer,
    ) -> io::Error {
        let events = self.events.clone();
        tokio::select! {
            error = read(reader, received, &events) => error,
            error = write(writer, &mut self.queue, &self.overflowed) => error,
        }
    }

    async fn forward(&self, event: Event) {
        // Nobody takes events while the process ends.
        let _ = self.events.send(event).await;
    }
}

/// A slow control plane makes the data plane wait, whose queue has its own policy.
async fn read(
    mut reader: OwnedReadHalf,
    mut received: FrameBuffer,
    events: &mpsc::Sender<Event>,
) -> io::Error {
    loop {
        let frame = match timeout(SILENCE_MAX, next_frame(&mut reader, &mut received)).await {
            Ok(Ok(frame)) => frame,
            Ok(Err(error)) => return error,
            Err(_) => return io::Error::other("it said nothing for 10 s"),
        };
        match read_message(&frame) {
            Ok(ToControlplane::Event(event)) => {
                let _ = events.send(event).await;
            }
            Ok(ToControlplane::Memo { .. }) => {}
            Err(error) => return io::Error::other(error),
        }
    }
}

async fn write(
    mut writer: OwnedWriteHalf,
    queue: &mut mpsc::Receiver<Queued>,
    overflowed: &AtomicBool,
) -> io::Error {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    let mut bytes = Vec::new();
    let mut flushed = Vec::new();
    loop {
        if queue.recv_many(&mut batch, BATCH_MAX).await == 0 {
            return io::Error::other("this process ends");
        }
        for queued in batch.drain(..) {
            match queued {
                Queued::Message(message) => {
                    if let Err(error) = write_message(&message, &mut bytes) {
                        tracing::error!(%error, "a message to the data plane is lost");
                    }
                }
                Queued::Flush(done) => flushed.push(done),
            }
            if bytes.len() >= WRITE_LEN
                && let Err(error) = write_out(&mut writer, &mut bytes).await
            {
                return error;
            }
        }
        if let Err(error) = write_out(&mut writer, &mut bytes).await {
            return error;
        }
        for done in flushed.drain(..) {
            let _: Result<(), ()> = done.send(());
        }
        if overflowed.load(Ordering::Relaxed) {
            return io::Error::other("it took no commands");
        }
    }
}

async fn write_out(writer: &mut OwnedWriteHalf, bytes: &mut Vec<u8>) -> io::Result<()> {
    let written = timeout(WRITE_TIMEOUT, writer.write_all(bytes)).await;
    bytes.clear();
    written.unwrap_or_else(|_| Err(io::Error::other("it reads nothing")))
}

async fn next_frame(
    reader: &mut (impl tokio::io::AsyncRead + Unpin),
    received: &mut FrameBuffer,
) -> io::Result<Bytes> {
    loop {
        if let Some(frame) = received.next_frame().map_err(io::Error::other)? {
            return Ok(frame);
        }
        let mut bytes = [0; READ_LEN];
        match reader.read(&mut bytes).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            len => received.push(bytes.get(..len).unwrap_or_default()),
        }
    }
}
