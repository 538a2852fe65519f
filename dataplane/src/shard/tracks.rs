//! Published tracks and subscribers' copies come, change and go.

use millrace_netio::Transmit;
use millrace_shared::ids::{DownTrackId, TrackId, TransportId};
use millrace_shared::limits::{DOWN_TRACKS_PER_TRANSPORT_MAX, UP_TRACKS_PER_TRANSPORT_MAX};
use millrace_shared::link::{DownTrackConfig, Event, Layer, MediaKind, UpTrackConfig};
use millrace_shared::time::Timestamp;

use super::lanes::ControlMessage;
use super::timers::{Armed, Reason};
use super::{DownEntry, Origin, Shard, UpEntry};
use crate::downtrack::{DownTrack, StartValues};
use crate::slots::Slot;
use crate::transport::streams::StreamRef;
use crate::uptrack::UpTrack;

impl Shard {
    pub(super) fn set_up_track(
        &mut self,
        now: Timestamp,
        transport_id: TransportId,
        config: UpTrackConfig,
    ) {
        let Some(transport_slot) = self.transport_ids.get(&transport_id).copied() else {
            return;
        };
        let Some(transport) = self.transports.get_mut(transport_slot) else {
            return;
        };
        let id = config.track;
        let slot = match self.track_ids.get(&id) {
            Some(slot) => *slot,
            None if transport.up_tracks.len() >= UP_TRACKS_PER_TRANSPORT_MAX => {
                tracing::warn!(
                    limit = UP_TRACKS_PER_TRANSPORT_MAX,
                    "published track refused"
                );
                return;
            }
            None => {
                self.forget_mirror(id);
                let slot = self.up_tracks.insert(UpEntry {
                    origin: Origin::Publisher(transport_slot),
                    track: UpTrack::new(&config),
                    started_layers: 0,
                    started_pt: None,
                    armed: Armed::default(),
                });
                self.track_ids.insert(id, slot);
                self.router.add_track(id, slot);
                slot
            }
        };
        let Some(transport) = self.transports.get_mut(transport_slot) else {
            return;
        };
        if !transport.up_tracks.contains(&slot) {
            transport.up_tracks.push(slot);
        }
        transport.streams.add_mid(config.mid, slot);
        if let Some(entry) = self.up_tracks.get_mut(slot) {
            entry.track.update(&config);
            for (ssrc, role) in entry.track.ssrcs() {
                transport.streams.learn(
                    ssrc,
                    StreamRef {
                        up_track: slot,
                        role,
                    },
                );
            }
        }
        let group = transport.group;
        if config.kind == MediaKind::Audio
            && let Some(group) = self.groups.get_mut(group)
        {
            let clock_rate_hz = config
                .codecs
                .first()
                .map_or(48_000, |codec| codec.clock_rate_hz);
            group.speakers.add(id, clock_rate_hz);
        }
        self.describe_to_mirrors(now, id);
    }

    pub(super) fn remove_up_track(&mut self, id: TrackId) {
        let Some(slot) = self.track_ids.get(&id).copied() else {
            return;
        };
        if let Some(entry) = self.up_tracks.get(slot)
            && let Some(publisher) = entry.origin.publisher()
            && let Some(transport) = self.transports.get_mut(publisher)
        {
            transport.up_tracks.retain(|up_track| *up_track != slot);
            transport.streams.remove_track(slot);
        }
        self.forget_up_track(slot);
    }

    /// Subscribers' copies stay and wait, until the control plane removes them.
    pub(super) fn forget_up_track(&mut self, slot: Slot) {
        let Some(entry) = self.up_tracks.remove(slot) else {
            return;
        };
        let id = entry.track.track();
        self.track_ids.remove(&id);
        for shard in self.router.remotes_of(id) {
            self.lanes
                .send_control(shard, ControlMessage::MirrorEnd { track: id });
        }
        self.router.remove_track(id);
        // It may come back on another shard.
        self.announce_copies(id);
        let publisher = entry.origin.publisher();
        let group_slot = publisher
            .and_then(|slot| self.transports.get(slot))
            .map(|transport| transport.group);
        if let Some(group) = group_slot.and_then(|slot| self.groups.get_mut(slot))
            && let Some(silence) = group.speakers.remove(id)
        {
            let group = group.id;
            self.emit(Event::Speakers {
                group,
                levels: vec![silence],
            });
        }
    }

    /// Subscribers missed what came while the track was muted: they go on with a key frame.
    pub(super) fn mute_up_track(
        &mut self,
        now: Timestamp,
        id: TrackId,
        muted: bool,
        tx: &mut dyn Transmit,
    ) {
        let Some(slot) = self.track_ids.get(&id).copied() else {
            return;
        };
        let Some(entry) = self.up_tracks.get_mut(slot) else {
            return;
        };
        let unmuted = entry.track.is_muted() && !muted;
        entry.track.set_muted(muted);
        let live_layers = entry.track.live_layers(now);
        self.describe_to_mirrors(now, id);
        if unmuted {
            self.request_keyframes(now, slot, live_layers, tx);
        }
    }

    pub(super) fn set_down_track(
        &mut self,
        now: Timestamp,
        transport_id: TransportId,
        config: DownTrackConfig,
    ) {
        let Some(transport_slot) = self.transport_ids.get(&transport_id).copied() else {
            return;
        };
        let Some(transport) = self.transports.get_mut(transport_slot) else {
            return;
        };
        let id = config.down;
        if let Some(slot) = self.down_ids.get(&id).copied() {
            if let Some(entry) = self.down_tracks.get_mut(slot) {
                entry.track.update(config);
            }
            self.arm_down(now, slot);
            return;
        }
        if transport.down_tracks.len() >= DOWN_TRACKS_PER_TRANSPORT_MAX {
            tracing::warn!(
                limit = DOWN_TRACKS_PER_TRANSPORT_MAX,
                "subscription refused"
            );
            return;
        }
        let (track, ssrc, rtx_ssrc) = (config.track, config.ssrc, config.rtx_ssrc);
        let random = self.random.next_u64();
        let slot = self.down_tracks.insert(DownEntry {
            transport: transport_slot,
            track: DownTrack::new(config, StartValues::from_random(random)),
            started: false,
            armed: Armed::default(),
        });
        self.down_ids.insert(id, slot);
        transport.down_tracks.push(slot);
        transport.down_by_ssrc.insert(ssrc, slot);
        if let Some(rtx_ssrc) = rtx_ssrc {
            transport.down_by_ssrc.insert(rtx_ssrc, slot);
        }
        self.router.route(track, slot);
        self.announce_copies(track);
        self.arm_down(now, slot);
    }

    pub(super) fn set_down_track_layer(
        &mut self,
        now: Timestamp,
        id: DownTrackId,
        max_layer: Layer,
        paused: bool,
    ) {
        let Some(slot) = self.down_ids.get(&id).copied() else {
            return;
        };
        if let Some(entry) = self.down_tracks.get_mut(slot) {
            entry.track.set_layer(max_layer, paused);
        }
        self.arm_down(now, slot);
    }

    /// Lets the copy ask at once for the key frame it may need.
    pub(super) fn arm_down(&mut self, now: Timestamp, slot: Slot) {
        if let Some(entry) = self.down_tracks.get_mut(slot) {
            self.timers
                .arm(&mut entry.armed, now, Reason::DownTrack(slot));
        }
    }

    pub(super) fn remove_down_track(&mut self, id: DownTrackId) {
        let Some(slot) = self.down_ids.get(&id).copied() else {
            return;
        };
        if let Some(entry) = self.down_tracks.get(slot)
            && let Some(transport) = self.transports.get_mut(entry.transport)
        {
            transport
                .down_tracks
                .retain(|down_track| *down_track != slot);
            transport
                .down_by_ssrc
                .retain(|_, down_track| *down_track != slot);
        }
        self.forget_down_track(slot);
    }

    pub(super) fn forget_down_track(&mut self, slot: Slot) {
        let Some(entry) = self.down_tracks.remove(slot) else {
            return;
        };
        self.down_ids.remove(&entry.track.id());
        self.router.unroute(entry.track.track(), slot);
        self.withdraw_copies(entry.track.track());
    }
}
