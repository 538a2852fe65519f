//! What is known of a track as a whole: its clocks, what it lost, which of its layers live.

use arrayvec::ArrayVec;
use millrace_shared::ids::Ssrc;
use millrace_shared::limits::SPATIAL_LAYERS_MAX;
use millrace_shared::link::TrackReport;
use millrace_shared::time::{NtpTime, RtpTime, Timestamp};
use millrace_shared::wire::rtcp::ReportBlock;

use super::{UpTrack, layer_bit};
use crate::packet::LayerClocks;

impl UpTrack {
    /// Takes a sender report of one of the track's SSRCs (RFC 3550 §6.4.1).
    pub fn sender_report(&mut self, now: Timestamp, ssrc: Ssrc, ntp: NtpTime, rtp_time: RtpTime) {
        let mut encodings = self.encodings.iter_mut();
        if let Some(encoding) = encodings.find(|encoding| encoding.rx.ssrc() == Some(ssrc)) {
            encoding.rx.sender_report(now, ntp, rtp_time);
        }
    }

    pub fn clocks(&self) -> LayerClocks {
        let mut layers = [None; SPATIAL_LAYERS_MAX];
        for encoding in &self.encodings {
            if let Some(layer) = layers.get_mut(usize::from(encoding.spatial)) {
                *layer = encoding.rx.clock();
            }
        }
        LayerClocks {
            clock_rate_hz: self.codecs.first().map_or(0, |codec| codec.clock_rate_hz),
            layers,
        }
    }

    /// For the next receiver report; each call begins a new interval of loss.
    pub fn report_blocks(&mut self, now: Timestamp) -> ArrayVec<ReportBlock, SPATIAL_LAYERS_MAX> {
        let encodings = self.encodings.iter_mut();
        encodings
            .filter_map(|encoding| encoding.rx.report_block(now))
            .collect()
    }

    /// What the track went through since the last call.
    pub fn report(&mut self) -> TrackReport {
        let mut report = TrackReport::default();
        for encoding in &mut self.encodings {
            let totals = encoding.take_totals();
            if totals.packets > 0 {
                report.live_layers |= layer_bit(encoding.spatial);
                report.jitter_us = report.jitter_us.max(encoding.rx.jitter_us());
            }
            report.packets += totals.packets;
            report.bytes += totals.bytes;
            report.lost += totals.lost;
        }
        report
    }

    /// Bit n: the publisher sends the encoding of spatial layer n.
    pub fn live_layers(&self, now: Timestamp) -> u8 {
        let live = self
            .encodings
            .iter()
            .filter(|encoding| encoding.is_live(now, self.frames));
        live.fold(0, |layers, encoding| layers | layer_bit(encoding.spatial))
    }

    /// Bitrate of an encoding over about the last second.
    pub fn bitrate_bps(&mut self, now: Timestamp, spatial: u8) -> u64 {
        self.encoding_mut(spatial)
            .map_or(0, |encoding| encoding.rx.bitrate_bps(now))
    }
}
