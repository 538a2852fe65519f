//! RTCP in: what publishers report of what they send, and subscribers of what they get.

use millrace_netio::Transmit;
use millrace_shared::drop::DropReason;
use millrace_shared::ids::{ShardId, Ssrc, TrackId};
use millrace_shared::time::{SeqNo, Timestamp};
use millrace_shared::wire::rtcp::{
    PayloadFeedback, ReportBlock, RtcpCompound, RtcpPacket, RtcpWriter, SenderReport,
    TransportFeedback,
};
use millrace_shared::wire::rtp_ext;

use super::egress::{send_rtcp, send_rtp};
use super::lanes::ControlMessage;
use super::timers::Reason;
use super::{DownEntry, Origin, Shard};
use crate::packet::SenderClock;
use crate::slots::Slot;

/// Sequence numbers of one NACK message that are looked at. A full datagram of NACKs names some
/// 6,000; a receiver that lost that many needs a key frame.
const NACKS_PER_MESSAGE_MAX: usize = 256;
/// Our SSRC as a receiver (RFC 3550 §6.4.2). The transport tells receivers apart, so that all may
/// use one; libwebrtc uses the same.
pub(super) const RECEIVER_SSRC: Ssrc = Ssrc(1);

impl Shard {
    pub(super) fn receive_rtcp(
        &mut self,
        now: Timestamp,
        slot: Slot,
        packet: &mut [u8],
        tx: &mut dyn Transmit,
    ) -> Result<(), DropReason> {
        let transport = self
            .transports
            .get_mut(slot)
            .ok_or(DropReason::TupleUnvalidated)?;
        let len = transport.security.rx()?.unprotect_rtcp(packet)?;
        transport.police.rtcp(now)?;
        let compound = packet.get(..len).ok_or(DropReason::RtcpMalformed)?;
        for rtcp in RtcpCompound::parse(compound) {
            let rtcp = rtcp.map_err(|_| DropReason::RtcpMalformed)?;
            self.receive_feedback(now, slot, &rtcp, tx);
        }
        Ok(())
    }

    fn receive_feedback(
        &mut self,
        now: Timestamp,
        slot: Slot,
        rtcp: &RtcpPacket<'_>,
        tx: &mut dyn Transmit,
    ) {
        match rtcp {
            RtcpPacket::SenderReport(report) => {
                self.receive_sender_report(now, slot, report);
                self.receive_report_blocks(now, slot, report.blocks());
            }
            RtcpPacket::ReceiverReport(report) => {
                self.receive_report_blocks(now, slot, report.blocks());
            }
            RtcpPacket::TransportFeedback(TransportFeedback::Nack(nack)) => {
                self.metrics.nacks_received += 1;
                self.retransmit(now, slot, nack.media_ssrc, nack.seqs(), tx);
            }
            RtcpPacket::TransportFeedback(TransportFeedback::TransportCc(feedback)) => {
                if let Some(transport) = self.transports.get_mut(slot) {
                    match transport.police.transport_cc(now) {
                        Ok(()) => transport.feedback.note_transport_cc(now, feedback),
                        Err(reason) => self.metrics.drops.count(reason),
                    }
                }
            }
            RtcpPacket::PayloadFeedback(PayloadFeedback::Pli(pli)) => {
                self.keyframe_requested(now, slot, pli.media_ssrc, tx);
            }
            RtcpPacket::PayloadFeedback(PayloadFeedback::Fir(fir)) => {
                for entry in fir.entries() {
                    self.keyframe_requested(now, slot, entry.media_ssrc, tx);
                }
            }
            RtcpPacket::PayloadFeedback(PayloadFeedback::Remb(remb)) => {
                if let Some(transport) = self.transports.get_mut(slot) {
                    transport.feedback.note_remb(now, remb);
                }
            }
            // A BYE ends a source, but the control plane ends tracks. Of SDES nothing is used.
            _ => {}
        }
    }

    fn receive_sender_report(&mut self, now: Timestamp, slot: Slot, report: &SenderReport<'_>) {
        let Some(transport) = self.transports.get(slot) else {
            return;
        };
        let Some(stream) = transport.streams.by_ssrc(report.ssrc) else {
            return;
        };
        let Some(entry) = self.up_tracks.get_mut(stream.up_track) else {
            return;
        };
        let (ntp, rtp_time) = (report.info.ntp, report.info.rtp_time);
        entry.track.sender_report(now, report.ssrc, ntp, rtp_time);
        let track = entry.track.track();
        if !stream.role.rtx {
            let clock = SenderClock {
                ntp,
                rtp_time,
                arrival: now,
            };
            self.send_clock_to_mirrors(track, stream.role.spatial, clock);
        }
    }

    fn receive_report_blocks(
        &mut self,
        now: Timestamp,
        slot: Slot,
        blocks: impl Iterator<Item = ReportBlock>,
    ) {
        for block in blocks {
            if let Some((_, entry)) = self.down_of(slot, block.ssrc) {
                entry.track.receiver_report(now, &block);
            }
        }
    }

    /// The copy that `transport` receives as `ssrc`, or whose retransmissions it does.
    fn down_of(&mut self, transport: Slot, ssrc: Ssrc) -> Option<(Slot, &mut DownEntry)> {
        let down_track = *self.transports.get(transport)?.down_by_ssrc.get(&ssrc)?;
        let entry = self.down_tracks.get_mut(down_track)?;
        Some((down_track, entry))
    }

    /// RFC 4585 §6.2.1: answers a NACK from the publisher's packet store, over RTX.
    fn retransmit(
        &mut self,
        now: Timestamp,
        slot: Slot,
        ssrc: Ssrc,
        seqs: impl Iterator<Item = SeqNo>,
        tx: &mut dyn Transmit,
    ) {
        let Some((down_slot, _)) = self.down_of(slot, ssrc) else {
            return;
        };
        let send_time = rtp_ext::write_abs_send_time(self.epoch.ntp(now));
        let Some(entry) = self.down_tracks.get_mut(down_slot) else {
            return;
        };
        let Some(up_slot) = self.router.source(entry.track.track()) else {
            return;
        };
        let Some(up) = self.up_tracks.get(up_slot) else {
            return;
        };
        let Some(transport) = self.transports.get_mut(slot) else {
            return;
        };
        for seq in seqs.take(NACKS_PER_MESSAGE_MAX) {
            if let Err(reason) = transport.police.nacked_packet(now) {
                self.metrics.drops.count(reason);
                break;
            }
            // What is not kept any more must not use up what may be sent again.
            let Some(source) = entry.track.source(seq) else {
                continue;
            };
            let Some(packet) = up.track.stored(source.spatial, source.seq) else {
                continue;
            };
            if !entry.track.allow_rtx(now, seq) {
                continue;
            }
            let Some(outgoing) = entry.track.outgoing_rtx(&source, &packet) else {
                continue;
            };
            if send_rtp(
                transport,
                &packet,
                &outgoing,
                send_time,
                tx,
                &mut self.metrics,
            ) {
                self.metrics.rtx_sent += 1;
            }
        }
    }

    /// A subscriber lost too much and wants a key frame (RFC 4585 §6.3.1, RFC 5104 §4.3.1).
    fn keyframe_requested(
        &mut self,
        now: Timestamp,
        slot: Slot,
        ssrc: Ssrc,
        tx: &mut dyn Transmit,
    ) {
        self.metrics.plis_received += 1;
        let police = self.transports.get_mut(slot).map(|it| &mut it.police);
        if let Some(Err(reason)) = police.map(|it| it.keyframe_request(now)) {
            self.metrics.drops.count(reason);
            return;
        }
        let Some((_, entry)) = self.down_of(slot, ssrc) else {
            return;
        };
        let Some(spatial) = entry.track.keyframe_requested() else {
            return;
        };
        let track = entry.track.track();
        if let Some(up_slot) = self.router.source(track) {
            self.request_keyframes(now, up_slot, 1 << spatial.min(7), tx);
        }
    }

    /// Asks the publisher for a key frame of each layer in `layers` (bit n: layer n), as often as
    /// the throttle allows.
    pub(super) fn request_keyframes(
        &mut self,
        now: Timestamp,
        up_slot: Slot,
        layers: u8,
        tx: &mut dyn Transmit,
    ) {
        if layers == 0 {
            return;
        }
        let Some(entry) = self.up_tracks.get_mut(up_slot) else {
            return;
        };
        // A key frame of a muted track goes nowhere; the end of the mute asks for one.
        if entry.track.is_muted() {
            return;
        }
        let publisher = match entry.origin {
            Origin::Publisher(transport) => self.transports.get_mut(transport),
            Origin::Shard(home) => return self.ask_home(now, up_slot, home, layers),
        };
        let Some(transport) = publisher else {
            return;
        };
        for spatial in (0..8).filter(|spatial| layers & (1 << spatial) != 0) {
            let Some(request) = entry.track.request_keyframe(now, spatial) else {
                continue;
            };
            let mut writer = RtcpWriter::new(self.scratch.as_mut_slice());
            if writer.pli(RECEIVER_SSRC, request.ssrc).is_some() {
                send_rtcp(transport, writer.written(), tx, &mut self.metrics);
                self.metrics.plis_sent += 1;
            }
        }
        let at = entry.track.next_timeout();
        self.timers
            .arm(&mut entry.armed, at, Reason::UpTrack(up_slot));
    }

    /// The same of a mirror: its home is asked, no more often than a publisher.
    fn ask_home(&mut self, now: Timestamp, up_slot: Slot, home: ShardId, layers: u8) {
        let Some(entry) = self.up_tracks.get_mut(up_slot) else {
            return;
        };
        let asked = (0..8)
            .filter(|spatial| layers & (1 << spatial) != 0)
            .filter_map(|spatial| entry.track.request_keyframe(now, spatial));
        let layers = asked.fold(0, |bits, request| bits | 1u8 << request.spatial.min(7));
        let (track, at) = (entry.track.track(), entry.track.next_timeout());
        self.timers
            .arm(&mut entry.armed, at, Reason::UpTrack(up_slot));
        self.send_keyframes_wanted(home, track, layers);
    }

    pub(super) fn send_keyframes_wanted(&mut self, home: ShardId, track: TrackId, layers: u8) {
        if layers != 0 {
            let message = ControlMessage::Keyframes { track, layers };
            self.lanes.send_control(home, message);
        }
    }
}
