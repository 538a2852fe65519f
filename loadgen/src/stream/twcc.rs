//! Transport-wide feedback from a receiver
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).

use millrace_shared::ids::Ssrc;
use millrace_shared::time::{ExtSeq, SeqNo, Timestamp};
use millrace_shared::wire::rtcp::{RtcpWriter, TransportCcHead};

const TICK_NS: u64 = 250_000;
/// The reference time counts 64 ms.
const REFERENCE_TICKS: u64 = 256;
/// Statuses of one feedback; it is sent long before there are more.
const STATUSES_MAX: u64 = 1000;

/// Arrivals since the last feedback.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct ArrivalLog {
    arrivals: Vec<(ExtSeq, Timestamp)>,
    /// 0 before the first: numbers begin with cycle 1.
    highest: ExtSeq,
    deltas: Vec<Option<i16>>,
    feedback_count: u8,
}

impl ArrivalLog {
    pub(super) fn record(&mut self, now: Timestamp, seq: SeqNo) {
        let ext = if self.highest == ExtSeq::default() {
            ExtSeq::first(seq)
        } else {
            self.highest.extend(seq)
        };
        self.highest = self.highest.max(ext);
        self.arrivals.push((ext, now));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// Writes all that arrived since the last call.
    pub(super) fn write(
        &mut self,
        writer: &mut RtcpWriter<'_>,
        sender_ssrc: Ssrc,
        media_ssrc: Ssrc,
    ) -> Option<()> {
        self.arrivals.sort_unstable();
        let (base, first_at) = *self.arrivals.first()?;
        let reference = first_at.as_nanos() / TICK_NS / REFERENCE_TICKS;
        let head = TransportCcHead {
            sender_ssrc,
            media_ssrc,
            base_seq: base.seq(),
            reference_time: u32::try_from(reference & 0x00ff_ffff).ok()?,
            feedback_count: self.feedback_count,
        };
        self.deltas.clear();
        let mut last_tick = reference * REFERENCE_TICKS;
        for (seq, at) in self.arrivals.drain(..) {
            let index = seq.0 - base.0;
            if index >= STATUSES_MAX {
                break;
            }
            let index = usize::try_from(index).ok()?;
            // A packet that came twice is reported once.
            if index < self.deltas.len() {
                continue;
            }
            self.deltas.resize(index, None);
            let tick = at.as_nanos() / TICK_NS;
            let delta = tick.cast_signed() - last_tick.cast_signed();
            let delta = delta.clamp(i64::from(i16::MIN), i64::from(i16::MAX));
            self.deltas.push(Some(delta as i16));
            last_tick = tick;
        }
        self.feedback_count = self.feedback_count.wrapping_add(1);
        writer.transport_cc(&head, self.deltas.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use millrace_shared::wire::rtcp::{RtcpCompound, RtcpPacket, TransportFeedback};

    use super::*;

    #[test]
    fn a_feedback_names_arrivals_and_losses() {
        let mut log = ArrivalLog::default();
        for (seq, ms) in [(65_535, 100), (1, 103), (0, 104), (4, 110)] {
            log.record(Timestamp::from_millis(ms), SeqNo(seq));
        }
        let mut out = [0; 200];
        let mut writer = RtcpWriter::new(&mut out);
        log.write(&mut writer, Ssrc(1), Ssrc(2)).unwrap();
        let Some(Ok(RtcpPacket::TransportFeedback(TransportFeedback::TransportCc(feedback)))) =
            RtcpCompound::parse(writer.written()).next()
        else {
            panic!("no feedback");
        };
        assert_eq!(feedback.head.base_seq, SeqNo(65_535));
        assert_eq!(feedback.status_count(), 6);
        // 64 ms is the reference time before 100 ms.
        let arrivals: Vec<_> = feedback.arrivals().collect();
        assert_eq!(
            arrivals,
            [
                (SeqNo(65_535), 36_000),
                (SeqNo(0), 40_000),
                (SeqNo(1), 39_000),
                (SeqNo(4), 46_000)
            ]
        );
        assert!(log.is_empty());
    }
}
