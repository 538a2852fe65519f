//! The participants of a room, with a note of which of them changed: their memos are written anew.

use std::collections::BTreeSet;
use std::ops::Deref;

use indexmap::IndexMap;

use crate::participant::{Participant, ParticipantId};

/// Read like the map it holds.
#[derive(Debug, Default)]
pub(super) struct Participants {
    by_id: IndexMap<ParticipantId, Participant>,
    changed: BTreeSet<ParticipantId>,
}

impl Deref for Participants {
    type Target = IndexMap<ParticipantId, Participant>;

    fn deref(&self) -> &Self::Target {
        &self.by_id
    }
}

impl Participants {
    pub(super) fn insert(&mut self, id: ParticipantId, participant: Participant) {
        self.changed.insert(id);
        self.by_id.insert(id, participant);
    }

    pub(super) fn get_mut(&mut self, id: &ParticipantId) -> Option<&mut Participant> {
        let found = self.by_id.get_mut(id);
        if found.is_some() {
            self.changed.insert(*id);
        }
        found
    }

    /// For sending to everybody, which changes nothing that a memo holds.
    pub(super) fn everybody_mut(&mut self) -> impl Iterator<Item = &mut Participant> {
        self.by_id.values_mut()
    }

    pub(super) fn shift_remove(&mut self, id: &ParticipantId) -> Option<Participant> {
        self.changed.insert(*id);
        self.by_id.shift_remove(id)
    }

    pub(super) fn any_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    pub(super) fn take_changed(&mut self) -> BTreeSet<ParticipantId> {
        std::mem::take(&mut self.changed)
    }
}
