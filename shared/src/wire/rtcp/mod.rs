//! RTCP packets (RFC 3550 §6) and feedback (RFC 4585, RFC 5104), whole compounds or reduced-size
//! ones (RFC 5506).

mod feedback;
mod remb;
mod report;
mod source;
mod transport_cc;
mod write;

#[cfg(test)]
mod tests;

pub use feedback::{Fir, FirEntry, Nack, Pli};
pub use remb::Remb;
pub use report::{ReceiverReport, ReportBlock, SenderInfo, SenderReport};
pub use source::{Bye, Sdes};
pub use transport_cc::{
    Arrivals, PacketStatus, STATUSES_MAX, Statuses, TransportCc, TransportCcHead,
};
pub use write::RtcpWriter;

use thiserror::Error;

use super::bytes::ByteReader;
use crate::ids::Ssrc;

/// Packet types (RFC 3550 §12.1, RFC 4585 §6.1).
mod packet_type {
    pub(super) const SENDER_REPORT: u8 = 200;
    pub(super) const RECEIVER_REPORT: u8 = 201;
    pub(super) const SDES: u8 = 202;
    pub(super) const BYE: u8 = 203;
    pub(super) const TRANSPORT_FEEDBACK: u8 = 205;
    pub(super) const PAYLOAD_FEEDBACK: u8 = 206;
}

/// Feedback formats (RFC 4585 §6.2, §6.3, RFC 5104 §4.3.1).
mod format {
    pub(super) const NACK: u8 = 1;
    pub(super) const TRANSPORT_CC: u8 = 15;
    pub(super) const PLI: u8 = 1;
    pub(super) const FIR: u8 = 4;
    pub(super) const APPLICATION: u8 = 15;
}

const HEADER_LEN: usize = 4;
const VERSION_2: u8 = 0x80;
const PADDING_BIT: u8 = 0x20;
/// The count or format of a header has five bits.
const COUNT_MAX: usize = 31;

#[derive(Copy, Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum RtcpError {
    #[error("shorter than its header says")]
    Truncated,
    #[error("RTCP version is not 2")]
    Version,
    #[error("padding is zero, or longer than the packet")]
    Padding,
    #[error("a transport-wide feedback that contradicts itself")]
    TransportCc,
}

#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RtcpPacket<'a> {
    SenderReport(SenderReport<'a>),
    ReceiverReport(ReceiverReport<'a>),
    Sdes(Sdes<'a>),
    Bye(Bye<'a>),
    TransportFeedback(TransportFeedback<'a>),
    PayloadFeedback(PayloadFeedback<'a>),
    /// Well-framed, of a type or format we do not read.
    Unknown {
        packet_type: u8,
        format: u8,
    },
}

/// RFC 4585 §6.2.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TransportFeedback<'a> {
    Nack(Nack<'a>),
    TransportCc(TransportCc<'a>),
}

/// RFC 4585 §6.3.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PayloadFeedback<'a> {
    Pli(Pli),
    Fir(Fir<'a>),
    Remb(Remb<'a>),
}

/// Iterator over the packets of a decrypted compound. A packet with a malformed body is an `Err`
/// and the next one follows; a malformed frame is the last item.
#[derive(Clone, Debug)]
pub struct RtcpCompound<'a> {
    rest: ByteReader<'a>,
}

impl<'a> RtcpCompound<'a> {
    pub const fn parse(compound: &'a [u8]) -> Self {
        Self {
            rest: ByteReader::new(compound),
        }
    }

    fn frame(&mut self) -> Result<Frame<'a>, RtcpError> {
        let [first, packet_type] = self.rest.array().ok_or(RtcpError::Truncated)?;
        if first & 0xc0 != VERSION_2 {
            return Err(RtcpError::Version);
        }
        let words = self.rest.u16().ok_or(RtcpError::Truncated)?;
        let body = self
            .rest
            .take(usize::from(words) * 4)
            .ok_or(RtcpError::Truncated)?;
        let padding_len = match (first & PADDING_BIT, body.last()) {
            (0, _) => 0,
            // RFC 3550 §6.4.1: the last byte counts the padding, itself included. It ought to be
            // whole words, but libwebrtc pads transport-wide feedback with one to three bytes.
            (_, Some(count)) if *count > 0 => usize::from(*count),
            _ => return Err(RtcpError::Padding),
        };
        let len = body
            .len()
            .checked_sub(padding_len)
            .ok_or(RtcpError::Padding)?;
        Ok(Frame {
            packet_type,
            count: first & 0x1f,
            body: ByteReader::new(body.get(..len).ok_or(RtcpError::Padding)?),
        })
    }
}

impl<'a> Iterator for RtcpCompound<'a> {
    type Item = Result<RtcpPacket<'a>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match self.frame() {
            Ok(frame) => Some(frame.parse()),
            Err(error) => {
                self.rest = ByteReader::new(&[]);
                Some(Err(error))
            }
        }
    }
}

/// One packet without its header and padding.
struct Frame<'a> {
    packet_type: u8,
    /// Count of blocks, or format of feedback.
    count: u8,
    body: ByteReader<'a>,
}

impl<'a> Frame<'a> {
    fn parse(self) -> Result<RtcpPacket<'a>, RtcpError> {
        let Self {
            packet_type,
            count,
            body,
        } = self;
        match packet_type {
            packet_type::SENDER_REPORT => {
                SenderReport::parse(count, body).map(RtcpPacket::SenderReport)
            }
            packet_type::RECEIVER_REPORT => {
                ReceiverReport::parse(count, body).map(RtcpPacket::ReceiverReport)
            }
            packet_type::SDES => Sdes::parse(count, body).map(RtcpPacket::Sdes),
            packet_type::BYE => Bye::parse(count, body).map(RtcpPacket::Bye),
            packet_type::TRANSPORT_FEEDBACK => transport_feedback(count, body),
            packet_type::PAYLOAD_FEEDBACK => payload_feedback(count, body),
            _ => Ok(RtcpPacket::Unknown {
                packet_type,
                format: count,
            }),
        }
    }
}

fn transport_feedback(format: u8, body: ByteReader<'_>) -> Result<RtcpPacket<'_>, RtcpError> {
    let feedback = match format {
        format::NACK => TransportFeedback::Nack(Nack::parse(body)?),
        format::TRANSPORT_CC => TransportFeedback::TransportCc(TransportCc::parse(body)?),
        _ => {
            let packet_type = packet_type::TRANSPORT_FEEDBACK;
            return Ok(RtcpPacket::Unknown {
                packet_type,
                format,
            });
        }
    };
    Ok(RtcpPacket::TransportFeedback(feedback))
}

fn payload_feedback(format: u8, body: ByteReader<'_>) -> Result<RtcpPacket<'_>, RtcpError> {
    let feedback = match format {
        format::PLI => Some(PayloadFeedback::Pli(Pli::parse(body)?)),
        format::FIR => Some(PayloadFeedback::Fir(Fir::parse(body)?)),
        // Application layer feedback is REMB, or somebody else's.
        format::APPLICATION => Remb::parse(body)?.map(PayloadFeedback::Remb),
        _ => None,
    };
    let packet_type = packet_type::PAYLOAD_FEEDBACK;
    Ok(feedback.map_or(
        RtcpPacket::Unknown {
            packet_type,
            format,
        },
        RtcpPacket::PayloadFeedback,
    ))
}

/// The two SSRCs that every feedback packet starts with (RFC 4585 §6.1): its sender, and the
/// source it is about.
fn feedback_ssrcs(body: &mut ByteReader<'_>) -> Result<[Ssrc; 2], RtcpError> {
    let sender = body.u32().ok_or(RtcpError::Truncated)?;
    let media = body.u32().ok_or(RtcpError::Truncated)?;
    Ok([Ssrc(sender), Ssrc(media)])
}

/// SSRCs in whole words; an incomplete last one is left out.
fn ssrcs(bytes: &[u8]) -> impl Iterator<Item = Ssrc> + Clone + '_ {
    let (words, _) = bytes.as_chunks();
    words.iter().map(|word| Ssrc(u32::from_be_bytes(*word)))
}
