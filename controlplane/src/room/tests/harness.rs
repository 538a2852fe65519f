//! A node with one fake shard, and clients that speak to it as browsers do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use livekit_protocol as proto;
use millrace_shared::ids::{MemoKey, ShardId, TransportId};
use millrace_shared::link::{
    AddTransport, CandidatePair, Command, CommandSink, Event, Fingerprint, Hello, LocalAddress,
};
use proto::signal_response::Message;
use tokio::sync::mpsc;

use crate::auth::{Claims, VideoGrant};
use crate::room::{JoinError, JoinParams, Rooms, Settings, SignalSession};

/// Captured from Chromium. Its audio m-line has mid 0, its video mid 1.
pub(super) const PUBLISH: &str =
    include_str!("../../negotiate/testdata/chromium-publish-simulcast-offer.sdp");
/// Track ids in its msids, which clients send as cids.
pub(super) const AUDIO_CID: &str = "142d64e4-52b4-4697-b347-3f65b1412f47";
pub(super) const VIDEO_CID: &str = "4c0fc589-ac75-42e5-8fb4-f5952e8d4593";
/// Three receiving m-lines of each kind: audio 0 to 2, video 3 to 5.
pub(super) const SINGLE: &str = include_str!("../../negotiate/testdata/chromium-single-offer.sdp");

#[derive(Default)]
struct Log {
    commands: Mutex<Vec<Command>>,
    /// Absent where the planes share a process.
    memos: Option<Mutex<BTreeMap<MemoKey, Bytes>>>,
}

impl CommandSink for Log {
    fn send(&self, shard: ShardId, command: Command) {
        assert_eq!(shard, ShardId(0));
        self.commands.lock().unwrap().push(command);
    }

    fn remembers(&self) -> bool {
        self.memos.is_some()
    }

    fn remember(&self, key: MemoKey, memo: Bytes) {
        let memos = self.memos.as_ref().expect("nobody asked for memos");
        memos.lock().unwrap().insert(key, memo);
    }

    fn forget(&self, key: MemoKey) {
        let memos = self.memos.as_ref().expect("nobody asked for memos");
        memos.lock().unwrap().remove(&key);
    }
}

pub(super) struct Node {
    pub(super) rooms: Rooms,
    log: Arc<Log>,
    events: mpsc::Sender<Event>,
}

impl Node {
    pub(super) async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    pub(super) async fn with(settings: Settings) -> Self {
        let node = Self::waiting(settings, Log::default());
        node.event(Event::Hello(Box::new(hello()))).await;
        node.rooms.ready().await;
        node
    }

    /// A control plane of its own process, whose data plane is not there yet.
    pub(super) fn alone() -> Self {
        let log = Log {
            memos: Some(Mutex::default()),
            ..Log::default()
        };
        Self::waiting(Settings::default(), log)
    }

    fn waiting(settings: Settings, log: Log) -> Self {
        let log = Arc::new(log);
        let (events, incoming) = mpsc::channel(64);
        let rooms = Rooms::start(settings, Arc::<Log>::clone(&log), incoming);
        Self { rooms, log, events }
    }

    pub(super) fn memos(&self) -> Vec<(MemoKey, Bytes)> {
        let memos = self.log.memos.as_ref().unwrap().lock().unwrap();
        memos
            .iter()
            .map(|(key, memo)| (*key, memo.clone()))
            .collect()
    }

    /// Sends an event and lets everybody work it off.
    pub(super) async fn event(&self, event: Event) {
        self.events.send(event).await.unwrap();
        settle().await;
    }

    /// All commands so far.
    pub(super) fn commands(&self) -> Vec<Command> {
        self.log.commands.lock().unwrap().clone()
    }

    /// Commands since this was called last, or `commands` cleared.
    pub(super) fn take(&self) -> Vec<Command> {
        std::mem::take(&mut self.log.commands.lock().unwrap())
    }

    pub(super) async fn connect(&self, transport: TransportId) {
        let pair = CandidatePair {
            local: "192.0.2.1:7882".parse().unwrap(),
            remote: "198.51.100.9:50000".parse().unwrap(),
        };
        self.event(Event::PairSelected { transport, pair }).await;
        self.event(Event::Connected { transport }).await;
    }

    pub(super) async fn try_join(
        &self,
        claims: Claims,
        params: JoinParams,
    ) -> Result<SignalSession, JoinError> {
        let session = self.rooms.join(claims, params).await;
        settle().await;
        session
    }

    /// Joins room `r` with two connections.
    pub(super) async fn join(&self, identity: &str) -> Client {
        self.join_as(claims(identity), params()).await
    }

    pub(super) async fn join_as(&self, claims: Claims, params: JoinParams) -> Client {
        let identity = claims.sub.clone();
        let session = self.try_join(claims, params).await.unwrap();
        let mut client = Client {
            identity,
            sid: session.participant_sid.clone(),
            session,
            join: None,
            transports: Vec::new(),
        };
        let Some(Message::Join(join)) = client.next().await else {
            panic!("the first response is no join");
        };
        client.join = Some(join);
        client.note_transports(self);
        client
    }

    /// Joins, answers the first offer and is connected.
    pub(super) async fn join_active(&self, identity: &str) -> Client {
        let mut client = self.join(identity).await;
        client.answer_offer(self).await;
        self.connect(client.transport(true)).await;
        client
    }
}

pub(super) fn hello() -> Hello {
    Hello {
        shard: ShardId(0),
        addresses: vec![LocalAddress {
            ip: [192, 0, 2, 1].into(),
            port: 7882,
        }],
        fingerprint: Fingerprint([7; 32]),
        backend: "fake".into(),
    }
}

pub(super) struct Client {
    pub(super) identity: String,
    pub(super) sid: String,
    pub(super) session: SignalSession,
    pub(super) join: Option<proto::JoinResponse>,
    transports: Vec<AddTransport>,
}

impl Client {
    /// The next response; none when the server closed the socket.
    pub(super) async fn next(&mut self) -> Option<Message> {
        next_response(&mut self.session).await
    }

    /// Reads on until `pick` finds what it looks for.
    pub(super) async fn wait<T>(&mut self, mut pick: impl FnMut(Message) -> Option<T>) -> T {
        loop {
            let message = self.next().await.expect("the socket closed");
            if let Some(found) = pick(message) {
                return found;
            }
        }
    }

    /// What waits to be read.
    pub(super) async fn drain(&mut self) -> Vec<Message> {
        settle().await;
        let mut messages = Vec::new();
        while let Some(response) = self.session.responses.try_recv() {
            messages.push(response.decode().message.unwrap());
        }
        messages
    }

    pub(super) async fn send(&self, message: proto::signal_request::Message) {
        let request = proto::SignalRequest {
            message: Some(message),
        };
        assert!(self.session.requests.send(Box::new(request)).await);
        settle().await;
    }

    fn note_transports(&mut self, node: &Node) {
        for command in node.commands() {
            if let Command::AddTransport(add) = command
                && add.label == self.identity
                && self
                    .transports
                    .iter()
                    .all(|known| known.transport != add.transport)
            {
                self.transports.push(*add);
            }
        }
    }

    /// The last transport made for this client: the one on which we offer, or the other one.
    pub(super) fn transport(&self, subscriber: bool) -> TransportId {
        self.transports
            .iter()
            .rfind(|add| add.open_data_channels == subscriber)
            .map(|add| add.transport)
            .expect("no such transport")
    }

    pub(super) async fn offer(&mut self, node: &Node, sdp: &str) {
        self.send(proto::signal_request::Message::Offer(description(
            "offer", sdp, 1,
        )))
        .await;
        self.note_transports(node);
    }

    /// Waits for an offer and accepts all of it.
    pub(super) async fn answer_offer(&mut self, node: &Node) -> proto::SessionDescription {
        let offer = self.wait_offer().await;
        self.answer(&offer, &answer_to(&offer.sdp)).await;
        self.note_transports(node);
        offer
    }

    pub(super) async fn wait_offer(&mut self) -> proto::SessionDescription {
        self.wait(|message| match message {
            Message::Offer(offer) => Some(offer),
            _ => None,
        })
        .await
    }

    pub(super) async fn answer(&self, offer: &proto::SessionDescription, sdp: &str) {
        let answer = description("answer", sdp, offer.id);
        self.send(proto::signal_request::Message::Answer(answer))
            .await;
    }

    pub(super) async fn add_track(&self, request: proto::AddTrackRequest) {
        self.send(proto::signal_request::Message::AddTrack(request))
            .await;
    }

    /// Asks to publish and reads the track's sid.
    pub(super) async fn publish_request(&mut self, request: proto::AddTrackRequest) -> String {
        self.add_track(request).await;
        self.wait(|message| match message {
            Message::TrackPublished(published) => Some(published.track.unwrap().sid),
            _ => None,
        })
        .await
    }

    /// Publishes microphone and camera until they are announced; returns their sids.
    pub(super) async fn publish(&mut self, node: &Node) -> (String, String) {
        let audio = self.publish_request(microphone()).await;
        let video = self.publish_request(camera()).await;
        self.offer(node, PUBLISH).await;
        self.wait(|message| matches!(message, Message::Answer(_)).then_some(()))
            .await;
        node.connect(self.transport(false)).await;
        (audio, video)
    }

    /// The next update of this participant that `pick` accepts.
    pub(super) async fn wait_update(
        &mut self,
        identity: &str,
        mut accept: impl FnMut(&proto::ParticipantInfo) -> bool,
    ) -> proto::ParticipantInfo {
        self.wait(|message| match message {
            Message::Update(update) => update
                .participants
                .into_iter()
                .find(|info| info.identity == identity && accept(info)),
            _ => None,
        })
        .await
    }

    pub(super) async fn wait_leave(&mut self) -> proto::LeaveRequest {
        self.wait(|message| match message {
            Message::Leave(leave) => Some(leave),
            _ => None,
        })
        .await
    }
}

/// The next response of a session; none when the server closed the socket.
pub(super) async fn next_response(session: &mut SignalSession) -> Option<Message> {
    let response = tokio::time::timeout(Duration::from_secs(5), session.responses.recv());
    let response = response.await.expect("no response in time");
    response.map(|response| response.decode().message.expect("an empty response"))
}

pub(super) async fn settle() {
    // Virtual time moves only when everybody waits.
    tokio::time::sleep(Duration::from_millis(1)).await;
}

pub(super) async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

pub(super) fn claims(identity: &str) -> Claims {
    Claims {
        sub: identity.into(),
        video: Some(VideoGrant {
            room_join: true,
            room: "r".into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Claims whose grant `change` changed.
pub(super) fn claims_with(identity: &str, change: impl FnOnce(&mut VideoGrant)) -> Claims {
    let mut claims = claims(identity);
    change(claims.video.as_mut().unwrap());
    claims
}

pub(super) fn params() -> JoinParams {
    JoinParams {
        client_info: proto::ClientInfo {
            sdk: proto::client_info::Sdk::Js.into(),
            version: "2.23.0".into(),
            protocol: 17,
            ..Default::default()
        },
        ..Default::default()
    }
}

pub(super) fn resume_params(sid: &str) -> JoinParams {
    JoinParams {
        reconnect: true,
        participant_sid: sid.into(),
        ..params()
    }
}

pub(super) fn microphone() -> proto::AddTrackRequest {
    proto::AddTrackRequest {
        cid: AUDIO_CID.into(),
        name: "mic".into(),
        r#type: proto::TrackType::Audio.into(),
        source: proto::TrackSource::Microphone.into(),
        ..Default::default()
    }
}

pub(super) fn camera() -> proto::AddTrackRequest {
    let layer = |quality: proto::VideoQuality, height: u32| proto::VideoLayer {
        quality: quality.into(),
        width: height * 16 / 9,
        height,
        ..Default::default()
    };
    proto::AddTrackRequest {
        cid: VIDEO_CID.into(),
        name: "cam".into(),
        r#type: proto::TrackType::Video.into(),
        source: proto::TrackSource::Camera.into(),
        width: 1280,
        height: 720,
        layers: vec![
            layer(proto::VideoQuality::Low, 180),
            layer(proto::VideoQuality::Medium, 360),
            layer(proto::VideoQuality::High, 720),
        ],
        simulcast_codecs: vec![proto::SimulcastCodec {
            codec: "vp8".into(),
            cid: VIDEO_CID.into(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub(super) fn description(kind: &str, sdp: &str, id: u32) -> proto::SessionDescription {
    proto::SessionDescription {
        r#type: kind.into(),
        sdp: sdp.into(),
        id,
        ..Default::default()
    }
}

/// The offer's m-lines, all accepted, as a browser answers them.
pub(super) fn answer_to(offer: &str) -> String {
    let dropped = [
        "a=msid:",
        "a=ssrc",
        "a=candidate",
        "a=end-of-candidates",
        "a=ice-lite",
    ];
    offer
        .lines()
        .filter(|line| !dropped.iter().any(|start| line.starts_with(start)))
        .map(|line| match line {
            "a=sendonly" => "a=recvonly".to_owned(),
            "a=setup:actpass" => "a=setup:active".to_owned(),
            line if line.starts_with("a=ice-ufrag:") => "a=ice-ufrag:Nslu".to_owned(),
            line if line.starts_with("a=ice-pwd:") => {
                "a=ice-pwd:BLcyX7lVBq9lNgxtcnTLz9No".to_owned()
            }
            line => line.to_owned(),
        })
        .map(|line| line + "\r\n")
        .collect()
}

/// An offer as it would be after an ICE restart.
pub(super) fn restarted(offer: &str) -> String {
    let old = offer
        .lines()
        .find_map(|line| line.strip_prefix("a=ice-ufrag:"))
        .unwrap();
    offer.replace(&format!("a=ice-ufrag:{old}"), "a=ice-ufrag:nEwU")
}
