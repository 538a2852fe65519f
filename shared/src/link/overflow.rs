//! Events that find the control plane behind.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use super::{Event, EventLosses};
use crate::limits::EVENTS_OVERFLOW_MAX;

/// Keeps one shard's events while the queue to the control plane has no place, in order. They go
/// with the next event; a shard has one every second. What is repeated anyway does not wait.
#[derive(Debug)]
pub struct EventOverflow {
    waiting: RefCell<VecDeque<Event>>,
    len_max: usize,
    losses: Cell<EventLosses>,
}

impl Default for EventOverflow {
    fn default() -> Self {
        Self::new(EVENTS_OVERFLOW_MAX)
    }
}

impl EventOverflow {
    fn new(len_max: usize) -> Self {
        Self {
            waiting: RefCell::default(),
            len_max,
            losses: Cell::default(),
        }
    }

    /// Sends what waits and then `event` by `try_send`, which returns what it has no place for. Gives
    /// back an event that is lost for good.
    pub fn send(
        &self,
        event: Event,
        mut try_send: impl FnMut(Event) -> Result<(), Event>,
    ) -> Result<(), Event> {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(first) = waiting.pop_front() {
            if let Err(first) = try_send(first) {
                waiting.push_front(first);
                break;
            }
        }
        let event = if waiting.is_empty() {
            match try_send(event) {
                Ok(()) => return Ok(()),
                Err(event) => event,
            }
        } else {
            event
        };
        let mut losses = self.losses.get();
        if is_repeated(&event) {
            losses.repeated += 1;
            self.losses.set(losses);
            return Ok(());
        }
        if waiting.len() >= self.len_max {
            losses.told_once += 1;
            self.losses.set(losses);
            return Err(event);
        }
        waiting.push_back(event);
        Ok(())
    }

    pub fn losses(&self) -> EventLosses {
        self.losses.get()
    }

    pub fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whether the shard says it again in a moment.
pub fn is_repeated(event: &Event) -> bool {
    matches!(
        event,
        Event::Speakers { .. } | Event::Reports { .. } | Event::Metrics { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{GroupId, TransportId};

    fn connected(n: u64) -> Event {
        Event::Connected {
            transport: TransportId(n),
        }
    }

    fn speakers() -> Event {
        Event::Speakers {
            group: GroupId(1),
            levels: Vec::new(),
        }
    }

    #[test]
    fn what_is_told_once_waits_in_order_and_the_rest_gives_way() {
        let overflow = EventOverflow::default();
        let mut queue = Vec::new();
        let full = |event| Err(event);
        assert_eq!(overflow.send(connected(1), full), Ok(()));
        assert_eq!(overflow.send(speakers(), full), Ok(()));
        assert_eq!(overflow.send(connected(2), full), Ok(()));
        assert_eq!(overflow.len(), 2);
        // Room for one: the second goes on waiting, and nothing overtakes it.
        overflow
            .send(connected(3), |event| {
                if queue.is_empty() {
                    queue.push(event);
                    return Ok(());
                }
                Err(event)
            })
            .unwrap();
        assert_eq!(queue, [connected(1)]);
        overflow
            .send(speakers(), |event| {
                queue.push(event);
                Ok(())
            })
            .unwrap();
        assert_eq!(queue[1..], [connected(2), connected(3), speakers()]);
        assert!(overflow.is_empty());
    }

    #[test]
    fn it_has_an_end() {
        let overflow = EventOverflow::new(2);
        let full = |event| Err(event);
        assert_eq!(overflow.send(connected(1), full), Ok(()));
        assert_eq!(overflow.send(connected(2), full), Ok(()));
        assert_eq!(overflow.send(connected(3), full), Err(connected(3)));
        assert_eq!(overflow.send(speakers(), full), Ok(()));
        let losses = EventLosses {
            repeated: 1,
            told_once: 1,
        };
        assert_eq!(overflow.losses(), losses);
    }
}
