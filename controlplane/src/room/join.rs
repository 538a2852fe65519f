//! From an admitted join to a participant with its first response.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use indexmap::IndexMap;
use livekit_protocol as proto;
use millrace_shared::ids::{ShardId, TransportId};
use proto::participant_info::State;
use proto::signal_response::Message;
use rand::Rng;
use tokio::time::Instant;

use super::actor::Room;
use super::error::JoinError;
use super::message::{Join, SignalSession};
use super::requests::Requests;
use super::sid;
use super::timer::Timer;
use crate::config::Placement;
use crate::dataplane_client::ice_credentials;
use crate::negotiate::{Offerer, SessionLines};
use crate::participant::client::Client;
use crate::participant::permission;
use crate::participant::signal::{ConnectionId, EncodedResponse, Signal};
use crate::participant::subscribe::{SsrcSequence, SubscriberPermissions};
use crate::participant::transport::{
    PublisherConnection, SectionCount, SubscriberConnection, Transport,
};
use crate::participant::{CloseReason, Participant, ParticipantId};

/// Protocol number that we announce.
const PROTOCOL: i32 = 17;
/// A participant not connected after this is removed (LiveKit: 1 min).
pub(super) const VERIFY_AFTER: Duration = Duration::from_secs(60);
/// How often clients get a fresh token.
pub(super) const TOKEN_REFRESH_INTERVAL: Duration = Duration::from_secs(300);
/// Least validity of a fresh token: two intervals.
const TOKEN_TTL_MIN: Duration = Duration::from_secs(600);
/// Offer ids start anywhere in this range, so that one of an older connection seldom matches.
const OFFER_ID_START_MAX: u32 = 256;

impl Room {
    pub(super) fn join(&mut self, join: Join) {
        let Join {
            claims,
            params,
            reply,
        } = join;
        let existing = self.by_identity(&claims.sub);
        let result = if params.reconnect {
            Ok(self.resume(existing, &params))
        } else if !permission::is_dependent(&claims) && self.is_full(existing) {
            self.shared.counters.join_refused();
            Err(JoinError::new(
                503,
                "room has exceeded its max participants",
            ))
        } else {
            let joined_at = self.joined_after(existing);
            if let Some(older) = existing {
                self.remove(older, CloseReason::DuplicateIdentity);
            }
            let (id, session) = self.admit(claims, &params, joined_at);
            if let Some(v1) = &params.v1 {
                self.first_requests(id, v1);
            }
            Ok(session)
        };
        // A caller who went away closes the session by dropping it.
        let _ = reply.send(result);
    }

    /// Whether the room has no place. Who takes over an identity takes over its place.
    fn is_full(&self, existing: Option<ParticipantId>) -> bool {
        let present = self
            .participants
            .iter()
            .filter(|(id, p)| !p.is_dependent() && Some(**id) != existing)
            .count();
        self.max_participants > 0 && present as u64 >= u64::from(self.max_participants)
    }

    /// Now, or just after the session that is replaced: clients take the later one for the present
    /// one, and clocks step back.
    fn joined_after(&self, existing: Option<ParticipantId>) -> SystemTime {
        let older = existing.and_then(|id| self.participants.get(&id));
        let earliest = older.map(|older| older.joined_at + Duration::from_millis(1));
        SystemTime::now().max(earliest.unwrap_or(SystemTime::UNIX_EPOCH))
    }

    fn admit(
        &mut self,
        claims: crate::auth::Claims,
        params: &super::message::JoinParams,
        joined_at: SystemTime,
    ) -> (ParticipantId, SignalSession) {
        let id = ParticipantId(self.number());
        let (signal, session) = self.connect_signal(id);
        let participant = self.new_participant(claims, params, signal, joined_at);
        let session = SignalSession {
            room_sid: self.sid.clone(),
            participant_sid: participant.sid.clone(),
            ..session
        };
        tracing::info!(
            room = self.name,
            participant = participant.identity,
            participant_sid = participant.sid,
            sdk = ?participant.client.info.sdk(),
            sdk_version = participant.client.info.version,
            protocol = participant.client.info.protocol,
            single_connection = participant.single_connection,
            "participant joined"
        );
        for transport in participant.transports() {
            self.transports.insert(transport.id, id);
        }
        self.identities.insert(participant.identity.clone(), id);
        self.sids.insert(participant.sid.clone(), id);
        let dependent = participant.is_dependent();
        let recorder = participant.is_recorder();
        self.participants.insert(id, participant);
        self.shared.counters.participants(1);
        self.shared.counters.joined();
        if !dependent {
            self.left = None;
        }
        self.room_changed(recorder);

        let response = self.join_response(id);
        if let Some(participant) = self.participant_mut(id) {
            participant.send_encoded(&response);
            participant.state = State::Joined;
            participant.touch();
        }
        self.broadcast(id, super::broadcast::Broadcast::default());
        self.refresh_token(id);
        let now = Instant::now();
        self.timers.set(now + VERIFY_AFTER, Timer::Verify(id));
        let refresh_at = now + TOKEN_REFRESH_INTERVAL;
        self.timers.set(refresh_at, Timer::RefreshToken(id));
        self.subscribe_at_join(id);
        (id, session)
    }

    /// A client that can take media in its first offer gets the tracks that are there at once.
    fn subscribe_at_join(&mut self, id: ParticipantId) {
        let Some(participant) = self.participant(id) else {
            return;
        };
        let fast = participant.client.supports_fast_start();
        if participant.single_connection || (participant.subscriber_primary && fast) {
            self.subscribe_to_existing(id);
        }
        if self.participant(id).is_some_and(|p| p.subscriber_primary) {
            self.open_subscriber(id);
            self.to_negotiate.insert(id);
        }
    }

    /// What the newer join brings along: tracks and the first offer.
    fn first_requests(&mut self, id: ParticipantId, request: &proto::JoinRequest) {
        for track in &request.add_track_requests {
            self.add_track(id, track.clone());
        }
        if let Some(offer) = &request.publisher_offer
            && !offer.sdp.is_empty()
        {
            self.publisher_offer(id, offer);
        }
    }

    /// A new signal connection: its queue, and its way here.
    pub(super) fn connect_signal(&mut self, id: ParticipantId) -> (Signal, SignalSession) {
        let connection = ConnectionId(u64::from(self.number()));
        let (signal, responses) = Signal::new(connection, self.overflow.clone());
        // Without a mailbox the room is about to end.
        let requests = match self.mailbox.upgrade() {
            Some(mailbox) => Requests::new(mailbox, id, connection),
            None => Requests::to_nobody(),
        };
        let session = SignalSession {
            requests,
            responses,
            room_sid: String::new(),
            participant_sid: String::new(),
        };
        (signal, session)
    }

    fn new_participant(
        &mut self,
        claims: crate::auth::Claims,
        params: &super::message::JoinParams,
        signal: Signal,
        joined_at: SystemTime,
    ) -> Participant {
        let client = Client::new(params.client_info.clone());
        let single_connection = params.v1.is_some();
        let subscribes = claims.video.as_ref().is_some_and(|v| v.subscribes());
        let subscriber_primary =
            subscribes && client.supports_subscriber_primary() && !single_connection;
        let shard = self.place();
        let publisher = PublisherConnection {
            transport: self.new_transport(shard),
            session: new_session(),
            sections: IndexMap::new(),
            dirty: false,
            requested: SectionCount::default(),
        };
        let subscriber = (!single_connection).then(|| SubscriberConnection {
            transport: self.new_transport(shard),
            offerer: Offerer::new(new_session()),
            offer_id: rand::rng().random_range(0..OFFER_ID_START_MAX),
            in_flight: false,
            restart: false,
        });
        Participant {
            sid: sid::participant(),
            identity: claims.sub.clone(),
            claims,
            client,
            region: self.settings.region.clone(),
            state: State::Joining,
            version: 0,
            joined_at,
            close_reason: None,
            is_publisher: false,
            auto_subscribe: params.auto_subscribe,
            adaptive_stream: params.adaptive_stream,
            single_connection,
            subscriber_primary,
            signal,
            asked_at: Instant::now(),
            publisher,
            subscriber,
            pending: Vec::new(),
            published: IndexMap::new(),
            permissions: SubscriberPermissions::default(),
            subscriptions: IndexMap::new(),
            awaits_tracks: false,
            simulated_speech: false,
            ssrcs: SsrcSequence::random(),
            reliable_sequence: 0,
            restored: false,
        }
    }

    fn new_transport(&mut self, shard: ShardId) -> Transport {
        self.shared.dataplane.note_placed(shard);
        Transport::new(TransportId(self.new_id()), shard, ice_credentials(shard))
    }

    /// The shard of a participant: both its transports are placed together.
    fn place(&self) -> ShardId {
        match self.settings.placement {
            Placement::Home => self.shard,
            Placement::Spread => self.shared.dataplane.emptiest().unwrap_or(self.shard),
        }
    }

    fn join_response(&mut self, id: ParticipantId) -> EncodedResponse {
        let others = self.participants.encoded_others(id);
        EncodedResponse::join(self.join_response_to(id), &others)
    }

    /// All of the response but the others.
    fn join_response_to(&self, id: ParticipantId) -> proto::JoinResponse {
        let Some(participant) = self.participant(id) else {
            return proto::JoinResponse::default();
        };
        let server_info = self.server_info();
        proto::JoinResponse {
            room: Some(self.to_proto()),
            participant: Some(participant.info()),
            subscriber_primary: participant.subscriber_primary,
            ping_interval: i32::try_from(self.settings.ping_interval_s).unwrap_or(i32::MAX),
            ping_timeout: i32::try_from(self.settings.ping_timeout_s).unwrap_or(i32::MAX),
            // Swift and Android still read these two.
            server_version: server_info.version.clone(),
            server_region: server_info.region.clone(),
            server_info: Some(server_info),
            sif_trailer: self.trailer.clone(),
            enabled_publish_codecs: publish_codecs(self.codecs()),
            fast_publish: participant.grant().publishes(),
            ..Default::default()
        }
    }

    pub(super) fn server_info(&self) -> proto::ServerInfo {
        proto::ServerInfo {
            edition: proto::server_info::Edition::Standard.into(),
            version: self.settings.server_version.clone(),
            protocol: PROTOCOL,
            region: self.settings.region.clone(),
            node_id: self.settings.node_id.clone(),
            ..Default::default()
        }
    }

    /// Not connected in time: it goes.
    pub(super) fn verify(&mut self, id: ParticipantId) {
        if self.participant(id).is_some_and(|p| !p.is_active()) {
            self.remove(id, CloseReason::JoinTimeout);
        }
    }

    pub(super) fn refresh_token_again(&mut self, id: ParticipantId) {
        if self.participant(id).is_some() {
            self.refresh_token(id);
            let at = Instant::now() + TOKEN_REFRESH_INTERVAL;
            self.timers.set(at, Timer::RefreshToken(id));
        }
    }

    /// Sends a token that says what the participant is and may now, for its next connection.
    pub(super) fn refresh_token(&mut self, id: ParticipantId) {
        let signer = std::sync::Arc::clone(&self.settings.token_signer);
        let room = self.name.clone();
        let Some(participant) = self.participant_mut(id) else {
            return;
        };
        let mut claims = participant.claims.clone();
        claims.sub.clone_from(&participant.identity);
        if let Some(grant) = &mut claims.video {
            grant.room = room;
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        claims.exp = claims.exp.max((now + TOKEN_TTL_MIN).as_secs());
        let token = signer(&claims);
        if !token.is_empty() {
            participant.send(Message::RefreshToken(token));
        }
    }
}

fn new_session() -> SessionLines {
    SessionLines::new(rand::rng().random())
}

/// Clients prefer what comes first: VP8, H264, other video, then audio.
fn publish_codecs(mut codecs: Vec<proto::Codec>) -> Vec<proto::Codec> {
    codecs.sort_by_key(|codec| match codec.mime.to_ascii_lowercase().as_str() {
        "video/vp8" => 0,
        "video/h264" => 1,
        mime if mime.starts_with("video/") => 2,
        _ => 3,
    });
    codecs
}

/// Whether a participant of these grants may publish data, as the data plane needs it.
pub(super) fn data_publish(participant: &Participant) -> millrace_shared::link::DataPublish {
    crate::participant::stamp::data_publish(
        &participant.identity,
        &participant.sid,
        participant.hidden(),
        participant.grant().publishes_data(),
    )
}

/// Whether the participant may publish from this source.
pub(super) fn may_publish(participant: &Participant, source: proto::TrackSource) -> bool {
    permission::may_publish_source(&participant.grant(), source)
}
