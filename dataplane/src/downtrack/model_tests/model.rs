//! What a subscriber should get, kept packet by packet and picture by picture: no segments, no
//! offsets, no windows.

use std::collections::{BTreeMap, HashMap};

use millrace_shared::time::{ExtSeq, RtpTime};

use super::source::{Arrival, RATE_HZ};
use crate::downtrack::rewriter::Rewritten;
use crate::packet::PacketMeta;

const WINDOW: u64 = 512;

#[derive(Copy, Clone, Debug)]
struct Slot {
    out: u64,
    temporal_max: u8,
    sent: bool,
}

/// One run: the packets of an encoding between two switches.
#[derive(Clone, Debug)]
struct Run {
    spatial: u8,
    seq_last: u64,
    rtp_time_last: RtpTime,
    closed_last: bool,
    picture_last: u64,
    slots: HashMap<u64, Slot>,
    /// Outgoing picture id by source picture; closed pictures have none.
    pictures: HashMap<u64, u64>,
    fates: HashMap<u64, bool>,
    tl0: (u8, u8),
    key: (u8, u8),
    /// Outgoing media time less capture time.
    rtp_base: i64,
}

impl Run {
    /// TL0PICIDX and KEYIDX of a packet as they should leave.
    fn indices(&self, meta: &PacketMeta) -> (u8, u8) {
        let vp8 = meta.vp8.unwrap();
        let tl0 = vp8.tl0_pic_idx.unwrap().wrapping_sub(self.tl0.0);
        let key = vp8.key_idx.unwrap().wrapping_sub(self.key.0);
        (
            self.tl0.1.wrapping_add(tl0),
            self.key.1.wrapping_add(key) & 0x1f,
        )
    }
}

#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) meta: PacketMeta,
    pub(super) rewritten: Rewritten,
    run: u64,
    picture: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Model {
    run: Option<Run>,
    runs: u64,
    out_last: u64,
    picture_last: u64,
    tl0_last: u8,
    key_last: u8,
    rtp_time_last: Option<u32>,
    rtp_base_last: Option<i64>,
    clocks_known: bool,
    /// Every late packet within reach is expected to be known.
    exact: bool,
    pub(super) sent: BTreeMap<u64, Sent>,
}

/// Where the model starts: the values before the first ones.
#[derive(Copy, Clone, Debug)]
pub(super) struct Before {
    pub(super) out: u64,
    pub(super) picture: u64,
    pub(super) tl0: u8,
    pub(super) key: u8,
}

impl Model {
    pub(super) fn new(before: Before, clocks_known: bool, exact: bool) -> Self {
        Self {
            run: None,
            runs: 0,
            out_last: before.out,
            picture_last: before.picture,
            tl0_last: before.tl0,
            key_last: before.key,
            rtp_time_last: None,
            rtp_base_last: None,
            clocks_known,
            exact,
            sent: BTreeMap::new(),
        }
    }

    pub(super) fn pause(&mut self) {
        self.run = None;
    }

    /// Whether the bounds of the rewriter allow that it knows this packet no more.
    pub(super) fn may_forget(&self, sent: &Sent) -> bool {
        !self.exact || self.out_last - sent.rewritten.seq.0 >= WINDOW
    }

    pub(super) fn padding(&mut self, spatial: u8, seq: ExtSeq, temporal_max: u8) {
        if let Some(mut run) = self.run.take_if(|run| run.spatial == spatial) {
            if seq.0 > run.seq_last {
                self.hole(&mut run, seq.0, temporal_max);
                run.seq_last = seq.0;
            }
            self.run = Some(run);
        }
    }

    /// Checks what was done with a packet. `temporal_max` is the selector's limit before and after
    /// it, `wanted` the encoding it waits for.
    pub(super) fn media(
        &mut self,
        arrival: &Arrival,
        meta: &PacketMeta,
        rewritten: Option<Rewritten>,
        temporal_max: (u8, u8),
        wanted: Option<u8>,
    ) {
        match self.run.take() {
            Some(mut run) if run.spatial == meta.spatial => {
                if meta.seq.0 <= run.seq_last {
                    self.late(&mut run, arrival, meta, rewritten);
                } else {
                    self.in_order(&mut run, arrival, meta, rewritten, temporal_max);
                }
                self.run = Some(run);
            }
            run => {
                self.run = run;
                let starts = meta.keyframe_start && !meta.late && wanted == Some(meta.spatial);
                assert_eq!(rewritten.is_some(), starts, "start {meta:?}");
                if let Some(rewritten) = rewritten {
                    self.start(arrival, meta, rewritten, temporal_max.1);
                }
            }
        }
    }

    fn late(
        &mut self,
        run: &mut Run,
        arrival: &Arrival,
        meta: &PacketMeta,
        rewritten: Option<Rewritten>,
    ) {
        let expected = run
            .slots
            .get_mut(&meta.seq.0)
            .filter(|slot| !slot.sent && meta.temporal <= slot.temporal_max)
            .filter(|_| arrival.picture <= run.picture_last);
        let forgotten = |slot: &Slot| !self.exact || self.out_last - slot.out >= WINDOW;
        if rewritten.is_none() && expected.as_deref().is_none_or(forgotten) {
            return;
        }
        let out = expected.map(|slot| {
            slot.sent = true;
            slot.out
        });
        assert_eq!(rewritten.map(|r| r.seq.0), out, "late {meta:?}");
        if let Some(rewritten) = rewritten {
            self.record(run, arrival, meta, rewritten);
        }
    }

    fn in_order(
        &mut self,
        run: &mut Run,
        arrival: &Arrival,
        meta: &PacketMeta,
        rewritten: Option<Rewritten>,
        temporal_max: (u8, u8),
    ) {
        let goes = meta.temporal <= temporal_max.1;
        assert_eq!(rewritten.is_some(), goes, "temporal {meta:?}");
        let fate = *run.fates.entry(arrival.picture).or_insert(goes);
        assert_eq!(fate, goes, "one picture met two decisions: {meta:?}");
        let inside_closed = !goes && run.closed_last && run.rtp_time_last == meta.rtp_time;
        if !inside_closed {
            self.hole(run, meta.seq.0, temporal_max.0);
        }
        self.advance_picture(run, arrival.picture, goes);
        (self.tl0_last, self.key_last) = run.indices(meta);
        run.seq_last = meta.seq.0;
        run.rtp_time_last = meta.rtp_time;
        run.closed_last = !goes;
        if let Some(rewritten) = rewritten {
            self.number(run, meta.seq.0, temporal_max.1);
            self.record(run, arrival, meta, rewritten);
        }
    }

    fn start(
        &mut self,
        arrival: &Arrival,
        meta: &PacketMeta,
        rewritten: Rewritten,
        temporal_max: u8,
    ) {
        let vp8 = meta.vp8.unwrap();
        let capture = (arrival.capture_ms * u64::from(RATE_HZ / 1_000)) as i64;
        self.check_start_time(capture, rewritten.rtp_time);
        self.runs += 1;
        let mut run = Run {
            spatial: meta.spatial,
            seq_last: meta.seq.0,
            rtp_time_last: meta.rtp_time,
            closed_last: false,
            picture_last: arrival.picture,
            slots: HashMap::new(),
            pictures: HashMap::new(),
            fates: HashMap::from([(arrival.picture, true)]),
            tl0: (vp8.tl0_pic_idx.unwrap(), self.tl0_last.wrapping_add(1)),
            key: (vp8.key_idx.unwrap(), (self.key_last + 1) & 0x1f),
            rtp_base: i64::from(rewritten.rtp_time.0) - capture,
        };
        (self.tl0_last, self.key_last) = run.indices(meta);
        self.rtp_base_last = Some(run.rtp_base);
        self.picture_last += 1;
        run.pictures.insert(arrival.picture, self.picture_last);
        self.number(&mut run, meta.seq.0, temporal_max);
        self.record(&mut run, arrival, meta, rewritten);
        self.run = Some(run);
    }

    /// Media time continues by capture time, or one millisecond after the last packet.
    fn check_start_time(&self, capture: i64, rtp_time: RtpTime) {
        let Some(last) = self.rtp_time_last else {
            return;
        };
        let step = rtp_time.distance(RtpTime(last));
        assert!(step > 0, "media time went back over a switch");
        if let Some(base) = self.rtp_base_last.filter(|_| self.clocks_known) {
            let error = rtp_time.distance(RtpTime((base + capture) as u32));
            let stepped = step == (RATE_HZ / 1_000).cast_signed() && error >= 0;
            assert!(
                error.abs() <= 2 || stepped,
                "media time off by {error} ticks"
            );
        }
    }

    fn record(
        &mut self,
        run: &mut Run,
        arrival: &Arrival,
        meta: &PacketMeta,
        rewritten: Rewritten,
    ) {
        let vp8 = rewritten.vp8.unwrap();
        let picture = run.pictures.get(&arrival.picture);
        assert_eq!(
            picture.map(|picture| (picture & 0x7fff) as u16),
            vp8.picture_id.map(|id| id.value),
            "picture id of {meta:?}"
        );
        let (tl0, key) = run.indices(meta);
        assert_eq!((vp8.tl0_pic_idx, vp8.key_idx), (Some(tl0), Some(key)));
        assert_eq!(vp8.layer_sync, meta.vp8.unwrap().layer_sync);
        let capture = (arrival.capture_ms * u64::from(RATE_HZ / 1_000)) as i64;
        assert_eq!(rewritten.rtp_time.0, (run.rtp_base + capture) as u32);
        if meta.seq.0 == run.seq_last {
            self.rtp_time_last = Some(rewritten.rtp_time.0);
        }
        let sent = Sent {
            meta: *meta,
            rewritten,
            run: self.runs,
            picture: arrival.picture,
        };
        let before = self.sent.insert(rewritten.seq.0, sent);
        assert!(before.is_none(), "two packets with one sequence number");
        let slot = run.slots[&meta.seq.0];
        assert_eq!(slot.out, rewritten.seq.0, "sequence number of {meta:?}");
    }

    fn number(&mut self, run: &mut Run, seq: u64, temporal_max: u8) {
        self.out_last += 1;
        let slot = Slot {
            out: self.out_last,
            temporal_max,
            sent: true,
        };
        run.slots.insert(seq, slot);
    }

    fn hole(&mut self, run: &mut Run, seq: u64, temporal_max: u8) {
        for missing in run.seq_last + 1..seq {
            self.number(run, missing, temporal_max);
            if let Some(slot) = run.slots.get_mut(&missing) {
                slot.sent = false;
            }
        }
    }

    fn advance_picture(&mut self, run: &mut Run, picture: u64, goes: bool) {
        if picture <= run.picture_last {
            return;
        }
        for lost in run.picture_last + 1..picture {
            self.picture_last += 1;
            run.pictures.insert(lost, self.picture_last);
        }
        if goes {
            self.picture_last += 1;
            run.pictures.insert(picture, self.picture_last);
        }
        run.picture_last = picture;
    }

    /// What the subscriber's decoder relies on, over all that was sent.
    pub(super) fn check_order(&self) {
        let sent: Vec<&Sent> = self.sent.values().collect();
        for pair in sent.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            let step = b.rewritten.rtp_time.distance(a.rewritten.rtp_time);
            let (vp8_a, vp8_b) = (a.rewritten.vp8.unwrap(), b.rewritten.vp8.unwrap());
            let id = |vp8: crate::packet::Vp8Fields| vp8.picture_id.unwrap().value;
            let pictures = id(vp8_b).wrapping_sub(id(vp8_a)) & 0x7fff;
            let tl0 = vp8_b
                .tl0_pic_idx
                .unwrap()
                .wrapping_sub(vp8_a.tl0_pic_idx.unwrap());
            if (a.run, a.picture) == (b.run, b.picture) {
                assert_eq!((step, pictures, tl0), (0, 0, 0));
            } else {
                assert!(step > 0, "media time went back");
                assert!((1..0x4000).contains(&pictures), "picture id went back");
                assert!(tl0 < 0x80, "TL0PICIDX went back");
            }
        }
    }
}
