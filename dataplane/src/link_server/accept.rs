//! Who may connect: a control plane of our version, one at a time.
#![expect(
    clippy::disallowed_types,
    reason = "the socket's threads share who is connected; no shard reads it"
)]

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::Sender;
use millrace_shared::link::codec::{FrameBuffer, write_frame};
use millrace_shared::link::{Greeting, Opening, OpeningError};

/// How long who connects may take to say who it is.
const OPENING_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the end of the control plane before may take to be noticed. The kernel closes the
/// socket of a killed process at once.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause after an accept that failed, for want of descriptors most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// A control plane that may be served.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) stream: UnixStream,
    pub(super) greeting: Greeting,
    /// What was received after the greeting.
    pub(super) received: FrameBuffer,
}

/// The control plane that is connected, by its process id.
#[derive(Debug, Default)]
pub(super) struct Presence {
    pid: Mutex<Option<u32>>,
    left: Condvar,
}

impl Presence {
    /// Takes the only place; else says whose it is.
    fn enter(&self, pid: u32) -> Result<(), u32> {
        let present = self.pid.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut present, _) = self
            .left
            .wait_timeout_while(present, HANDOVER_TIMEOUT, |pid| pid.is_some())
            .unwrap_or_else(PoisonError::into_inner);
        match *present {
            Some(other) => Err(other),
            None => {
                *present = Some(pid);
                Ok(())
            }
        }
    }

    pub(super) fn leave(&self) {
        *self.pid.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.left.notify_all();
    }
}

/// Runs as long as the process.
pub(super) fn run(listener: &UnixListener, accepted: &Sender<Accepted>, presence: &Presence) {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a control plane could not be accepted");
                std::thread::park_timeout(ACCEPT_PAUSE);
                continue;
            }
        };
        if let Err(error) = open(stream, accepted, presence) {
            tracing::warn!(%error, "a connection to the link's socket came to nothing");
        }
    }
}

fn open(
    mut stream: UnixStream,
    accepted: &Sender<Accepted>,
    presence: &Presence,
) -> io::Result<()> {
    stream.set_read_timeout(Some(OPENING_TIMEOUT))?;
    stream.set_write_timeout(Some(OPENING_TIMEOUT))?;
    let mut received = FrameBuffer::default();
    let greeting = match opening(&mut stream, &mut received)? {
        Ok(Opening::Greeting(greeting)) => greeting,
        Ok(Opening::Refusal(sentence)) => return Err(io::Error::other(sentence)),
        Err(error @ OpeningError::Version { .. }) => {
            return refuse(
                stream,
                format!("{error}; the data plane is {}", crate::BUILD),
            );
        }
        Err(error) => return Err(io::Error::other(error)),
    };
    if let Err(other) = presence.enter(greeting.pid) {
        let sentence = format!(
            "another control plane, process {other}, is connected to this data plane: stop it first"
        );
        return refuse(stream, sentence);
    }
    let connection = Accepted {
        stream,
        greeting,
        received,
    };
    if accepted.send(connection).is_err() {
        presence.leave();
    }
    Ok(())
}

fn opening(
    stream: &mut UnixStream,
    received: &mut FrameBuffer,
) -> io::Result<Result<Opening, OpeningError>> {
    let mut bytes = [0; 1024];
    loop {
        if let Some(frame) = received.next_frame().map_err(io::Error::other)? {
            return Ok(Opening::decode(&frame));
        }
        match stream.read(&mut bytes)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            len => received.push(bytes.get(..len).unwrap_or_default()),
        }
    }
}

fn refuse(mut stream: UnixStream, sentence: String) -> io::Result<()> {
    tracing::warn!("a control plane was refused: {sentence}");
    stream.write_all(&opening_frame(&Opening::Refusal(sentence)))
}

pub(super) fn opening_frame(opening: &Opening) -> Vec<u8> {
    let mut frame = Vec::new();
    // An opening is far below the limit of a frame.
    let _ = write_frame(&opening.encode(), &mut frame);
    frame
}
