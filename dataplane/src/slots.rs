//! A slab whose handles carry a generation: a handle to something removed finds nothing, instead
//! of its successor.

/// Handle into a [`Slots`].
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot {
    index: u32,
    generation: u32,
}

impl Slot {
    /// Position, stable while the entry lives.
    pub const fn index(self) -> u32 {
        self.index
    }
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

#[derive(Debug)]
pub struct Slots<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slots<T> {
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn insert(&mut self, value: T) -> Slot {
        if let Some(index) = self.free.pop() {
            let entry = &mut self.entries[index as usize];
            entry.value = Some(value);
            return Slot {
                index,
                generation: entry.generation,
            };
        }
        let index = u32::try_from(self.entries.len()).expect("fewer than 2^32 entries");
        self.entries.push(Entry {
            generation: 0,
            value: Some(value),
        });
        Slot {
            index,
            generation: 0,
        }
    }

    /// Positions in use, and between them free ones.
    pub fn positions(&self) -> usize {
        self.entries.len()
    }

    /// What is at a position now.
    pub fn at(&self, index: u32) -> Option<(Slot, &T)> {
        let entry = self.entries.get(index as usize)?;
        let generation = entry.generation;
        let value = entry.value.as_ref()?;
        Some((Slot { index, generation }, value))
    }

    pub fn get(&self, slot: Slot) -> Option<&T> {
        self.entries
            .get(slot.index as usize)
            .filter(|entry| entry.generation == slot.generation)
            .and_then(|entry| entry.value.as_ref())
    }

    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.entries
            .get_mut(slot.index as usize)
            .filter(|entry| entry.generation == slot.generation)
            .and_then(|entry| entry.value.as_mut())
    }

    pub fn remove(&mut self, slot: Slot) -> Option<T> {
        let entry = self
            .entries
            .get_mut(slot.index as usize)
            .filter(|entry| entry.generation == slot.generation)?;
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(slot.index);
        Some(value)
    }

    /// In order of position: the same on every run.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        (0u32..).zip(&self.entries).filter_map(|(index, entry)| {
            let slot = Slot {
                index,
                generation: entry.generation,
            };
            entry.value.as_ref().map(|value| (slot, value))
        })
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Slot, &mut T)> {
        (0u32..)
            .zip(&mut self.entries)
            .filter_map(|(index, entry)| {
                let slot = Slot {
                    index,
                    generation: entry.generation,
                };
                entry.value.as_mut().map(|value| (slot, value))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_does_not_find_the_successor() {
        let mut slots = Slots::default();
        let first = slots.insert("first");
        assert_eq!(slots.remove(first), Some("first"));
        let second = slots.insert("second");
        assert_eq!(second.index(), first.index());
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.get(second), Some(&"second"));
        assert_eq!(slots.at(0), Some((second, &"second")));
        assert_eq!((slots.at(1), slots.positions()), (None, 1));
        assert_eq!(slots.len(), 1);
    }
}
