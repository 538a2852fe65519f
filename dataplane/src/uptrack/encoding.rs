//! One simulcast encoding of a track: its stream, what is missing of it, what is kept of it.

use std::time::Duration;

use arrayvec::ArrayVec;
use millrace_shared::drop::DropReason;
use millrace_shared::ids::{Rid, Ssrc};
use millrace_shared::link::{Encoding, MediaKind};
use millrace_shared::time::{ExtSeq, RtpTime, Timestamp};

use super::KeyframeRequest;
use super::former::{FormerSources, Source};
use super::keyframe::KeyframeThrottle;
use super::nack::{BATCH_MAX, NackBatch, NackRegister, Repair};
use super::sequence::Order;
use super::store::PacketStore;
use super::stream_rx::{Arrival, RxPacket, StreamRx};

/// A publisher whose bandwidth drops stops its upper encodings, and subscribers of those freeze
/// until we notice. It stopped when it is silent for this long while the track's others went on ...
const SILENCE: Duration = Duration::from_secs(1);
/// ... with as many frames: a still screen sends a frame a second on all of them.
const SILENCE_FRAMES: u32 = 10;
/// Silence that needs no comparison. LiveKit waits 4 s for a layer of a screen share.
const SILENCE_MAX: Duration = Duration::from_secs(4);

#[derive(Debug)]
pub(super) struct EncodingRx {
    pub(super) spatial: u8,
    kind: MediaKind,
    pub(super) rid: Option<Rid>,
    pub(super) rx: StreamRx,
    former: FormerSources,
    pub(super) nacks: NackRegister,
    pub(super) store: PacketStore,
    pub(super) keyframes: KeyframeThrottle,
    /// Media time of the last key frame.
    keyframe_time: Option<RtpTime>,
    /// Frames of the whole track when the last packet of this encoding came.
    frames_at_last: u32,
    /// Newest packet that came from the home of the track, if this is a mirror of it.
    mirrored: Option<ExtSeq>,
    reported: Totals,
}

/// Sums since the encoding exists.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Totals {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) lost: u64,
}

impl EncodingRx {
    pub(super) fn new(kind: MediaKind, config: &Encoding) -> Self {
        let mut encoding = Self {
            spatial: config.spatial,
            kind,
            rid: None,
            rx: StreamRx::default(),
            former: FormerSources::default(),
            nacks: NackRegister::default(),
            store: PacketStore::new(kind),
            keyframes: KeyframeThrottle::default(),
            keyframe_time: None,
            frames_at_last: 0,
            mirrored: None,
            reported: Totals::default(),
        };
        encoding.update(config);
        encoding
    }

    /// SSRCs that were learned stay where the description names none.
    pub(super) fn update(&mut self, config: &Encoding) {
        self.rid = config.rid;
        if let Some(ssrc) = config.ssrc {
            self.bind(ssrc, false);
        }
        if let Some(ssrc) = config.rtx_ssrc {
            self.bind(ssrc, true);
        }
    }

    /// A packet of an SSRC that nobody knows claims to be of this encoding. Whether it is.
    pub(super) fn learn(&mut self, now: Timestamp, ssrc: Ssrc, rtx: bool) -> bool {
        if rtx {
            return self.hear_repair(now, ssrc);
        }
        self.bind(ssrc, false);
        true
    }

    /// A new source is repaired by another stream than the one before it, if by any.
    fn bind(&mut self, ssrc: Ssrc, rtx: bool) {
        if rtx {
            self.rx.bind_rtx(Some(ssrc));
            return;
        }
        let before = (self.rx.ssrc(), self.rx.rtx_ssrc());
        if self.rx.bind(ssrc)
            && let (Some(left), rtx_ssrc) = before
        {
            let left = Source {
                ssrc: left,
                rtx_ssrc,
            };
            let rtx_ssrc = self.former.leave(left, ssrc);
            self.rx.bind_rtx(rtx_ssrc);
            self.nacks.clear();
        }
    }

    /// A packet of a source that the encoding had or has. Whether it is of the current one, which
    /// it becomes by this when the publisher has come back to it.
    pub(super) fn hear(&mut self, now: Timestamp, ssrc: Ssrc, rtx: bool) -> bool {
        if rtx {
            return self.hear_repair(now, ssrc);
        }
        if self.rx.ssrc() == Some(ssrc) {
            self.former.note_current(now);
            return true;
        }
        if !self.former.note_other(ssrc) {
            return false;
        }
        self.bind(ssrc, false);
        // The first packets of what it sends now are gone.
        self.want_keyframe();
        true
    }

    /// A retransmission. Whether it repairs the current source.
    fn hear_repair(&mut self, now: Timestamp, ssrc: Ssrc) -> bool {
        let current = self.rx.rtx_ssrc();
        if current == Some(ssrc) {
            self.former.note_current_repair();
            return true;
        }
        if !self.former.note_other_repair(now, ssrc, current) {
            return false;
        }
        self.former.note_current_repair();
        self.rx.bind_rtx(Some(ssrc));
        true
    }

    /// Takes a packet into sequence and statistics. `frames` counts the frames of the whole track.
    pub(super) fn receive(
        &mut self,
        now: Timestamp,
        packet: &RxPacket,
        nack: bool,
        frames: &mut u32,
    ) -> Result<Arrival, DropReason> {
        let silence = self.silence(now);
        let arrival = self.rx.receive(now, packet)?;
        if arrival.starts_frame {
            *frames = frames.wrapping_add(1);
        }
        self.frames_at_last = *frames;
        let missing = match arrival.order {
            Order::First => 0,
            Order::Newest { missing } => missing,
            Order::Restart => {
                self.nacks.clear();
                1
            }
            Order::Late => {
                self.nacks.note_received(now, arrival.seq, packet.rtx);
                return Ok(arrival);
            }
        };
        let repair = nack.then(|| self.nacks.note_gap(now, arrival.seq, missing, silence));
        if repair == Some(Repair::Hopeless) {
            self.want_keyframe_from(arrival.seq);
        }
        Ok(arrival)
    }

    /// How long nothing of it came.
    fn silence(&self, now: Timestamp) -> Duration {
        self.rx
            .last_at()
            .map_or(Duration::ZERO, |last_at| now.since(last_at))
    }

    /// Takes a number that the home has sent. What is missing before it, a full lane lost, or it is
    /// late at the home as well.
    pub(super) fn note_mirrored(&mut self, now: Timestamp, seq: ExtSeq, late: bool) {
        let newest = self.mirrored.unwrap_or(ExtSeq(seq.0.saturating_sub(1)));
        if late || seq <= newest {
            self.nacks.note_received(now, seq, late);
            return;
        }
        self.mirrored = Some(seq);
        let missing = seq.0 - newest.0 - 1;
        let silence = self.silence(now);
        if self.nacks.note_gap(now, seq, missing, silence) == Repair::Hopeless {
            self.want_keyframe_from(seq);
        }
    }

    /// What to ask the publisher for again. What is given up, only a key frame replaces, unless it was
    /// of an upper temporal layer, which nobody can tell: subscribers would see that as late as a
    /// second after, and ask then.
    pub(super) fn due_nacks(&mut self, now: Timestamp) -> NackBatch {
        let due = self.nacks.due(now);
        if let Some(broken) = self.nacks.take_broken() {
            self.want_keyframe_from(ExtSeq(broken.0 + 1));
        }
        due
    }

    /// What to ask the home for again.
    pub(super) fn due_resends(&mut self, now: Timestamp) -> ArrayVec<ExtSeq, BATCH_MAX> {
        let newest = self.mirrored.unwrap_or_default();
        let due = self.due_nacks(now);
        due.iter().map(|seq| newest.extend(*seq)).collect()
    }

    /// The publisher sends it. `frames` counts the frames of the whole track.
    pub(super) fn note_alive(&mut self, now: Timestamp, frames: u32) {
        self.rx.note_alive(now);
        self.frames_at_last = frames;
    }

    /// A key frame is asked for as soon as the throttle allows. An encoding that no packet came of
    /// begins with one anyway.
    pub(super) fn want_keyframe(&mut self) {
        if self.kind == MediaKind::Video && self.rx.ssrc().is_some() {
            self.keyframes.want();
        }
    }

    /// The same where packets before `seq` are given up. A key frame that begins there or later will do.
    fn want_keyframe_from(&mut self, seq: ExtSeq) {
        if self.kind == MediaKind::Video && self.rx.ssrc().is_some() {
            self.keyframes.want_from(seq);
        }
    }

    /// A packet arrived at which decoding can start, `late` if newer ones did before. Whether it is the
    /// first of its key frame.
    pub(super) fn note_keyframe(&mut self, seq: ExtSeq, rtp_time: RtpTime, late: bool) -> bool {
        self.keyframes.note_keyframe(seq, late);
        self.nacks.note_keyframe(seq);
        self.keyframe_time.replace(rtp_time) != Some(rtp_time)
    }

    pub(super) fn due_keyframe_request(&mut self, now: Timestamp) -> Option<KeyframeRequest> {
        let ssrc = self.rx.ssrc()?;
        let spatial = self.spatial;
        self.keyframes
            .take_due(now)
            .then_some(KeyframeRequest { spatial, ssrc })
    }

    /// Whether the publisher still sends it. `frames` counts the frames of the whole track.
    pub(super) fn is_live(&self, now: Timestamp, frames: u32) -> bool {
        let Some(last_at) = self.rx.last_at() else {
            return false;
        };
        let silence = now.since(last_at);
        let frames_of_others = frames.wrapping_sub(self.frames_at_last);
        silence < SILENCE || (silence < SILENCE_MAX && frames_of_others < SILENCE_FRAMES)
    }

    /// What was added since the last call.
    pub(super) fn take_totals(&mut self) -> Totals {
        let before = self.reported;
        // What is still asked for may yet come. A repair after that makes the sum smaller; it is
        // then told as none lost, until new losses exceed it.
        let lost = self
            .rx
            .lost()
            .saturating_sub(self.nacks.missing_count() as u64);
        self.reported = Totals {
            packets: self.rx.packets(),
            bytes: self.rx.bytes(),
            lost: before.lost.max(lost),
        };
        Totals {
            packets: self.reported.packets - before.packets,
            bytes: self.reported.bytes - before.bytes,
            lost: self.reported.lost - before.lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::nack;
    use super::*;

    const START: Timestamp = Timestamp::ZERO;
    const CURRENT: Ssrc = Ssrc(77);
    const CURRENT_RTX: Ssrc = Ssrc(78);
    const FORMER_RTX: Ssrc = Ssrc(20);

    /// It began with another source, which was repaired by `rtx_ssrc`.
    fn encoding(rtx_ssrc: Option<Ssrc>) -> EncodingRx {
        let config = Encoding {
            rid: None,
            spatial: 0,
            ssrc: Some(Ssrc(10)),
            rtx_ssrc,
        };
        let mut encoding = EncodingRx::new(MediaKind::Video, &config);
        assert!(encoding.learn(START, CURRENT, false));
        assert!(encoding.hear(START, CURRENT, false));
        encoding
    }

    #[test]
    fn a_late_repair_of_a_former_source_takes_nothing_over() {
        // Known by the description, or by nothing so far.
        for known in [Some(FORMER_RTX), None] {
            let mut encoding = encoding(known);
            assert!(encoding.learn(START, CURRENT_RTX, true));
            assert!(!encoding.hear(START, FORMER_RTX, true));
            assert!(!encoding.learn(START, FORMER_RTX, true));
            assert_eq!(encoding.rx.rtx_ssrc(), Some(CURRENT_RTX));
            assert!(encoding.hear(START, CURRENT_RTX, true));
        }
        let mut encoding = encoding(Some(FORMER_RTX));
        assert!(encoding.learn(START, CURRENT_RTX, true));
        assert!((0..50).all(|_| !encoding.hear(START, FORMER_RTX, true)));
    }

    #[test]
    fn a_former_repair_is_none_of_a_source_that_has_none_yet() {
        let mut encoding = encoding(Some(FORMER_RTX));
        assert_eq!(encoding.rx.rtx_ssrc(), None);
        assert!((0..10).all(|_| !encoding.hear(START, FORMER_RTX, true)));
        assert!((0..10).all(|_| !encoding.learn(START, FORMER_RTX, true)));
        assert_eq!(encoding.rx.rtx_ssrc(), None);
        assert!(encoding.learn(START, CURRENT_RTX, true));
        assert_eq!(encoding.rx.rtx_ssrc(), Some(CURRENT_RTX));
    }

    #[test]
    fn a_publisher_keeps_what_repairs_it_when_its_source_changes() {
        let mut encoding = encoding(Some(FORMER_RTX));
        let late = START + nack::LIFETIME_MAX;
        assert!((0..10).any(|_| encoding.hear(late, FORMER_RTX, true)));
        assert_eq!(encoding.rx.rtx_ssrc(), Some(FORMER_RTX));
    }

    #[test]
    fn repairs_of_a_former_source_wait_until_the_current_one_is_heard() {
        let mut encoding = encoding(Some(FORMER_RTX));
        assert!(encoding.learn(START, Ssrc(87), false));
        let late = START + nack::LIFETIME_MAX;
        assert!((0..10).all(|_| !encoding.hear(late, FORMER_RTX, true)));
        assert!(encoding.hear(late, Ssrc(87), false));
        assert!((0..10).all(|_| !encoding.hear(late, FORMER_RTX, true)));
    }

    #[test]
    fn a_repair_that_was_taken_by_mistake_gives_way_to_the_one_that_goes_on() {
        let mut encoding = encoding(None);
        // Late, and never heard before.
        assert!(encoding.learn(START, FORMER_RTX, true));
        assert!((0..10).any(|_| encoding.learn(START, CURRENT_RTX, true)));
        // Heard before the source that it repairs.
        let mut encoding = self::encoding(None);
        assert!(encoding.learn(START, Ssrc(88), true));
        assert!(encoding.learn(START, Ssrc(87), false));
        assert!(encoding.hear(START, Ssrc(87), false));
        let late = START + nack::LIFETIME_MAX;
        assert!((0..10).any(|_| encoding.hear(late, Ssrc(88), true)));
    }

    #[test]
    fn the_description_says_what_repairs_a_source() {
        let mut encoding = encoding(Some(FORMER_RTX));
        encoding.update(&Encoding {
            rid: None,
            spatial: 0,
            ssrc: Some(CURRENT),
            rtx_ssrc: Some(FORMER_RTX),
        });
        assert!(encoding.hear(START, FORMER_RTX, true));
    }
}
