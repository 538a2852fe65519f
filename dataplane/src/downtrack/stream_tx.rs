//! The media stream of one subscriber's copy as RTCP sees it: sender reports out, reception
//! reports in (RFC 3550 §6.4).

use std::time::Duration;

use millrace_shared::ids::Ssrc;
use millrace_shared::link::{MediaKind, TrackReport};
use millrace_shared::time::{NtpTime, RtpTime, Timestamp};
use millrace_shared::wire::rtcp::{ReportBlock, SenderInfo};

use super::alignment::ticks;
use crate::packet::SenderClock;

/// libwebrtc's intervals.
const SENDER_REPORT_INTERVAL_VIDEO: Duration = Duration::from_secs(1);
const SENDER_REPORT_INTERVAL_AUDIO: Duration = Duration::from_secs(5);
/// How soon to look again for a publisher's clock that is not known yet.
const SENDER_CLOCK_RETRY: Duration = Duration::from_millis(500);
/// After this long without one the publisher sends no reports, and ours go by arrival times.
const SENDER_CLOCK_WAIT: Duration = Duration::from_secs(10);
/// Sender reports whose echo still gives a round-trip time: a receiver answers the newest.
const SENDER_REPORTS_REMEMBERED: usize = 4;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct ReportSent {
    ntp_middle: u32,
    at: Timestamp,
}

/// Media time of what is being sent.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Timeline {
    /// The publisher's clock for the encoding being sent.
    pub(super) clock: Option<SenderClock>,
    /// Added to the encoding's media time.
    pub(super) rtp_offset: u32,
    /// The latest media time sent, and when its packet arrived.
    pub(super) latest: (RtpTime, Timestamp),
    pub(super) clock_rate_hz: u32,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct StreamTx {
    pub(super) ssrc: Ssrc,
    /// The subscriber reported on it, so it knows whose it is.
    pub(super) heard: bool,
    packets: u64,
    /// Of payload, without headers (RFC 3550 §6.4.1).
    bytes: u64,
    started_at: Option<Timestamp>,
    /// The publisher sends reports, so one for an encoding that has none yet is worth waiting for:
    /// two wallclocks on one stream would tear audio and video apart.
    clock_seen: bool,
    report_next_at: Timestamp,
    reports_sent: [Option<ReportSent>; SENDER_REPORTS_REMEMBERED],
    reports_count: u8,
    rtt_us: u32,
    jitter_us: u32,
    fraction_lost: u8,
    lost: u32,
    reported: Reported,
}

/// What [`StreamTx::report`] has given out.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
struct Reported {
    packets: u64,
    bytes: u64,
    lost: u32,
}

impl StreamTx {
    pub(super) fn new(ssrc: Ssrc) -> Self {
        Self {
            ssrc,
            heard: false,
            packets: 0,
            bytes: 0,
            started_at: None,
            clock_seen: false,
            report_next_at: Timestamp::NEVER,
            reports_sent: [None; SENDER_REPORTS_REMEMBERED],
            reports_count: 0,
            rtt_us: 0,
            jitter_us: 0,
            fraction_lost: 0,
            lost: 0,
            reported: Reported::default(),
        }
    }

    /// `starts`: the first packet since another encoding was sent, or nothing. Its media time may
    /// lie off by the clocks' errors, so the subscriber is told at once.
    pub(super) fn sent(&mut self, now: Timestamp, payload_len: usize, starts: bool) {
        self.packets += 1;
        self.bytes += payload_len as u64;
        self.started_at.get_or_insert(now);
        if starts {
            self.report_next_at = now;
        }
    }

    pub(super) fn rtt(&self) -> Duration {
        Duration::from_micros(u64::from(self.rtt_us))
    }

    /// Loss by the newest reception report, in 1/256.
    pub(super) fn fraction_lost(&self) -> u8 {
        self.fraction_lost
    }

    pub(super) fn next_timeout(&self) -> Timestamp {
        self.report_next_at
    }

    /// RFC 3550 §6.4.1, with the publisher's wallclock: audio and video of one publisher are
    /// played in step by it, whichever node and offset they passed. None if not due, or if the
    /// publisher's clock is still to come.
    pub(super) fn sender_report(
        &mut self,
        now: Timestamp,
        ntp_now: NtpTime,
        kind: MediaKind,
        timeline: &Timeline,
    ) -> Option<SenderInfo> {
        let started_at = self.started_at?;
        if now < self.report_next_at {
            return None;
        }
        let rate_hz = timeline.clock_rate_hz;
        let (ntp, rtp_time) = match timeline.clock {
            Some(clock) => {
                self.clock_seen = true;
                let elapsed = now.since(clock.arrival);
                let rtp_time = clock
                    .rtp_time
                    .wrapping_add(ticks(elapsed, rate_hz))
                    .wrapping_add(timeline.rtp_offset);
                let ntp = clock.ntp.0.wrapping_add(NtpTime::from_duration(elapsed).0);
                (NtpTime(ntp), rtp_time)
            }
            None if !self.clock_seen && now.since(started_at) >= SENDER_CLOCK_WAIT => {
                let (latest, arrival) = timeline.latest;
                (
                    ntp_now,
                    latest.wrapping_add(ticks(now.since(arrival), rate_hz)),
                )
            }
            None => {
                self.report_next_at = now + SENDER_CLOCK_RETRY;
                return None;
            }
        };
        self.report_next_at = now
            + match kind {
                MediaKind::Audio => SENDER_REPORT_INTERVAL_AUDIO,
                MediaKind::Video => SENDER_REPORT_INTERVAL_VIDEO,
            };
        self.remember_report(ntp, now);
        Some(SenderInfo {
            ntp,
            rtp_time,
            packets: self.packets as u32,
            bytes: self.bytes as u32,
        })
    }

    pub(super) fn pause(&mut self) {
        self.report_next_at = Timestamp::NEVER;
    }

    pub(super) fn reception(&mut self, now: Timestamp, block: &ReportBlock, clock_rate_hz: u32) {
        self.heard = true;
        self.fraction_lost = block.fraction_lost;
        // Duplicates make it negative and smaller (RFC 3550 §6.4.1); what was reported stays.
        self.lost = block.cumulative_lost.max(0).cast_unsigned();
        self.reported.lost = self.reported.lost.min(self.lost);
        let jitter_us = u64::from(block.jitter) * 1_000_000 / u64::from(clock_rate_hz.max(1));
        self.jitter_us = u32::try_from(jitter_us).unwrap_or(u32::MAX);
        if let Some(rtt) = self.round_trip(now, block) {
            self.rtt_us = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX).max(1);
        }
    }

    /// Since the last one.
    pub(super) fn report(&mut self, current_spatial: Option<u8>) -> TrackReport {
        let before = std::mem::replace(
            &mut self.reported,
            Reported {
                packets: self.packets,
                bytes: self.bytes,
                lost: self.lost,
            },
        );
        TrackReport {
            packets: self.packets - before.packets,
            bytes: self.bytes - before.bytes,
            lost: u64::from(self.lost - before.lost),
            jitter_us: self.jitter_us,
            rtt_us: self.rtt_us,
            live_layers: 0,
            current_spatial,
        }
    }

    fn remember_report(&mut self, ntp: NtpTime, at: Timestamp) {
        let index = usize::from(self.reports_count) % SENDER_REPORTS_REMEMBERED;
        self.reports_count = self.reports_count.wrapping_add(1);
        self.reports_sent[index] = Some(ReportSent {
            ntp_middle: ntp.middle_32(),
            at,
        });
    }

    /// RFC 3550 §6.4.1. The wallclock in our reports is the publisher's, so the time of sending is
    /// looked up instead of computed.
    fn round_trip(&self, now: Timestamp, block: &ReportBlock) -> Option<Duration> {
        if block.last_sr == 0 {
            return None;
        }
        let sent = self
            .reports_sent
            .iter()
            .flatten()
            .find(|sent| sent.ntp_middle == block.last_sr)?;
        let held =
            Duration::from_nanos((u64::from(block.delay_since_last_sr) * 1_000_000_000) >> 16);
        Some(now.since(sent.at).saturating_sub(held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Timestamp = Timestamp::from_millis;
    const NODE_NTP: NtpTime = NtpTime(77 << 32);

    fn timeline(clock: Option<SenderClock>) -> Timeline {
        Timeline {
            clock,
            rtp_offset: 1_000_000,
            latest: (RtpTime(5_000), AT(900)),
            clock_rate_hz: 90_000,
        }
    }

    const CLOCK: SenderClock = SenderClock {
        ntp: NtpTime(1_000 << 32),
        rtp_time: RtpTime(u32::MAX),
        arrival: Timestamp::from_millis(500),
    };

    fn started() -> StreamTx {
        let mut stream = StreamTx::new(Ssrc(1));
        stream.sent(AT(1_000), 100, true);
        stream
    }

    fn block(last_sr: u32, delay_ms: u32, lost: i32) -> ReportBlock {
        ReportBlock {
            ssrc: Ssrc(1),
            fraction_lost: 51,
            cumulative_lost: lost,
            highest_seq: 0,
            jitter: 900,
            last_sr,
            delay_since_last_sr: delay_ms * 65_536 / 1_000,
        }
    }

    // RFC 3550 §6.4.1: both times of a sender report denote the same instant.
    #[test]
    fn a_report_carries_the_publishers_clock_to_now() {
        let mut stream = started();
        let line = timeline(Some(CLOCK));
        let info = stream
            .sender_report(AT(1_000), NODE_NTP, MediaKind::Video, &line)
            .unwrap();
        assert_eq!(info.ntp, NtpTime((1_000 << 32) | (1 << 31)));
        assert_eq!(info.rtp_time, RtpTime(45_000 - 1 + 1_000_000));
        assert_eq!((info.packets, info.bytes), (1, 100));
        assert_eq!(stream.next_timeout(), AT(2_000));
        let early = stream.sender_report(AT(1_999), NODE_NTP, MediaKind::Video, &line);
        assert_eq!(early, None);
    }

    #[test]
    fn without_the_publishers_clock_it_waits_then_goes_by_arrival() {
        let mut stream = started();
        let line = timeline(None);
        let audio = MediaKind::Audio;
        assert_eq!(
            stream.sender_report(AT(1_000), NODE_NTP, audio, &line),
            None
        );
        assert_eq!(stream.next_timeout(), AT(1_500));
        let info = stream.sender_report(AT(11_000), NODE_NTP, audio, &line);
        let info = info.unwrap();
        assert_eq!(info.ntp, NODE_NTP);
        assert_eq!(info.rtp_time, RtpTime(5_000 + 90 * 10_100));
        assert_eq!(stream.next_timeout(), AT(16_000));
    }

    #[test]
    fn a_switch_to_an_encoding_without_reports_keeps_the_wallclock() {
        let mut stream = started();
        let video = MediaKind::Video;
        let known = timeline(Some(CLOCK));
        assert!(
            stream
                .sender_report(AT(1_000), NODE_NTP, video, &known)
                .is_some()
        );
        stream.sent(AT(60_000), 100, true);
        let unknown = timeline(None);
        assert_eq!(
            stream.sender_report(AT(60_000), NODE_NTP, video, &unknown),
            None
        );
        assert_eq!(stream.next_timeout(), AT(60_500));
    }

    #[test]
    fn nothing_sent_nothing_reported() {
        let mut stream = StreamTx::new(Ssrc(1));
        let line = timeline(Some(CLOCK));
        let info = stream.sender_report(AT(9_000), NODE_NTP, MediaKind::Video, &line);
        assert_eq!(info, None);
        assert_eq!(stream.next_timeout(), Timestamp::NEVER);
    }

    #[test]
    fn an_echoed_report_gives_the_round_trip() {
        let mut stream = started();
        let line = timeline(Some(CLOCK));
        let mut last_sr = 0;
        for second in 1..=3 {
            let at = AT(1_000 * second);
            let info = stream.sender_report(at, NODE_NTP, MediaKind::Video, &line);
            last_sr = info.unwrap().ntp.middle_32();
        }
        stream.reception(AT(3_250), &block(last_sr, 200, 0), 90_000);
        let rtt_ms = stream.rtt().as_millis();
        assert!((49..=51).contains(&rtt_ms), "{rtt_ms}");
        stream.reception(AT(3_300), &block(0x1234, 0, 0), 90_000);
        assert_eq!(stream.rtt().as_millis(), rtt_ms);
        // A receiver that says it held the report longer than that is near.
        stream.reception(AT(3_300), &block(last_sr, 60_000, 0), 90_000);
        assert_eq!(stream.rtt(), Duration::from_micros(1));
    }

    #[test]
    fn reports_count_from_the_last_one() {
        let mut stream = started();
        stream.reception(AT(2_000), &block(0, 0, 7), 90_000);
        let report = stream.report(Some(2));
        assert_eq!((report.packets, report.bytes, report.lost), (1, 100, 7));
        assert_eq!(
            (report.jitter_us, report.current_spatial),
            (10_000, Some(2))
        );
        stream.reception(AT(3_000), &block(0, 0, 4), 90_000);
        assert_eq!(stream.report(None).lost, 0);
        stream.reception(AT(4_000), &block(0, 0, 6), 90_000);
        let report = stream.report(None);
        assert_eq!((report.packets, report.lost), (0, 2));
    }
}
