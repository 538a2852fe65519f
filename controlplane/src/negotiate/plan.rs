//! What the control plane brings to a negotiation.

use millrace_shared::ids::{DownTrackId, Rid, Ssrc, TrackId};
use millrace_shared::limits::SPATIAL_LAYERS_MAX;
use millrace_shared::link::{Codec, Fingerprint, IceCredentials, Layer, LocalAddress, MediaKind};
use serde::{Deserialize, Serialize};

use super::codec::PublishedCodec;

/// Our side of a transport. After an ICE restart the next description simply carries new
/// credentials.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalTransport {
    pub ice: IceCredentials,
    pub fingerprint: Fingerprint,
    /// Best first.
    pub candidates: Vec<LocalAddress>,
}

/// The `o=` line of one peer connection (RFC 8829 §5.2.1): the id stays, the version counts our
/// descriptions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SessionLines {
    pub(super) id: u64,
    pub(super) version: u64,
}

impl SessionLines {
    /// `id` is random; its top two bits are cleared, as the RFC asks.
    pub const fn new(id: u64) -> Self {
        Self {
            id: id & (u64::MAX >> 2),
            version: 0,
        }
    }

    /// Leaves versions out: a description may have gone out that this one does not know of.
    pub(crate) const fn skip(&mut self, versions: u64) {
        self.version += versions;
    }
}

/// What is to become of one m-line of a client's offer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MediaPlan {
    /// The client publishes.
    Receive(ReceivePlan),
    /// The client subscribes, on a recvonly m-line it made for us.
    Send(SendPlan),
    /// Nothing flows; the m-line can be used later.
    Inactive,
    /// The data channels.
    Data,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReceivePlan {
    pub track: TrackId,
    /// Codecs the client may publish with.
    pub allowed: Vec<Codec>,
    /// The codec that AddTrack asked for.
    pub preferred: Option<Codec>,
    /// Accept nothing but the preferred video codec: Firefox on Linux and Android does not heed
    /// the order of an answer.
    pub only_preferred: bool,
    /// Accept RED, and prefer it to Opus.
    pub red: bool,
    pub dtx: bool,
    pub stereo: bool,
    /// Rids by ascending spatial layer, from `TrackInfo.codecs[].layers[].rid`. Empty: `q h f`, or
    /// `2 1 0` of old clients. Those not offered leave no gap.
    pub rids: Vec<Rid>,
    pub pli_interval_ms: [u32; SPATIAL_LAYERS_MAX],
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SendPlan {
    pub down: DownTrackId,
    pub track: TrackId,
    pub kind: MediaKind,
    /// `PA_x|camera`: the client's SDK reads the participant before the bar.
    pub stream_id: String,
    pub track_sid: String,
    pub ssrc: Ssrc,
    pub rtx_ssrc: Ssrc,
    /// What the publisher's answer settled; the first is what it sends.
    pub source: Vec<PublishedCodec>,
    /// The publisher sends two channels (`TF_STEREO`).
    pub stereo: bool,
    pub max_layer: Layer,
    pub paused: bool,
}
