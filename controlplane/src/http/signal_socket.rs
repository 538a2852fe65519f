//! One client's signaling socket: requests to the room, responses to the client.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use bytes::Bytes;
use futures_util::StreamExt as _;
use livekit_protocol::{SignalRequest, SignalResponse};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout, timeout_at};

use crate::room::SignalSession;

/// Largest message a client may send when the configuration sets no limit.
pub(super) const MESSAGE_LEN_MAX: usize = 64 << 20;

/// How often the client is pinged below the protocol, as LiveKit does: proxies close what is
/// silent.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Three pings without an answer: the client's network is gone, and TCP would not say so for a
/// quarter of an hour.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long one write may take before the client counts as gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long responses are still sent after the request direction ended (LiveKit: 250 ms).
const FLUSH_TIMEOUT: Duration = Duration::from_millis(250);
/// How long the client may take over its close frame. Closing TCP before it came could reset the
/// connection and take our last message along.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Why a socket ended.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// The room closed the session.
    Session,
    /// The client closed, or its connection broke.
    Client,
    /// The client sent something that is no signal request.
    Malformed,
    /// The client neither reads nor answers.
    Silent,
}

/// How messages are written: as the latest one was that the client sent.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
enum Encoding {
    #[default]
    Protobuf,
    Json,
}

/// What a socket's loop woke up for.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives for one pass, and a box would cost each response an allocation"
)]
enum Step {
    Response(Option<SignalResponse>),
    /// The room's queue has a place again.
    Room,
    Message(Option<Result<Message, axum::Error>>),
    Ping,
    Silence,
}

#[derive(Debug)]
pub(super) struct SignalSocket {
    socket: WebSocket,
    session: SignalSession,
    encoding: Encoding,
    /// A request that the room's queue had no place for. Nothing more is read until it is in.
    waiting: Option<SignalRequest>,
    heard: Instant,
}

impl SignalSocket {
    pub(super) fn new(socket: WebSocket, session: SignalSession) -> Self {
        Self {
            socket,
            session,
            encoding: Encoding::default(),
            waiting: None,
            heard: Instant::now(),
        }
    }

    /// Serves the socket until either side ends it.
    pub(super) async fn run(mut self) -> End {
        let end = self.pump().await;
        match end {
            End::Client | End::Silent => {}
            End::Session => self.close().await,
            End::Malformed => {
                self.flush().await;
                self.close().await;
            }
        }
        end
    }

    async fn pump(&mut self) -> End {
        let mut ping = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let silent_at = self.heard + SILENCE_MAX;
            let step = tokio::select! {
                response = self.session.responses.recv() => Step::Response(response),
                _ = self.session.requests.reserve(), if self.waiting.is_some() => Step::Room,
                message = self.socket.next(), if self.waiting.is_none() => Step::Message(message),
                _ = ping.tick() => Step::Ping,
                () = sleep_until(silent_at) => Step::Silence,
            };
            let done = match step {
                Step::Response(Some(response)) => self.write(&response).await,
                Step::Response(None) => Err(End::Session),
                Step::Room => {
                    if let Some(request) = self.waiting.take() {
                        self.forward(request);
                    }
                    Ok(())
                }
                Step::Message(Some(Ok(message))) => self.receive(message),
                Step::Message(Some(Err(_)) | None) => Err(End::Client),
                Step::Ping => self.send(Message::Ping(Bytes::new())).await,
                Step::Silence => Err(End::Silent),
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    fn receive(&mut self, message: Message) -> Result<(), End> {
        self.heard = Instant::now();
        let request = match message {
            Message::Binary(bytes) => {
                self.encoding = Encoding::Protobuf;
                SignalRequest::decode(bytes).map_err(|_| End::Malformed)?
            }
            Message::Text(text) => {
                self.encoding = Encoding::Json;
                serde_json::from_str(&text).map_err(|_| End::Malformed)?
            }
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Close(_) => return Err(End::Client),
        };
        self.forward(request);
        Ok(())
    }

    fn forward(&mut self, request: SignalRequest) {
        match self.session.requests.try_send(request) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(request)) => self.waiting = Some(request),
            // The room ended the session: what it still has to say comes by `responses`.
            Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }

    async fn write(&mut self, response: &SignalResponse) -> Result<(), End> {
        let message = match self.encoding {
            Encoding::Protobuf => Message::Binary(response.encode_to_vec().into()),
            Encoding::Json => match serde_json::to_string(response) {
                Ok(text) => Message::Text(text.into()),
                Err(error) => {
                    // An enum value that the schema does not have: our own mistake.
                    tracing::error!(%error, "response cannot be written as JSON");
                    return Ok(());
                }
            },
        };
        self.send(message).await
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        match timeout(WRITE_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Client),
            Err(_) => Err(End::Silent),
        }
    }

    /// Sends what the room still queues once it hears that the requests ended.
    async fn flush(&mut self) {
        let (closed, _) = mpsc::channel(1);
        self.session.requests = closed;
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        while let Ok(Some(response)) = timeout_at(deadline, self.session.responses.recv()).await {
            if self.write(&response).await.is_err() {
                return;
            }
        }
    }

    async fn close(&mut self) {
        let frame = CloseFrame {
            code: close_code::NORMAL,
            reason: "".into(),
        };
        if self.send(Message::Close(Some(frame))).await.is_err() {
            return;
        }
        let answered = async { while let Some(Ok(_)) = self.socket.next().await {} };
        let _ = timeout(CLOSE_TIMEOUT, answered).await;
    }
}
