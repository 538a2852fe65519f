//! The peer connections of one participant, as the control plane sees them.

use indexmap::IndexMap;
use millrace_shared::ids::{Mid, ShardId, TrackId, TransportId};
use millrace_shared::link::{CandidatePair, IceCredentials, MediaKind, SetRemote};
use serde::{Deserialize, Serialize};

use crate::negotiate::{Offerer, Received, SessionLines};

/// How far a transport got, by what its shard says.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) enum LinkState {
    #[default]
    New,
    Connected,
    /// Silent for longer than LiveKit calls connected; may come back.
    Disconnected,
    /// Gone for good.
    Closed,
}

/// What both kinds of connection have.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Transport {
    pub(crate) id: TransportId,
    /// Where it was placed; commands for it go there.
    pub(crate) shard: ShardId,
    /// Where it is counted: its shard, or the one that has taken it over.
    pub(crate) counted_at: ShardId,
    /// Our credentials.
    pub(crate) ice: IceCredentials,
    /// The shard knows it.
    pub(crate) added: bool,
    /// What the peer's last description said. Other credentials mean that it restarted ICE.
    pub(crate) remote: Option<SetRemote>,
    pub(crate) state: LinkState,
    pub(crate) ever_connected: bool,
    pub(crate) pair: Option<CandidatePair>,
}

impl Transport {
    pub(crate) fn new(id: TransportId, shard: ShardId, ice: IceCredentials) -> Self {
        Self {
            id,
            shard,
            counted_at: shard,
            ice,
            added: false,
            remote: None,
            state: LinkState::New,
            ever_connected: false,
            pair: None,
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.state == LinkState::Connected
    }
}

/// The connection on which the client offers: it publishes there, and in single-connection mode
/// also subscribes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PublisherConnection {
    pub(crate) transport: Transport,
    pub(crate) session: SessionLines,
    /// The m-lines of the last offer that was answered.
    pub(crate) sections: IndexMap<Mid, SectionUse>,
    /// The set of copies to send changed: the client has to offer again.
    pub(crate) dirty: bool,
    /// M-lines asked for since the last answer.
    pub(crate) requested: SectionCount,
}

/// Use of one m-line of the client's offer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum SectionUse {
    /// The client publishes on it.
    Receive(ReceivedSection),
    /// It receives this subscription.
    Send {
        track_sid: String,
    },
    /// Ready to receive another one.
    Free(MediaKind),
    Unused,
}

/// What the answer settled of an m-line on which the client publishes. It may have come before the
/// request to publish: then it waits, with an id for its track.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ReceivedSection {
    pub(crate) track: TrackId,
    pub(crate) kind: MediaKind,
    /// Track id of the msid.
    pub(crate) cid: String,
    pub(crate) rids: Vec<String>,
    /// Absent when no codec fitted.
    pub(crate) received: Option<Received>,
}

/// A number of m-lines of each kind.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SectionCount {
    pub(crate) audio: u32,
    pub(crate) video: u32,
}

impl SectionCount {
    pub(crate) fn add(&mut self, kind: MediaKind) {
        match kind {
            MediaKind::Audio => self.audio += 1,
            MediaKind::Video => self.video += 1,
        }
    }

    /// What is missing from `have` to this.
    pub(crate) const fn beyond(self, have: Self) -> Self {
        Self {
            audio: self.audio.saturating_sub(have.audio),
            video: self.video.saturating_sub(have.video),
        }
    }
}

impl PublisherConnection {
    /// What was settled of a published track.
    pub(crate) fn received(&self, track: TrackId) -> Option<&ReceivedSection> {
        self.sections.values().find_map(|section| match section {
            SectionUse::Receive(received) if received.track == track => Some(received),
            _ => None,
        })
    }

    /// Takes a subscription off its m-line.
    pub(crate) fn free(&mut self, track_sid: &str, kind: MediaKind) {
        for section in self.sections.values_mut() {
            if matches!(section, SectionUse::Send { track_sid: sid } if sid == track_sid) {
                *section = SectionUse::Free(kind);
            }
        }
    }

    pub(crate) fn carries(&self, track_sid: &str) -> bool {
        self.sections.values().any(
            |section| matches!(section, SectionUse::Send { track_sid: sid } if sid == track_sid),
        )
    }

    pub(crate) fn free_sections(&self) -> SectionCount {
        let mut count = SectionCount::default();
        for section in self.sections.values() {
            if let SectionUse::Free(kind) = section {
                count.add(*kind);
            }
        }
        count
    }
}

/// The connection on which we offer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SubscriberConnection {
    pub(crate) transport: Transport,
    pub(crate) offerer: Offerer,
    /// Id of the last offer.
    pub(crate) offer_id: u32,
    /// An offer waits for its answer.
    pub(crate) in_flight: bool,
    /// The next offer brings new ICE credentials.
    pub(crate) restart: bool,
}
