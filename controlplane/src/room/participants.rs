//! The participants of a room, with a note of which of them changed: their memos are written anew.

use std::collections::{BTreeSet, HashMap};
use std::ops::Deref;

use bytes::Bytes;
use indexmap::IndexMap;
use prost::Message as _;

use crate::participant::{Participant, ParticipantId};

/// Read like the map it holds.
#[derive(Debug, Default)]
pub(super) struct Participants {
    by_id: IndexMap<ParticipantId, Participant>,
    changed: BTreeSet<ParticipantId>,
    /// What others see of those who did not change since, as protobuf: each join takes all of them.
    infos: HashMap<ParticipantId, Bytes>,
}

impl Deref for Participants {
    type Target = IndexMap<ParticipantId, Participant>;

    fn deref(&self) -> &Self::Target {
        &self.by_id
    }
}

impl Participants {
    pub(super) fn insert(&mut self, id: ParticipantId, participant: Participant) {
        self.note_changed(id);
        self.by_id.insert(id, participant);
    }

    pub(super) fn get_mut(&mut self, id: &ParticipantId) -> Option<&mut Participant> {
        if self.by_id.contains_key(id) {
            self.note_changed(*id);
        }
        self.by_id.get_mut(id)
    }

    fn note_changed(&mut self, id: ParticipantId) {
        self.changed.insert(id);
        self.infos.remove(&id);
    }

    /// What a participant sees of everybody else, as protobuf.
    pub(super) fn encoded_others(&mut self, id: ParticipantId) -> Vec<Bytes> {
        let infos = &mut self.infos;
        let seen = self.by_id.iter();
        seen.filter(|(other, it)| **other != id && !it.hidden())
            .map(|(id, participant)| {
                let info = infos
                    .entry(*id)
                    .or_insert_with(|| participant.info().encode_to_vec().into());
                info.clone()
            })
            .collect()
    }

    /// For sending to everybody, which changes nothing that a memo holds or that others see.
    pub(super) fn everybody_mut(&mut self) -> impl Iterator<Item = &mut Participant> {
        self.by_id.values_mut()
    }

    pub(super) fn shift_remove(&mut self, id: &ParticipantId) -> Option<Participant> {
        self.note_changed(*id);
        self.by_id.shift_remove(id)
    }

    pub(super) fn any_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    pub(super) fn take_changed(&mut self) -> BTreeSet<ParticipantId> {
        std::mem::take(&mut self.changed)
    }
}
