//! What a receiver report says of one stream (RFC 3550 §6.4).

use millrace_shared::ids::Ssrc;
use millrace_shared::time::{NtpTime, RtpTime, Timestamp};
use millrace_shared::wire::rtcp::ReportBlock;

use crate::stream::SequenceWindow;

#[derive(Debug, Default)]
pub(super) struct Reception {
    /// Key frames may begin in several packets of one media time.
    pub(super) last_key_frame: Option<RtpTime>,
    expected_reported: u64,
    received_reported: u64,
    /// RFC 3550 §A.8: sixteen times the jitter, in ticks.
    jitter_q4: u32,
    last_transit: Option<(Timestamp, RtpTime)>,
    last_report: Option<(NtpTime, Timestamp)>,
}

impl Reception {
    /// RFC 3550 §A.8.
    pub(super) fn jitter(&mut self, now: Timestamp, media: RtpTime, clock_rate: u32) {
        let Some((last_at, last_media)) = self.last_transit.replace((now, media)) else {
            return;
        };
        let elapsed_ns = now.since(last_at).as_nanos();
        let ticks = elapsed_ns * u128::from(clock_rate) / 1_000_000_000;
        let ticks = i64::try_from(ticks).unwrap_or(i64::MAX);
        let distance = (ticks - i64::from(media.distance(last_media))).unsigned_abs();
        let distance = u32::try_from(distance).unwrap_or(u32::MAX).min(1 << 20);
        self.jitter_q4 = self.jitter_q4 - ((self.jitter_q4 + 8) >> 4) + distance;
    }

    pub(super) fn sender_report(&mut self, now: Timestamp, ntp: NtpTime) {
        self.last_report = Some((ntp, now));
    }

    pub(super) fn block(
        &mut self,
        now: Timestamp,
        ssrc: Ssrc,
        received: u64,
        window: &SequenceWindow,
    ) -> Option<ReportBlock> {
        let highest = window.highest()?;
        let expected = window.expected();
        // RFC 3550 §A.3.
        let expected_since = expected.saturating_sub(self.expected_reported);
        let received_since = received.saturating_sub(self.received_reported);
        let lost_since = expected_since.saturating_sub(received_since);
        let fraction = (lost_since << 8).checked_div(expected_since).unwrap_or(0);
        self.expected_reported = expected;
        self.received_reported = received;
        let lost = expected.cast_signed() - received.cast_signed();
        let (last_sr, delay) = match self.last_report {
            Some((ntp, at)) => {
                let delay = now.since(at).as_nanos() * 65_536 / 1_000_000_000;
                (ntp.middle_32(), u32::try_from(delay).unwrap_or(u32::MAX))
            }
            None => (0, 0),
        };
        Some(ReportBlock {
            ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            cumulative_lost: i32::try_from(lost).unwrap_or(i32::MAX),
            // Cycles above the number; ours begin with cycle 1.
            highest_seq: (highest.0.wrapping_sub(0x1_0000) & 0xffff_ffff) as u32,
            jitter: self.jitter_q4 >> 4,
            last_sr,
            delay_since_last_sr: delay,
        })
    }
}
