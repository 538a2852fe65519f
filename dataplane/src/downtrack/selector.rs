//! Decides whether a packet goes to the subscriber.

use millrace_shared::link::{Layer, MediaKind};

use crate::packet::PacketMeta;

/// Where a packet lies relative to the newest one of the encoding being sent.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Position {
    /// Of another encoding, or nothing is being sent.
    Foreign,
    /// Not newer: late, or seen before.
    Behind,
    SameFrame,
    /// First packet of a frame, the one before was seen.
    NextFrame,
    /// First packet seen of a frame, packets before it are missing.
    FrameAfterGap,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Choice {
    Forward,
    /// Forward it as the first packet of its encoding since another one was sent, or nothing.
    Start,
    /// Of the encoding being sent, but not for this subscriber: its number is closed over.
    Close,
    /// Of no concern.
    Ignore,
}

/// Simulcast and temporal selection. A key frame is the only way onto another encoding, up and
/// down, and back from a pause.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Selector {
    kind: MediaKind,
    max: Layer,
    paused: bool,
    /// Bit n: the encoding of spatial layer n is being received.
    live_layers: u8,
    target: Option<u8>,
    current: Option<u8>,
    temporal_max: u8,
}

impl Selector {
    pub(super) fn new(kind: MediaKind, max: Layer, paused: bool) -> Self {
        Self {
            kind,
            max,
            paused,
            live_layers: 0,
            target: None,
            current: None,
            temporal_max: max.temporal,
        }
    }

    pub(super) fn set_layer(&mut self, max: Layer, paused: bool) {
        self.max = max;
        self.paused = paused;
        if paused {
            self.current = None;
        }
        self.retarget();
    }

    /// Which encodings are being received: bit n is spatial layer n.
    pub(super) fn set_live_layers(&mut self, live_layers: u8) {
        // Called for every packet.
        if self.live_layers != live_layers {
            self.live_layers = live_layers;
            self.retarget();
        }
    }

    /// Spatial layer being sent.
    pub(super) fn current(&self) -> Option<u8> {
        self.current
    }

    /// Highest temporal layer let through now.
    pub(super) fn temporal_max(&self) -> u8 {
        self.temporal_max
    }

    /// The encoding that must send a key frame before the subscriber can have it.
    pub(super) fn wanted_keyframe(&self) -> Option<u8> {
        if self.paused || self.kind == MediaKind::Audio {
            return None;
        }
        self.target.filter(|target| Some(*target) != self.current)
    }

    /// The encoding that a subscriber's own request for a key frame means.
    pub(super) fn refresh_layer(&self) -> Option<u8> {
        if self.paused || self.kind == MediaKind::Audio {
            return None;
        }
        self.target.or(self.current)
    }

    /// Not asked for packets [`Position::Behind`]: those meet the decision of their time.
    pub(super) fn select(&mut self, meta: &PacketMeta, position: Position) -> Choice {
        debug_assert_ne!(position, Position::Behind);
        if self.paused {
            return Choice::Ignore;
        }
        let spatial = Some(meta.spatial);
        if self.current == spatial {
            self.update_temporal(meta, position);
            return if meta.temporal > self.temporal_max {
                Choice::Close
            } else {
                Choice::Forward
            };
        }
        // A late packet would leave the newer ones of its frame behind, unsent.
        let start = !meta.late
            && match self.kind {
                MediaKind::Audio => self.current.is_none(),
                MediaKind::Video => meta.keyframe_start && self.target == spatial,
            };
        if !start {
            return Choice::Ignore;
        }
        self.current = spatial;
        self.temporal_max = self.max.temporal;
        Choice::Start
    }

    /// The best encoding that lives and is allowed; one that is more than allowed is better than
    /// none. While nothing lives the target stays, so that a stream that stopped goes on.
    fn retarget(&mut self) {
        let live = u32::from(self.live_layers);
        let allowed = live & !(u32::MAX << (u32::from(self.max.spatial) + 1).min(31));
        if allowed != 0 {
            self.target = Some((31 - allowed.leading_zeros()) as u8);
        } else if live != 0 {
            self.target = Some(live.trailing_zeros() as u8);
        }
    }

    /// Moves towards the allowed temporal layer. One frame meets one decision: the change waits
    /// for the first packet of a frame, and where packets before it are missing, which may belong
    /// to it, for one of the base layer, which is sent in any case.
    fn update_temporal(&mut self, meta: &PacketMeta, position: Position) {
        let wanted = self.max.temporal;
        if wanted == self.temporal_max {
            return;
        }
        match position {
            Position::NextFrame => {}
            Position::FrameAfterGap if meta.temporal == 0 => {}
            _ => return,
        }
        if wanted < self.temporal_max || meta.keyframe_start {
            self.temporal_max = wanted;
            return;
        }
        match meta.vp8 {
            // RFC 7741 §4.2: with Y set a frame depends on the base layer only. One layer at a
            // time: frames of a layer between may still depend on ones that were not sent.
            Some(vp8) => {
                if vp8.layer_sync && meta.temporal == self.temporal_max + 1 {
                    self.temporal_max = meta.temporal;
                }
            }
            // Elsewhere layers are known by the dependency descriptor, and all its temporal
            // structures (W3C webrtc-svc §6: L1T2, L1T3) predict across no base frame.
            None => {
                if meta.temporal == 0 {
                    self.temporal_max = wanted;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use millrace_shared::ids::Pt;
    use millrace_shared::time::{ExtSeq, RtpTime, Timestamp};

    use super::*;
    use crate::packet::Vp8Fields;

    fn meta(spatial: u8, temporal: u8, keyframe_start: bool) -> PacketMeta {
        PacketMeta {
            arrival: Timestamp::ZERO,
            seq: ExtSeq(0x1_0000),
            rtp_time: RtpTime(0),
            spatial,
            temporal,
            pt: Pt(96),
            marker: false,
            keyframe_start,
            late: false,
            vp8: None,
        }
    }

    fn layer(spatial: u8, temporal: u8) -> Layer {
        Layer { spatial, temporal }
    }

    fn sending(max: Layer, live: u8, spatial: u8) -> Selector {
        let mut selector = Selector::new(MediaKind::Video, max, false);
        selector.set_live_layers(live);
        let choice = selector.select(&meta(spatial, 0, true), Position::Foreign);
        assert_eq!(choice, Choice::Start);
        selector
    }

    #[test]
    fn the_target_is_the_best_live_layer_allowed_else_the_lowest_above() {
        for (max, live, target) in [
            (0, 0b111, Some(0)),
            (1, 0b111, Some(1)),
            (2, 0b111, Some(2)),
            (9, 0b111, Some(2)),
            (2, 0b011, Some(1)),
            (0, 0b110, Some(1)),
            (0, 0b100, Some(2)),
            (200, 0b001, Some(0)),
            (2, 0, None),
        ] {
            let mut selector = Selector::new(MediaKind::Video, layer(max, 3), false);
            selector.set_live_layers(live);
            assert_eq!(selector.wanted_keyframe(), target, "{max} {live:b}");
        }
    }

    #[test]
    fn a_switch_waits_for_a_key_frame_of_the_target() {
        let mut selector = sending(layer(0, 3), 0b111, 0);
        selector.set_layer(layer(2, 3), false);
        assert_eq!(selector.wanted_keyframe(), Some(2));
        let select =
            |selector: &mut Selector, meta: PacketMeta, position| selector.select(&meta, position);
        let next = Position::NextFrame;
        assert_eq!(
            select(&mut selector, meta(0, 0, false), next),
            Choice::Forward
        );
        assert_eq!(
            select(&mut selector, meta(1, 0, true), Position::Foreign),
            Choice::Ignore
        );
        assert_eq!(
            select(&mut selector, meta(2, 0, false), Position::Foreign),
            Choice::Ignore
        );
        let mut late = meta(2, 0, true);
        late.late = true;
        assert_eq!(
            select(&mut selector, late, Position::Foreign),
            Choice::Ignore
        );
        assert_eq!(
            select(&mut selector, meta(2, 0, true), Position::Foreign),
            Choice::Start
        );
        assert_eq!(selector.wanted_keyframe(), None);
        assert_eq!(
            select(&mut selector, meta(0, 0, true), Position::Foreign),
            Choice::Ignore
        );
    }

    #[test]
    fn a_layer_that_dies_is_left() {
        let mut selector = sending(layer(2, 3), 0b111, 2);
        selector.set_live_layers(0b011);
        assert_eq!(selector.wanted_keyframe(), Some(1));
        selector.set_live_layers(0);
        assert_eq!(selector.wanted_keyframe(), Some(1));
        selector.set_live_layers(0b100);
        assert_eq!(selector.wanted_keyframe(), None);
    }

    #[test]
    fn a_pause_ends_with_a_key_frame() {
        let mut selector = sending(layer(0, 3), 0b001, 0);
        selector.set_layer(layer(0, 3), true);
        assert_eq!(selector.wanted_keyframe(), None);
        let key = meta(0, 0, true);
        assert_eq!(selector.select(&key, Position::Foreign), Choice::Ignore);
        selector.set_layer(layer(0, 3), false);
        assert_eq!(selector.wanted_keyframe(), Some(0));
        let delta = meta(0, 0, false);
        assert_eq!(selector.select(&delta, Position::Foreign), Choice::Ignore);
        assert_eq!(selector.select(&key, Position::Foreign), Choice::Start);
    }

    #[test]
    fn audio_goes_at_once_and_wants_no_key_frame() {
        let mut selector = Selector::new(MediaKind::Audio, layer(0, 0), false);
        selector.set_live_layers(1);
        assert_eq!(selector.wanted_keyframe(), None);
        let packet = meta(0, 0, false);
        assert_eq!(selector.select(&packet, Position::Foreign), Choice::Start);
        let choice = selector.select(&packet, Position::NextFrame);
        assert_eq!(choice, Choice::Forward);
    }

    #[test]
    fn temporal_layers_fall_at_a_frame_and_not_inside_one() {
        let mut selector = sending(layer(0, 2), 1, 0);
        selector.set_layer(layer(0, 0), false);
        let top = meta(0, 2, false);
        assert_eq!(selector.select(&top, Position::SameFrame), Choice::Forward);
        assert_eq!(
            selector.select(&top, Position::FrameAfterGap),
            Choice::Forward
        );
        assert_eq!(selector.select(&top, Position::NextFrame), Choice::Close);
        assert_eq!(
            selector.select(&meta(0, 0, false), Position::NextFrame),
            Choice::Forward
        );
    }

    // RFC 7741 §4.2: layer sync.
    #[test]
    fn vp8_climbs_one_temporal_layer_at_a_sync_frame() {
        let mut selector = sending(layer(0, 0), 1, 0);
        selector.set_layer(layer(0, 2), false);
        let vp8 = |temporal, layer_sync| PacketMeta {
            vp8: Some(Vp8Fields {
                layer_sync,
                ..Vp8Fields::default()
            }),
            ..meta(0, temporal, false)
        };
        let mut next = |meta: PacketMeta| selector.select(&meta, Position::NextFrame);
        assert_eq!(next(vp8(1, false)), Choice::Close);
        assert_eq!(next(vp8(0, false)), Choice::Forward);
        assert_eq!(next(vp8(2, true)), Choice::Close);
        assert_eq!(next(vp8(1, true)), Choice::Forward);
        assert_eq!(next(vp8(2, false)), Choice::Close);
        assert_eq!(next(vp8(2, true)), Choice::Forward);
    }

    #[test]
    fn others_climb_at_a_base_frame() {
        let mut selector = sending(layer(0, 0), 1, 0);
        selector.set_layer(layer(0, 2), false);
        let mut next = |temporal| selector.select(&meta(0, temporal, false), Position::NextFrame);
        assert_eq!(next(1), Choice::Close);
        assert_eq!(next(0), Choice::Forward);
        assert_eq!(next(2), Choice::Forward);
    }
}
