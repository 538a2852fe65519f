//! What can be said of a copy once the run is over and all its packets are known.

use millrace_shared::link::MediaKind;
use millrace_shared::payload::vp8::Vp8Descriptor;
use millrace_shared::payload::vp9::Vp9Descriptor;

use crate::content::Descriptor;
use crate::ledger::{Arrivals, Copy, Ledger, SentPacket};
use crate::verdict::{Oracle, Verdict};

/// How far media time may shift against capture time at a switch: where the publisher's clocks are
/// not known yet, arrival decides, and packets of the two encodings waited differently long.
const SWITCH_SHIFT_MS_MAX: i64 = 250;
/// With a publisher whose wallclock stepped between the reports of two encodings: the shard
/// believes up to half a second of it.
const SWITCH_SHIFT_STEPPED_MS_MAX: i64 = 750;
/// Late packets further behind than this need not go (the packet store's reach).
const LATE_PACKETS_MAX: u64 = 500;
/// The same with picture ids of 7 bits, which are understood no further back.
const LATE_PACKETS_SHORT_ID_MAX: u64 = 64;

/// Judges every copy. `stepped` says that wallclocks did.
pub(crate) fn judge(ledger: &Ledger, stepped: bool, verdict: &mut Verdict) {
    for copy in &ledger.copies {
        let packets: Vec<(u64, &SentPacket)> =
            copy.sent.iter().map(|(seq, sent)| (*seq, sent)).collect();
        let bench = Bench {
            copy,
            ledger,
            refused: ledger.excuses(copy.peer).refused,
            stepped,
        };
        for pair in packets.windows(2) {
            bench.judge_pair(pair[0], pair[1], verdict);
        }
        for run in runs(&packets) {
            bench.judge_run(run, verdict);
        }
    }
}

/// Stretches of one encoding. A key frame on the same encoding does not end one.
fn runs<'a, 'b>(packets: &'b [(u64, &'a SentPacket)]) -> Vec<&'b [(u64, &'a SentPacket)]> {
    packets
        .chunk_by(|before, after| before.1.content.spatial == after.1.content.spatial)
        .collect()
}

struct Bench<'a> {
    copy: &'a Copy,
    ledger: &'a Ledger,
    refused: u64,
    stepped: bool,
}

impl Bench<'_> {
    fn blame(&self, verdict: &mut Verdict, packet: &SentPacket, oracle: Oracle, what: &str) {
        let down = self.copy.down;
        let content = &packet.content;
        verdict.blame(
            packet.at,
            oracle,
            format!("copy {down}: {what} at {content:?}"),
        );
    }

    fn arrivals(&self, spatial: u8) -> Option<&Arrivals> {
        self.ledger.arrivals.get(&(self.copy.track, spatial))
    }

    /// Source numbers strictly between that were not there when the shard numbered what it had.
    fn missed_between(&self, spatial: u8, from: u64, to: u64) -> u64 {
        let Some(arrivals) = self.arrivals(spatial) else {
            return 0;
        };
        let in_time = |seq: u64| arrivals.packets.get(&seq).is_some_and(|it| !it.late);
        (from + 1..to).filter(|seq| !in_time(*seq)).count() as u64
    }

    fn judge_pair(
        &self,
        before: (u64, &SentPacket),
        after: (u64, &SentPacket),
        verdict: &mut Verdict,
    ) {
        let (a, b) = (before.1, after.1);
        let hole = after.0 - before.0 - 1;
        let same_run = a.content.spatial == b.content.spatial;
        let missed = if same_run && b.content.seq > a.content.seq {
            self.missed_between(a.content.spatial, a.content.seq, b.content.seq)
        } else if same_run {
            self.blame(verdict, b, Oracle::Sequence, "out of the publisher's order");
            0
        } else {
            self.missed_at_end(a)
        };
        if hole > missed + self.refused {
            let what = format!("{hole} numbers unused, {missed} packets missed");
            self.blame(verdict, b, Oracle::Sequence, &what);
        }
        self.judge_time(a, b, same_run, verdict);
        // Pictures of a mute are not sent, and the decoder is to know that it misses them.
        let lost = missed + self.silent_between(a, b) + self.refused;
        match (&a.descriptor, &b.descriptor) {
            (Descriptor::Vp8(from), Descriptor::Vp8(to)) => {
                self.judge_picture((a, from), (b, to), lost, verdict);
            }
            (Descriptor::Vp9(from), Descriptor::Vp9(to)) if same_run => {
                self.judge_vp9_picture((a, from), (b, to), lost, verdict);
            }
            _ => {}
        }
    }

    /// Of the encoding that was being sent.
    fn silent_between(&self, a: &SentPacket, b: &SentPacket) -> u64 {
        let end = if a.content.spatial == b.content.spatial {
            b.content.seq.max(a.content.seq)
        } else {
            u64::MAX
        };
        self.arrivals(a.content.spatial).map_or(0, |it| {
            let silent = it.silent.range(a.content.seq..end);
            silent.filter(|seq| it.packets[seq].at <= b.at).count() as u64
        })
    }

    /// Behind the last packet of a run: what may have been missing when it ended.
    fn missed_at_end(&self, last: &SentPacket) -> u64 {
        let spatial = last.content.spatial;
        let Some(arrivals) = self.arrivals(spatial) else {
            return 0;
        };
        let newest = arrivals.packets.keys().next_back().copied().unwrap_or(0);
        self.missed_between(spatial, last.content.seq, newest)
    }

    fn judge_time(&self, a: &SentPacket, b: &SentPacket, same_run: bool, verdict: &mut Verdict) {
        let step = b.rtp_time.distance(a.rtp_time);
        let same_frame = same_run && a.content.frame == b.content.frame;
        if same_frame != (step == 0) || step < 0 {
            let what = format!("media time steps by {step}");
            self.blame(verdict, b, Oracle::MediaTime, &what);
            return;
        }
        let khz = self.copy.clock_rate_khz();
        let ticks = |packet: &SentPacket| packet.content.captured_us as i64 * khz / 1_000;
        let shift_ms = (i64::from(step) - (ticks(b) - ticks(a))).abs() / khz;
        let shift_ms_max = match (
            same_run && self.copy.wishes.iter().all(|it| !it.paused),
            self.stepped,
        ) {
            (true, _) => 0,
            (false, false) => SWITCH_SHIFT_MS_MAX,
            (false, true) => SWITCH_SHIFT_STEPPED_MS_MAX,
        };
        if shift_ms > shift_ms_max {
            let what = format!("media time shifts by {shift_ms} ms");
            self.blame(verdict, b, Oracle::MediaTime, &what);
        }
    }

    // RFC 7741 §4.2.
    fn judge_picture(
        &self,
        (a, from): (&SentPacket, &Vp8Descriptor),
        (b, to): (&SentPacket, &Vp8Descriptor),
        lost: u64,
        verdict: &mut Verdict,
    ) {
        let (Some(before), Some(after)) = (from.picture_id, to.picture_id) else {
            self.blame(verdict, b, Oracle::PictureId, "no picture id");
            return;
        };
        let same = (a.content.spatial, a.content.frame) == (b.content.spatial, b.content.frame);
        let step = u64::from(after.value.wrapping_sub(before.value) & 0x7fff);
        let allowed = if same { 0..=0 } else { 1..=1 + lost };
        if !allowed.contains(&step) {
            let what = format!("picture id steps by {step}, {lost} lost");
            self.blame(verdict, b, Oracle::PictureId, &what);
        }
        let (Some(before), Some(after)) = (from.tl0_pic_idx, to.tl0_pic_idx) else {
            return;
        };
        let step = u64::from(after.wrapping_sub(before));
        let base = u64::from(!same && b.content.temporal == 0);
        if step < base || step > base + lost {
            let what = format!("TL0PICIDX steps by {step}, {lost} lost");
            self.blame(verdict, b, Oracle::PictureId, &what);
        }
    }

    // RFC 9628 §4.2: they are the publisher's. A decoder knows from the scalability structure, or
    // from the references, which pictures it does without; after a key picture it starts anew.
    fn judge_vp9_picture(
        &self,
        (a, from): (&SentPacket, &Vp9Descriptor),
        (b, to): (&SentPacket, &Vp9Descriptor),
        lost: u64,
        verdict: &mut Verdict,
    ) {
        let (Some(before), Some(after)) = (from.picture_id, to.picture_id) else {
            self.blame(verdict, b, Oracle::PictureId, "no picture id");
            return;
        };
        let step = after.value.wrapping_sub(before.value) & 0x7fff;
        let frames = b.content.frame.wrapping_sub(a.content.frame);
        if u32::from(step) != frames & 0x7fff {
            let what = format!("picture id steps by {step} in {frames} pictures");
            self.blame(verdict, b, Oracle::PictureId, &what);
        }
        let (Some(before), Some(after)) = (from.tl0_pic_idx, to.tl0_pic_idx) else {
            return;
        };
        let step = u64::from(after.wrapping_sub(before));
        let base = u64::from(frames > 0 && b.content.temporal == 0);
        let anew = frames > 0 && b.content.is_key();
        if !anew && (step < base || step > base + lost) {
            let what = format!("TL0PICIDX steps by {step}, {lost} lost");
            self.blame(verdict, b, Oracle::PictureId, &what);
        }
    }

    fn judge_run(&self, run: &[(u64, &SentPacket)], verdict: &mut Verdict) {
        let (Some((_, first)), Some((_, last))) = (run.first(), run.last()) else {
            return;
        };
        let video = self.copy.codec.kind() == MediaKind::Video;
        let key = first.content.is_key() && first.content.index == 0;
        if video && !key && self.refused == 0 {
            self.blame(
                verdict,
                first,
                Oracle::Dependency,
                "starts without a key frame",
            );
        }
        let Some(arrivals) = self.arrivals(first.content.spatial) else {
            self.blame(verdict, first, Oracle::Content, "nothing of it arrived");
            return;
        };
        let sent: std::collections::BTreeSet<u64> =
            run.iter().map(|(_, sent)| sent.content.seq).collect();
        if video {
            self.judge_needs(run, arrivals, &sent, verdict);
        }
        let mut missing = 0;
        let window = first.content.seq..=last.content.seq;
        for (seq, accepted) in arrivals.packets.range(window) {
            if sent.contains(seq) || self.explained(accepted, arrivals, run) {
                continue;
            }
            missing += 1;
            if missing > self.refused {
                let at = (accepted.at, accepted.content);
                let down = self.copy.down;
                let text = format!("copy {down}: {at:?} arrived and was not sent");
                verdict.blame(accepted.at, Oracle::Completeness, text);
            }
        }
    }

    /// Why a packet of the encoding being sent may be left out.
    fn explained(
        &self,
        accepted: &crate::ledger::Accepted,
        arrivals: &Arrivals,
        run: &[(u64, &SentPacket)],
    ) -> bool {
        let content = &accepted.content;
        let wishes = &self.copy.wishes;
        let limited = content.temporal > 0 && wishes.iter().any(|wish| wish.max_layer.temporal < 2);
        let paused = wishes.iter().any(|wish| wish.paused);
        // A frame goes whole or not at all.
        let begun = !accepted.late
            && run
                .binary_search_by(|(_, sent)| sent.content.frame.cmp(&content.frame))
                .is_ok();
        if (limited && !begun) || arrivals.silent.contains(&content.seq) {
            return true;
        }
        if paused {
            // Between a pause and the key frame that ends it.
            let resumed = run.windows(2).any(|pair| {
                let (before, after) = (&pair[0].1.content, &pair[1].1.content);
                (before.seq..after.seq).contains(&content.seq) && after.is_key()
            });
            if resumed {
                return true;
            }
        }
        // Late: the hole it would fill may have been closed.
        let newest = arrivals.packets.values().filter(|it| it.at <= accepted.at);
        let newest = newest.map(|it| it.content.seq).max().unwrap_or(0);
        let starts_run = run.first().is_some_and(|(_, first)| {
            first.content.frame == content.frame || first.at >= accepted.at
        });
        let run_over = run.last().is_some_and(|(_, last)| last.at <= accepted.at);
        let short = self.ledger.short_ids.contains(&self.copy.track);
        let reach = if short {
            LATE_PACKETS_SHORT_ID_MAX
        } else {
            LATE_PACKETS_MAX
        };
        // Nothing but padding, or a mute, followed its frame yet: a switch counts on from before it.
        let mut later = arrivals.packets.range(content.seq + 1..);
        let silence = later.all(|(seq, it)| {
            it.at >= accepted.at
                || it.content.frame == content.frame
                || arrivals.silent.contains(seq)
        });
        let closed = paused || starts_run || run_over || silence;
        accepted.late && (content.seq + reach <= newest || closed)
    }

    /// A frame that went whole went with what it needs, unless that was lost before the shard.
    fn judge_needs(
        &self,
        run: &[(u64, &SentPacket)],
        arrivals: &Arrivals,
        sent: &std::collections::BTreeSet<u64>,
        verdict: &mut Verdict,
    ) {
        let mut frames: std::collections::BTreeMap<u32, Vec<&crate::ledger::Accepted>> =
            std::collections::BTreeMap::new();
        let packets = arrivals.packets.iter();
        for (_, accepted) in packets.filter(|(seq, _)| !arrivals.silent.contains(seq)) {
            frames
                .entry(accepted.content.frame)
                .or_default()
                .push(accepted);
        }
        let whole = |frame: u32| {
            frames.get(&frame).is_some_and(|packets| {
                packets.len() == usize::from(packets[0].content.count)
                    && packets.iter().all(|it| !it.late)
                    && packets
                        .iter()
                        .all(|it| !arrivals.silent.contains(&it.content.seq))
            })
        };
        for (_, packet) in run.iter().filter(|(_, packet)| packet.content.index == 0) {
            let needs = packet.content.needs;
            if packet.content.is_key() || !whole(needs) {
                continue;
            }
            let went = frames[&needs]
                .iter()
                .all(|it| sent.contains(&it.content.seq));
            if !went && self.refused == 0 {
                let what = format!("frame {needs} was not sent, which it needs");
                self.blame(verdict, packet, Oracle::Dependency, &what);
            }
        }
    }
}
