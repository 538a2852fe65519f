use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use livekit_protocol as proto;
use millrace_shared::link::Fingerprint;
use proto::{signal_request, signal_response};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use super::connection::Connection;
use super::negotiation::{Offers, first_lines, join_request};
use super::publish::Publication;
use super::subscribe::Gallery;
use super::{ClientError, ClientSpec, JoinTimes, Path, Server};
use crate::pump::{Command, PeerEvent, PeerId, PumpHandle};
use crate::sdp::Line;
use crate::signal::Signal;
use crate::token::Permission;

/// LiveKit's clients give up on a transport after as long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// LiveKit's default; servers tell another.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// A participant in a room.
#[derive(Debug)]
pub struct Client {
    pub(super) spec: ClientSpec,
    pub(super) server: Server,
    pub(super) signal: Signal,
    pub(super) pump: PumpHandle,
    server_info: proto::ServerInfo,
    pub(super) fingerprint: Fingerprint,
    began: Instant,
    times: JoinTimes,
    pub(super) publications: Vec<Publication>,
    pub(super) publisher: Option<Connection>,
    pub(super) subscriber: Option<Connection>,
    /// Candidates that came before their connection.
    pub(super) early: Vec<(proto::SignalTarget, SocketAddr)>,
    gallery: Gallery,
    /// What our offers consist of: sections keep their place.
    pub(super) lines: Vec<Line>,
    pub(super) offers: Offers,
    pub(super) events_tx: UnboundedSender<(PeerId, PeerEvent)>,
    events: UnboundedReceiver<(PeerId, PeerEvent)>,
    ping: Interval,
}

/// As often as the server wants it.
fn ping(join: &proto::JoinResponse) -> Interval {
    let pace = match u64::try_from(join.ping_interval) {
        Ok(seconds @ 1..) => Duration::from_secs(seconds),
        _ => PING_INTERVAL,
    };
    let mut ping = interval(pace);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ping
}

/// What woke a client.
enum Woken {
    Signal(Box<signal_response::Message>),
    Peer(PeerId, PeerEvent),
    Ping,
}

impl Client {
    /// Joins, and publishes its tracks. Ready when every transport it needs is connected.
    pub async fn join(
        server: &Server,
        spec: ClientSpec,
        pump: PumpHandle,
        fingerprint: Fingerprint,
    ) -> Result<Self, ClientError> {
        let began = Instant::now();
        let connected = timeout(CONNECT_TIMEOUT, async {
            let mut client = Self::connect(server, spec, pump, fingerprint, began).await?;
            while client.times.connected.is_none() {
                client.step().await?;
            }
            Ok(client)
        });
        connected
            .await
            .map_err(|_| ClientError::Timeout(CONNECT_TIMEOUT))?
    }

    async fn connect(
        server: &Server,
        spec: ClientSpec,
        pump: PumpHandle,
        fingerprint: Fingerprint,
        began: Instant,
    ) -> Result<Self, ClientError> {
        let permission = Permission {
            publish: spec.may_publish || !spec.tracks.is_empty(),
            subscribe: spec.subscribe,
        };
        let now = SystemTime::now();
        let token = server
            .key
            .join_token(&spec.room, &spec.identity, permission, now);
        let (events_tx, events) = unbounded_channel();
        let publications: Vec<_> = spec.tracks.iter().cloned().map(Publication::new).collect();
        let lines = first_lines(&publications, server.single && spec.subscribe);
        let mut publisher = None;
        let (signal, join) = if server.single {
            let mut connection = Connection::open(&pump, &spec, &events_tx)?;
            let offer = connection.offer(fingerprint, &lines, 1);
            let request = join_request(&spec, &publications, offer);
            let joined = Signal::join_single(&server.url, &server.tls, &token, request).await;
            if joined.is_err() {
                pump.send(Command::Remove(connection.peer));
            }
            publisher = Some(connection);
            joined?
        } else {
            Signal::join(&server.url, &server.tls, &token, spec.subscribe).await?
        };
        let server_info = join.server_info.clone().unwrap_or_default();
        let mut client = Self {
            publications,
            gallery: Gallery::new(spec.layout),
            spec,
            server: server.clone(),
            server_info,
            signal,
            pump,
            fingerprint,
            began,
            times: JoinTimes {
                signaled: Some(began.elapsed()),
                ..JoinTimes::default()
            },
            offers: Offers::sent(u32::from(publisher.is_some())),
            publisher,
            subscriber: None,
            early: Vec::new(),
            lines,
            events_tx,
            events,
            ping: ping(&join),
        };
        client.begin(&join.other_participants).await?;
        Ok(client)
    }

    /// What follows the server's first message.
    async fn begin(&mut self, others: &[proto::ParticipantInfo]) -> Result<(), ClientError> {
        if !self.server.single {
            self.request_tracks().await?;
        }
        if self.publications.is_empty() && self.spec.may_publish {
            self.offer_when_registered().await?;
        }
        self.arrange(others).await
    }

    pub fn identity(&self) -> &str {
        &self.spec.identity
    }

    /// What the server said of itself in its answer.
    pub fn server_info(&self) -> &proto::ServerInfo {
        &self.server_info
    }

    pub fn times(&self) -> JoinTimes {
        self.times
    }

    /// The publisher's and the subscriber's transport, as far as connected.
    pub fn paths(&self) -> (Option<&Path>, Option<&Path>) {
        (
            self.publisher.as_ref().and_then(|it| it.path.as_ref()),
            self.subscriber.as_ref().and_then(|it| it.path.as_ref()),
        )
    }

    /// Waits for the next thing that happens and reacts to it. May be dropped and called again.
    pub async fn step(&mut self) -> Result<(), ClientError> {
        let woken = tokio::select! {
            message = self.signal.receive() => Woken::Signal(Box::new(message?)),
            Some((peer, event)) = self.events.recv() => Woken::Peer(peer, event),
            _ = self.ping.tick() => Woken::Ping,
        };
        match woken {
            Woken::Signal(message) => self.receive(*message).await,
            Woken::Peer(peer, event) => self.peer_event(peer, event),
            Woken::Ping => self.send_ping().await,
        }
    }

    /// Takes part until something goes wrong; to be dropped, or followed by [`Self::leave`].
    pub async fn run(&mut self) -> ClientError {
        loop {
            if let Err(error) = self.step().await {
                return error;
            }
        }
    }

    /// Says goodbye on both ways.
    pub async fn leave(mut self) -> Result<(), ClientError> {
        self.remove_peers();
        Ok(self.signal.leave().await?)
    }

    fn remove_peers(&mut self) {
        let connections = [self.publisher.take(), self.subscriber.take()];
        for connection in connections.into_iter().flatten() {
            self.pump.send(Command::Remove(connection.peer));
        }
    }

    async fn receive(&mut self, message: signal_response::Message) -> Result<(), ClientError> {
        use signal_response::Message;
        match message {
            Message::Offer(offer) => self.answer(&offer).await,
            Message::Answer(answer) => self.take_answer(&answer).await,
            Message::MediaSectionsRequirement(more) => self.add_sections(&more).await,
            Message::Trickle(trickle) => {
                self.trickle(&trickle);
                Ok(())
            }
            Message::TrackPublished(published) => {
                let found = self
                    .publications
                    .iter_mut()
                    .find(|it| it.cid == published.cid);
                if let Some(publication) = found {
                    publication.registered = true;
                }
                self.offer_when_registered().await
            }
            Message::Update(update) => self.arrange(&update.participants).await,
            Message::Leave(leave) => {
                let reason = leave.reason().as_str_name().to_owned();
                Err(ClientError::AskedToLeave(reason))
            }
            Message::RequestResponse(response) if response.reason != 0 => {
                Err(ClientError::Refused(response.message))
            }
            _ => Ok(()),
        }
    }

    fn peer_event(&mut self, peer: PeerId, event: PeerEvent) -> Result<(), ClientError> {
        let side = if self.publisher.as_ref().is_some_and(|it| it.peer == peer) {
            "publisher's"
        } else {
            "subscriber's"
        };
        match event {
            PeerEvent::Connected {
                local,
                remote,
                keys,
            } => {
                let connections = [&mut self.publisher, &mut self.subscriber];
                for connection in connections.into_iter().flatten() {
                    if connection.peer == peer {
                        connection.path = Some(Path {
                            peer,
                            local,
                            remote,
                            keys: keys.clone(),
                        });
                    }
                }
                self.note_connected();
                Ok(())
            }
            PeerEvent::Media => {
                self.times.media.get_or_insert_with(|| self.began.elapsed());
                Ok(())
            }
            PeerEvent::Failed(why) => Err(ClientError::Transport(side, why)),
            PeerEvent::Closed => Err(ClientError::TransportClosed(side)),
        }
    }

    fn note_connected(&mut self) {
        let connected = |connection: &Option<Connection>| {
            connection.as_ref().is_some_and(|it| it.path.is_some())
        };
        if self.server.single && !connected(&self.publisher) {
            return;
        }
        let silent = self.publications.is_empty() && !self.spec.may_publish;
        let publishes = silent || connected(&self.publisher);
        let subscribes = !self.spec.subscribe || self.server.single || connected(&self.subscriber);
        if publishes && subscribes {
            self.times
                .connected
                .get_or_insert_with(|| self.began.elapsed());
        }
    }

    async fn arrange(
        &mut self,
        participants: &[proto::ParticipantInfo],
    ) -> Result<(), ClientError> {
        for setting in self.gallery.settings(&self.spec.identity, participants) {
            let request = signal_request::Message::TrackSetting(setting);
            self.signal.send(request).await?;
        }
        Ok(())
    }

    async fn send_ping(&mut self) -> Result<(), ClientError> {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let timestamp = i64::try_from(now.as_millis()).unwrap_or(0);
        // Servers answer both the old and the new form; LiveKit's clients send both.
        self.signal
            .send(signal_request::Message::Ping(timestamp))
            .await?;
        let ping = proto::Ping { timestamp, rtt: 0 };
        Ok(self
            .signal
            .send(signal_request::Message::PingReq(ping))
            .await?)
    }
}

/// A join that failed, or was given up, leaves no transports behind.
impl Drop for Client {
    fn drop(&mut self) {
        self.remove_peers();
    }
}
