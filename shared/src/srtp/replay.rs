//! Replay protection (RFC 3711 §3.3.2): which packet indices of each SSRC have been seen.

use std::fmt;

use crate::ids::Ssrc;
use crate::limits::{REPLAY_WINDOW_PACKETS, SSRCS_PER_TRANSPORT_MAX};

const WORDS: usize = REPLAY_WINDOW_PACKETS / 64;

/// The last [`REPLAY_WINDOW_PACKETS`] indices up to the highest one, as a ring of bits.
#[derive(Clone)]
pub(super) struct ReplayWindow {
    highest: u64,
    seen: [u64; WORDS],
}

impl ReplayWindow {
    fn new(first: u64) -> Self {
        let mut window = Self {
            highest: first,
            seen: [0; WORDS],
        };
        window.mark(first);
        window
    }

    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// Whether a packet with `index` was seen, or is too old to tell.
    pub(super) fn is_replay(&self, index: u64) -> bool {
        match self.highest.checked_sub(index) {
            None => false,
            Some(age) => age >= REPLAY_WINDOW_PACKETS as u64 || self.is_marked(index),
        }
    }

    /// Records an authentic packet that was no replay.
    fn accept(&mut self, index: u64) {
        if index > self.highest {
            self.forget_between(self.highest + 1, index);
            self.highest = index;
        }
        self.mark(index);
    }

    /// Clears the bits of the indices that come into the window, which still say what was seen a
    /// window ago.
    fn forget_between(&mut self, first: u64, last: u64) {
        if last - first >= REPLAY_WINDOW_PACKETS as u64 {
            self.seen = [0; WORDS];
            return;
        }
        for index in first..=last {
            let (word, bit) = place(index);
            if let Some(word) = self.seen.get_mut(word) {
                *word &= !bit;
            }
        }
    }

    fn mark(&mut self, index: u64) {
        let (word, bit) = place(index);
        if let Some(word) = self.seen.get_mut(word) {
            *word |= bit;
        }
    }

    fn is_marked(&self, index: u64) -> bool {
        let (word, bit) = place(index);
        self.seen.get(word).is_some_and(|word| word & bit != 0)
    }
}

impl fmt::Debug for ReplayWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayWindow")
            .field("highest", &self.highest)
            .finish_non_exhaustive()
    }
}

/// Word and bit of `index` in the ring.
fn place(index: u64) -> (usize, u64) {
    let slot = index % REPLAY_WINDOW_PACKETS as u64;
    ((slot / 64) as usize, 1 << (slot % 64))
}

#[derive(Debug)]
struct Entry {
    ssrc: Ssrc,
    /// [`ReplayWindows::accepted`] when this SSRC was last heard.
    heard: u64,
    window: ReplayWindow,
}

/// The windows of the SSRCs that proved authentic, at most [`SSRCS_PER_TRANSPORT_MAX`].
///
/// When full, the SSRC that has been silent longest makes room: refusing the new one would end a
/// publisher's next track because of its previous ones. Only the peer itself, who has the keys, can
/// push one of its SSRCs out, and thereby make its own old packets replayable.
#[derive(Debug, Default)]
pub(super) struct ReplayWindows {
    /// Ordered by SSRC.
    entries: Vec<Entry>,
    accepted: u64,
}

impl ReplayWindows {
    pub(super) fn window(&self, ssrc: Ssrc) -> Option<&ReplayWindow> {
        let at = self.position(ssrc).ok()?;
        self.entries.get(at).map(|entry| &entry.window)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Records an authentic packet that was no replay.
    pub(super) fn accept(&mut self, ssrc: Ssrc, index: u64) {
        self.accepted += 1;
        match self.position(ssrc) {
            Ok(at) => {
                if let Some(entry) = self.entries.get_mut(at) {
                    entry.window.accept(index);
                    entry.heard = self.accepted;
                }
            }
            Err(_) => self.insert(ssrc, index),
        }
    }

    fn insert(&mut self, ssrc: Ssrc, index: u64) {
        if self.entries.len() >= SSRCS_PER_TRANSPORT_MAX {
            self.evict();
        }
        let (Ok(at) | Err(at)) = self.position(ssrc);
        self.entries.insert(
            at,
            Entry {
                ssrc,
                heard: self.accepted,
                window: ReplayWindow::new(index),
            },
        );
    }

    fn evict(&mut self) {
        let silent = self.entries.iter().enumerate();
        if let Some((at, _)) = silent.min_by_key(|(_, entry)| entry.heard) {
            self.entries.remove(at);
        }
    }

    fn position(&self, ssrc: Ssrc) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&ssrc, |entry| entry.ssrc)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The window against a set that forgets nothing.
        #[test]
        fn agrees_with_a_set(
            first in 0u64..5_000,
            steps in prop::collection::vec(-1_500i64..1_500, 1..400),
        ) {
            let mut window = ReplayWindow::new(first);
            let mut seen = BTreeSet::from([first]);
            let mut at = first;
            for step in steps {
                at = at.saturating_add_signed(step);
                let highest = *seen.last().unwrap();
                let too_old = at + (REPLAY_WINDOW_PACKETS as u64) <= highest;
                let replay = too_old || seen.contains(&at);
                prop_assert_eq!(window.is_replay(at), replay, "index {}", at);
                if !replay {
                    window.accept(at);
                    seen.insert(at);
                }
            }
        }
    }

    #[test]
    fn full_table_forgets_the_ssrc_silent_longest() {
        let mut windows = ReplayWindows::default();
        let limit = u32::try_from(SSRCS_PER_TRANSPORT_MAX).unwrap();
        for ssrc in 0..limit {
            windows.accept(Ssrc(ssrc), 1);
        }
        windows.accept(Ssrc(0), 2);
        windows.accept(Ssrc(limit), 1);
        assert_eq!(windows.len(), SSRCS_PER_TRANSPORT_MAX);
        assert!(windows.window(Ssrc(0)).is_some());
        assert!(windows.window(Ssrc(1)).is_none());
        assert!(windows.window(Ssrc(limit)).is_some());
    }
}
