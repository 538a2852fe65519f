//! A track as another shard has it. The home of a track receives, orders and repairs; a mirror takes
//! what came of it, keeps it for its own subscribers, and knows of each layer whether it lives.

use arrayvec::ArrayVec;
use millrace_shared::drop::DropReason;
use millrace_shared::ids::Mid;
use millrace_shared::limits::SPATIAL_LAYERS_MAX;
use millrace_shared::link::{Encoding, UpTrackConfig};
use millrace_shared::time::{ExtSeq, Timestamp};

use super::nack::BATCH_MAX;
use super::{UpTrack, layer_bit};
use crate::packet::{Packet, SenderClock};

impl UpTrack {
    /// What a mirror is made of. Retransmission is the home's affair.
    pub fn mirror_config(&self) -> UpTrackConfig {
        let mut pli_interval_ms = [0; SPATIAL_LAYERS_MAX];
        for encoding in &self.encodings {
            if let Some(interval) = pli_interval_ms.get_mut(usize::from(encoding.spatial)) {
                let millis = encoding.keyframes.interval().as_millis();
                *interval = u32::try_from(millis).unwrap_or(u32::MAX);
            }
        }
        let encodings = self.encodings.iter().map(|encoding| Encoding {
            rid: None,
            spatial: encoding.spatial,
            ssrc: encoding.rx.ssrc(),
            rtx_ssrc: None,
        });
        UpTrackConfig {
            track: self.track,
            mid: Mid::new_const(),
            kind: self.kind,
            codecs: self.codecs.clone(),
            encodings: encodings.collect(),
            nack: false,
            pli_interval_ms,
        }
    }

    /// The home says which layers live, before any packet of them came.
    pub fn note_live(&mut self, now: Timestamp, live_layers: u8) {
        for encoding in &mut self.encodings {
            if live_layers & layer_bit(encoding.spatial) != 0 {
                encoding.note_alive(now, self.frames);
            }
        }
    }

    /// Takes a packet that the home has put in order. One that it sent twice counts once.
    pub fn receive_mirrored(
        &mut self,
        now: Timestamp,
        packet: &Packet<'_>,
    ) -> Result<(), DropReason> {
        let meta = &packet.meta;
        let index = self
            .index(meta.spatial)
            .ok_or(DropReason::RtpStreamUnknown)?;
        let encoding = &mut self.encodings[index];
        if meta.late && encoding.store.packet(meta.seq).is_some() {
            return Err(DropReason::RtpDuplicate);
        }
        encoding.note_mirrored(now, meta.seq, meta.late);
        let starts_frame = encoding.rx.note_mirrored(now, meta, packet.payload.len());
        if starts_frame {
            self.frames = self.frames.wrapping_add(1);
        }
        encoding.note_alive(now, self.frames);
        if meta.keyframe_start {
            encoding.note_keyframe(meta.seq, meta.rtp_time, meta.late);
        }
        encoding.store.insert(packet);
        Ok(())
    }

    /// A number of the publisher that carried nothing.
    pub fn skip_mirrored(&mut self, now: Timestamp, spatial: u8, seq: ExtSeq) {
        let frames = self.frames;
        if let Some(encoding) = self.encoding_mut(spatial) {
            encoding.note_mirrored(now, seq, false);
            encoding.note_alive(now, frames);
        }
    }

    /// Packets that the lane lost, by spatial layer: to be asked for again.
    pub fn due_resends(
        &mut self,
        now: Timestamp,
    ) -> ArrayVec<(u8, ArrayVec<ExtSeq, BATCH_MAX>), SPATIAL_LAYERS_MAX> {
        let encodings = self.encodings.iter_mut();
        encodings
            .map(|encoding| (encoding.spatial, encoding.due_resends(now)))
            .collect()
    }

    pub fn set_clock(&mut self, spatial: u8, clock: SenderClock) {
        if let Some(encoding) = self.encoding_mut(spatial) {
            encoding.rx.set_clock(clock);
        }
    }

    /// By spatial layer.
    pub fn sender_clocks(&self) -> impl Iterator<Item = (u8, SenderClock)> + '_ {
        self.encodings
            .iter()
            .filter_map(|encoding| Some((encoding.spatial, encoding.rx.clock()?)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use millrace_shared::ids::{Pt, Ssrc, TrackId};
    use millrace_shared::link::{Codec, MediaKind, UpCodec};
    use millrace_shared::time::{NtpTime, RtpTime};

    use super::*;
    use crate::packet::PacketMeta;

    fn home() -> UpTrack {
        let mut track = UpTrack::new(&UpTrackConfig {
            track: TrackId(1),
            mid: Mid::from("0").unwrap(),
            kind: MediaKind::Video,
            codecs: vec![UpCodec {
                pt: Pt(96),
                codec: Codec::Vp8,
                clock_rate_hz: 90_000,
                rtx_pt: Some(Pt(97)),
            }],
            encodings: (0..2)
                .map(|spatial| Encoding {
                    rid: None,
                    spatial,
                    ssrc: Some(Ssrc(100 + u32::from(spatial))),
                    rtx_ssrc: Some(Ssrc(200 + u32::from(spatial))),
                })
                .collect(),
            nack: true,
            pli_interval_ms: [500, 1_000, 0],
        });
        let now = Timestamp::from_millis(5);
        track.sender_report(now, Ssrc(101), NtpTime(77), RtpTime(7));
        track
    }

    fn packet(seq: u64, late: bool) -> Packet<'static> {
        Packet {
            meta: PacketMeta {
                arrival: Timestamp::from_millis(seq),
                seq: ExtSeq(seq),
                rtp_time: RtpTime(seq as u32 * 3_000),
                spatial: 1,
                temporal: 0,
                pt: Pt(96),
                marker: true,
                keyframe_start: false,
                late,
                vp8: None,
            },
            exts: ArrayVec::new(),
            payload: b"payload",
        }
    }

    #[test]
    fn a_mirror_has_the_codecs_layers_and_clocks_of_its_home() {
        let home = home();
        let mut mirror = UpTrack::new(&home.mirror_config());
        for (spatial, clock) in home.sender_clocks() {
            mirror.set_clock(spatial, clock);
        }
        assert_eq!(mirror.clocks(), home.clocks());
        assert_eq!(mirror.ssrc(1), Some(Ssrc(101)));
        let now = Timestamp::from_millis(10);
        assert!(mirror.request_keyframe(now, 0).is_some());
        assert!(mirror.request_keyframe(now, 0).is_none());
        let later = now + Duration::from_millis(500);
        assert_eq!(mirror.next_timeout(), later);
        assert_eq!(mirror.due_keyframe_requests(later).len(), 1);
    }

    #[test]
    fn packets_keep_a_layer_alive_and_can_be_sent_again() {
        let mut mirror = UpTrack::new(&home().mirror_config());
        assert_eq!(mirror.live_layers(Timestamp::ZERO), 0);
        mirror.note_live(Timestamp::ZERO, 0b01);
        for seq in 1..=40 {
            let now = Timestamp::from_millis(seq * 50);
            mirror.receive_mirrored(now, &packet(seq, false)).unwrap();
        }
        let now = Timestamp::from_millis(2_000);
        assert_eq!(mirror.live_layers(now), 0b10);
        assert_eq!(mirror.stored(1, ExtSeq(17)).unwrap().payload, b"payload");
    }

    #[test]
    fn what_the_home_sends_again_counts_once() {
        let mut mirror = UpTrack::new(&home().mirror_config());
        let now = Timestamp::ZERO;
        mirror.receive_mirrored(now, &packet(5, false)).unwrap();
        mirror.receive_mirrored(now, &packet(4, true)).unwrap();
        for seq in [4, 5] {
            let again = mirror.receive_mirrored(now, &packet(seq, true));
            assert_eq!(again, Err(DropReason::RtpDuplicate));
        }
    }
}
