//! The sources that an encoding had before the one it has: a publisher may come back to one of
//! them, and packets of one it left may still be on their way.

use std::time::Duration;

use arrayvec::ArrayVec;
use millrace_shared::ids::Ssrc;
use millrace_shared::time::Timestamp;

use super::nack;

/// RFC 3550 §A.1 believes a source after two packets. An old one was believed before, and its last
/// packets may be late: it has come back when it sends and the one that followed it does not.
const RETURN_PACKETS_MIN: u8 = 5;
/// Older ones stay strangers.
const SOURCES_MAX: usize = 4;

/// What was asked of a source before it was left may arrive for as long.
const REPAIRS_LATE_MAX: Duration = nack::LIFETIME_MAX;

/// Packets of a source that is not the current one, since a packet of that.
#[derive(Debug, Default)]
struct Run(Option<(Ssrc, u8)>);

impl Run {
    fn end(&mut self) {
        self.0 = None;
    }

    /// Whether the publisher means this one.
    fn note(&mut self, ssrc: Ssrc) -> bool {
        let before = self.0.filter(|(it, _)| *it == ssrc);
        let heard = before.map_or(0, |(_, heard)| heard) + 1;
        self.0 = Some((ssrc, heard));
        heard >= RETURN_PACKETS_MIN
    }
}

/// A source and what repaired it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Source {
    pub(super) ssrc: Ssrc,
    pub(super) rtx_ssrc: Option<Ssrc>,
}

#[derive(Debug, Default)]
pub(super) struct FormerSources {
    /// The one left last is the last.
    sources: ArrayVec<Source, SOURCES_MAX>,
    returning: Run,
    /// The same of what repairs them.
    repairing: Run,
    /// When the current source was first heard.
    current_since: Option<Timestamp>,
}

impl FormerSources {
    /// The encoding goes from one source to another. What repaired the other one, if it was here
    /// before.
    pub(super) fn leave(&mut self, left: Source, taken: Ssrc) -> Option<Ssrc> {
        let known = self.sources.iter().position(|it| it.ssrc == taken);
        let known = known.map(|index| self.sources.remove(index));
        if self.sources.is_full() {
            self.sources.remove(0);
        }
        self.sources.push(left);
        self.returning.end();
        self.repairing.end();
        self.current_since = None;
        known.and_then(|it| it.rtx_ssrc)
    }

    /// A packet of the current source.
    pub(super) fn note_current(&mut self, now: Timestamp) {
        self.returning.end();
        self.current_since.get_or_insert(now);
    }

    /// A packet of another one. Whether the publisher has come back to it.
    pub(super) fn note_other(&mut self, ssrc: Ssrc) -> bool {
        if !self.sources.iter().any(|it| it.ssrc == ssrc) {
            return false;
        }
        self.returning.note(ssrc)
    }

    /// A packet of what repairs the current source.
    pub(super) fn note_current_repair(&mut self) {
        self.repairing.end();
    }

    /// A retransmission of another stream than `current`, which repairs the current source, if any
    /// does yet. Whether it repairs the current source from now on.
    ///
    /// What repaired a former source may be late, and many packets of it, whose numbers mean others
    /// here: it takes nothing from another one, and no free place while it can be late. It may also
    /// have been the first that was heard of the current source, or repair both.
    pub(super) fn note_other_repair(
        &mut self,
        now: Timestamp,
        ssrc: Ssrc,
        current: Option<Ssrc>,
    ) -> bool {
        let is_former = self.sources.iter().any(|it| it.rtx_ssrc == Some(ssrc));
        match (is_former, current) {
            (false, None) => true,
            (true, Some(_)) => false,
            (true, None) if self.may_be_late(now) => false,
            (true, None) | (false, Some(_)) => self.repairing.note(ssrc),
        }
    }

    /// Whether repairs of a source that was left may still be on their way.
    fn may_be_late(&self, now: Timestamp) -> bool {
        self.current_since
            .is_none_or(|since| now.since(since) < REPAIRS_LATE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(ssrc: u32) -> Source {
        let rtx_ssrc = Some(Ssrc(ssrc + 100));
        let ssrc = Ssrc(ssrc);
        Source { ssrc, rtx_ssrc }
    }

    #[test]
    fn it_is_back_when_it_sends_and_the_current_one_does_not() {
        let mut former = FormerSources::default();
        assert_eq!(former.leave(source(1), Ssrc(2)), None);
        for _ in 0..3 {
            assert!((1..RETURN_PACKETS_MIN).all(|_| !former.note_other(Ssrc(1))));
            former.note_current(Timestamp::ZERO);
        }
        assert!((1..RETURN_PACKETS_MIN).all(|_| !former.note_other(Ssrc(1))));
        assert!(!former.note_other(Ssrc(7)), "nobody knows it");
        assert!(former.note_other(Ssrc(1)));
        assert_eq!(former.leave(source(2), Ssrc(1)), Some(Ssrc(101)));
    }

    #[test]
    fn only_the_last_ones_are_remembered() {
        let mut former = FormerSources::default();
        for ssrc in 1..=5 {
            former.leave(source(ssrc), Ssrc(ssrc + 1));
        }
        assert!((0..20).all(|_| !former.note_other(Ssrc(1))));
        assert!((0..20).any(|_| former.note_other(Ssrc(2))));
    }
}
