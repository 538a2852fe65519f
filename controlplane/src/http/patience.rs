//! When a signaling socket is pinged, and when its client is given up.

use std::time::Duration;

use tokio::time::Instant;

/// How long a socket is silent in either direction before we ping below the protocol (LiveKit does
/// whatever else is sent): proxies close what is silent. Clients ping far more often, so that a
/// thousand of them are not woken for nothing.
const PING_AFTER: Duration = Duration::from_secs(10);
/// Two pings without an answer, ten seconds after the second: the client's network is gone, and TCP
/// would not say so for a quarter of an hour.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What is to be done when nothing else happens.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Due {
    Ping,
    /// The client may be read again.
    Resume,
    /// The client is gone.
    Silence,
}

/// What one socket has to wait for.
#[derive(Debug)]
pub(super) struct Patience {
    heard: Instant,
    written: Instant,
    pinged: Instant,
    /// Until when the client is not read.
    paused_until: Option<Instant>,
}

impl Patience {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            heard: now,
            written: now,
            pinged: now,
            paused_until: None,
        }
    }

    pub(super) fn note_heard(&mut self, now: Instant) {
        self.heard = now;
    }

    pub(super) fn note_written(&mut self, now: Instant) {
        self.written = now;
    }

    pub(super) fn note_pinged(&mut self, now: Instant) {
        self.pinged = now;
    }

    pub(super) fn pause(&mut self, until: Instant) {
        self.paused_until = Some(until);
    }

    /// The pause is over, and the client's silence begins anew.
    pub(super) fn resume(&mut self, now: Instant) {
        self.paused_until = None;
        self.heard = now;
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused_until.is_some()
    }

    /// What is due first, and when.
    pub(super) fn next(&self) -> (Instant, Due) {
        let ping_at = self.heard.min(self.written).max(self.pinged) + PING_AFTER;
        // Whom we do not read cannot be heard.
        let (at, due) = match self.paused_until {
            Some(until) => (until, Due::Resume),
            None => (self.heard + SILENCE_MAX, Due::Silence),
        };
        if ping_at < at {
            (ping_at, Due::Ping)
        } else {
            (at, due)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(begin: Instant, seconds: u64) -> Instant {
        begin + Duration::from_secs(seconds)
    }

    #[test]
    fn who_is_silent_is_pinged_and_given_up() {
        let begin = Instant::now();
        let mut patience = Patience::new(begin);
        for seconds in [10, 20] {
            assert_eq!(patience.next(), (after(begin, seconds), Due::Ping));
            patience.note_pinged(after(begin, seconds));
            patience.note_written(after(begin, seconds));
        }
        assert_eq!(patience.next(), (after(begin, 30), Due::Silence));
    }

    #[test]
    fn only_a_socket_that_is_silent_in_a_direction_is_pinged() {
        let begin = Instant::now();
        let mut patience = Patience::new(begin);
        patience.note_heard(after(begin, 4));
        assert_eq!(patience.next(), (after(begin, 10), Due::Ping));
        patience.note_written(after(begin, 3));
        assert_eq!(patience.next(), (after(begin, 13), Due::Ping));
        patience.note_written(after(begin, 8));
        assert_eq!(patience.next(), (after(begin, 14), Due::Ping));
    }

    #[test]
    fn who_is_not_read_is_not_given_up() {
        let begin = Instant::now();
        let mut patience = Patience::new(begin);
        patience.pause(after(begin, 40));
        patience.note_pinged(after(begin, 35));
        assert_eq!(patience.next(), (after(begin, 40), Due::Resume));
        patience.resume(after(begin, 40));
        patience.note_pinged(after(begin, 65));
        assert_eq!(patience.next(), (after(begin, 70), Due::Silence));
    }
}
