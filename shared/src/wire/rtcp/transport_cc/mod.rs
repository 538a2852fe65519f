//! Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).

mod chunk;
mod write;

#[cfg(test)]
mod tests;

use super::{RtcpError, feedback_ssrcs};
use crate::ids::Ssrc;
use crate::time::SeqNo;
use crate::wire::bytes::ByteReader;
use chunk::{Runs, Symbol};

pub(super) use write::write;

/// Most packets that one feedback may report. Sequence numbers further apart than this cannot be
/// told from older ones, so a larger claim is an error.
pub const STATUSES_MAX: u16 = 0x8000;

const TICK_US: i64 = 250;

/// Everything but the statuses.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct TransportCcHead {
    pub sender_ssrc: Ssrc,
    /// Some source of the transport; the feedback is about all of them.
    pub media_ssrc: Ssrc,
    /// Sequence number of the first status.
    pub base_seq: SeqNo,
    /// Start of the deltas in units of 64 ms, modulo 2^24.
    pub reference_time: u32,
    /// Counts feedback packets, modulo 2^8.
    pub feedback_count: u8,
}

/// A feedback whose chunks and deltas agree with its count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransportCc<'a> {
    pub head: TransportCcHead,
    status_count: u16,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

/// What became of one packet.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct PacketStatus {
    pub seq: SeqNo,
    /// Arrival after the reference time (before it, if negative); `None` if it did not arrive.
    pub arrival_us: Option<i64>,
}

impl<'a> TransportCc<'a> {
    pub(super) fn parse(mut body: ByteReader<'a>) -> Result<Self, RtcpError> {
        let [sender_ssrc, media_ssrc] = feedback_ssrcs(&mut body)?;
        let base_seq = body.u16().map(SeqNo).ok_or(RtcpError::Truncated)?;
        let status_count = body.u16().ok_or(RtcpError::Truncated)?;
        let reference_time = body.u24().ok_or(RtcpError::Truncated)?;
        let feedback_count = body.u8().ok_or(RtcpError::Truncated)?;
        if status_count > STATUSES_MAX {
            return Err(RtcpError::TransportCc);
        }
        // Walking runs and not statuses keeps this linear in the packet's length, whatever the
        // run lengths claim.
        let mut runs = Runs::new(body.rest(), status_count);
        let mut deltas_len = 0;
        while let Some((symbol, count)) = runs.next_run()? {
            deltas_len += symbol.delta_len() * usize::from(count);
        }
        let (chunks, deltas) = body
            .rest()
            .split_at_checked(body.rest().len() - runs.unread().len())
            .ok_or(RtcpError::Truncated)?;
        let deltas = deltas.get(..deltas_len).ok_or(RtcpError::Truncated)?;
        Ok(Self {
            head: TransportCcHead {
                sender_ssrc,
                media_ssrc,
                base_seq,
                reference_time,
                feedback_count,
            },
            status_count,
            chunks,
            deltas,
        })
    }

    pub const fn status_count(&self) -> u16 {
        self.status_count
    }

    /// Every packet from the base sequence number on. A few bytes can claim [`STATUSES_MAX`] lost
    /// packets: prefer [`arrivals`](Self::arrivals) on the packet path.
    pub fn statuses(&self) -> Statuses<'a> {
        Statuses {
            runs: Runs::new(self.chunks, self.status_count),
            run: (Symbol::Lost, 0),
            seq: self.head.base_seq,
            deltas: ByteReader::new(self.deltas),
            arrival_us: 0,
        }
    }

    /// The packets that arrived, with their time after the reference time in microseconds, in
    /// order of sequence. Work is bounded by the feedback's own length.
    pub fn arrivals(&self) -> Arrivals<'a> {
        Arrivals {
            statuses: self.statuses(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Statuses<'a> {
    runs: Runs<'a>,
    /// The run being read, and how much of it is left.
    run: (Symbol, u16),
    seq: SeqNo,
    deltas: ByteReader<'a>,
    arrival_us: i64,
}

impl Statuses<'_> {
    /// Makes `run` one that is not used up.
    fn fill_run(&mut self) -> Option<()> {
        while self.run.1 == 0 {
            // Parsing has read the same runs without an error.
            self.run = self.runs.next_run().ok().flatten()?;
        }
        Some(())
    }

    fn arrival(&mut self) -> Option<i64> {
        let ticks = match self.run.0 {
            Symbol::Lost => return None,
            Symbol::SmallDelta => i64::from(self.deltas.u8()?),
            Symbol::LargeDelta => i64::from(self.deltas.u16()?.cast_signed()),
        };
        self.arrival_us += ticks * TICK_US;
        Some(self.arrival_us)
    }

    fn pass(&mut self, count: u16) {
        self.run.1 -= count;
        self.seq = self.seq.wrapping_add(count);
    }
}

impl Iterator for Statuses<'_> {
    type Item = PacketStatus;

    fn next(&mut self) -> Option<Self::Item> {
        self.fill_run()?;
        let status = PacketStatus {
            seq: self.seq,
            arrival_us: self.arrival(),
        };
        self.pass(1);
        Some(status)
    }
}

#[derive(Clone, Debug)]
pub struct Arrivals<'a> {
    statuses: Statuses<'a>,
}

impl Iterator for Arrivals<'_> {
    type Item = (SeqNo, i64);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.statuses.fill_run()?;
            match self.statuses.run {
                (Symbol::Lost, count) => self.statuses.pass(count),
                _ => {
                    let status = self.statuses.next()?;
                    return Some((status.seq, status.arrival_us?));
                }
            }
        }
    }
}
