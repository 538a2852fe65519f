//! Sender and receiver reports (RFC 3550 §6.4).

use super::RtcpError;
use crate::ids::Ssrc;
use crate::time::{NtpTime, RtpTime};
use crate::wire::bytes::{ByteReader, ByteWriter};

/// What a sender says of its own stream.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct SenderInfo {
    pub ntp: NtpTime,
    pub rtp_time: RtpTime,
    /// Packets sent, modulo 2^32.
    pub packets: u32,
    /// Payload bytes sent, modulo 2^32.
    pub bytes: u32,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SenderReport<'a> {
    pub ssrc: Ssrc,
    pub info: SenderInfo,
    blocks: &'a [[u8; ReportBlock::LEN]],
}

impl<'a> SenderReport<'a> {
    pub(super) fn parse(count: u8, mut body: ByteReader<'a>) -> Result<Self, RtcpError> {
        let ssrc = body.u32().map(Ssrc).ok_or(RtcpError::Truncated)?;
        let info = SenderInfo {
            ntp: body.u64().map(NtpTime).ok_or(RtcpError::Truncated)?,
            rtp_time: body.u32().map(RtpTime).ok_or(RtcpError::Truncated)?,
            packets: body.u32().ok_or(RtcpError::Truncated)?,
            bytes: body.u32().ok_or(RtcpError::Truncated)?,
        };
        Ok(Self {
            ssrc,
            info,
            blocks: blocks(count, body)?,
        })
    }

    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + Clone + 'a {
        self.blocks.iter().filter_map(ReportBlock::read)
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReceiverReport<'a> {
    /// Who sent the report.
    pub ssrc: Ssrc,
    blocks: &'a [[u8; ReportBlock::LEN]],
}

impl<'a> ReceiverReport<'a> {
    pub(super) fn parse(count: u8, mut body: ByteReader<'a>) -> Result<Self, RtcpError> {
        let ssrc = body.u32().map(Ssrc).ok_or(RtcpError::Truncated)?;
        Ok(Self {
            ssrc,
            blocks: blocks(count, body)?,
        })
    }

    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + Clone + 'a {
        self.blocks.iter().filter_map(ReportBlock::read)
    }
}

/// Reception of one source, as its receiver sees it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ReportBlock {
    /// The source.
    pub ssrc: Ssrc,
    /// Loss since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets expected less packets received, 24 bits; negative when duplicates came.
    pub cumulative_lost: i32,
    /// Highest sequence number received, with its cycles above the low 16 bits.
    pub highest_seq: u32,
    /// Interarrival jitter in ticks of the media clock.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report; 0 if none came.
    pub last_sr: u32,
    /// Time from that report's arrival to this block, in 1/65536 s.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    pub const LEN: usize = 24;
    const LOST_MIN: i32 = -(1 << 23);
    const LOST_MAX: i32 = (1 << 23) - 1;

    fn read(block: &[u8; Self::LEN]) -> Option<Self> {
        let mut reader = ByteReader::new(block);
        Some(Self {
            ssrc: Ssrc(reader.u32()?),
            fraction_lost: reader.u8()?,
            // Shifted up and down again to extend the sign.
            cumulative_lost: (reader.u24()? << 8).cast_signed() >> 8,
            highest_seq: reader.u32()?,
            jitter: reader.u32()?,
            last_sr: reader.u32()?,
            delay_since_last_sr: reader.u32()?,
        })
    }

    pub(super) fn write(&self, writer: &mut ByteWriter<'_>) -> Option<()> {
        // RFC 3550 §A.3: the loss is clamped, it does not wrap.
        let lost = self.cumulative_lost.clamp(Self::LOST_MIN, Self::LOST_MAX);
        writer.u32(self.ssrc.0)?;
        writer.u8(self.fraction_lost)?;
        writer.u24(lost.cast_unsigned())?;
        writer.u32(self.highest_seq)?;
        writer.u32(self.jitter)?;
        writer.u32(self.last_sr)?;
        writer.u32(self.delay_since_last_sr)
    }
}

/// The blocks that the header counts. What follows them is a profile's extension (RFC 3550 §6.4.3).
fn blocks(count: u8, body: ByteReader<'_>) -> Result<&[[u8; ReportBlock::LEN]], RtcpError> {
    let (blocks, _) = body.rest().as_chunks();
    blocks.get(..usize::from(count)).ok_or(RtcpError::Truncated)
}
