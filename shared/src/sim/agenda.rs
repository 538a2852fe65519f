//! What happens next, and the clock that it moves.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::time::Timestamp;

/// Events in the order of their times; those of one time in the order in which they were noted.
/// The clock stands at the time of the event taken last and never goes back.
#[derive(Debug)]
pub struct Agenda<T> {
    now: Timestamp,
    noted: u64,
    queue: BinaryHeap<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    at: Timestamp,
    order: u64,
    event: T,
}

impl<T> Agenda<T> {
    pub fn new(start: Timestamp) -> Self {
        Self {
            now: start,
            noted: 0,
            queue: BinaryHeap::new(),
        }
    }

    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// An event of the past happens at once.
    pub fn note(&mut self, at: Timestamp, event: T) {
        let at = at.max(self.now);
        self.noted += 1;
        self.queue.push(Entry {
            at,
            order: self.noted,
            event,
        });
    }

    pub fn next_at(&self) -> Timestamp {
        self.queue.peek().map_or(Timestamp::NEVER, |entry| entry.at)
    }

    /// The next event, if it is not later than `until`; the clock moves to it.
    pub fn take(&mut self, until: Timestamp) -> Option<T> {
        if self.next_at() > until {
            return None;
        }
        let entry = self.queue.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }

    /// Moves the clock to a time at which something else than an event happens.
    pub fn advance(&mut self, to: Timestamp) {
        assert!(to >= self.now, "the clock never goes back");
        assert!(to <= self.next_at(), "an event was passed over");
        self.now = to;
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

// Reversed, for the heap gives the greatest first.
impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Timestamp = Timestamp::from_millis;

    #[test]
    fn events_come_by_time_then_as_noted() {
        let mut agenda = Agenda::new(AT(5));
        for (at, event) in [(9, 'c'), (7, 'a'), (9, 'd'), (7, 'b'), (1, '0')] {
            agenda.note(AT(at), event);
        }
        let taken: String = std::iter::from_fn(|| agenda.take(AT(9))).collect();
        assert_eq!(taken, "0abcd");
        assert_eq!(agenda.now(), AT(9));
    }

    #[test]
    fn what_is_later_waits() {
        let mut agenda = Agenda::new(AT(0));
        agenda.note(AT(10), ());
        assert_eq!(agenda.take(AT(9)), None);
        agenda.advance(AT(10));
        assert_eq!(agenda.take(AT(10)), Some(()));
        assert_eq!(agenda.next_at(), Timestamp::NEVER);
    }
}
