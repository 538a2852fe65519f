//! Reception of one SSRC, with its RTX SSRC repairing it (RFC 3550 §6.4, RFC 4588).

use std::time::Duration;

use millrace_shared::drop::DropReason;
use millrace_shared::ids::Ssrc;
use millrace_shared::time::{ExtSeq, NtpTime, RtpTime, SeqNo, Timestamp};
use millrace_shared::wire::rtcp::ReportBlock;

use super::sequence::{Accepted, Order, SequenceWindow};
use crate::congestion::rate::RateMeter;
use crate::packet::{PacketMeta, SenderClock};

/// A media time that jumps by more says nothing about the network's jitter; libwebrtc's bound.
const TRANSIT_STEP_MAX: Duration = Duration::from_secs(5);

/// What StreamRx reads of a packet.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct RxPacket {
    /// Of the original, where the packet is a retransmission.
    pub seq: SeqNo,
    pub rtp_time: RtpTime,
    pub clock_rate_hz: u32,
    /// Bytes of the payload.
    pub len: usize,
    pub rtx: bool,
}

#[derive(Debug, Default)]
pub struct StreamRx {
    ssrc: Option<Ssrc>,
    rtx_ssrc: Option<Ssrc>,
    sequence: SequenceWindow,
    counts: Counts,
    /// At the last receiver report.
    reported: Counts,
    jitter: Jitter,
    clock: Option<SenderClock>,
    rate: RateMeter,
    last_at: Option<Timestamp>,
    last_rtp_time: Option<RtpTime>,
    packets: u64,
    bytes: u64,
    lost_before: u64,
}

/// Packets that the publisher sent and that arrived, since the stream began (RFC 3550 §A.3).
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
struct Counts {
    expected: u64,
    received: u64,
}

/// Interarrival jitter (RFC 3550 §A.8).
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
struct Jitter {
    /// Difference of arrival and media time of the last packet, in ticks.
    transit: Option<u32>,
    /// In sixteenths of a tick.
    scaled: u32,
    clock_rate_hz: u32,
}

/// Where a packet stands in its stream.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Arrival {
    pub seq: ExtSeq,
    pub order: Order,
    /// The first packet of its media time, and not a late one.
    pub starts_frame: bool,
}

impl Arrival {
    /// Fills a gap behind the newest packet.
    pub fn is_late(&self) -> bool {
        self.order == Order::Late
    }
}

impl StreamRx {
    pub fn ssrc(&self) -> Option<Ssrc> {
        self.ssrc
    }

    pub fn rtx_ssrc(&self) -> Option<Ssrc> {
        self.rtx_ssrc
    }

    /// Names the source. Another one than before (true) continues the encoding: its statistics
    /// begin anew, its extended sequence numbers go on.
    pub fn bind(&mut self, ssrc: Ssrc) -> bool {
        if self.ssrc.replace(ssrc).is_none_or(|before| before == ssrc) {
            return false;
        }
        self.sequence.rebase();
        self.begin_anew();
        self.clock = None;
        true
    }

    pub fn bind_rtx(&mut self, ssrc: Option<Ssrc>) {
        self.rtx_ssrc = ssrc;
    }

    pub fn receive(&mut self, now: Timestamp, packet: &RxPacket) -> Result<Arrival, DropReason> {
        let Accepted { seq, order } = if packet.rtx {
            self.sequence.accept_repair(packet.seq)?
        } else {
            self.sequence.accept(packet.seq)?
        };
        self.packets += 1;
        self.bytes += packet.len as u64;
        self.rate.add(now, packet.len);
        self.last_at = Some(now);
        match order {
            Order::First => self.counts.expected = 1,
            Order::Newest { missing } => self.counts.expected += missing + 1,
            Order::Late => {}
            Order::Restart => {
                self.begin_anew();
                // It counts the packet that showed the jump as well: that one can be repaired.
                self.counts.expected = 2;
            }
        }
        self.counts.received += 1;

        let late = order == Order::Late;
        if !late && !packet.rtx {
            self.jitter.measure(now, packet);
        }
        let starts_frame = !late && self.last_rtp_time != Some(packet.rtp_time);
        if starts_frame {
            self.last_rtp_time = Some(packet.rtp_time);
        }
        Ok(Arrival {
            seq,
            order,
            starts_frame,
        })
    }

    pub fn sender_report(&mut self, now: Timestamp, ntp: NtpTime, rtp_time: RtpTime) {
        self.clock = Some(SenderClock {
            ntp,
            rtp_time,
            arrival: now,
        });
    }

    pub fn set_clock(&mut self, clock: SenderClock) {
        self.clock = Some(clock);
    }

    /// Counts a packet that the track's home has put in order. Whether it starts a frame.
    pub fn note_mirrored(&mut self, now: Timestamp, meta: &PacketMeta, len: usize) -> bool {
        self.packets += 1;
        self.bytes += len as u64;
        self.rate.add(now, len);
        !meta.late && self.last_rtp_time.replace(meta.rtp_time) != Some(meta.rtp_time)
    }

    /// The publisher sends the stream.
    pub fn note_alive(&mut self, now: Timestamp) {
        self.last_at = Some(now);
    }

    pub fn clock(&self) -> Option<SenderClock> {
        self.clock
    }

    /// The report block of the next receiver report (RFC 3550 §6.4.1); none before a packet came.
    pub fn report_block(&mut self, now: Timestamp) -> Option<ReportBlock> {
        let highest = self.sequence.highest()?;
        let interval = Counts {
            expected: self.counts.expected - self.reported.expected,
            received: self.counts.received - self.reported.received,
        };
        self.reported = self.counts;
        let (last_sr, delay) = self.clock.map_or((0, Duration::ZERO), |clock| {
            (clock.ntp.middle_32(), now.since(clock.arrival))
        });
        Some(ReportBlock {
            ssrc: self.ssrc?,
            fraction_lost: interval.fraction_lost(),
            // A signed 24-bit number that saturates.
            cumulative_lost: self.counts.lost().clamp(-0x80_0000, 0x7f_ffff) as i32,
            // Our cycles begin at 1, those of the report at 0.
            highest_seq: (highest.0 - 0x1_0000) as u32,
            jitter: self.jitter.ticks(),
            last_sr,
            delay_since_last_sr: (delay.as_micros() * 65_536 / 1_000_000) as u32,
        })
    }

    /// Media packets that did not arrive, repaired ones not counted, since the stream exists.
    pub fn lost(&self) -> u64 {
        self.lost_before + u64::try_from(self.counts.lost()).unwrap_or(0)
    }

    pub fn jitter_us(&self) -> u32 {
        self.jitter.micros()
    }

    /// Distinct packets received, repaired ones included, since the stream exists.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Their payload bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn bitrate_bps(&mut self, now: Timestamp) -> u64 {
        self.rate.bitrate_bps(now)
    }

    pub fn last_at(&self) -> Option<Timestamp> {
        self.last_at
    }

    fn begin_anew(&mut self) {
        self.lost_before = self.lost();
        self.counts = Counts::default();
        self.reported = Counts::default();
        self.jitter = Jitter::default();
        self.last_rtp_time = None;
    }
}

impl Counts {
    /// Negative where packets older than the first one arrived.
    fn lost(self) -> i64 {
        self.expected as i64 - self.received as i64
    }

    /// RFC 3550 §A.3: in 256ths; zero where more arrived than was expected.
    fn fraction_lost(self) -> u8 {
        match u64::try_from(self.lost()) {
            Ok(lost) if self.expected > 0 => (lost * 256 / self.expected).min(255) as u8,
            _ => 0,
        }
    }
}

impl Jitter {
    fn measure(&mut self, now: Timestamp, packet: &RxPacket) {
        let clock_rate_hz = packet.clock_rate_hz.max(1);
        if self.clock_rate_hz != clock_rate_hz {
            *self = Self {
                clock_rate_hz,
                ..Self::default()
            };
        }
        let ticks = u128::from(now.as_nanos()) * u128::from(clock_rate_hz) / 1_000_000_000;
        let transit = (ticks as u32).wrapping_sub(packet.rtp_time.0);
        let Some(before) = self.transit.replace(transit) else {
            return;
        };
        let step = transit.wrapping_sub(before).cast_signed().unsigned_abs();
        if u64::from(step) < TRANSIT_STEP_MAX.as_secs() * u64::from(clock_rate_hz) {
            // RFC 3550 §A.8, the integer form with rounding.
            let decay = self.scaled.saturating_add(8) >> 4;
            self.scaled = self.scaled.saturating_add(step).saturating_sub(decay);
        }
    }

    fn ticks(self) -> u32 {
        self.scaled >> 4
    }

    fn micros(self) -> u32 {
        let micros = u64::from(self.scaled) * 1_000_000 / 16;
        (micros / u64::from(self.clock_rate_hz.max(1))) as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(seq: u16, rtp_time: u32) -> RxPacket {
        RxPacket {
            seq: SeqNo(seq),
            rtp_time: RtpTime(rtp_time),
            clock_rate_hz: 90_000,
            len: 1000,
            rtx: false,
        }
    }

    fn stream() -> StreamRx {
        let mut stream = StreamRx::default();
        stream.bind(Ssrc(7));
        stream
    }

    fn ms(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// RFC 3550 §A.3: loss since the last report in 256ths, and over all.
    #[test]
    fn reports_loss_of_the_interval_and_in_all() {
        let mut stream = stream();
        for seq in (0..100).filter(|seq| seq % 4 != 1) {
            stream.receive(ms(seq), &packet(seq as u16, 0)).unwrap();
        }
        let block = stream.report_block(ms(100)).unwrap();
        assert_eq!((block.fraction_lost, block.cumulative_lost), (64, 25));
        assert_eq!(block.highest_seq, 99);
        for seq in 100..200 {
            stream.receive(ms(seq), &packet(seq as u16, 0)).unwrap();
        }
        let block = stream.report_block(ms(200)).unwrap();
        assert_eq!((block.fraction_lost, block.cumulative_lost), (0, 25));
    }

    #[test]
    fn a_repaired_packet_is_not_lost() {
        let mut stream = stream();
        stream.receive(ms(0), &packet(10, 0)).unwrap();
        stream.receive(ms(1), &packet(12, 0)).unwrap();
        let repair = RxPacket {
            rtx: true,
            ..packet(11, 0)
        };
        let arrival = stream.receive(ms(2), &repair).unwrap();
        assert!(arrival.is_late());
        assert_eq!(
            stream.receive(ms(3), &repair),
            Err(DropReason::RtpDuplicate)
        );
        let block = stream.report_block(ms(4)).unwrap();
        assert_eq!((block.fraction_lost, block.cumulative_lost), (0, 0));
        assert_eq!(stream.packets(), 3);
    }

    /// RFC 3550 §6.4.1: LSR is the middle of the NTP time, DLSR counts 65536ths of a second.
    #[test]
    fn reports_the_last_sender_report() {
        let mut stream = stream();
        stream.receive(ms(0), &packet(1, 0)).unwrap();
        assert_eq!(stream.report_block(ms(0)).unwrap().last_sr, 0);
        stream.sender_report(ms(1_000), NtpTime(0x0000_1234_5678_0000), RtpTime(99));
        let block = stream.report_block(ms(1_500)).unwrap();
        assert_eq!(block.last_sr, 0x1234_5678);
        assert_eq!(block.delay_since_last_sr, 32_768);
        assert_eq!(stream.clock().unwrap().rtp_time, RtpTime(99));
    }

    #[test]
    fn another_source_begins_its_own_statistics() {
        let mut stream = stream();
        stream.receive(ms(0), &packet(1, 0)).unwrap();
        let before = stream.receive(ms(0), &packet(5, 0)).unwrap().seq;
        assert!(stream.bind(Ssrc(8)));
        let after = stream.receive(ms(1), &packet(40_000, 5)).unwrap();
        assert_eq!(after.order, Order::First);
        assert!(after.seq > before);
        let block = stream.report_block(ms(2)).unwrap();
        assert_eq!((block.ssrc, block.cumulative_lost), (Ssrc(8), 0));
        assert_eq!((stream.packets(), stream.lost()), (3, 3));
    }

    /// RFC 3550 §A.8 in floating point and with an unlimited memory.
    fn jitter_reference(arrivals: &[(u64, u32)]) -> f64 {
        let transits: Vec<f64> = arrivals
            .iter()
            .map(|(at_ms, rtp_time)| *at_ms as f64 * 90.0 - f64::from(*rtp_time))
            .collect();
        let steps = transits.windows(2).map(|pair| (pair[1] - pair[0]).abs());
        steps.fold(0.0, |jitter, step| jitter + (step - jitter) / 16.0)
    }

    proptest! {
        #[test]
        fn jitter_follows_the_rfc(
            start_ms in 0_u64..100_000,
            delays_ms in prop::collection::vec(0_u64..60, 1..200),
        ) {
            let mut stream = stream();
            let mut arrivals = Vec::new();
            for (i, delay_ms) in delays_ms.iter().enumerate() {
                let at_ms = start_ms + i as u64 * 33 + delay_ms;
                arrivals.push((at_ms, i as u32 * 2_970));
                stream.receive(ms(at_ms), &packet(i as u16, i as u32 * 2_970)).unwrap();
            }
            let reference = jitter_reference(&arrivals);
            let block = stream.report_block(ms(0)).unwrap();
            prop_assert!((f64::from(block.jitter) - reference).abs() <= 2.0);
        }

        /// RFC 3550 §A.3 against a count of what was sent and what arrived.
        #[test]
        fn loss_follows_the_rfc(
            start in any::<u16>(),
            arrived in prop::collection::vec(any::<bool>(), 1..300),
            report_every in 1_usize..50,
        ) {
            let mut stream = stream();
            stream.receive(ms(0), &packet(start, 0)).unwrap();
            let (mut highest, mut received, mut before) = (0, 1, (0, 0));
            for (i, arrived) in arrived.iter().enumerate() {
                let step = i as u64 + 1;
                if *arrived {
                    let seq = start.wrapping_add(step as u16);
                    stream.receive(ms(step), &packet(seq, 0)).unwrap();
                    (highest, received) = (step, received + 1);
                }
                if i % report_every == 0 {
                    let block = stream.report_block(ms(step)).unwrap();
                    let expected = highest + 1;
                    let (sent, lost) = (expected - before.0, expected - received);
                    let fraction = ((lost - before.1) * 256).checked_div(sent).unwrap_or(0);
                    prop_assert_eq!(u64::from(block.fraction_lost), fraction);
                    prop_assert_eq!(block.cumulative_lost as u64, lost);
                    prop_assert_eq!(u64::from(block.highest_seq), u64::from(start) + highest);
                    before = (expected, lost);
                }
            }
        }
    }
}
