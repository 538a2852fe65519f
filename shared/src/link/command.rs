//! Control plane to data plane. Each command goes to the shard that owns the transport.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::media::{DownTrackConfig, ExtIds, Layer, UpTrackConfig};
use crate::ids::{DownTrackId, GroupId, TrackId, TransportId};

/// ICE user name fragment and password of one side (RFC 8445 §5.3).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceCredentials {
    pub ufrag: String,
    pub pwd: String,
}

impl std::fmt::Debug for IceCredentials {
    // The password authenticates checks: it never reaches a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceCredentials")
            .field("ufrag", &self.ufrag)
            .finish_non_exhaustive()
    }
}

/// SHA-256 of a DTLS certificate (RFC 8122 §5).
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 32]);

/// Whether and as whom a transport may publish data packets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DataPublish {
    /// Encoded fields that say who sent it; appended last to every packet, so that they override
    /// what the sender wrote (protobuf: the last value of a field wins).
    pub stamp: Bytes,
    pub allowed: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AddTransport {
    pub transport: TransportId,
    /// Data packets are exchanged and speakers ranked within a group.
    pub group: GroupId,
    /// What destinations of data packets name this transport's owner by. The two transports of
    /// one owner share it.
    pub label: String,
    /// Our side; the ufrag is unique on the node and begins with the shard's number.
    pub ice: IceCredentials,
    pub data_publish: DataPublish,
    /// Data packets of others are sent on this transport.
    pub data_receive: bool,
    /// We open the data channels `_reliable` and `_lossy` (subscriber transports); otherwise the
    /// peer does.
    pub open_data_channels: bool,
}

/// What the peer's description said of the transport. Sent again after an ICE restart.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SetRemote {
    pub transport: TransportId,
    pub ice: IceCredentials,
    pub fingerprint: Fingerprint,
    /// Header extensions the peer may send, over all its m-lines (RFC 8843 §9: one id means one
    /// thing in a BUNDLE group).
    pub receive_ext_ids: ExtIds,
}

/// A data packet that the server itself sends.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SendData {
    pub group: GroupId,
    pub reliable: bool,
    /// An encoded DataPacket; its destination field says who gets it, none means all.
    pub packet: Bytes,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    AddTransport(Box<AddTransport>),
    SetRemote(Box<SetRemote>),
    /// New local ICE credentials. The old pair carries media until the new one is nominated
    /// (RFC 8445 §2.4).
    RestartIce {
        transport: TransportId,
        ice: IceCredentials,
    },
    /// Says goodbye (SCTP abort, DTLS close_notify, RTCP BYE) and forgets it with all its tracks.
    RemoveTransport {
        transport: TransportId,
    },
    /// Grants or withdraws the right to publish data.
    SetDataPublish {
        transport: TransportId,
        data_publish: DataPublish,
    },

    /// Adds a published track, or replaces its description after a renegotiation.
    SetUpTrack {
        transport: TransportId,
        config: Box<UpTrackConfig>,
    },
    RemoveUpTrack {
        transport: TransportId,
        track: TrackId,
    },
    /// While muted nothing of the track is forwarded.
    MuteUpTrack {
        transport: TransportId,
        track: TrackId,
        muted: bool,
    },

    /// Adds a subscriber's copy, or replaces its description after a renegotiation. The track may
    /// be unknown yet: it starts when the track comes.
    SetDownTrack {
        transport: TransportId,
        config: Box<DownTrackConfig>,
    },
    RemoveDownTrack {
        transport: TransportId,
        down: DownTrackId,
    },
    SetDownTrackLayer {
        transport: TransportId,
        down: DownTrackId,
        max_layer: Layer,
        paused: bool,
    },

    SendData(Box<SendData>),
    /// Sends again the reliable data packets that `transport` missed: of each sender (its stamp's
    /// sid) those after the given sequence.
    ReplayData {
        transport: TransportId,
        last_sequences: Vec<(String, u32)>,
    },

    /// Asks for [`super::Snapshot`]s, which repeat the token.
    Snapshot {
        token: u64,
    },
    /// Closes every transport and ends the shard.
    Shutdown,
}

impl Command {
    /// The transport that it is about, if it is about one.
    pub fn transport(&self) -> Option<TransportId> {
        match self {
            Self::AddTransport(add) => Some(add.transport),
            Self::SetRemote(remote) => Some(remote.transport),
            Self::RestartIce { transport, .. }
            | Self::RemoveTransport { transport }
            | Self::SetDataPublish { transport, .. }
            | Self::SetUpTrack { transport, .. }
            | Self::RemoveUpTrack { transport, .. }
            | Self::MuteUpTrack { transport, .. }
            | Self::SetDownTrack { transport, .. }
            | Self::RemoveDownTrack { transport, .. }
            | Self::SetDownTrackLayer { transport, .. }
            | Self::ReplayData { transport, .. } => Some(*transport),
            Self::SendData(_) | Self::Shutdown | Self::Snapshot { .. } => None,
        }
    }
}
