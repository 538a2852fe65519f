//! Tracks across shards. A track lives on its publisher's shard, its home. A shard with copies of a
//! track that is not its own tells all others, once; the home, wherever it is and whenever it comes,
//! answers with what a mirror must know, and sends one copy of each packet. The mirror forwards to
//! its own subscribers, answers their NACKs from its own store, and passes requests for key frames
//! back.

use millrace_netio::Transmit;
use millrace_shared::drop::DropReason;
use millrace_shared::ids::{ShardId, TrackId};
use millrace_shared::time::{ExtSeq, Timestamp};

use super::egress::skip;
use super::lanes::{ControlMessage, MediaItem, MirrorConfig, ShardSet};
use super::timers::{Armed, Reason};
use super::{Origin, Shard, UpEntry};
use crate::packet::{Packet, SenderClock};
use crate::slots::Slot;
use crate::uptrack::UpTrack;

impl Shard {
    /// Copies may have come for a track that is not here.
    pub(super) fn announce_copies(&mut self, track: TrackId) {
        if self.router.take_announcement(track) {
            self.tell_others(&ControlMessage::Subscribe { track });
        }
    }

    /// The last copy of a track may have gone.
    pub(super) fn withdraw_copies(&mut self, track: TrackId) {
        if self.router.take_withdrawal(track) {
            self.tell_others(&ControlMessage::Unsubscribe { track });
            self.forget_mirror(track);
        }
    }

    pub(super) fn tell_others(&mut self, message: &ControlMessage) {
        for shard in self.lanes.others() {
            self.lanes.send_control(shard, message.clone());
        }
    }

    pub(super) fn receive_subscribe(&mut self, now: Timestamp, from: ShardId, track: TrackId) {
        self.router.add_remote(track, from);
        let mut only = ShardSet::default();
        only.insert(from);
        self.describe_to(now, track, only);
    }

    /// Tells every shard with copies what became of a track that lives here.
    pub(super) fn describe_to_mirrors(&mut self, now: Timestamp, track: TrackId) {
        let remotes = self.router.remotes_of(track);
        self.describe_to(now, track, remotes);
    }

    fn describe_to(&mut self, now: Timestamp, track: TrackId, shards: ShardSet) {
        if shards.is_empty() {
            return;
        }
        let source = self.router.source(track);
        let Some(entry) = source.and_then(|slot| self.up_tracks.get(slot)) else {
            return;
        };
        if entry.origin.publisher().is_none() {
            return;
        }
        let mirror = MirrorConfig {
            config: entry.track.mirror_config(),
            muted: entry.track.is_muted(),
            live_layers: entry.track.live_layers(now),
            clocks: entry.track.sender_clocks().collect(),
        };
        for shard in shards {
            let message = ControlMessage::Mirror(Box::new(mirror.clone()));
            self.lanes.send_control(shard, message);
        }
    }

    /// Sends a packet of a track that lives here to every shard with copies.
    pub(super) fn send_to_mirrors(&mut self, slot: Slot, track: TrackId, packet: &Packet<'_>) {
        for shard in self.router.remotes(slot) {
            self.lanes
                .send_media(shard, |cell| cell.set_packet(track, packet));
        }
    }

    pub(super) fn send_padding_to_mirrors(
        &mut self,
        slot: Slot,
        track: TrackId,
        spatial: u8,
        seq: ExtSeq,
    ) {
        for shard in self.router.remotes(slot) {
            let item = MediaItem::Padding {
                track,
                spatial,
                seq,
            };
            self.lanes
                .send_media(shard, |cell| cell.set_bytes(item, &[]));
        }
    }

    pub(super) fn send_clock_to_mirrors(
        &mut self,
        track: TrackId,
        spatial: u8,
        clock: SenderClock,
    ) {
        for shard in self.router.remotes_of(track) {
            let message = ControlMessage::SenderClock {
                track,
                spatial,
                clock,
            };
            self.lanes.send_control(shard, message);
        }
    }

    /// The home says that the track is there, or has changed.
    pub(super) fn receive_mirror(&mut self, now: Timestamp, from: ShardId, mirror: &MirrorConfig) {
        let id = mirror.config.track;
        let source = self.router.source(id);
        let entry = source.and_then(|slot| self.up_tracks.get_mut(slot));
        let slot = match (source, entry) {
            // It came home meanwhile.
            (_, Some(entry)) if entry.origin.publisher().is_some() => return,
            (Some(slot), Some(entry)) => {
                entry.origin = Origin::Shard(from);
                entry.track.update(&mirror.config);
                slot
            }
            _ if !self.router.has_copies(id) => return,
            _ => {
                let slot = self.up_tracks.insert(UpEntry {
                    origin: Origin::Shard(from),
                    track: UpTrack::new(&mirror.config),
                    started_layers: 0,
                    started_pt: None,
                    armed: Armed::default(),
                });
                self.mirrors += 1;
                self.router.add_track(id, slot);
                slot
            }
        };
        let Some(entry) = self.up_tracks.get_mut(slot) else {
            return;
        };
        entry.track.set_muted(mirror.muted);
        entry.track.note_live(now, mirror.live_layers);
        for (spatial, clock) in &mirror.clocks {
            entry.track.set_clock(*spatial, *clock);
        }
        let copies: Vec<Slot> = self
            .router
            .fanout(slot)
            .iter()
            .map(|route| route.down_track)
            .collect();
        for down in copies {
            self.arm_down(now, down);
        }
    }

    /// The home has the track no more. Copies wait for it to come back.
    pub(super) fn receive_mirror_end(&mut self, from: ShardId, track: TrackId) {
        if self.mirror_of(from, track).is_some() {
            self.forget_mirror(track);
        }
    }

    pub(super) fn forget_mirror(&mut self, track: TrackId) {
        let Some(slot) = self.router.source(track) else {
            return;
        };
        let mirrored = |entry: &UpEntry| entry.origin.publisher().is_none();
        if self.up_tracks.get(slot).is_some_and(mirrored) {
            self.up_tracks.remove(slot);
            self.mirrors -= 1;
            self.router.remove_track(track);
        }
    }

    pub(super) fn receive_clock(
        &mut self,
        from: ShardId,
        track: TrackId,
        spatial: u8,
        clock: SenderClock,
    ) {
        if let Some((_, entry)) = self.mirror_of(from, track) {
            entry.track.set_clock(spatial, clock);
        }
    }

    /// A packet from the home of its track.
    pub(super) fn receive_mirrored(
        &mut self,
        now: Timestamp,
        from: ShardId,
        track: TrackId,
        packet: &Packet<'_>,
        tx: &mut dyn Transmit,
    ) -> Result<(), DropReason> {
        let (slot, entry) = self
            .mirror_of(from, track)
            .ok_or(DropReason::MirrorUnknown)?;
        let received = entry.track.receive_mirrored(now, packet);
        let at = entry.track.next_timeout();
        if let Some(entry) = self.up_tracks.get_mut(slot) {
            self.timers.arm(&mut entry.armed, at, Reason::UpTrack(slot));
        }
        received?;
        self.forward_packet(now, slot, packet, tx);
        Ok(())
    }

    pub(super) fn receive_padding(
        &mut self,
        now: Timestamp,
        from: ShardId,
        track: TrackId,
        spatial: u8,
        seq: ExtSeq,
    ) -> Result<(), DropReason> {
        let (slot, entry) = self
            .mirror_of(from, track)
            .ok_or(DropReason::MirrorUnknown)?;
        entry.track.skip_mirrored(now, spatial, seq);
        skip(
            self.router.fanout(slot),
            &mut self.down_tracks,
            spatial,
            seq,
        );
        Ok(())
    }

    /// A mirror missed a packet: sent again where it is kept. If not, it is still on its way from the
    /// publisher, or lost for everybody.
    pub(super) fn receive_resend(
        &mut self,
        from: ShardId,
        track: TrackId,
        spatial: u8,
        seq: ExtSeq,
    ) {
        let source = self.router.source(track);
        let Some(entry) = source.and_then(|slot| self.up_tracks.get(slot)) else {
            return;
        };
        if let Some(mut packet) = entry.track.stored(spatial, seq) {
            packet.meta.late = true;
            self.lanes
                .send_media(from, |cell| cell.set_packet(track, &packet));
        }
    }

    /// The mirror here of a track that lives on `home`.
    fn mirror_of(&mut self, home: ShardId, track: TrackId) -> Option<(Slot, &mut UpEntry)> {
        let slot = self.router.source(track)?;
        let entry = self.up_tracks.get_mut(slot)?;
        (entry.origin == Origin::Shard(home)).then_some((slot, entry))
    }
}
