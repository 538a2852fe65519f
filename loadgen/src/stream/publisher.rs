//! Everything that a publisher's transport sends, and its answers to the server's feedback.

mod track;

use std::time::Duration;

use millrace_shared::ids::Ssrc;
use millrace_shared::srtp::SrtpTx;
use millrace_shared::time::{Epoch, SeqNo, Timestamp};
use millrace_shared::wire::rtcp::{PayloadFeedback, RtcpPacket, RtcpWriter, TransportFeedback};

pub use track::{Audience, PublishedTrack, TrackSource};
use track::{Paced, TrackTx};

use super::receiver::RTCP_LEN_MAX;
use super::sender::{PACKET_LEN_MAX, PacketHead};
use crate::measure::Meter;

/// libwebrtc's interval for video.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// A frame leaves in bursts of a few packets, as libwebrtc's pacer lets it: at 5 per millisecond a
/// key frame of 60 takes 12 ms.
const BURST_PACKETS: usize = 5;
const BURST_INTERVAL: Duration = Duration::from_millis(1);
/// Retransmissions that one feedback may ask for.
const REPAIRS_MAX: usize = 256;

/// Where protected packets leave.
pub type PacketOutlet<'a> = &'a mut dyn FnMut(&[u8]);

#[derive(Debug)]
pub struct Publisher {
    tracks: Vec<TrackTx>,
    paced: std::collections::VecDeque<Paced>,
    /// Payload buffers that wait for the next frame.
    spare: Vec<Vec<u8>>,
    burst_at: Timestamp,
    report_at: Timestamp,
    transport_cc: SeqNo,
}

impl Publisher {
    pub fn new(now: Timestamp, tracks: Vec<PublishedTrack>) -> Self {
        Self {
            tracks: tracks
                .into_iter()
                .map(|track| TrackTx::new(now, track))
                .collect(),
            paced: std::collections::VecDeque::new(),
            spare: Vec::new(),
            burst_at: Timestamp::NEVER,
            report_at: now + REPORT_INTERVAL,
            transport_cc: SeqNo(1),
        }
    }

    pub fn next_timeout(&self) -> Timestamp {
        let media = self.tracks.iter().map(TrackTx::next_timeout).min();
        media
            .unwrap_or(Timestamp::NEVER)
            .min(self.burst_at)
            .min(self.report_at)
    }

    /// Sends what is due. `now` becomes the packets' time of departure.
    pub fn handle_timeout(
        &mut self,
        now: Timestamp,
        epoch: &Epoch,
        srtp: &mut SrtpTx,
        meter: &mut Meter,
        out: PacketOutlet<'_>,
    ) {
        for (index, track) in self.tracks.iter_mut().enumerate() {
            track.produce(now, index, &mut self.paced, &mut self.spare, meter);
        }
        if !self.paced.is_empty() && self.burst_at == Timestamp::NEVER {
            self.burst_at = now;
        }
        if now >= self.burst_at {
            self.send_burst(now, epoch, srtp, meter, out);
        }
        if now >= self.report_at {
            self.report_at = now + REPORT_INTERVAL;
            self.send_reports(now, epoch, srtp, out);
        }
    }

    /// A packet of the server's RTCP.
    pub fn receive_rtcp(
        &mut self,
        now: Timestamp,
        epoch: &Epoch,
        packet: &RtcpPacket<'_>,
        srtp: &SrtpTx,
        meter: &mut Meter,
        out: PacketOutlet<'_>,
    ) {
        match packet {
            RtcpPacket::ReceiverReport(_) => meter.counters.reports_received += 1,
            RtcpPacket::TransportFeedback(TransportFeedback::TransportCc(_)) => {
                meter.counters.feedback_received += 1;
            }
            RtcpPacket::TransportFeedback(TransportFeedback::Nack(nack)) => {
                meter.counters.nacks_received += 1;
                for seq in nack.seqs().take(REPAIRS_MAX) {
                    self.repair(now, epoch, nack.media_ssrc, seq, srtp, meter, out);
                }
            }
            RtcpPacket::PayloadFeedback(PayloadFeedback::Pli(pli)) => {
                self.request_key_frame(pli.media_ssrc, meter);
            }
            RtcpPacket::PayloadFeedback(PayloadFeedback::Fir(fir)) => {
                for entry in fir.entries() {
                    self.request_key_frame(entry.media_ssrc, meter);
                }
            }
            _ => {}
        }
    }

    fn request_key_frame(&mut self, ssrc: Ssrc, meter: &mut Meter) {
        meter.counters.plis_received += 1;
        for track in &mut self.tracks {
            track.request_key_frame(ssrc);
        }
    }

    fn head(&mut self, now: Timestamp, epoch: &Epoch) -> PacketHead {
        let number = self.transport_cc;
        self.transport_cc = number.wrapping_add(1);
        PacketHead {
            marker: false,
            timestamp: millrace_shared::time::RtpTime(0),
            level: None,
            transport_cc: number,
            ntp: epoch.ntp(now),
        }
    }

    fn send_burst(
        &mut self,
        now: Timestamp,
        epoch: &Epoch,
        srtp: &SrtpTx,
        meter: &mut Meter,
        out: PacketOutlet<'_>,
    ) {
        for _ in 0..BURST_PACKETS {
            let Some(mut paced) = self.paced.pop_front() else {
                break;
            };
            let head = PacketHead {
                marker: paced.marker,
                timestamp: paced.timestamp,
                level: paced.level,
                ..self.head(now, epoch)
            };
            let mut packet = [0; PACKET_LEN_MAX];
            let track = &mut self.tracks[paced.track];
            if let Ok(len) = track.write(now, &mut paced, &head, srtp, &mut packet, meter) {
                out(&packet[..len]);
            }
            self.spare.push(paced.payload);
        }
        self.burst_at = if self.paced.is_empty() {
            Timestamp::NEVER
        } else {
            now + BURST_INTERVAL
        };
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "what a retransmission is made of"
    )]
    fn repair(
        &mut self,
        now: Timestamp,
        epoch: &Epoch,
        ssrc: Ssrc,
        seq: SeqNo,
        srtp: &SrtpTx,
        meter: &mut Meter,
        out: PacketOutlet<'_>,
    ) {
        let head = self.head(now, epoch);
        let stream = self.tracks.iter_mut().find_map(|it| it.stream(ssrc));
        let mut packet = [0; PACKET_LEN_MAX];
        let written = stream.and_then(|it| it.write_repair(&mut packet, seq, &head, srtp));
        if let Some(len) = written {
            meter.counters.retransmitted += 1;
            out(&packet[..len]);
        }
    }

    fn send_reports(
        &mut self,
        now: Timestamp,
        epoch: &Epoch,
        srtp: &mut SrtpTx,
        out: PacketOutlet<'_>,
    ) {
        for track in &self.tracks {
            for (ssrc, info) in track.sender_infos(now, epoch) {
                let mut buffer = [0; RTCP_LEN_MAX];
                let mut writer = RtcpWriter::new(&mut buffer);
                let written = writer
                    .sender_report(ssrc, &info, &[])
                    .and_then(|()| writer.sdes_cname(ssrc, "loadgen"));
                let len = writer.len();
                if written.is_some()
                    && let Ok(len) = srtp.protect_rtcp(&mut buffer, len)
                {
                    out(&buffer[..len]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
