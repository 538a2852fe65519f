//! One copy of a track at its subscriber: puts packets in order, asks for what is missing, puts
//! frames together and decodes them, as a browser does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_shared::ids::{DownTrackId, Ssrc};
use millrace_shared::link::MediaKind;
use millrace_shared::time::{ExtSeq, NtpTime, SeqNo, Timestamp};
use millrace_shared::wire::rtcp::ReportBlock;

use crate::content::Content;

/// Packets may be this late before they are asked for.
const REORDER_TOLERANCE: Duration = Duration::from_millis(10);
const NACK_INTERVAL: Duration = Duration::from_millis(100);
const NACK_TRIES_MAX: u8 = 10;
/// A packet missing for longer is given up, and its frame with it.
const PATIENCE: Duration = Duration::from_millis(1_000);
/// A larger gap is not asked for.
const GAP_MAX: u64 = 600;
const PLI_INTERVAL: Duration = Duration::from_millis(300);

#[derive(Copy, Clone, Debug)]
struct Missing {
    since: Timestamp,
    asked_at: Timestamp,
    tries: u8,
}

/// A frame that was decoded.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Decoded {
    pub(crate) at: Timestamp,
    pub(crate) spatial: u8,
    pub(crate) frame: u32,
    pub(crate) captured_us: u64,
}

#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) down: DownTrackId,
    pub(crate) kind: MediaKind,
    pub(crate) ssrc: Ssrc,
    pub(crate) rtx_ssrc: Ssrc,
    highest: Option<ExtSeq>,
    first: u64,
    missing: BTreeMap<u64, Missing>,
    packets: BTreeMap<u64, Content>,
    /// Outgoing number at which the next frame begins.
    cursor: Option<u64>,
    decodable: BTreeSet<(u8, u32)>,
    pub(crate) decoded: Vec<Decoded>,
    wants_key: bool,
    pli_at: Timestamp,
    received: u64,
    received_before: u64,
    expected_before: u64,
    last_sr: Option<(NtpTime, Timestamp)>,
    pub(crate) given_up: u64,
    /// Outgoing numbers that were asked for again, and when first.
    pub(crate) asked: BTreeMap<u64, Timestamp>,
}

impl Receiver {
    pub(crate) fn new(down: DownTrackId, kind: MediaKind, ssrc: Ssrc, rtx_ssrc: Ssrc) -> Self {
        Self {
            down,
            kind,
            ssrc,
            rtx_ssrc,
            highest: None,
            first: 0,
            missing: BTreeMap::new(),
            packets: BTreeMap::new(),
            cursor: None,
            decodable: BTreeSet::new(),
            decoded: Vec::new(),
            wants_key: kind == MediaKind::Video,
            pli_at: Timestamp::ZERO,
            received: 0,
            received_before: 0,
            expected_before: 0,
            last_sr: None,
            given_up: 0,
            asked: BTreeMap::new(),
        }
    }

    /// A packet of the media stream, or one that RTX brought again under its original number.
    pub(crate) fn receive(&mut self, now: Timestamp, seq: SeqNo, content: Content, rtx: bool) {
        let Some(highest) = self.highest else {
            let first = ExtSeq::first(seq);
            self.highest = Some(first);
            self.first = first.0;
            self.accept(now, first.0, content);
            return;
        };
        let ext = highest.extend(seq);
        if ext > highest {
            if ext.0 - highest.0 > GAP_MAX {
                self.missing.clear();
                self.wants_key = self.kind == MediaKind::Video;
            } else {
                let missing = Missing {
                    since: now,
                    asked_at: now,
                    tries: 0,
                };
                self.missing
                    .extend((highest.0 + 1..ext.0).map(|seq| (seq, missing)));
            }
            self.highest = Some(ext);
        } else {
            if !rtx {
                // It was on its way when it was asked for.
                self.asked.remove(&ext.0);
            }
            if self.missing.remove(&ext.0).is_none() {
                // Twice, or too late.
                return;
            }
        }
        self.accept(now, ext.0, content);
    }

    fn accept(&mut self, now: Timestamp, seq: u64, content: Content) {
        self.received += 1;
        if self.kind == MediaKind::Audio {
            self.decode(now, content);
            return;
        }
        self.packets.insert(seq, content);
        self.assemble(now);
    }

    fn decode(&mut self, now: Timestamp, content: Content) {
        self.decoded.push(Decoded {
            at: now,
            spatial: content.spatial,
            frame: content.frame,
            captured_us: content.captured_us,
        });
    }

    /// Decodes as far as there is nothing missing.
    fn assemble(&mut self, now: Timestamp) {
        if self.cursor.is_none() {
            let mut starts = self.packets.iter();
            let start = starts.find(|(_, content)| content.is_key() && content.index == 0);
            self.cursor = start.map(|(seq, _)| *seq);
        }
        while let Some(cursor) = self.cursor {
            if let Some(first) = self.packets.get(&cursor).copied() {
                if first.index != 0 {
                    // The rest of a frame that was given up.
                    self.packets.remove(&cursor);
                    self.cursor = Some(cursor + 1);
                    continue;
                }
                if !self.is_complete(cursor, first) {
                    return;
                }
                self.take_frame(now, cursor, first);
                continue;
            }
            // Waits for what may still come.
            let Some((next, _)) = self.packets.range(cursor..).next() else {
                return;
            };
            if self.missing.range(cursor..*next).next().is_some() {
                return;
            }
            self.cursor = Some(*next);
        }
    }

    fn is_complete(&mut self, cursor: u64, first: Content) -> bool {
        for index in 1..first.count {
            let seq = cursor + u64::from(index);
            match self.packets.get(&seq) {
                Some(content)
                    if (content.frame, content.spatial) == (first.frame, first.spatial) => {}
                Some(_) => {
                    // Another frame stands where its rest should: it will never be complete.
                    self.give_up_frame(cursor, seq);
                    return true;
                }
                None if self.missing.contains_key(&seq)
                    || self.highest.is_some_and(|highest| seq > highest.0) =>
                {
                    return false;
                }
                None => {
                    self.give_up_frame(cursor, seq);
                    return true;
                }
            }
        }
        true
    }

    fn give_up_frame(&mut self, cursor: u64, end: u64) {
        self.given_up += 1;
        for seq in cursor..end {
            self.packets.remove(&seq);
        }
        self.cursor = Some(end);
    }

    fn take_frame(&mut self, now: Timestamp, cursor: u64, first: Content) {
        if self.cursor != Some(cursor) {
            return;
        }
        for index in 0..u64::from(first.count) {
            self.packets.remove(&(cursor + index));
        }
        self.cursor = Some(cursor + u64::from(first.count));
        let known = self.decodable.contains(&(first.spatial, first.needs));
        if first.is_key() || known {
            if first.is_key() {
                self.wants_key = false;
                self.decodable.clear();
            }
            self.decodable.insert((first.spatial, first.frame));
            self.decode(now, first);
        } else {
            self.wants_key = true;
        }
    }

    /// What to ask for again now; and whether to ask for a key frame.
    pub(crate) fn due(&mut self, now: Timestamp) -> (Vec<SeqNo>, bool) {
        let before = self.missing.len();
        let kind = self.kind;
        self.missing.retain(|_, missing| {
            now.since(missing.since) < PATIENCE
                && (missing.tries < NACK_TRIES_MAX || kind == MediaKind::Audio)
        });
        if self.missing.len() < before && self.kind == MediaKind::Video {
            self.assemble(now);
        }
        let mut asked = Vec::new();
        if self.kind == MediaKind::Video {
            for (seq, missing) in &mut self.missing {
                let due = match missing.tries {
                    0 => missing.since + REORDER_TOLERANCE,
                    _ => missing.asked_at + NACK_INTERVAL,
                };
                if due <= now && asked.len() < 100 {
                    missing.tries += 1;
                    missing.asked_at = now;
                    asked.push(ExtSeq(*seq).seq());
                    self.asked.entry(*seq).or_insert(now);
                }
            }
        }
        let heard = self.highest.is_some();
        let pli = self.wants_key && heard && self.pli_at <= now;
        if pli {
            self.pli_at = now + PLI_INTERVAL;
        }
        (asked, pli)
    }

    /// Whether [`Self::due`] is worth asking.
    pub(crate) fn is_busy(&self) -> bool {
        !self.missing.is_empty() || (self.wants_key && self.highest.is_some())
    }

    pub(crate) fn sender_report(&mut self, now: Timestamp, ntp: NtpTime) {
        self.last_sr = Some((ntp, now));
    }

    pub(crate) fn report_block(&mut self, now: Timestamp) -> Option<ReportBlock> {
        let highest = self.highest?.0;
        let expected = highest - self.first + 1;
        let (expected_now, received_now) = (
            expected - self.expected_before,
            self.received - self.received_before,
        );
        self.expected_before = expected;
        self.received_before = self.received;
        let lost = expected_now.saturating_sub(received_now);
        let fraction = (lost * 256).checked_div(expected_now).unwrap_or(0).min(255);
        let (last_sr, delay) = self.last_sr.map_or((0, Duration::ZERO), |(ntp, at)| {
            (ntp.middle_32(), now.since(at))
        });
        Some(ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: fraction as u8,
            cumulative_lost: expected.saturating_sub(self.received) as i32,
            highest_seq: (highest - 0x1_0000) as u32,
            jitter: 10,
            last_sr,
            delay_since_last_sr: (delay.as_micros() * 65_536 / 1_000_000) as u32,
        })
    }
}
