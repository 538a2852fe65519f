//! What a control lane carries.

use bytes::Bytes;
use millrace_shared::ice::Tuple;
use millrace_shared::ids::{GroupId, TrackId, TransportId};
use millrace_shared::limits::{CONTROL_BACKLOG_MAX, DATA_BACKLOG_MAX};
use millrace_shared::link::{Command, UpTrackConfig};
use millrace_shared::time::{ExtSeq, Timestamp};

use crate::group::StoredPacket;
use crate::packet::SenderClock;
use crate::transport::channels::ChannelKind;

/// Each is about something that may have gone meanwhile; then it changes nothing.
#[derive(Clone, Debug)]
pub enum ControlMessage {
    /// The sender has subscribers of a track, wherever it is and whenever it comes.
    Subscribe {
        track: TrackId,
    },
    /// It has none any more.
    Unsubscribe {
        track: TrackId,
    },
    /// The sender has a track that the receiver subscribed to; sent again when it changes.
    Mirror(Box<MirrorConfig>),
    /// It has the track no more.
    MirrorEnd {
        track: TrackId,
    },
    /// The publisher's wallclock of an encoding, by its sender report.
    SenderClock {
        track: TrackId,
        spatial: u8,
        clock: SenderClock,
    },
    /// Key frames of these layers (bit n: layer n) are needed.
    Keyframes {
        track: TrackId,
        layers: u8,
    },
    /// This packet did not reach the mirror. One message each, so that a loss allocates nothing.
    Resend {
        track: TrackId,
        spatial: u8,
        seq: ExtSeq,
    },
    /// The sender has members of the group now, or has none any more.
    GroupJoined {
        group: GroupId,
    },
    GroupLeft {
        group: GroupId,
    },
    /// A data packet for the group's members there.
    Data(Box<GroupData>),
    /// What was sent to the group before the receiver had members of it.
    Replay {
        group: GroupId,
        packet: Box<StoredPacket>,
    },
    /// A transport whose first authentic check reached the receiver: it is the receiver's now.
    Adopt(Box<Adoption>),
    /// It has ended.
    AdoptionEnd {
        transport: TransportId,
    },
    /// A command for a transport that the receiver has adopted.
    Forwarded(Box<Command>),
    /// Datagrams of this tuple are for the sender, which has validated it.
    PassTuple {
        tuple: Box<Tuple>,
    },
    /// No longer.
    EndTuple {
        tuple: Box<Tuple>,
    },
}

impl ControlMessage {
    /// How long the backlog may be that it is put into. None for what the next of its kind makes
    /// good, and for what a lossy channel may lose.
    pub fn backlog_max(&self) -> usize {
        match self {
            Self::SenderClock { .. } | Self::Keyframes { .. } | Self::Resend { .. } => 0,
            // Told again with the tuple's next check, in some seconds.
            Self::PassTuple { .. } => 0,
            Self::Data(data) if data.kind == ChannelKind::Lossy => 0,
            // These alone are large.
            Self::Data(_) | Self::Replay { .. } => DATA_BACKLOG_MAX,
            Self::Subscribe { .. }
            | Self::Unsubscribe { .. }
            | Self::Mirror(_)
            | Self::MirrorEnd { .. }
            | Self::GroupJoined { .. }
            | Self::GroupLeft { .. }
            | Self::Adopt(_)
            | Self::AdoptionEnd { .. }
            | Self::Forwarded(_)
            | Self::EndTuple { .. } => CONTROL_BACKLOG_MAX,
        }
    }
}

/// A track as a mirror of it needs to know it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MirrorConfig {
    pub config: UpTrackConfig,
    pub muted: bool,
    /// Bit n: the publisher sends the encoding of spatial layer n.
    pub live_layers: u8,
    /// By spatial layer.
    pub clocks: Vec<(u8, SenderClock)>,
}

/// A data packet on its way to the members of a group.
#[derive(Clone, Debug)]
pub struct GroupData {
    pub group: GroupId,
    pub kind: ChannelKind,
    /// Whose other transports do not get it; none for the server's own.
    pub sender_label: Option<Box<str>>,
    pub packet: Bytes,
    /// As the group keeps it for those who resume, where it does.
    pub stored: Option<StoredPacket>,
}

/// A transport that nobody has reached yet, as the commands that made it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Adoption {
    pub transport: TransportId,
    pub commands: Vec<Command>,
    pub added_at: Timestamp,
    /// The check that decided it.
    pub tuple: Tuple,
    pub check: Vec<u8>,
}
