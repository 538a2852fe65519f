use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use livekit_protocol as proto;
use millrace_shared::link::Fingerprint;
use proto::{signal_request, signal_response};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use super::connection::Connection;
use super::publish::{Publication, receiving};
use super::subscribe::Gallery;
use super::{ClientError, ClientSpec, JoinTimes, Path, Server};
use crate::pump::{Command, PeerEvent, PeerId, PumpHandle};
use crate::sdp::{self, Description, Line, SectionKind};
use crate::signal::Signal;
use crate::token::Permission;

/// LiveKit's clients give up on a transport after as long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// LiveKit's default; servers tell another.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Sections for each kind of medium that a client with a single connection offers from the
/// beginning, as LiveKit's do; the server asks for more.
const RECEIVING_SECTIONS: u32 = 3;
/// More than any room has, so that a server cannot make a client swell.
const SECTIONS_MAX: u32 = 1024;

/// A participant in a room.
#[derive(Debug)]
pub struct Client {
    spec: ClientSpec,
    server: Server,
    signal: Signal,
    pump: PumpHandle,
    server_info: proto::ServerInfo,
    fingerprint: Fingerprint,
    began: Instant,
    times: JoinTimes,
    publications: Vec<Publication>,
    publisher: Option<Connection>,
    subscriber: Option<Connection>,
    /// Candidates that came before their connection.
    early: Vec<(proto::SignalTarget, SocketAddr)>,
    gallery: Gallery,
    /// What our offers consist of: sections keep their place.
    lines: Vec<Line>,
    offer: OfferState,
    events_tx: UnboundedSender<(PeerId, PeerEvent)>,
    events: UnboundedReceiver<(PeerId, PeerEvent)>,
    ping: Interval,
}

/// How far our offers have come.
#[derive(Debug, Default)]
struct OfferState {
    sent: u32,
    answered: u32,
    /// The sections have changed since the last one.
    stale: bool,
}

fn join_request(
    spec: &ClientSpec,
    publications: &[Publication],
    offer: proto::SessionDescription,
) -> proto::JoinRequest {
    proto::JoinRequest {
        connection_settings: Some(proto::ConnectionSettings {
            auto_subscribe: spec.subscribe,
            ..proto::ConnectionSettings::default()
        }),
        add_track_requests: publications.iter().map(Publication::request).collect(),
        publisher_offer: Some(offer),
        ..proto::JoinRequest::default()
    }
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

fn receiving_lines(audios: u32, videos: u32) -> impl Iterator<Item = Line> {
    let audios = (0..audios.min(SECTIONS_MAX)).map(|_| receiving(SectionKind::Audio));
    audios.chain((0..videos.min(SECTIONS_MAX)).map(|_| receiving(SectionKind::Video)))
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
        let sends = publications.iter().map(|it| Line::Send(it.offered()));
        let mut lines: Vec<_> = sends.chain([Line::Data]).collect();
        let mut publisher = None;
        let (signal, join) = if server.single {
            if spec.subscribe {
                lines.extend(receiving_lines(RECEIVING_SECTIONS, RECEIVING_SECTIONS));
            }
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
            offer: OfferState {
                sent: u32::from(publisher.is_some()),
                ..OfferState::default()
            },
            publisher,
            subscriber: None,
            early: Vec::new(),
            lines,
            events_tx,
            events,
            ping: ping(&join),
        };
        if !server.single {
            client.request_tracks().await?;
        }
        if client.publications.is_empty() && client.spec.may_publish {
            client.offer_when_registered().await?;
        }
        client.arrange(&join.other_participants).await?;
        Ok(client)
    }

    async fn request_tracks(&mut self) -> Result<(), ClientError> {
        for publication in &self.publications {
            let request = signal_request::Message::AddTrack(publication.request());
            self.signal.send(request).await?;
        }
        Ok(())
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
            Message::MediaSectionsRequirement(more) => {
                self.lines
                    .extend(receiving_lines(more.num_audios, more.num_videos));
                self.offer.stale = true;
                self.offer_again().await
            }
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

    async fn answer(&mut self, offer: &proto::SessionDescription) -> Result<(), ClientError> {
        let mut description = Description::parse(&offer.sdp)?;
        self.redirect(&mut description);
        let mut connection = match self.subscriber.take() {
            Some(connection) => connection,
            None => Connection::open(&self.pump, &self.spec, &self.events_tx)?,
        };
        let local = connection.local(self.fingerprint);
        let sdp = sdp::answer(&local, &description);
        self.pump.send(Command::Remote {
            peer: connection.peer,
            description: Box::new(description),
            offered: false,
        });
        self.subscriber = Some(connection);
        self.take_early(proto::SignalTarget::Subscriber);
        let answer = proto::SessionDescription {
            r#type: "answer".to_owned(),
            sdp,
            id: offer.id,
            ..proto::SessionDescription::default()
        };
        Ok(self
            .signal
            .send(signal_request::Message::Answer(answer))
            .await?)
    }

    async fn offer_when_registered(&mut self) -> Result<(), ClientError> {
        let registered = self.publications.iter().all(|it| it.registered);
        if !registered || self.publisher.is_some() {
            return Ok(());
        }
        self.publisher = Some(Connection::open(&self.pump, &self.spec, &self.events_tx)?);
        self.offer.stale = true;
        self.offer_again().await
    }

    /// Sends an offer if one is due and none is under way.
    async fn offer_again(&mut self) -> Result<(), ClientError> {
        let Some(connection) = &mut self.publisher else {
            return Ok(());
        };
        if !self.offer.stale || self.offer.sent > self.offer.answered {
            return Ok(());
        }
        self.offer.stale = false;
        self.offer.sent += 1;
        let offer = connection.offer(self.fingerprint, &self.lines, self.offer.sent);
        Ok(self
            .signal
            .send(signal_request::Message::Offer(offer))
            .await?)
    }

    async fn take_answer(&mut self, answer: &proto::SessionDescription) -> Result<(), ClientError> {
        let mut description = Description::parse(&answer.sdp)?;
        self.redirect(&mut description);
        let Some(connection) = &self.publisher else {
            return Ok(());
        };
        let peer = connection.peer;
        let mut tracks = Vec::new();
        if self.offer.answered == 0 {
            for (index, publication) in self.publications.iter().enumerate() {
                let track = publication.published(index, &description);
                tracks.push(track.ok_or_else(|| ClientError::Refused(publication.cid.clone()))?);
            }
        }
        self.offer.answered = self.offer.sent;
        self.pump.send(Command::Remote {
            peer,
            description: Box::new(description),
            offered: true,
        });
        if !tracks.is_empty() {
            self.pump.send(Command::Publish { peer, tracks });
        }
        self.take_early(proto::SignalTarget::Publisher);
        self.offer_again().await
    }

    fn trickle(&mut self, trickle: &proto::TrickleRequest) {
        if self.server.media_address.is_some() {
            return;
        }
        if let Some(addr) = super::trickled(trickle) {
            self.early.push((trickle.target(), addr));
            self.take_early(trickle.target());
        }
    }

    /// Hands on the candidates of a side whose connection is there.
    fn take_early(&mut self, target: proto::SignalTarget) {
        let connection = match target {
            proto::SignalTarget::Publisher => &self.publisher,
            proto::SignalTarget::Subscriber => &self.subscriber,
        };
        let Some(peer) = connection.as_ref().map(|it| it.peer) else {
            return;
        };
        let pump = &self.pump;
        self.early.retain(|(side, addr)| {
            if *side == target {
                pump.send(Command::Candidate { peer, addr: *addr });
            }
            *side != target
        });
    }

    fn redirect(&self, description: &mut Description) {
        if let Some(addr) = self.server.media_address {
            description.candidates = vec![sdp::Candidate { addr, priority: 1 }];
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
