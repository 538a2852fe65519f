//! Commands and memos of the control plane that is connected.
#![expect(
    clippy::disallowed_types,
    reason = "the socket's threads share who is connected; no shard reads it"
)]

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use millrace_shared::ids::ShardId;
use millrace_shared::link::codec::{FrameBuffer, read_message, write_message};
use millrace_shared::link::{Command, CommandSink, Greeting, Opening, ToControlplane, ToDataplane};

use super::accept::{Accepted, Presence, opening_frame};
use super::memos::Memos;
use super::outgoing::Attached;

/// A control plane that takes nothing for so long hangs.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes read at a time.
const READ_LEN: usize = 64 * 1024;

pub(super) struct Incoming {
    connections: Receiver<Accepted>,
    attach: Sender<Attached>,
    commands: Arc<dyn CommandSink>,
    shards: u16,
    presence: Arc<Presence>,
    memos: Memos,
    /// Of the last snapshot asked for.
    token: u64,
}

impl Incoming {
    pub(super) fn new(
        connections: Receiver<Accepted>,
        attach: Sender<Attached>,
        commands: Arc<dyn CommandSink>,
        shards: u16,
        presence: Arc<Presence>,
    ) -> Self {
        Self {
            connections,
            attach,
            commands,
            shards,
            presence,
            memos: Memos::default(),
            token: 0,
        }
    }

    pub(super) fn run(mut self) {
        while let Ok(accepted) = self.connections.recv() {
            let pid = accepted.greeting.pid;
            let stream = accepted.stream.try_clone();
            let end = self.serve(accepted);
            // So that `link-out` writes no more.
            if let Ok(stream) = stream {
                let _ = stream.shutdown(Shutdown::Both);
            }
            let reason = end.err().map(|error| error.to_string());
            tracing::warn!(
                pid,
                reason,
                memos = self.memos.len(),
                memo_bytes = self.memos.bytes(),
                memos_refused = self.memos.refused(),
                "the control plane is gone; media flows on"
            );
            self.presence.leave();
        }
    }

    /// Until the control plane closes the socket or says something that is no message.
    fn serve(&mut self, accepted: Accepted) -> io::Result<()> {
        let Accepted {
            mut stream,
            greeting,
            mut received,
        } = accepted;
        self.welcome(&mut stream, &greeting)?;
        stream.set_read_timeout(None)?;
        let attached = Attached {
            stream: stream.try_clone()?,
            token: self.token,
        };
        self.attach.send(attached).map_err(io::Error::other)?;
        for shard in 0..self.shards {
            let token = self.token;
            self.commands
                .send(ShardId(shard), Command::Snapshot { token });
        }
        let mut bytes = vec![0; READ_LEN];
        loop {
            self.take_frames(&mut received)?;
            match stream.read(&mut bytes)? {
                0 => return Ok(()),
                len => received.push(bytes.get(..len).unwrap_or_default()),
            }
        }
    }

    fn welcome(&mut self, stream: &mut UnixStream, theirs: &Greeting) -> io::Result<()> {
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        if !theirs.restores {
            self.memos.clear();
        }
        self.token += 1;
        let ours = Opening::Greeting(Greeting {
            build: crate::BUILD.into(),
            pid: std::process::id(),
            shards: self.shards,
            token: self.token,
            restores: false,
        });
        tracing::info!(
            pid = theirs.pid,
            build = theirs.build,
            memos = self.memos.len(),
            "control plane connected"
        );
        stream.write_all(&opening_frame(&ours))?;
        let mut frame = Vec::new();
        for (key, memo) in self.memos.iter() {
            let memo = memo.clone();
            frame.clear();
            write_message(&ToControlplane::Memo { key, memo }, &mut frame)
                .map_err(io::Error::other)?;
            stream.write_all(&frame)?;
        }
        Ok(())
    }

    fn take_frames(&mut self, received: &mut FrameBuffer) -> io::Result<()> {
        while let Some(frame) = received.next_frame().map_err(io::Error::other)? {
            match read_message(&frame).map_err(io::Error::other)? {
                ToDataplane::Command {
                    command: Command::Shutdown,
                    ..
                } => return Err(io::Error::other("it tried to end a shard")),
                ToDataplane::Command { shard, command } => self.commands.send(shard, command),
                ToDataplane::Remember { key, memo } => self.memos.remember(key, memo),
                ToDataplane::Forget { key } => self.memos.forget(key),
            }
        }
        Ok(())
    }
}
