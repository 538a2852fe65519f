//! Arrivals of a transport's packets, told to its sender so that it can estimate its bandwidth
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01).

use std::time::Duration;

use millrace_shared::ids::Ssrc;
use millrace_shared::limits::TWCC_WINDOW_PACKETS;
use millrace_shared::time::{ExtSeq, SeqNo, Timestamp};
use millrace_shared::wire::rtcp::{RtcpWriter, TransportCcHead};

use super::rate::RateMeter;

/// libwebrtc's bounds between two feedback packets.
const INTERVAL_MIN: Duration = Duration::from_millis(50);
const INTERVAL_MAX: Duration = Duration::from_millis(250);
/// A sender that starts probes for its bandwidth: it hears from us as often as we may.
const EAGER_TIME: Duration = Duration::from_secs(2);
/// What libwebrtc reckons a feedback packet at, and the share of the bitrate it may cost.
const FEEDBACK_BITS: u64 = 68 * 8;
const BITRATE_SHARE: u64 = 20;
/// A sender whose numbers stay out of the window for this long counts anew.
const SILENCE_MAX: Duration = Duration::from_millis(500);

/// Longest feedback packet.
pub const FEEDBACK_LEN_MAX: usize = 1100;
/// Received packets that one feedback packet tells of: with two bytes for each, and a chunk of two
/// bytes for each seven packets of a full window.
const RECEIVED_MAX: usize = 380;
const _: () =
    assert!(20 + RECEIVED_MAX * 2 + TWCC_WINDOW_PACKETS.div_ceil(7) * 2 + 3 <= FEEDBACK_LEN_MAX);

/// Unit of arrival deltas, and how many of them are one unit of the reference time.
const TICK: Duration = Duration::from_micros(250);
const REFERENCE_TICKS: u64 = 256;

const WINDOW: u64 = TWCC_WINDOW_PACKETS as u64;

/// Which packets arrived when. A transport that receives none with the extension costs no memory;
/// the others 8 KiB.
#[derive(Debug, Default)]
pub struct TransportCcRecorder {
    /// Transport-wide number modulo the window -> arrival, `NEVER` where it did not. Allocated at
    /// the first packet.
    arrivals: Vec<Timestamp>,
    newest: ExtSeq,
    /// First number that the next feedback tells of.
    begin: ExtSeq,
    last_at: Timestamp,
    eager_until: Timestamp,
    due_at: Option<Timestamp>,
    feedback_count: u8,
    rate: RateMeter,
}

/// Packets from the begin on that fit one feedback packet.
#[derive(Copy, Clone, Debug)]
struct Span {
    end: u64,
    /// In units of 64 ms.
    reference: u64,
}

impl TransportCcRecorder {
    /// Takes a packet with transport-wide number `seq`. `len` is that of its datagram.
    pub fn record(&mut self, now: Timestamp, seq: SeqNo, len: usize) {
        self.rate.add(now, len);
        if self.arrivals.is_empty() {
            self.arrivals.resize(TWCC_WINDOW_PACKETS, Timestamp::NEVER);
            self.restart(now, seq);
        }
        let mut seq_ext = self.newest.extend(seq);
        if seq_ext.0 + WINDOW <= self.newest.0 {
            if now.since(self.last_at) < SILENCE_MAX {
                return;
            }
            self.restart(now, seq);
            seq_ext = self.newest;
        }
        if seq_ext > self.newest {
            self.advance(seq_ext);
        }
        let arrival = &mut self.arrivals[slot(seq_ext)];
        if *arrival != Timestamp::NEVER {
            return;
        }
        *arrival = now;
        self.last_at = now;
        // A late packet was told as missing: what is known from there on is told again. The sender
        // ignores what it knows already.
        self.begin = self.begin.min(seq_ext);
        if self.due_at.is_none() {
            self.due_at = Some(now + self.interval(now));
        }
    }

    pub fn next_timeout(&self) -> Timestamp {
        self.due_at.unwrap_or(Timestamp::NEVER)
    }

    /// Appends the next feedback packet, if one is due. More may be due: call it until it writes
    /// none. Where [`FEEDBACK_LEN_MAX`] bytes are not free, it writes nothing and stays due.
    pub fn write_feedback(
        &mut self,
        now: Timestamp,
        sender_ssrc: Ssrc,
        media_ssrc: Ssrc,
        out: &mut RtcpWriter<'_>,
    ) -> bool {
        if now < self.next_timeout() {
            return false;
        }
        let Some(span) = self.next_span() else {
            self.due_at = None;
            return false;
        };
        let head = TransportCcHead {
            sender_ssrc,
            media_ssrc,
            base_seq: self.begin.seq(),
            reference_time: (span.reference & 0xff_ffff) as u32,
            feedback_count: self.feedback_count,
        };
        let written = out.transport_cc(&head, self.deltas(&span)).is_some();
        if written {
            self.feedback_count = self.feedback_count.wrapping_add(1);
            self.begin = ExtSeq(span.end);
            if self.begin > self.newest {
                self.due_at = None;
            }
        }
        written
    }

    /// What the next feedback packet tells of.
    fn next_span(&self) -> Option<Span> {
        let begin = self.begin.0;
        let first = (begin..=self.newest.0).find_map(|seq| self.arrival_ticks(seq))?;
        let whole = Span {
            end: self.newest.0 + 1,
            reference: first / REFERENCE_TICKS,
        };
        let mut received = 0;
        let mut before = whole.reference * REFERENCE_TICKS;
        for seq in begin..whole.end {
            let Some(ticks) = self.arrival_ticks(seq) else {
                continue;
            };
            received += 1;
            // One too far off opens the next packet, with a reference time of its own.
            if received > RECEIVED_MAX || delta(before, ticks).is_none() {
                return Some(Span { end: seq, ..whole });
            }
            before = ticks;
        }
        Some(whole)
    }

    fn deltas(&self, span: &Span) -> impl Iterator<Item = Option<i16>> + Clone + '_ {
        let reference = span.reference * REFERENCE_TICKS;
        (self.begin.0..span.end).scan(reference, |before, seq| {
            let delta = self.arrival_ticks(seq).and_then(|ticks| {
                let before = std::mem::replace(before, ticks);
                delta(before, ticks)
            });
            Some(delta)
        })
    }

    fn arrival_ticks(&self, seq: u64) -> Option<u64> {
        let arrival = *self.arrivals.get(slot(ExtSeq(seq)))?;
        (arrival != Timestamp::NEVER).then(|| arrival.as_nanos() / TICK.as_nanos() as u64)
    }

    /// Moves the window's end to `seq`.
    fn advance(&mut self, seq: ExtSeq) {
        if seq.0 - self.newest.0 >= WINDOW {
            self.arrivals.fill(Timestamp::NEVER);
        } else {
            for passed in self.newest.0 + 1..=seq.0 {
                self.arrivals[slot(ExtSeq(passed))] = Timestamp::NEVER;
            }
        }
        self.newest = seq;
        self.begin = self.begin.max(ExtSeq(seq.0 + 1 - WINDOW));
    }

    fn restart(&mut self, now: Timestamp, seq: SeqNo) {
        self.eager_until = now + EAGER_TIME;
        self.arrivals.fill(Timestamp::NEVER);
        self.newest = ExtSeq::first(seq);
        self.begin = self.newest;
    }

    /// As often as a twentieth of the bitrate pays for.
    fn interval(&mut self, now: Timestamp) -> Duration {
        if now < self.eager_until {
            return INTERVAL_MIN;
        }
        let share_bps = self.rate.bitrate_bps(now) / BITRATE_SHARE;
        let interval_us = FEEDBACK_BITS * 1_000_000 / share_bps.max(1);
        Duration::from_micros(interval_us).clamp(INTERVAL_MIN, INTERVAL_MAX)
    }
}

fn delta(before: u64, ticks: u64) -> Option<i16> {
    i16::try_from(ticks.cast_signed() - before.cast_signed()).ok()
}

const fn slot(seq: ExtSeq) -> usize {
    (seq.0 % WINDOW) as usize
}

#[cfg(test)]
mod tests;
