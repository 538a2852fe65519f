//! The data channels of one transport that LiveKit clients use.

/// Which of LiveKit's data channels.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ChannelKind {
    /// `_reliable`: ordered, retransmitted.
    Reliable,
    /// `_lossy`: unordered, never retransmitted.
    Lossy,
}

impl ChannelKind {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Reliable => "_reliable",
            Self::Lossy => "_lossy",
        }
    }

    pub fn from_label(label: &str) -> Option<Self> {
        [Self::Reliable, Self::Lossy]
            .into_iter()
            .find(|kind| kind.label() == label)
    }
}

/// SCTP streams of the channels. A peer may close a channel and open it again under another stream.
#[derive(Debug, Default)]
pub struct Channels {
    reliable: Option<u16>,
    lossy: Option<u16>,
}

impl Channels {
    pub fn set(&mut self, kind: ChannelKind, stream: u16) {
        *self.slot(kind) = Some(stream);
    }

    pub fn close(&mut self, stream: u16) {
        for slot in [&mut self.reliable, &mut self.lossy] {
            if *slot == Some(stream) {
                *slot = None;
            }
        }
    }

    pub fn stream(&self, kind: ChannelKind) -> Option<u16> {
        match kind {
            ChannelKind::Reliable => self.reliable,
            ChannelKind::Lossy => self.lossy,
        }
    }

    pub fn kind(&self, stream: u16) -> Option<ChannelKind> {
        if self.reliable == Some(stream) {
            Some(ChannelKind::Reliable)
        } else if self.lossy == Some(stream) {
            Some(ChannelKind::Lossy)
        } else {
            None
        }
    }

    fn slot(&mut self, kind: ChannelKind) -> &mut Option<u16> {
        match kind {
            ChannelKind::Reliable => &mut self.reliable,
            ChannelKind::Lossy => &mut self.lossy,
        }
    }
}
