//! What is kept of one data channel.

use sctp_proto::ReliabilityType;

use crate::limits::{DATA_CHANNEL_BUFFER_LOSSY, DATA_CHANNEL_BUFFER_RELIABLE};

/// How long a message is retransmitted (RFC 8831 §6.6).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Reliability {
    Reliable,
    /// At most so many times.
    Retransmits(u16),
    /// Until it is so old.
    LifetimeMs(u32),
}

impl Reliability {
    pub const fn is_reliable(self) -> bool {
        matches!(self, Self::Reliable)
    }

    pub(super) const fn buffer_len_max(self) -> usize {
        if self.is_reliable() {
            DATA_CHANNEL_BUFFER_RELIABLE
        } else {
            DATA_CHANNEL_BUFFER_LOSSY
        }
    }

    pub(super) fn to_library(self) -> (ReliabilityType, u32) {
        match self {
            Self::Reliable => (ReliabilityType::Reliable, 0),
            Self::Retransmits(count) => (ReliabilityType::Rexmit, u32::from(count)),
            Self::LifetimeMs(lifetime_ms) => (ReliabilityType::Timed, lifetime_ms),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ChannelState {
    /// Ours; its OPEN waits for the association.
    Waiting {
        label: String,
    },
    /// Ours; the peer has not answered its OPEN, so messages go in order whatever was agreed.
    Opening,
    /// A stream on which the peer has sent something that is no OPEN yet.
    Unannounced,
    /// The peer's; our ACK waits for the end of an earlier reset of the stream.
    Unacknowledged,
    Open,
    /// We have asked for its reset.
    Closing,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Channel {
    pub(super) stream: u16,
    pub(super) state: ChannelState,
    pub(super) ordered: bool,
    pub(super) reliability: Reliability,
}
