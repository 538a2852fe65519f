//! What the oracles found.

use std::fmt;

use millrace_shared::time::Timestamp;

/// Each rule that a run must keep.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Oracle {
    /// What the shard sends opens under the transport's keys, each number once.
    Authenticity,
    /// Nobody gets what is not for him: no copy, a removed or a paused one, another track.
    Stranger,
    /// Every payload is as the publisher wrote it, under the negotiated payload type.
    Content,
    /// Nothing is longer than the smallest MTU lets through.
    Length,
    /// Outgoing numbers have holes only where packets were lost on the way to the shard.
    Sequence,
    /// What is sent again is what was sent.
    Retransmission,
    /// Media time follows capture time and never goes back.
    MediaTime,
    /// Picture ids and base layer indices count on.
    PictureId,
    /// Nothing is sent without what it needs for decoding.
    Dependency,
    /// What the shard got of the encoding being sent, it sent.
    Completeness,
    /// Sender reports agree with what was sent and when it was captured.
    Report,
    /// Transport-wide feedback agrees with what arrived, and transport-wide numbers count by one.
    Feedback,
    /// What was lost on the way to the shard was asked for again, and what was lost behind it sent
    /// again.
    Repair,
    /// With one port for all shards, a transport lives where its first check arrived, the control
    /// plane is told so, and only who has moved since is passed on from shard to shard.
    Placement,
    /// The shard holds what it was told to, and no more than its limits.
    Memory,
    /// No copy stands still for longer than the faults explain.
    Gap,
    /// Once the network is calm, a copy has the best layer it may have, and all its frames.
    Recovery,
    /// And nothing of a higher layer than its subscriber wants.
    Layer,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Violation {
    pub(crate) at: Timestamp,
    pub(crate) oracle: Oracle,
    pub(crate) text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at_ms = self.at.as_millis();
        write!(f, "{at_ms} ms {:?}: {}", self.oracle, self.text)
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    violations: Vec<Violation>,
}

impl Verdict {
    pub(crate) fn blame(&mut self, at: Timestamp, oracle: Oracle, text: String) {
        self.violations.push(Violation { at, oracle, text });
    }

    pub(crate) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    pub(crate) fn of(&self, oracle: Oracle) -> usize {
        let violations = self.violations.iter();
        violations.filter(|it| it.oracle == oracle).count()
    }
}
