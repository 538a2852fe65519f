//! Deadlines of a room. What a deadline is about may be gone when it comes: whoever handles it
//! checks.

use std::collections::BTreeMap;

use millrace_shared::ids::TransportId;
use tokio::time::Instant;

use crate::participant::ParticipantId;
use crate::participant::signal::ConnectionId;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Timer {
    /// Nobody is in the room: time to close it?
    Empty,
    /// Updates of participants that publish nothing.
    Updates,
    /// The room's own description changed.
    RoomUpdate,
    /// Is the participant connected by now?
    Verify(ParticipantId),
    RefreshToken(ParticipantId),
    /// The signal socket went; did another come?
    SignalGone(ParticipantId, ConnectionId),
    /// A transport went silent; is it back?
    Silent(ParticipantId, TransportId),
    /// A transport failed; did the client resume?
    TransportGone(ParticipantId, ConnectionId),
    /// Our offer of this id should have been answered.
    Answer(ParticipantId, u32),
    /// Subscriptions still without a track?
    NotFound(ParticipantId),
    /// Memos may be written again.
    Memos,
    /// End of simulated speech.
    SimulatedSpeech(ParticipantId),
}

#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// The counter keeps timers of one instant apart, in the order they were set.
    queue: BTreeMap<(Instant, u64), Timer>,
    count: u64,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Instant, timer: Timer) {
        self.count += 1;
        self.queue.insert((at, self.count), timer);
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let entry = self.queue.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn timers_come_in_order_and_not_early() {
        let now = Instant::now();
        let mut timers = Timers::default();
        timers.set(now + Duration::from_secs(2), Timer::Updates);
        timers.set(now + Duration::from_secs(1), Timer::Empty);
        timers.set(now + Duration::from_secs(1), Timer::RoomUpdate);
        assert_eq!(timers.pop_due(now), None);
        let later = now + Duration::from_secs(1);
        assert_eq!(timers.pop_due(later), Some(Timer::Empty));
        assert_eq!(timers.pop_due(later), Some(Timer::RoomUpdate));
        assert_eq!(timers.pop_due(later), None);
        assert_eq!(timers.next(), Some(now + Duration::from_secs(2)));
    }
}
