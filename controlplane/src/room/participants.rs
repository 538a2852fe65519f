//! The participants of a room, with a note of which of them changed: their memos are written anew.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use indexmap::IndexMap;
use prost::Message as _;

use crate::participant::{Participant, ParticipantId};

#[derive(Debug, Default)]
pub(super) struct Participants {
    /// Boxed: the table of a big room stays small, and gives back what a leaving one had.
    by_id: IndexMap<ParticipantId, Box<Participant>>,
    changed: BTreeSet<ParticipantId>,
    /// What others see of those who did not change since, as protobuf: each join takes all of them.
    infos: HashMap<ParticipantId, Bytes>,
}

impl Participants {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn get(&self, id: &ParticipantId) -> Option<&Participant> {
        self.by_id.get(id).map(Box::as_ref)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &ParticipantId> {
        self.by_id.keys()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Participant> {
        self.by_id.values().map(Box::as_ref)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ParticipantId, &Participant)> {
        self.by_id
            .iter()
            .map(|(id, participant)| (id, &**participant))
    }

    pub(super) fn insert(&mut self, id: ParticipantId, participant: Participant) {
        self.note_changed(id);
        self.by_id.insert(id, Box::new(participant));
    }

    pub(super) fn get_mut(&mut self, id: &ParticipantId) -> Option<&mut Participant> {
        if self.by_id.contains_key(id) {
            self.note_changed(*id);
        }
        self.by_id.get_mut(id).map(Box::as_mut)
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

    /// For hearing one and sending to it, which changes nothing that a memo holds or that others see.
    pub(super) fn receiver_mut(&mut self, id: &ParticipantId) -> Option<&mut Participant> {
        self.by_id.get_mut(id).map(Box::as_mut)
    }

    /// For sending to everybody, which changes nothing that a memo holds or that others see.
    pub(super) fn everybody_mut(&mut self) -> impl Iterator<Item = &mut Participant> {
        self.by_id.values_mut().map(Box::as_mut)
    }

    pub(super) fn shift_remove(&mut self, id: &ParticipantId) -> Option<Participant> {
        self.note_changed(*id);
        self.by_id.shift_remove(id).map(|participant| *participant)
    }

    pub(super) fn any_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    pub(super) fn take_changed(&mut self) -> BTreeSet<ParticipantId> {
        std::mem::take(&mut self.changed)
    }
}
