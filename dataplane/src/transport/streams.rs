//! Which track an SSRC belongs to.

use hashbrown::HashMap;
use millrace_shared::ids::{Mid, Ssrc};
use millrace_shared::limits::SSRCS_PER_TRANSPORT_MAX;

use crate::slots::Slot;
use crate::uptrack::StreamRole;

/// The stream that an SSRC is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct StreamRef {
    pub up_track: Slot,
    pub role: StreamRole,
}

/// SSRCs that a peer sends, as its description named them or its packets' MID and RID did
/// (RFC 8843 §9.2).
#[derive(Debug, Default)]
pub struct StreamsRx {
    by_ssrc: HashMap<Ssrc, StreamRef>,
    by_mid: HashMap<Mid, Slot>,
    any_ssrc: Option<Ssrc>,
}

impl StreamsRx {
    pub fn by_ssrc(&self, ssrc: Ssrc) -> Option<StreamRef> {
        self.by_ssrc.get(&ssrc).copied()
    }

    pub fn by_mid(&self, mid: &str) -> Option<Slot> {
        self.by_mid.get(mid).copied()
    }

    pub fn add_mid(&mut self, mid: Mid, up_track: Slot) {
        self.by_mid.insert(mid, up_track);
    }

    /// Whether no further source may be learned.
    pub fn is_full(&self) -> bool {
        self.by_ssrc.len() >= SSRCS_PER_TRANSPORT_MAX
    }

    pub fn learn(&mut self, ssrc: Ssrc, stream: StreamRef) {
        self.by_ssrc.insert(ssrc, stream);
    }

    /// An authentic packet of `ssrc` arrived, whether a track is known for it or not.
    pub fn note_heard(&mut self, ssrc: Ssrc) {
        self.any_ssrc = Some(ssrc);
    }

    /// A source of the peer, the one heard last.
    pub fn any_ssrc(&self) -> Option<Ssrc> {
        self.any_ssrc
    }

    pub fn remove_track(&mut self, up_track: Slot) {
        self.by_ssrc.retain(|_, stream| stream.up_track != up_track);
        self.by_mid.retain(|_, slot| *slot != up_track);
    }
}
