//! Decides how a packet goes: sequence number, media time and VP8's running fields, continuous for
//! the subscriber over everything that the selector leaves out.
//!
//! Packets left out close over; packets lost on the way to us leave a hole, which a late one fills
//! with the number it would have had. What was before a switch or a pause is closed for late
//! packets, though not for retransmission.

use millrace_shared::time::{ExtSeq, RtpTime, SeqNo, Timestamp};

use super::alignment::{Tail, media_time_after};
use super::segments::{Mapping, Segments};
use super::selector::Position;
use super::sent::{SENT_WINDOW_PACKETS, SentWindow};
use super::vp8::{Vp8Rewriter, Vp8Start};
use crate::packet::{LayerClocks, PacketMeta, Vp8Fields};

/// Longest hole that is passed on. More cannot be filled any more, and a source that started anew
/// elsewhere should not look like a loss of thousands.
const HOLE_PACKETS_MAX: u16 = SENT_WINDOW_PACKETS as u16;
/// How far behind the newest packet one with a 7 bit picture id is still understood.
const SHORT_PICTURE_ID_REACH_PACKETS: u64 = 1 << 6;

/// What a packet carries to the subscriber instead of what it came with.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Rewritten {
    pub(super) seq: ExtSeq,
    pub(super) rtp_time: RtpTime,
    pub(super) vp8: Option<Vp8Fields>,
}

/// Where a packet that was sent came from.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Source {
    pub(super) spatial: u8,
    /// In the numbers of that encoding.
    pub(super) seq: ExtSeq,
    pub(super) out: ExtSeq,
    pub(super) mapping: Mapping,
}

/// The encoding being sent, since the last switch.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Run {
    /// Newest source number seen.
    seq_last: ExtSeq,
    /// Media time of the newest packet at the source.
    rtp_time_last: RtpTime,
    /// It was left out by the selector.
    closed_last: bool,
    /// Padding came after a hole: what is in the hole may belong to the frame that follows.
    hole_open: bool,
    mapping: Mapping,
}

#[derive(Debug)]
pub(super) struct Rewriter {
    run: Option<Run>,
    /// Newest outgoing number; holes count.
    out_last: ExtSeq,
    /// Newest outgoing number before the run.
    run_out_before: u64,
    rtp_time_start: RtpTime,
    /// Absent until something was sent.
    tail: Option<Tail>,
    vp8: Vp8Rewriter,
    sent: SentWindow,
    segments: Segments,
}

impl Rewriter {
    pub(super) fn new(seq: SeqNo, rtp_time: RtpTime, vp8: Vp8Start, segments_max: usize) -> Self {
        let out_last = ExtSeq(ExtSeq::first(seq).0 - 1);
        Self {
            run: None,
            out_last,
            run_out_before: out_last.0,
            rtp_time_start: rtp_time,
            tail: None,
            vp8: Vp8Rewriter::new(vp8),
            sent: SentWindow::default(),
            segments: Segments::new(segments_max),
        }
    }

    pub(super) fn position(&self, meta: &PacketMeta) -> Position {
        let Some(run) = self.run.filter(|run| run.mapping.spatial == meta.spatial) else {
            return Position::Foreign;
        };
        if meta.seq <= run.seq_last {
            Position::Behind
        } else if meta.rtp_time == run.rtp_time_last {
            Position::SameFrame
        } else if meta.seq.0 == run.seq_last.0 + 1 && !run.hole_open {
            Position::NextFrame
        } else {
            Position::FrameAfterGap
        }
    }

    /// The first packet of an encoding after another one, or after a pause.
    pub(super) fn start(
        &mut self,
        meta: &PacketMeta,
        temporal_max: u8,
        clocks: &LayerClocks,
    ) -> Rewritten {
        let rtp_time = match &self.tail {
            Some(tail) => media_time_after(tail, meta, clocks),
            None => self.rtp_time_start,
        };
        self.run_out_before = self.out_last.0;
        self.segments.begin_run();
        self.vp8.begin_run();
        let mapping = Mapping {
            rtp_offset: rtp_time.0.wrapping_sub(meta.rtp_time.0),
            vp8: self.vp8.offsets(),
            spatial: meta.spatial,
            temporal_max,
        };
        let mut run = Run {
            seq_last: ExtSeq(meta.seq.0.saturating_sub(1)),
            rtp_time_last: meta.rtp_time,
            closed_last: false,
            hole_open: false,
            mapping,
        };
        let rewritten = self.send(&mut run, meta);
        self.run = Some(run);
        rewritten
    }

    /// A packet in order of the encoding being sent.
    pub(super) fn forward(
        &mut self,
        meta: &PacketMeta,
        temporal_max: u8,
        clocks: &LayerClocks,
    ) -> Option<Rewritten> {
        let mut run = self.run?;
        self.reserve_hole(&run, meta.seq);
        // So far off the publisher may have started anew, on another media time line.
        if meta.seq.0 - run.seq_last.0 > u64::from(HOLE_PACKETS_MAX) {
            return Some(self.start(meta, temporal_max, clocks));
        }
        run.mapping.temporal_max = temporal_max;
        let rewritten = self.send(&mut run, meta);
        self.run = Some(run);
        Some(rewritten)
    }

    /// A packet in order of the encoding being sent that the selector leaves out.
    pub(super) fn close(&mut self, meta: &PacketMeta, temporal_max: u8) {
        let Some(mut run) = self.run else { return };
        // What is missing between two packets of a frame that is left out belongs to it.
        if !(run.closed_last && run.rtp_time_last == meta.rtp_time) {
            self.reserve_hole(&run, meta.seq);
        }
        if let Some(fields) = &meta.vp8 {
            self.vp8.drop(fields);
        }
        run.mapping.vp8 = self.vp8.offsets();
        run.mapping.temporal_max = temporal_max;
        run.seq_last = meta.seq;
        run.rtp_time_last = meta.rtp_time;
        run.closed_last = true;
        run.hole_open = false;
        self.run = Some(run);
    }

    /// A packet of padding only, which is never sent on.
    pub(super) fn skip(&mut self, spatial: u8, seq: ExtSeq) {
        let Some(mut run) = self.run.filter(|run| run.mapping.spatial == spatial) else {
            return;
        };
        if seq > run.seq_last {
            run.hole_open |= self.reserve_hole(&run, seq);
            run.seq_last = seq;
            self.run = Some(run);
        }
    }

    /// A packet [`Position::Behind`] the newest one: it goes if a hole was left for it.
    pub(super) fn fill(&mut self, meta: &PacketMeta) -> Option<Rewritten> {
        let (behind, mapping) = self.segments.behind(meta.seq, self.out_last)?;
        if behind >= SENT_WINDOW_PACKETS || meta.temporal > mapping.temporal_max {
            return None;
        }
        // Between the newest frame and padding behind it: the next switch counts on from that
        // frame and would repeat what this one gets.
        let run = self.run?;
        if meta.rtp_time.distance(run.rtp_time_last) > 0 {
            return None;
        }
        let seq = ExtSeq(self.out_last.0 - u64::from(behind));
        let resolvable = self.picture_id_resolvable(meta, seq);
        (resolvable && self.sent.claim(seq.0)).then(|| self.rewrite(meta, seq, &mapping))
    }

    /// Nothing is sent from now on until the next start.
    pub(super) fn pause(&mut self) {
        self.run = None;
        self.segments.begin_run();
    }

    /// Which packet was sent as `seq`.
    pub(super) fn source(&self, seq: SeqNo) -> Option<Source> {
        let out = self.out_last.extend(seq);
        let behind = self.out_last.0.checked_sub(out.0)?;
        if behind >= u64::from(SENT_WINDOW_PACKETS) || !self.sent.contains(out.0) {
            return None;
        }
        let (seq, mapping) = self.segments.source(out)?;
        Some(Source {
            spatial: mapping.spatial,
            seq,
            out,
            mapping,
        })
    }

    /// As the packet of `source` went.
    pub(super) fn again(&self, meta: &PacketMeta, source: &Source) -> Option<Rewritten> {
        let same = meta.spatial == source.spatial && meta.seq == source.seq;
        (same && self.picture_id_resolvable(meta, source.out))
            .then(|| self.rewrite(meta, source.out, &source.mapping))
    }

    /// The encoding being sent and what is added to its media time.
    pub(super) fn media_time_line(&self) -> Option<(u8, u32)> {
        self.run
            .map(|run| (run.mapping.spatial, run.mapping.rtp_offset))
    }

    /// The latest media time sent, and when its packet arrived.
    pub(super) fn latest(&self) -> Option<(RtpTime, Timestamp)> {
        self.tail.map(|tail| (tail.rtp_time, tail.arrival))
    }

    fn send(&mut self, run: &mut Run, meta: &PacketMeta) -> Rewritten {
        if let Some(fields) = &meta.vp8 {
            self.vp8.send(fields);
        }
        run.mapping.vp8 = self.vp8.offsets();
        run.seq_last = meta.seq;
        run.rtp_time_last = meta.rtp_time;
        run.closed_last = false;
        run.hole_open = false;
        self.append(meta.seq, 1, run.mapping);
        let fresh = self.sent.claim(self.out_last.0);
        debug_assert!(fresh, "the newest number was used before");
        let rewritten = self.rewrite(meta, self.out_last, &run.mapping);
        self.extend_tail(meta, &rewritten, &run.mapping);
        rewritten
    }

    /// Media time that steps back inside an encoding (B-frames) is the publisher's affair, but the
    /// next switch has to continue after all of it.
    fn extend_tail(&mut self, meta: &PacketMeta, rewritten: &Rewritten, mapping: &Mapping) {
        let newer = self.tail.is_none_or(|tail| {
            tail.rtp_offset != mapping.rtp_offset
                || tail.spatial != mapping.spatial
                || rewritten.rtp_time.distance(tail.rtp_time) > 0
        });
        if newer {
            self.tail = Some(Tail {
                spatial: mapping.spatial,
                rtp_offset: mapping.rtp_offset,
                rtp_time: rewritten.rtp_time,
                arrival: meta.arrival,
            });
        }
    }

    /// Sets numbers aside for what is missing before `seq`; false if nothing is.
    fn reserve_hole(&mut self, run: &Run, seq: ExtSeq) -> bool {
        let missing = seq.0.saturating_sub(run.seq_last.0 + 1);
        if missing > 0 {
            let count = u16::try_from(missing)
                .map_or(HOLE_PACKETS_MAX, |missing| missing.min(HOLE_PACKETS_MAX));
            self.append(ExtSeq(seq.0 - u64::from(count)), count, run.mapping);
        }
        missing > 0
    }

    /// A 7 bit picture id is resolved against the newest one, which is right within half its range
    /// and inside one run. No picture is without a packet, so packets bound pictures.
    fn picture_id_resolvable(&self, meta: &PacketMeta, out: ExtSeq) -> bool {
        let short = meta
            .vp8
            .and_then(|fields| fields.picture_id)
            .is_some_and(|id| !id.long);
        let near = |run: Run| {
            out.0 > self.run_out_before
                && run.seq_last.0.abs_diff(meta.seq.0) < SHORT_PICTURE_ID_REACH_PACKETS
        };
        !short || self.run.is_some_and(near)
    }

    fn append(&mut self, source: ExtSeq, count: u16, mapping: Mapping) {
        let first = ExtSeq(self.out_last.0 + 1);
        self.segments.append(source, first, count, mapping);
        self.out_last = ExtSeq(self.out_last.0 + u64::from(count));
        self.sent.advance(self.out_last.0, u64::from(count));
    }

    fn rewrite(&self, meta: &PacketMeta, seq: ExtSeq, mapping: &Mapping) -> Rewritten {
        Rewritten {
            seq,
            rtp_time: mapping.rtp_time(meta.rtp_time),
            vp8: meta
                .vp8
                .as_ref()
                .map(|fields| self.vp8.rewrite(fields, mapping.vp8)),
        }
    }
}

#[cfg(test)]
mod tests {
    use millrace_shared::ids::Pt;

    use super::*;

    const CLOCKS: LayerClocks = LayerClocks {
        clock_rate_hz: 90_000,
        layers: [None; 3],
    };

    fn meta(spatial: u8, seq: u64, frame: u32) -> PacketMeta {
        PacketMeta {
            arrival: Timestamp::from_millis(1_000),
            seq: ExtSeq(0x1_0000 + seq),
            rtp_time: RtpTime(3_000 * frame),
            spatial,
            temporal: 0,
            pt: Pt(96),
            marker: true,
            keyframe_start: false,
            late: false,
            vp8: None,
        }
    }

    fn rewriter() -> Rewriter {
        Rewriter::new(SeqNo(100), RtpTime(0), Vp8Start::default(), 8)
    }

    fn forward(rewriter: &mut Rewriter, meta: &PacketMeta) -> Option<Rewritten> {
        rewriter.forward(meta, 0, &CLOCKS)
    }

    fn number(rewritten: Option<Rewritten>) -> Option<u64> {
        rewritten.map(|rewritten| rewritten.seq.0 - 0x1_0000)
    }

    #[test]
    fn what_is_missing_before_a_switch_and_back_does_not_go_any_more() {
        let mut rewriter = rewriter();
        rewriter.start(&meta(0, 10, 1), 0, &CLOCKS);
        assert_eq!(number(forward(&mut rewriter, &meta(0, 12, 3))), Some(102));
        assert_eq!(
            number(Some(rewriter.start(&meta(2, 900, 4), 0, &CLOCKS))),
            Some(103)
        );
        assert_eq!(
            number(Some(rewriter.start(&meta(0, 20, 5), 0, &CLOCKS))),
            Some(104)
        );
        let late = meta(0, 11, 2);
        assert_eq!(rewriter.position(&late), Position::Behind);
        assert_eq!(rewriter.fill(&late), None);
    }

    #[test]
    fn a_pause_closes_what_is_missing_too() {
        let mut rewriter = rewriter();
        rewriter.start(&meta(0, 10, 1), 0, &CLOCKS);
        forward(&mut rewriter, &meta(0, 12, 3));
        rewriter.pause();
        assert_eq!(rewriter.position(&meta(0, 11, 2)), Position::Foreign);
        assert_eq!(
            number(Some(rewriter.start(&meta(0, 20, 5), 0, &CLOCKS))),
            Some(103)
        );
        assert_eq!(rewriter.fill(&meta(0, 11, 2)), None);
    }

    #[test]
    fn padding_behind_a_hole_does_not_hide_it_from_the_next_frame() {
        let mut rewriter = rewriter();
        rewriter.start(&meta(0, 10, 1), 0, &CLOCKS);
        rewriter.skip(0, meta(0, 11, 0).seq);
        assert_eq!(rewriter.position(&meta(0, 12, 2)), Position::NextFrame);
        rewriter.skip(0, meta(0, 13, 0).seq);
        assert_eq!(rewriter.position(&meta(0, 14, 2)), Position::FrameAfterGap);
        assert_eq!(number(forward(&mut rewriter, &meta(0, 14, 2))), Some(102));
        assert_eq!(rewriter.position(&meta(0, 15, 3)), Position::NextFrame);
    }

    #[test]
    fn a_frame_that_the_next_switch_would_not_see_is_not_filled_in() {
        let mut rewriter = rewriter();
        rewriter.start(&meta(0, 10, 1), 0, &CLOCKS);
        rewriter.skip(0, meta(0, 12, 0).seq);
        assert_eq!(rewriter.fill(&meta(0, 11, 2)), None);
        assert_eq!(number(rewriter.fill(&meta(0, 11, 1))), Some(101));
    }

    #[test]
    fn a_source_that_starts_anew_elsewhere_goes_on_behind_a_hole() {
        let mut rewriter = rewriter();
        rewriter.start(&meta(0, 10, 1), 0, &CLOCKS);
        let mut anew = meta(0, 60_000, 1_000_000);
        anew.arrival = Timestamp::from_millis(1_100);
        let rewritten = forward(&mut rewriter, &anew);
        let after = 101 + u64::from(HOLE_PACKETS_MAX);
        assert_eq!(number(rewritten), Some(after));
        assert_eq!(rewritten.unwrap().rtp_time, RtpTime(9_000));
        assert_eq!(rewriter.fill(&meta(0, 59_999, 2)), None);
        let next = forward(&mut rewriter, &meta(0, 60_001, 1_000_001));
        assert_eq!(number(next), Some(after + 1));
        assert_eq!(next.unwrap().rtp_time, RtpTime(12_000));
    }

    #[test]
    fn a_loss_of_hundreds_is_passed_on_as_it_is() {
        let mut rewriter = rewriter();
        rewriter.start(&meta(0, 10, 1), 0, &CLOCKS);
        let rewritten = forward(&mut rewriter, &meta(0, 510, 2));
        assert_eq!(number(rewritten), Some(600));
        assert_eq!(number(rewriter.fill(&meta(0, 11, 1))), Some(101));
        // Out of reach of late packets.
        forward(&mut rewriter, &meta(0, 540, 3));
        assert_eq!(rewriter.fill(&meta(0, 12, 1)), None);
        assert_eq!(number(rewriter.fill(&meta(0, 509, 2))), Some(599));
    }
}
