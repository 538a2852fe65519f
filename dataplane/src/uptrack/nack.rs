//! Missing packets of one encoding, and when to ask its publisher for them (RFC 4585 §6.2.1).

use std::time::Duration;

use arrayvec::ArrayVec;
use millrace_shared::limits::{NACK_PACKETS_MAX, RECEIVE_WINDOW_PACKETS};
use millrace_shared::time::{ExtSeq, SeqNo, Timestamp};

/// How long a packet may be late before it counts as missing. libwebrtc asks at once, LiveKit
/// after 20 ms; less than half a frame interval keeps the repair within the next frame's time and
/// does not ask for what Wi-Fi merely reordered.
pub const REORDER_TOLERANCE: Duration = Duration::from_millis(10);
/// Until a retransmission told more: what libwebrtc assumes.
const RTT_DEFAULT: Duration = Duration::from_millis(100);
/// LiveKit's bounds between two requests for the same packet.
const INTERVAL_MIN: Duration = Duration::from_millis(20);
const INTERVAL_MAX: Duration = Duration::from_millis(400);
/// Requests for one packet, as in libwebrtc.
pub const TRIES_MAX: u8 = 10;
/// Later than this a retransmission helps nobody, see `store::AGE_MAX`.
pub const LIFETIME_MAX: Duration = super::store::AGE_MAX;
/// A publisher that was silent for this long may have lost its way, and what it sent into the hole
/// may be older than it keeps: libwebrtc keeps a second.
pub const SILENCE: Duration = Duration::from_millis(500);
/// Requests for a packet from such a hole. One that is not answered by then is given up: waiting
/// costs every subscriber the picture, a key frame costs one frame's bitrate.
pub const TRIES_AFTER_SILENCE_MAX: u8 = 2;

/// Sequence numbers that one call asks for; the rest stays due. Five of these lists, spread as
/// badly as possible, fit one datagram.
pub const BATCH_MAX: usize = 64;
pub type NackBatch = ArrayVec<SeqNo, BATCH_MAX>;

/// Whether a gap can be repaired by retransmission.
#[must_use]
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Repair {
    /// Each missing packet is asked for.
    Requested,
    /// More is missing than we ask for: only a key frame helps.
    Hopeless,
}

#[derive(Debug)]
pub struct NackRegister {
    /// Ascending by `seq`. Allocated at the first gap.
    missing: Vec<Missing>,
    newest: ExtSeq,
    /// When the first of them is due. Early after one was removed, late by the difference after
    /// the RTT became shorter.
    next_at: Timestamp,
    rtt: Duration,
    abandoned: u64,
    /// Where the newest key frame begins: decoding needs nothing before it.
    keyframe: ExtSeq,
    /// The newest packet that was given up and that decoding may need.
    broken: Option<ExtSeq>,
}

#[derive(Copy, Clone, Debug)]
struct Missing {
    seq: ExtSeq,
    since: Timestamp,
    /// The last request, once there was one.
    asked_at: Timestamp,
    tries: u8,
    tries_max: u8,
}

impl Missing {
    fn next_at(&self, rtt: Duration) -> Timestamp {
        match self.tries {
            0 => self.since + REORDER_TOLERANCE,
            // Time for the answer, of a publisher far away as well: to ask for a key frame that
            // nobody needs costs it more than the rest of the wait.
            tries if tries >= self.tries_max => self.asked_at + INTERVAL_MAX,
            tries => self.asked_at + interval(rtt, tries),
        }
    }
}

impl Default for NackRegister {
    fn default() -> Self {
        Self {
            missing: Vec::new(),
            newest: ExtSeq::default(),
            next_at: Timestamp::NEVER,
            rtt: RTT_DEFAULT,
            abandoned: 0,
            keyframe: ExtSeq::default(),
            broken: None,
        }
    }
}

impl NackRegister {
    /// `newest` arrived after `silence`, and `count` packets before it have not.
    pub fn note_gap(
        &mut self,
        now: Timestamp,
        newest: ExtSeq,
        count: u64,
        silence: Duration,
    ) -> Repair {
        self.newest = newest;
        if count > NACK_PACKETS_MAX as u64 {
            self.abandoned += count + self.missing.len() as u64;
            self.clear();
            return Repair::Hopeless;
        }
        if count == 0 {
            return Repair::Requested;
        }
        if self.missing.capacity() == 0 {
            self.missing.reserve_exact(NACK_PACKETS_MAX);
        }
        let total = self.missing.len() + count as usize;
        let surplus = total.saturating_sub(NACK_PACKETS_MAX);
        self.missing.drain(..surplus);
        self.abandoned += surplus as u64;

        let tries_max = if silence < SILENCE {
            TRIES_MAX
        } else {
            TRIES_AFTER_SILENCE_MAX
        };
        self.next_at = self.next_at.min(now + REORDER_TOLERANCE);
        self.missing
            .extend((newest.0 - count..newest.0).map(|seq| Missing {
                seq: ExtSeq(seq),
                since: now,
                asked_at: now,
                tries: 0,
                tries_max,
            }));
        if surplus == 0 {
            Repair::Requested
        } else {
            Repair::Hopeless
        }
    }

    /// A packet that fills a gap arrived. `rtx` says that it is a retransmission.
    pub fn note_received(&mut self, now: Timestamp, seq: ExtSeq, rtx: bool) {
        let Ok(index) = self
            .missing
            .binary_search_by_key(&seq, |missing| missing.seq)
        else {
            return;
        };
        let found = self.missing.remove(index);
        // Karn: after a second request nobody knows which one was answered.
        if rtx && found.tries == 1 {
            // Weights as RFC 6298 §2.3 gives them.
            self.rtt = (self.rtt * 7 + now.since(found.asked_at)) / 8;
        }
        if self.missing.is_empty() {
            self.next_at = Timestamp::NEVER;
        }
    }

    /// What to ask for now. What does not fit the batch is due at once again.
    pub fn due(&mut self, now: Timestamp) -> NackBatch {
        let mut batch = NackBatch::new();
        if now < self.next_at {
            return batch;
        }
        let newest = self.newest.0;
        let (rtt, keyframe) = (self.rtt, self.keyframe);
        let before = self.missing.len();
        self.missing.retain(|missing| {
            // StreamRx refuses what lies further back than its window.
            let acceptable = missing.seq.0 + RECEIVE_WINDOW_PACKETS as u64 > newest;
            let timely = now.since(missing.since) < LIFETIME_MAX;
            let exhausted = missing.tries >= missing.tries_max && now >= missing.next_at(rtt);
            let kept = acceptable && timely && !exhausted;
            if !kept && missing.seq > keyframe {
                self.broken = self.broken.max(Some(missing.seq));
            }
            kept
        });
        self.abandoned += (before - self.missing.len()) as u64;

        let mut next_at = Timestamp::NEVER;
        for missing in &mut self.missing {
            if missing.next_at(rtt) <= now && batch.try_push(missing.seq.seq()).is_ok() {
                missing.tries += 1;
                missing.asked_at = now;
            }
            next_at = next_at.min(missing.next_at(rtt));
        }
        self.next_at = next_at;
        batch
    }

    /// A key frame begins with `seq`.
    pub fn note_keyframe(&mut self, seq: ExtSeq) {
        if seq > self.keyframe {
            self.keyframe = seq;
            self.broken = self.broken.filter(|broken| *broken > seq);
        }
    }

    /// The newest packet that [`Self::due`] gave up since the last call, of those behind the newest key
    /// frame. Most likely decoding cannot go on without it before the next one: what belonged to
    /// an upper temporal layer alone can be done without, but a packet that never came does not
    /// tell its layer.
    pub fn take_broken(&mut self) -> Option<ExtSeq> {
        self.broken.take()
    }

    pub fn next_timeout(&self) -> Timestamp {
        self.next_at
    }

    /// Forgets everything that is missing: the stream starts anew.
    pub fn clear(&mut self) {
        self.missing.clear();
        self.next_at = Timestamp::NEVER;
    }

    /// Packets that may still come.
    pub fn missing_count(&self) -> usize {
        self.missing.len()
    }

    /// Packets that were given up since the register exists.
    pub fn abandoned(&self) -> u64 {
        self.abandoned
    }

    /// Round trip to the publisher, measured by its retransmissions.
    pub fn rtt(&self) -> Duration {
        self.rtt
    }
}

/// Pause after the `tries`th request. It grows by a quarter each time, as LiveKit's does, and
/// begins a quarter above the RTT: an answer that takes as long as usual is not asked for twice.
fn interval(rtt: Duration, tries: u8) -> Duration {
    let mut interval = rtt.max(INTERVAL_MIN);
    for _ in 0..tries {
        interval = (interval * 5 / 4).min(INTERVAL_MAX);
    }
    interval
}

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "what proptest's macros expand to")]
mod tests;
