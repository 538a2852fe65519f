//! Step 4 of the tick: what is due.

use arrayvec::ArrayVec;
use millrace_netio::Transmit;
use millrace_shared::ids::ShardId;
use millrace_shared::limits::TUPLES_PER_TRANSPORT_MAX;
use millrace_shared::link::{CloseReason, Event};
use millrace_shared::time::Timestamp;
use millrace_shared::wire::rtcp::RtcpWriter;

use super::egress::send_rtcp;
use super::feedback::RECEIVER_SSRC;
use super::ingress::pair_of;
use super::lanes::ControlMessage;
use super::timers::{Reason, Timers};
use super::{Origin, Shard};
use crate::slots::Slot;

/// Reception blocks of one report (RFC 3550 §6.4.1: the count has five bits).
const BLOCKS_PER_REPORT_MAX: usize = 31;

impl Shard {
    pub(super) fn handle_timeout(
        &mut self,
        now: Timestamp,
        at: Timestamp,
        reason: Reason,
        tx: &mut dyn Transmit,
    ) {
        let armed = match reason {
            Reason::Transport(slot) => self.transports.get_mut(slot).map(|it| &mut it.armed),
            Reason::UpTrack(slot) => self.up_tracks.get_mut(slot).map(|it| &mut it.armed),
            Reason::DownTrack(slot) => self.down_tracks.get_mut(slot).map(|it| &mut it.armed),
            Reason::Group(slot) => self.groups.get_mut(slot).map(|it| &mut it.armed),
            Reason::Reports => Some(&mut self.reports_armed),
            Reason::Metrics => Some(&mut self.metrics_armed),
        };
        if !armed.is_some_and(|armed| Timers::fired(armed, at)) {
            return;
        }
        match reason {
            Reason::Transport(slot) => self.transport_timeout(now, slot, tx),
            Reason::UpTrack(slot) => self.up_track_timeout(now, slot, tx),
            Reason::DownTrack(slot) => self.down_track_timeout(now, slot, tx),
            Reason::Group(slot) => self.group_timeout(now, slot),
            Reason::Reports => self.send_reports(now),
            Reason::Metrics => self.send_metrics(now),
        }
    }

    fn transport_timeout(&mut self, now: Timestamp, slot: Slot, tx: &mut dyn Transmit) {
        let Some(transport) = self.transports.get_mut(slot) else {
            return;
        };
        transport.handle_timeout(now);
        let reports_due = transport.take_report_due(now);
        let disconnected_now = transport.disconnected_at() <= now;
        transport.disconnected |= disconnected_now;
        let id = transport.id;
        let before = transport.ice.selected();
        let mut expired_tuples = ArrayVec::<_, TUPLES_PER_TRANSPORT_MAX>::new();
        while let Some(expired) = transport.ice.expire(now) {
            expired_tuples.push(expired);
        }
        let selected = transport.ice.selected().filter(|now| Some(*now) != before);
        let consent_lost = transport.consent_lost(now);
        for expired in expired_tuples {
            self.forget_tuple(&expired, slot);
        }
        if let Some(tuple) = selected {
            self.emit(Event::PairSelected {
                transport: id,
                pair: pair_of(tuple),
            });
        }
        if disconnected_now {
            self.emit(Event::Disconnected { transport: id });
        }
        if consent_lost {
            self.close(slot, CloseReason::ConsentExpired);
            return;
        }
        self.send_transport_cc(now, slot, tx);
        if reports_due {
            self.send_receiver_reports(now, slot, tx);
        }
        self.pump(now, slot, tx);
    }

    fn send_transport_cc(&mut self, now: Timestamp, slot: Slot, tx: &mut dyn Transmit) {
        let Some(transport) = self.transports.get_mut(slot) else {
            return;
        };
        // Any SSRC of the peer will do: the feedback is about the transport.
        let Some(media_ssrc) = transport.streams.any_ssrc() else {
            return;
        };
        loop {
            let mut writer = RtcpWriter::new(self.scratch.as_mut_slice());
            let recorder = &mut transport.transport_cc;
            if !recorder.write_feedback(now, RECEIVER_SSRC, media_ssrc, &mut writer) {
                return;
            }
            send_rtcp(transport, writer.written(), tx, &mut self.metrics);
        }
    }

    /// RFC 3550 §6.4.2: how the peer's streams arrive.
    fn send_receiver_reports(&mut self, now: Timestamp, slot: Slot, tx: &mut dyn Transmit) {
        let Some(transport) = self.transports.get_mut(slot) else {
            return;
        };
        self.report_blocks.clear();
        for up_track in &transport.up_tracks {
            if let Some(entry) = self.up_tracks.get_mut(*up_track) {
                let blocks = &mut self.report_blocks;
                blocks.extend(entry.track.report_blocks(now));
            }
        }
        for blocks in self.report_blocks.chunks(BLOCKS_PER_REPORT_MAX) {
            let mut writer = RtcpWriter::new(self.scratch.as_mut_slice());
            if writer.receiver_report(RECEIVER_SSRC, blocks).is_some() {
                send_rtcp(transport, writer.written(), tx, &mut self.metrics);
            }
        }
    }

    fn up_track_timeout(&mut self, now: Timestamp, slot: Slot, tx: &mut dyn Transmit) {
        let Some(entry) = self.up_tracks.get_mut(slot) else {
            return;
        };
        let publisher = match entry.origin {
            Origin::Publisher(transport) => self.transports.get_mut(transport),
            Origin::Shard(home) => return self.mirror_timeout(now, slot, home),
        };
        let Some(transport) = publisher else {
            return;
        };
        for nack in entry.track.due_nacks(now) {
            let mut writer = RtcpWriter::new(self.scratch.as_mut_slice());
            if writer.nack(RECEIVER_SSRC, nack.ssrc, nack.seqs).is_some() {
                send_rtcp(transport, writer.written(), tx, &mut self.metrics);
                self.metrics.nacks_sent += 1;
            }
        }
        for request in entry.track.due_keyframe_requests(now) {
            let mut writer = RtcpWriter::new(self.scratch.as_mut_slice());
            if writer.pli(RECEIVER_SSRC, request.ssrc).is_some() {
                send_rtcp(transport, writer.written(), tx, &mut self.metrics);
                self.metrics.plis_sent += 1;
            }
        }
        let at = entry.track.next_timeout();
        self.timers.arm(&mut entry.armed, at, Reason::UpTrack(slot));
    }

    fn mirror_timeout(&mut self, now: Timestamp, slot: Slot, home: ShardId) {
        let Some(entry) = self.up_tracks.get_mut(slot) else {
            return;
        };
        let missed = entry.track.due_resends(now);
        // After it: what it gives up wants a key frame.
        let due = entry.track.due_keyframe_requests(now);
        let layers = due
            .iter()
            .fold(0, |bits, request| bits | 1u8 << request.spatial.min(7));
        let (track, at) = (entry.track.track(), entry.track.next_timeout());
        self.timers.arm(&mut entry.armed, at, Reason::UpTrack(slot));
        for (spatial, seqs) in missed {
            for seq in seqs {
                let message = ControlMessage::Resend {
                    track,
                    spatial,
                    seq,
                };
                self.lanes.send_control(home, message);
            }
        }
        self.send_keyframes_wanted(home, track, layers);
    }

    fn down_track_timeout(&mut self, now: Timestamp, slot: Slot, tx: &mut dyn Transmit) {
        let Some(entry) = self.down_tracks.get_mut(slot) else {
            return;
        };
        let Some(transport) = self.transports.get_mut(entry.transport) else {
            return;
        };
        if !transport.security.established() {
            // Armed again when it connects.
            return;
        }
        let up_slot = self.router.source(entry.track.track());
        let Some(up) = up_slot.and_then(|up_slot| self.up_tracks.get(up_slot)) else {
            return;
        };
        entry.track.set_live_layers(up.track.live_layers(now));
        let ntp = self.epoch.ntp(now);
        if let Some((ssrc, info)) = entry.track.sender_report(now, ntp, &up.track.clocks()) {
            let mut writer = RtcpWriter::new(self.scratch.as_mut_slice());
            if writer.sender_report(ssrc, &info, &[]).is_some() {
                // A name too long for its item (RFC 3550 §6.5.1) is left out: the description says
                // it too, and without reports nothing plays in step.
                let _ = writer.sdes_cname(ssrc, entry.track.cname());
                send_rtcp(transport, writer.written(), tx, &mut self.metrics);
            }
        }
        let wanted = entry
            .track
            .keyframe_due(now)
            .map_or(0, |spatial| 1u8 << spatial.min(7));
        let at = entry.track.next_timeout();
        self.timers
            .arm(&mut entry.armed, at, Reason::DownTrack(slot));
        if let Some(up_slot) = up_slot {
            self.request_keyframes(now, up_slot, wanted, tx);
        }
    }

    fn group_timeout(&mut self, now: Timestamp, slot: Slot) {
        let Some(group) = self.groups.get_mut(slot) else {
            return;
        };
        let levels = group.speakers.handle_timeout(now);
        let at = group.speakers.next_timeout();
        self.timers.arm(&mut group.armed, at, Reason::Group(slot));
        if !levels.is_empty() {
            let group = group.id;
            self.emit(Event::Speakers { group, levels });
        }
    }
}
