//! One client's signaling socket: requests to the room, responses to the client.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{Pong, SignalRequest};
use millrace_shared::bucket::{Bucket, Rate};
use millrace_shared::time::Timestamp;
use prost::Message as _;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::patience::{Due, Patience};
use super::refusals::Limit;
use super::sockets::OpenSocket;
use super::websocket::{CloseCode, Message, Opcode, ReadError, WebSocket};
use crate::participant::signal::EncodedResponse;
use crate::room::{Requests, SignalSession};

/// Largest message a client may send when the configuration sets no limit.
pub(super) const MESSAGE_LEN_MAX: usize = 64 << 20;

/// How long one write may take before the client counts as gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Responses that leave with one write, if they are short: a longer one is not copied, as it may go to
/// many.
const RESPONSES_PER_WRITE: usize = 16;
const SHORT_RESPONSE_LEN_MAX: usize = 512;
/// How long responses are still sent after the request direction ended (LiveKit: 250 ms).
const FLUSH_TIMEOUT: Duration = Duration::from_millis(250);
/// How long the client may take over its close frame. Closing TCP before it came could reset the
/// connection and take our last message along.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// How much a client may ask for. Who asks for more is not read for a while: TCP holds it back, no
/// request is lost, and clients, which all wait for answers, notice nothing but the time. LiveKit has
/// no such limit; its own clients send some dozens at a join and few afterwards.
const REQUESTS: Rate = Rate {
    per_second: 100,
    burst: 500,
};
/// Bytes of a request that count as one more: long descriptions take longest to read.
const REQUEST_BYTES: usize = 4096;

/// Why a socket ended.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// The room closed the session.
    Session,
    /// The client closed, or its connection broke.
    Client,
    /// The client sent something that is no signal request.
    Malformed,
    /// The client sent more at once than a message may have.
    TooLong,
    /// The client sent what is no WebSocket frame, or no text.
    Forbidden(CloseCode),
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
enum Step {
    Response(Option<EncodedResponse>),
    /// The room's queue took the request that waited.
    Room,
    Message(Result<Message, ReadError>),
    Due(Due),
}

#[derive(Debug)]
pub(super) struct SignalSocket {
    socket: WebSocket<TokioIo<Upgraded>>,
    session: SignalSession,
    encoding: Encoding,
    /// A request that the room's queue had no place for. Nothing more is read until it is in.
    waiting: Option<Box<SignalRequest>>,
    patience: Patience,
    opened: Instant,
    requests: Bucket,
    open: OpenSocket,
}

impl SignalSocket {
    pub(super) fn new(
        socket: WebSocket<TokioIo<Upgraded>>,
        session: SignalSession,
        open: OpenSocket,
    ) -> Self {
        let now = Instant::now();
        Self {
            socket,
            session,
            encoding: Encoding::default(),
            waiting: None,
            patience: Patience::new(now),
            opened: now,
            requests: Bucket::default(),
            open,
        }
    }

    /// Serves the socket until either side ends it.
    pub(super) async fn run(&mut self) {
        let end = self.pump().await;
        match end {
            End::Client | End::Silent => {}
            End::Session => self.close(CloseCode::Normal).await,
            End::Forbidden(code) => self.close(code).await,
            End::Malformed => {
                self.open.refused(Limit::SignalMalformed);
                self.flush().await;
                self.close(CloseCode::Normal).await;
            }
            End::TooLong => {
                self.open.refused(Limit::SignalMessageLen);
                self.close(CloseCode::TooLong).await;
            }
        }
        let SignalSession {
            room_sid: room,
            participant_sid: participant,
            ..
        } = &self.session;
        tracing::debug!(room, participant, ?end, "signal socket closed");
    }

    async fn pump(&mut self) -> End {
        loop {
            let (due_at, due) = self.patience.next();
            let reads = self.reads();
            let step = tokio::select! {
                response = self.session.responses.recv() => Step::Response(response),
                () = self.session.requests.send_waiting(&mut self.waiting), if self.waiting.is_some() => Step::Room,
                message = self.socket.next(), if reads => Step::Message(message),
                () = sleep_until(due_at) => Step::Due(due),
            };
            let done = match step {
                Step::Response(Some(response)) => self.write(response).await,
                Step::Response(None) => Err(End::Session),
                Step::Room => Ok(()),
                Step::Message(Ok(message)) => self.receive_all(message).await,
                Step::Message(Err(error)) => Err(end_of(error)),
                Step::Due(Due::Resume) => {
                    self.patience.resume(Instant::now());
                    Ok(())
                }
                Step::Due(Due::Ping) => {
                    self.patience.note_pinged(Instant::now());
                    self.send(Opcode::Ping, Bytes::new()).await
                }
                Step::Due(Due::Silence) => Err(End::Silent),
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    /// Whether the client is read now.
    fn reads(&self) -> bool {
        self.waiting.is_none() && !self.patience.is_paused()
    }

    /// A message, and those that were read together with it: clients ping in two forms at once, and
    /// both answers leave with one write.
    async fn receive_all(&mut self, message: Message) -> Result<(), End> {
        let mut next = Some(message);
        while let Some(message) = next {
            self.receive(message).await?;
            next = match self.reads() {
                true => self.socket.next_read().map_err(end_of)?,
                false => None,
            };
        }
        match self.socket.has_gathered() {
            true => self.flush_gathered().await,
            false => Ok(()),
        }
    }

    async fn receive(&mut self, message: Message) -> Result<(), End> {
        let now = Instant::now();
        self.patience.note_heard(now);
        self.charge(now, message_len(&message));
        let request = match message {
            Message::Binary(bytes) => {
                self.encoding = Encoding::Protobuf;
                SignalRequest::decode(bytes).map_err(|_| End::Malformed)?
            }
            Message::Text(text) => {
                self.encoding = Encoding::Json;
                serde_json::from_str(&text).map_err(|_| End::Malformed)?
            }
            // RFC 6455 §5.5.2: with the same payload.
            Message::Ping(payload) => return self.send(Opcode::Pong, payload).await,
            Message::Pong => return Ok(()),
            Message::Close(payload) => {
                // The client may have gone already.
                let _ = self.send(Opcode::Close, close_answer(&payload)).await;
                return Err(End::Client);
            }
        };
        match pong(&request) {
            Some(pong) => self.answer(now, pong),
            None => self.forward(Box::new(request)),
        }
        Ok(())
    }

    /// Answers without the room, which nothing of this concerns but that the client is there: a
    /// thousand silent clients ping five hundred times a second.
    fn answer(&mut self, heard: Instant, pong: Response) {
        self.session.responses.note_heard(heard);
        if let Some((opcode, payload)) = self.frame(&EncodedResponse::new(pong)) {
            self.socket.gather(opcode, &payload);
        }
    }

    /// Takes what a message costs out of what the client may ask for, though it is not there: the
    /// next message waits for it.
    fn charge(&mut self, heard: Instant, len: usize) {
        let now = Timestamp::ZERO + (heard - self.opened);
        let cost = u32::try_from(1 + len / REQUEST_BYTES).unwrap_or(u32::MAX);
        self.requests.force(now, REQUESTS, cost);
        let ready_at = self.requests.ready_at(REQUESTS, 1);
        if ready_at > now {
            self.open.refused(Limit::SignalRate);
            self.patience.pause(heard + ready_at.since(now));
        }
    }

    fn forward(&mut self, request: Box<SignalRequest>) {
        self.waiting = self.session.requests.try_send(request).err();
    }

    /// Writes a response, and those that wait behind it.
    async fn write(&mut self, response: EncodedResponse) -> Result<(), End> {
        let mut waiting = Some(response);
        let mut left = RESPONSES_PER_WRITE;
        while let Some(response) = waiting {
            match self.frame(&response) {
                Some((opcode, payload)) if payload.len() <= SHORT_RESPONSE_LEN_MAX => {
                    self.socket.gather(opcode, &payload);
                }
                Some((opcode, payload)) => self.send(opcode, payload).await?,
                None => {}
            }
            left -= 1;
            waiting = match left {
                0 => None,
                _ => self.session.responses.try_recv(),
            };
        }
        self.flush_gathered().await
    }

    async fn flush_gathered(&mut self) -> Result<(), End> {
        let written = timeout(WRITE_TIMEOUT, self.socket.flush()).await;
        self.wrote(written)
    }

    /// A response as the client reads it. Decoded ones are large, and what lives while a socket waits
    /// is memory of every participant.
    fn frame(&self, response: &EncodedResponse) -> Option<(Opcode, Bytes)> {
        match self.encoding {
            Encoding::Protobuf => Some((Opcode::Binary, response.bytes().clone())),
            Encoding::Json => match serde_json::to_string(&response.decode()) {
                Ok(text) => Some((Opcode::Text, text.into())),
                Err(error) => {
                    // An enum value that the schema does not have, in an answer that repeats the
                    // client's own request.
                    tracing::debug!(%error, "response cannot be written as JSON");
                    None
                }
            },
        }
    }

    async fn send(&mut self, opcode: Opcode, payload: Bytes) -> Result<(), End> {
        let written = timeout(WRITE_TIMEOUT, self.socket.send(opcode, payload)).await;
        self.wrote(written)
    }

    fn wrote(&mut self, written: Result<io::Result<()>, Elapsed>) -> Result<(), End> {
        match written {
            Ok(Ok(())) => {
                self.patience.note_written(Instant::now());
                Ok(())
            }
            Ok(Err(_)) => Err(End::Client),
            Err(_) => Err(End::Silent),
        }
    }

    /// Sends what the room still queues once it hears that the requests ended.
    async fn flush(&mut self) {
        self.session.requests = Requests::to_nobody();
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        while let Ok(Some(response)) = timeout_at(deadline, self.session.responses.recv()).await {
            if self.write(response).await.is_err() {
                return;
            }
        }
    }

    async fn close(&mut self, code: CloseCode) {
        let sent = timeout(WRITE_TIMEOUT, self.socket.send_close(code)).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
        let answered = async {
            loop {
                match self.socket.next().await {
                    Ok(Message::Close(_)) | Err(ReadError::Ended) => return,
                    Ok(_) => {}
                    Err(_) => return self.socket.discard().await,
                }
            }
        };
        let _ = timeout(CLOSE_TIMEOUT, answered).await;
    }
}

/// RFC 6455 §5.5.1: the same status code, if it is one that may be sent (§7.4).
fn close_answer(payload: &Bytes) -> Bytes {
    match payload.first_chunk().map(|code| u16::from_be_bytes(*code)) {
        None if payload.is_empty() => Bytes::new(),
        Some(1000..=1003 | 1007..=1011 | 3000..=4999) => payload.slice(..2),
        _ => Bytes::copy_from_slice(&(CloseCode::Protocol as u16).to_be_bytes()),
    }
}

/// The answer to a ping, in the form that was asked.
fn pong(request: &SignalRequest) -> Option<Response> {
    let timestamp = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        i64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
    };
    match request.message.as_ref()? {
        Request::Ping(_) => Some(Response::Pong(timestamp())),
        Request::PingReq(ping) => Some(Response::PongResp(Pong {
            last_ping_timestamp: ping.timestamp,
            timestamp: timestamp(),
        })),
        _ => None,
    }
}

fn message_len(message: &Message) -> usize {
    match message {
        Message::Binary(bytes) | Message::Ping(bytes) => bytes.len(),
        Message::Text(text) => text.len(),
        Message::Pong | Message::Close(_) => 0,
    }
}

fn end_of(error: ReadError) -> End {
    match error {
        ReadError::TooLong => End::TooLong,
        ReadError::Protocol => End::Forbidden(CloseCode::Protocol),
        ReadError::Text => End::Forbidden(CloseCode::Text),
        ReadError::Ended => End::Client,
    }
}
