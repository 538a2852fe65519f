//! Where on the subscriber's media time line an encoding continues after a switch or a pause.

use std::time::Duration;

use millrace_shared::time::{RtpTime, Timestamp};

use crate::packet::{LayerClocks, PacketMeta};

/// How far the publisher's clocks may lie from what the arrival times say. Simulcast encodings of
/// one picture arrive within a publisher's pacer queue of each other, which browsers keep below
/// half a second; a clock that is further off belongs to another time line.
const CLOCK_DEVIATION_MAX: Duration = Duration::from_millis(500);
/// Least step over a switch: media time in players has a resolution of 1 ms.
const STEP_MIN: Duration = Duration::from_millis(1);

/// The end of what was sent.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Tail {
    pub(super) spatial: u8,
    /// Added to the media time of `spatial`.
    pub(super) rtp_offset: u32,
    /// The latest media time that was sent.
    pub(super) rtp_time: RtpTime,
    /// When the packet of `rtp_time` arrived.
    pub(super) arrival: Timestamp,
}

/// The outgoing media time of the first packet after a switch: by the publisher's clocks where
/// they are known and believable, else by arrival; always later than what was sent.
pub(super) fn media_time_after(tail: &Tail, meta: &PacketMeta, clocks: &LayerClocks) -> RtpTime {
    let rate_hz = clocks.clock_rate_hz;
    let elapsed = meta.arrival.since(tail.arrival);
    let by_arrival = tail.rtp_time.wrapping_add(ticks(elapsed, rate_hz));
    let deviation_max = ticks(CLOCK_DEVIATION_MAX, rate_hz);
    let time = by_clocks(tail, meta, clocks)
        .filter(|time| time.distance(by_arrival).unsigned_abs() <= deviation_max)
        .unwrap_or(by_arrival);
    let step_min = ticks(STEP_MIN, rate_hz).max(1);
    if time.distance(tail.rtp_time) < step_min.cast_signed() {
        return tail.rtp_time.wrapping_add(step_min);
    }
    time
}

/// Ticks of `rate_hz` in `time`, modulo 2^32.
pub(super) fn ticks(time: Duration, rate_hz: u32) -> u32 {
    let whole = time.as_secs().wrapping_mul(u64::from(rate_hz));
    let part = u64::from(time.subsec_nanos()) * u64::from(rate_hz) / 1_000_000_000;
    whole.wrapping_add(part) as u32
}

/// RFC 3550 §6.4.1: the sender reports tie the media times of both encodings to one wallclock.
fn by_clocks(tail: &Tail, meta: &PacketMeta, clocks: &LayerClocks) -> Option<RtpTime> {
    if meta.spatial == tail.spatial {
        return Some(meta.rtp_time.wrapping_add(tail.rtp_offset));
    }
    let layer = |spatial: u8| *clocks.layers.get(usize::from(spatial))?;
    let (old, new) = (layer(tail.spatial)?, layer(meta.spatial)?);
    let since_report = meta.rtp_time.0.wrapping_sub(new.rtp_time.0);
    let ntp_between = new.ntp.0.wrapping_sub(old.ntp.0).cast_signed();
    let between = (i128::from(ntp_between) * i128::from(clocks.clock_rate_hz)) >> 32;
    let on_old = old
        .rtp_time
        .wrapping_add(between as u32)
        .wrapping_add(since_report);
    Some(on_old.wrapping_add(tail.rtp_offset))
}

#[cfg(test)]
mod tests {
    use millrace_shared::ids::Pt;
    use millrace_shared::time::{ExtSeq, NtpTime};

    use super::*;
    use crate::packet::SenderClock;

    const TAIL: Tail = Tail {
        spatial: 0,
        rtp_offset: 500,
        rtp_time: RtpTime(90_500),
        arrival: Timestamp::from_millis(10_000),
    };

    fn meta(spatial: u8, rtp_time: u32, arrival_ms: u64) -> PacketMeta {
        PacketMeta {
            arrival: Timestamp::from_millis(arrival_ms),
            seq: ExtSeq(0x1_0000),
            rtp_time: RtpTime(rtp_time),
            spatial,
            temporal: 0,
            pt: Pt(96),
            marker: false,
            keyframe_start: true,
            late: false,
            vp8: None,
        }
    }

    /// Both encodings at wallclock 100 s: media time 90,000 and 7,000,000.
    fn clocks(new_ntp_ms: u64) -> LayerClocks {
        let clock = |ms: u64, rtp_time: u32| {
            Some(SenderClock {
                ntp: NtpTime::from_duration(Duration::from_millis(ms)),
                rtp_time: RtpTime(rtp_time),
                arrival: Timestamp::from_millis(9_000),
            })
        };
        LayerClocks {
            clock_rate_hz: 90_000,
            layers: [clock(100_000, 90_000), None, clock(new_ntp_ms, 7_000_000)],
        }
    }

    #[test]
    fn sender_reports_align_two_encodings() {
        // 40 ms after both reports by wallclock, although it arrived 90 ms after the tail.
        let at = media_time_after(&TAIL, &meta(2, 7_003_600, 10_090), &clocks(100_000));
        assert_eq!(at, RtpTime(90_500 + 3_600));
    }

    #[test]
    fn reports_of_different_times_align_too() {
        let at = media_time_after(&TAIL, &meta(2, 7_003_600, 10_090), &clocks(99_980));
        assert!(at.distance(RtpTime(90_500 + 1_800)).abs() <= 1);
    }

    #[test]
    fn without_reports_arrival_decides() {
        let unknown = LayerClocks {
            clock_rate_hz: 90_000,
            layers: [None; 3],
        };
        let at = media_time_after(&TAIL, &meta(2, 7_003_600, 10_090), &unknown);
        assert_eq!(at, RtpTime(90_500 + 8_100));
    }

    #[test]
    fn a_clock_of_another_time_line_is_not_believed() {
        let at = media_time_after(&TAIL, &meta(2, 7_003_600, 10_090), &clocks(160_000));
        assert_eq!(at, RtpTime(90_500 + 8_100));
    }

    #[test]
    fn media_time_goes_forward_even_if_the_new_encoding_lags() {
        let at = media_time_after(&TAIL, &meta(2, 6_999_000, 10_000), &clocks(100_000));
        assert_eq!(at, RtpTime(90_500 + 90));
    }

    #[test]
    fn a_pause_takes_the_time_that_passed_at_the_source() {
        let at = media_time_after(&TAIL, &meta(0, 990_100, 20_010), &clocks(100_000));
        assert_eq!(at, RtpTime(990_600));
    }
}
