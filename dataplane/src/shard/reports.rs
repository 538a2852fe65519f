//! What the control plane hears from time to time.

use std::time::Duration;

use millrace_shared::drop::DropReason;
use millrace_shared::link::{Event, TransportReport};
use millrace_shared::time::Timestamp;

use super::Shard;
use super::timers::Reason;

/// LiveKit clients expect a connection quality every 5 s.
const REPORTS_INTERVAL: Duration = Duration::from_secs(5);
const METRICS_INTERVAL: Duration = Duration::from_secs(1);

impl Shard {
    pub(super) fn start_reports(&mut self, now: Timestamp) {
        self.timers.arm(
            &mut self.reports_armed,
            now + REPORTS_INTERVAL,
            Reason::Reports,
        );
        self.timers.arm(
            &mut self.metrics_armed,
            now + METRICS_INTERVAL,
            Reason::Metrics,
        );
    }

    pub(super) fn send_reports(&mut self, now: Timestamp) {
        let up = self
            .up_tracks
            .iter_mut()
            .filter(|(_, entry)| entry.origin.publisher().is_some())
            .map(|(_, entry)| (entry.track.track(), entry.track.report()))
            .collect();
        let drops = &mut self.metrics.drops;
        let down = self
            .down_tracks
            .iter_mut()
            .map(|(_, entry)| {
                let unmapped = entry.track.take_unmapped_packets();
                drops.add(DropReason::RtpPayloadTypeUnknown, unmapped);
                (entry.track.id(), entry.track.report())
            })
            .collect();
        let transports = self
            .transports
            .iter()
            .map(|(_, transport)| TransportReport {
                transport: transport.id,
                reliable_sequence: transport.reliable_sequence,
                remb_bps: transport.feedback.remb().map_or(0, |remb| remb.bitrate_bps),
            })
            .collect();
        self.emit(Event::Reports {
            shard: self.id,
            up,
            down,
            transports,
        });
        self.timers.arm(
            &mut self.reports_armed,
            now + REPORTS_INTERVAL,
            Reason::Reports,
        );
    }

    pub(super) fn send_metrics(&mut self, now: Timestamp) {
        self.emit(Event::Metrics {
            shard: self.id,
            metrics: Box::new(self.metrics()),
        });
        self.timers.arm(
            &mut self.metrics_armed,
            now + METRICS_INTERVAL,
            Reason::Metrics,
        );
    }
}
