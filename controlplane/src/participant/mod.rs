//! One participant of a room: plain state that its room owns and changes.

pub(crate) mod client;
pub(crate) mod close;
pub(crate) mod known;
pub(crate) mod layers;
pub(crate) mod memo;
pub(crate) mod permission;
pub(crate) mod publish;
pub(crate) mod signal;
pub(crate) mod stamp;
pub(crate) mod subscribe;
pub(crate) mod transport;

use std::time::{SystemTime, UNIX_EPOCH};

use indexmap::IndexMap;
use livekit_protocol as proto;
use millrace_shared::ids::TrackId;
use proto::participant_info::State;
use proto::signal_response::Message;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::auth::{Claims, VideoGrant};
use client::Client;
pub use close::CloseReason;
use publish::{PendingTrack, PublishedTrack};
use signal::{EncodedResponse, Signal};
use subscribe::{SsrcSequence, SubscriberPermissions, Subscription};
use transport::{PublisherConnection, SubscriberConnection, Transport};

/// Number of a participant within its room; never used twice.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub(crate) struct ParticipantId(pub(crate) u32);

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Participant {
    pub(crate) sid: String,
    pub(crate) identity: String,
    /// Name, metadata, attributes and grants as they stand now.
    #[serde(with = "memo::json")]
    pub(crate) claims: Claims,
    pub(crate) client: Client,
    pub(crate) region: String,
    #[serde(with = "memo::enumeration")]
    pub(crate) state: State,
    pub(crate) version: u32,
    pub(crate) joined_at: SystemTime,
    #[serde(skip)]
    pub(crate) close_reason: Option<CloseReason>,
    pub(crate) is_publisher: bool,

    pub(crate) auto_subscribe: bool,
    pub(crate) adaptive_stream: bool,
    pub(crate) single_connection: bool,
    pub(crate) subscriber_primary: bool,

    #[serde(skip)]
    pub(crate) signal: Signal,
    /// When the room last had a request of the client.
    #[serde(skip, default = "Instant::now")]
    pub(crate) asked_at: Instant,
    pub(crate) publisher: PublisherConnection,
    pub(crate) subscriber: Option<SubscriberConnection>,

    pub(crate) pending: Vec<PendingTrack>,
    pub(crate) published: IndexMap<TrackId, PublishedTrack>,
    pub(crate) permissions: SubscriberPermissions,
    /// By the track's sid.
    pub(crate) subscriptions: IndexMap<String, Subscription>,
    /// A timer runs for subscriptions to tracks that are not there.
    #[serde(skip)]
    pub(crate) awaits_tracks: bool,
    #[serde(skip)]
    pub(crate) simulated_speech: bool,
    /// For the copies on the transport that sends.
    pub(crate) ssrcs: SsrcSequence,
    /// Sequence of the last reliable data packet the data plane had from it.
    #[serde(skip)]
    pub(crate) reliable_sequence: u32,
    /// Taken back from a memo, and its client has not resumed yet.
    #[serde(skip)]
    pub(crate) restored: bool,
}

impl Participant {
    pub(crate) fn grant(&self) -> VideoGrant {
        self.claims.video.clone().unwrap_or_default()
    }

    fn has_grant(&self, of: impl Fn(&VideoGrant) -> bool) -> bool {
        self.claims.video.as_ref().is_some_and(of)
    }

    pub(crate) fn hidden(&self) -> bool {
        self.has_grant(|grant| grant.hidden)
    }

    pub(crate) fn kind(&self) -> proto::participant_info::Kind {
        permission::kind(&self.claims)
    }

    pub(crate) fn is_recorder(&self) -> bool {
        self.kind() == proto::participant_info::Kind::Egress
            || self.has_grant(|grant| grant.recorder)
    }

    pub(crate) fn is_dependent(&self) -> bool {
        permission::is_dependent(&self.claims)
    }

    /// The client has its join response and can take other messages.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.state, State::Joined | State::Active)
    }

    pub(crate) fn is_active(&self) -> bool {
        self.state == State::Active
    }

    /// Something that others see changed.
    pub(crate) fn touch(&mut self) {
        self.version += 1;
    }

    pub(crate) fn send(&mut self, message: Message) {
        self.signal.send(message);
    }

    /// When the client was last heard.
    pub(crate) fn heard_at(&self) -> Instant {
        self.signal
            .heard_at()
            .map_or(self.asked_at, |at| at.max(self.asked_at))
    }

    /// Sends what others are sent, too.
    pub(crate) fn send_encoded(&mut self, response: &EncodedResponse) {
        self.signal.send_encoded(response);
    }

    /// The transport that decides whether the participant is there.
    pub(crate) fn primary(&self) -> &Transport {
        match &self.subscriber {
            Some(subscriber) if self.subscriber_primary => &subscriber.transport,
            _ => &self.publisher.transport,
        }
    }

    pub(crate) fn transports(&self) -> impl Iterator<Item = &Transport> {
        std::iter::once(&self.publisher.transport).chain(
            self.subscriber
                .as_ref()
                .map(|subscriber| &subscriber.transport),
        )
    }

    pub(crate) fn transports_mut(&mut self) -> impl Iterator<Item = &mut Transport> {
        std::iter::once(&mut self.publisher.transport).chain(
            self.subscriber
                .as_mut()
                .map(|subscriber| &mut subscriber.transport),
        )
    }

    pub(crate) fn ever_connected(&self) -> bool {
        self.transports().any(|transport| transport.ever_connected)
    }

    /// The transport on which copies are sent.
    pub(crate) fn sending_transport(&self) -> Option<&Transport> {
        if self.single_connection {
            return Some(&self.publisher.transport);
        }
        self.subscriber
            .as_ref()
            .map(|subscriber| &subscriber.transport)
    }

    pub(crate) fn published_by_sid(&self, sid: &str) -> Option<&PublishedTrack> {
        self.published.values().find(|track| track.sid() == sid)
    }

    pub(crate) fn published_by_sid_mut(&mut self, sid: &str) -> Option<&mut PublishedTrack> {
        self.published.values_mut().find(|track| track.sid() == sid)
    }

    /// A track's description wherever it stands: published, or waiting for its m-line.
    pub(crate) fn track_info_mut(&mut self, sid: &str) -> Option<&mut proto::TrackInfo> {
        let published = self.published.values_mut().map(|track| &mut track.info);
        let pending = self.pending.iter_mut().flat_map(|track| &mut track.infos);
        published.chain(pending).find(|info| info.sid == sid)
    }

    pub(crate) fn is_subscribed_to(&self, publisher_sid: &str) -> bool {
        self.subscriptions
            .values()
            .filter_map(|subscription| subscription.down.as_ref())
            .any(|down| down.publisher_sid == publisher_sid)
    }

    /// What everybody sees of it.
    pub(crate) fn info(&self) -> proto::ParticipantInfo {
        let joined_at = self
            .joined_at
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        proto::ParticipantInfo {
            sid: self.sid.clone(),
            identity: self.identity.clone(),
            state: self.state.into(),
            tracks: self
                .published
                .values()
                .filter(|track| track.announced)
                .map(|track| track.info.clone())
                .collect(),
            metadata: self.claims.metadata.clone(),
            joined_at: i64::try_from(joined_at.as_secs()).unwrap_or(i64::MAX),
            joined_at_ms: i64::try_from(joined_at.as_millis()).unwrap_or(i64::MAX),
            name: self.claims.name.clone(),
            version: self.version,
            permission: Some(permission::to_proto(&self.grant())),
            region: self.region.clone(),
            is_publisher: self.is_publisher,
            kind: self.kind().into(),
            attributes: self
                .claims
                .attributes
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            disconnect_reason: self
                .close_reason
                .map_or(0, |reason| reason.disconnect_reason().into()),
            client_protocol: self.client.info.client_protocol,
            capabilities: self.client.info.capabilities.clone(),
            ..Default::default()
        }
    }
}
