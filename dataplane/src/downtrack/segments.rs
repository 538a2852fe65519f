//! Bounded map between a subscriber's sequence numbers and those of the encodings they came from.
//!
//! Packets that go out one after another as they came in share one [`Segment`], so a copy of a
//! track that is never filtered needs one, and a filtered one needs as many as it has cuts. No
//! packet is kept here: retransmissions read the packet store of the published layer.

use millrace_shared::time::{ExtSeq, RtpTime};

use super::vp8::Vp8Offsets;

/// Cuts of a video copy that are remembered. Cutting the upper temporal layer of a 60 fps stream
/// makes 30 a second, and nobody asks for a packet older than that second.
pub(super) const SEGMENTS_VIDEO_MAX: usize = 32;
/// Audio is cut by a pause only.
pub(super) const SEGMENTS_AUDIO_MAX: usize = 4;

/// How the packets of a segment are rewritten, beside their sequence number.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Mapping {
    /// Added to the source's media time.
    pub(super) rtp_offset: u32,
    pub(super) vp8: Vp8Offsets,
    pub(super) spatial: u8,
    /// Highest temporal layer that was let through, so that a late packet meets the decision that
    /// its neighbours met.
    pub(super) temporal_max: u8,
}

impl Mapping {
    pub(super) fn rtp_time(&self, source: RtpTime) -> RtpTime {
        source.wrapping_add(self.rtp_offset)
    }
}

/// Sequence numbers that keep their distance. The mapping lies in it field by field: nested it
/// would cost a quarter more.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
struct Segment {
    source_first: ExtSeq,
    /// Low half of an [`ExtSeq`]: only distances to the newest one count.
    out_first: u32,
    rtp_offset: u32,
    vp8: Vp8Offsets,
    len: u16,
    spatial: u8,
    temporal_max: u8,
}

const _: () = assert!(size_of::<Segment>() == 24);

impl Segment {
    fn new(source_first: ExtSeq, out_first: u32, len: u16, mapping: Mapping) -> Self {
        Self {
            source_first,
            out_first,
            rtp_offset: mapping.rtp_offset,
            vp8: mapping.vp8,
            len,
            spatial: mapping.spatial,
            temporal_max: mapping.temporal_max,
        }
    }

    fn mapping(&self) -> Mapping {
        Mapping {
            rtp_offset: self.rtp_offset,
            vp8: self.vp8,
            spatial: self.spatial,
            temporal_max: self.temporal_max,
        }
    }

    fn by_source(&self, source: ExtSeq) -> Option<u32> {
        let index = source.0.checked_sub(self.source_first.0)?;
        (index < u64::from(self.len)).then_some(index as u32)
    }

    fn by_out(&self, out: u32) -> Option<u32> {
        let index = out.wrapping_sub(self.out_first);
        (index < u32::from(self.len)).then_some(index)
    }
}

/// Ring of the newest segments. Allocated once.
#[derive(Debug)]
pub(super) struct Segments {
    ring: Box<[Segment]>,
    newest: u16,
    len: u16,
    /// Segments since the last switch; only they take late packets.
    run_len: u16,
}

impl Segments {
    pub(super) fn new(segments_max: usize) -> Self {
        assert!((1..=usize::from(u16::MAX)).contains(&segments_max));
        Self {
            ring: vec![Segment::default(); segments_max].into_boxed_slice(),
            newest: 0,
            len: 0,
            run_len: 0,
        }
    }

    /// Late packets that belong before this point are no longer accepted.
    pub(super) fn begin_run(&mut self) {
        self.run_len = 0;
    }

    /// Gives the `count` source numbers from `source` on the outgoing numbers from `out` on.
    pub(super) fn append(&mut self, source: ExtSeq, out: ExtSeq, count: u16, mapping: Mapping) {
        let out_first = out.0 as u32;
        if self.run_len > 0 {
            let last = &mut self.ring[usize::from(self.newest)];
            let len = u64::from(last.len);
            if last.mapping() == mapping
                && last.source_first.0 + len == source.0
                && last.out_first.wrapping_add(u32::from(last.len)) == out_first
                && let Some(longer) = last.len.checked_add(count)
            {
                last.len = longer;
                return;
            }
        }
        let segments_max = self.ring.len() as u16;
        self.newest = (self.newest + 1) % segments_max;
        self.len = (self.len + 1).min(segments_max);
        self.run_len = (self.run_len + 1).min(segments_max);
        self.ring[usize::from(self.newest)] = Segment::new(source, out_first, count, mapping);
    }

    /// The outgoing number that was set aside for `source`, as its distance behind `out_last`.
    pub(super) fn behind(&self, source: ExtSeq, out_last: ExtSeq) -> Option<(u32, Mapping)> {
        self.newest_first(self.run_len).find_map(|segment| {
            let index = segment.by_source(source)?;
            let out = segment.out_first.wrapping_add(index);
            Some(((out_last.0 as u32).wrapping_sub(out), segment.mapping()))
        })
    }

    /// Which source number `out` stands for.
    pub(super) fn source(&self, out: ExtSeq) -> Option<(ExtSeq, Mapping)> {
        self.newest_first(self.len).find_map(|segment| {
            let index = segment.by_out(out.0 as u32)?;
            let source = ExtSeq(segment.source_first.0 + u64::from(index));
            Some((source, segment.mapping()))
        })
    }

    fn newest_first(&self, count: u16) -> impl Iterator<Item = &Segment> {
        let segments_max = self.ring.len();
        let newest = usize::from(self.newest);
        (0..usize::from(count))
            .map(move |age| &self.ring[(newest + segments_max - age) % segments_max])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(spatial: u8) -> Mapping {
        Mapping {
            spatial,
            ..Mapping::default()
        }
    }

    #[test]
    fn what_stays_together_is_one_segment() {
        let mut segments = Segments::new(2);
        segments.begin_run();
        for n in 0..1_000 {
            segments.append(ExtSeq(70_000 + n), ExtSeq(90_000 + n), 1, mapping(0));
        }
        assert_eq!(segments.len, 1);
        assert_eq!(
            segments.source(ExtSeq(90_500)),
            Some((ExtSeq(70_500), mapping(0)))
        );
        assert_eq!(
            segments.behind(ExtSeq(70_990), ExtSeq(90_999)),
            Some((9, mapping(0)))
        );
    }

    #[test]
    fn a_cut_closes_the_gap_and_the_cut_packet_has_no_number() {
        let mut segments = Segments::new(4);
        segments.append(ExtSeq(70_000), ExtSeq(90_000), 10, mapping(0));
        segments.append(ExtSeq(70_012), ExtSeq(90_010), 10, mapping(0));
        assert_eq!(segments.behind(ExtSeq(70_010), ExtSeq(90_019)), None);
        assert_eq!(segments.behind(ExtSeq(70_011), ExtSeq(90_019)), None);
        assert_eq!(
            segments.source(ExtSeq(90_010)),
            Some((ExtSeq(70_012), mapping(0)))
        );
    }

    #[test]
    fn a_switch_closes_older_segments_to_late_packets_only() {
        let mut segments = Segments::new(4);
        segments.append(ExtSeq(70_000), ExtSeq(90_000), 10, mapping(2));
        segments.begin_run();
        segments.append(ExtSeq(80_000), ExtSeq(90_010), 1, mapping(0));
        assert_eq!(segments.behind(ExtSeq(70_001), ExtSeq(90_010)), None);
        assert_eq!(
            segments.source(ExtSeq(90_001)),
            Some((ExtSeq(70_001), mapping(2)))
        );
    }

    #[test]
    fn the_oldest_segment_makes_room() {
        let mut segments = Segments::new(2);
        for n in 0..3 {
            segments.append(ExtSeq(70_000 + 2 * n), ExtSeq(90_000 + n), 1, mapping(0));
        }
        assert_eq!(segments.source(ExtSeq(90_000)), None);
        assert!(segments.source(ExtSeq(90_001)).is_some());
        assert!(segments.source(ExtSeq(90_002)).is_some());
    }

    #[test]
    fn a_segment_longer_than_its_counter_goes_on_in_another() {
        let mut segments = Segments::new(2);
        segments.append(ExtSeq(70_000), ExtSeq(90_000), u16::MAX, mapping(0));
        let next = u64::from(u16::MAX);
        segments.append(ExtSeq(70_000 + next), ExtSeq(90_000 + next), 1, mapping(0));
        assert_eq!(segments.len, 2);
        assert_eq!(
            segments.source(ExtSeq(90_000 + next)),
            Some((ExtSeq(70_000 + next), mapping(0)))
        );
    }
}
