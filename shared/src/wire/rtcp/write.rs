use super::report::{ReportBlock, SenderInfo};
use super::{
    COUNT_MAX, FirEntry, HEADER_LEN, TransportCcHead, VERSION_2, format, packet_type, remb, source,
    transport_cc,
};
use crate::ids::Ssrc;
use crate::time::SeqNo;
use crate::wire::bytes::ByteWriter;

/// Appends packets to a compound. Each method writes one whole packet, or returns `None` and
/// writes nothing when it does not fit or has too many entries.
#[derive(Debug)]
pub struct RtcpWriter<'a> {
    writer: ByteWriter<'a>,
}

impl<'a> RtcpWriter<'a> {
    pub const fn new(out: &'a mut [u8]) -> Self {
        Self {
            writer: ByteWriter::new(out),
        }
    }

    /// Length of the compound so far.
    pub const fn len(&self) -> usize {
        self.writer.len()
    }

    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The compound so far.
    pub fn written(&self) -> &[u8] {
        self.writer.written()
    }

    /// At most 31 blocks.
    pub fn sender_report(
        &mut self,
        ssrc: Ssrc,
        info: &SenderInfo,
        blocks: &[ReportBlock],
    ) -> Option<()> {
        self.packet(packet_type::SENDER_REPORT, count(blocks)?, |writer| {
            writer.u32(ssrc.0)?;
            writer.u64(info.ntp.0)?;
            writer.u32(info.rtp_time.0)?;
            writer.u32(info.packets)?;
            writer.u32(info.bytes)?;
            blocks.iter().try_for_each(|block| block.write(writer))
        })
    }

    /// At most 31 blocks.
    pub fn receiver_report(&mut self, ssrc: Ssrc, blocks: &[ReportBlock]) -> Option<()> {
        self.packet(packet_type::RECEIVER_REPORT, count(blocks)?, |writer| {
            writer.u32(ssrc.0)?;
            blocks.iter().try_for_each(|block| block.write(writer))
        })
    }

    /// A description with the canonical name alone, of at most 255 bytes.
    pub fn sdes_cname(&mut self, ssrc: Ssrc, cname: &str) -> Option<()> {
        let len = u8::try_from(cname.len()).ok()?;
        self.packet(packet_type::SDES, 1, |writer| {
            writer.u32(ssrc.0)?;
            writer.bytes(&[source::ITEM_CNAME, len])?;
            writer.bytes(cname.as_bytes())?;
            // RFC 3550 §6.5: at least one zero ends the items.
            writer.zeros((writer.len() + 1).next_multiple_of(4) - writer.len())
        })
    }

    /// At most 31 sources, without a reason.
    pub fn bye(&mut self, ssrcs: &[Ssrc]) -> Option<()> {
        self.packet(packet_type::BYE, count(ssrcs)?, |writer| {
            ssrcs.iter().try_for_each(|ssrc| writer.u32(ssrc.0))
        })
    }

    /// Asks for `seqs`, which come in increasing order; up to 17 neighbours share an entry. Writes
    /// nothing if there are none.
    pub fn nack(
        &mut self,
        sender_ssrc: Ssrc,
        media_ssrc: Ssrc,
        seqs: impl IntoIterator<Item = SeqNo>,
    ) -> Option<()> {
        let mut seqs = seqs.into_iter().peekable();
        if seqs.peek().is_none() {
            return Some(());
        }
        self.packet(packet_type::TRANSPORT_FEEDBACK, format::NACK, |writer| {
            writer.u32(sender_ssrc.0)?;
            writer.u32(media_ssrc.0)?;
            while let Some(first) = seqs.next() {
                let mut following = 0_u16;
                let bit = |seq: &SeqNo| match seq.distance(first) {
                    distance @ 1..=16 => Some(1_u16 << (distance - 1)),
                    _ => None,
                };
                while let Some(bit) = seqs.peek().and_then(bit) {
                    following |= bit;
                    seqs.next();
                }
                writer.u16(first.0)?;
                writer.u16(following)?;
            }
            Some(())
        })
    }

    pub fn pli(&mut self, sender_ssrc: Ssrc, media_ssrc: Ssrc) -> Option<()> {
        self.packet(packet_type::PAYLOAD_FEEDBACK, format::PLI, |writer| {
            writer.u32(sender_ssrc.0)?;
            writer.u32(media_ssrc.0)
        })
    }

    pub fn fir(&mut self, sender_ssrc: Ssrc, entries: &[FirEntry]) -> Option<()> {
        self.packet(packet_type::PAYLOAD_FEEDBACK, format::FIR, |writer| {
            writer.u32(sender_ssrc.0)?;
            // RFC 5104 §4.3.1.2: the media source field is not used and is zero.
            writer.u32(0)?;
            entries.iter().try_for_each(|entry| {
                writer.u32(entry.media_ssrc.0)?;
                writer.bytes(&[entry.request_seq, 0, 0, 0])
            })
        })
    }

    /// At most 255 sources. The bitrate is rounded down to 18 significant bits.
    pub fn remb(&mut self, sender_ssrc: Ssrc, bitrate_bps: u64, ssrcs: &[Ssrc]) -> Option<()> {
        let count = u8::try_from(ssrcs.len()).ok()?;
        self.packet(
            packet_type::PAYLOAD_FEEDBACK,
            format::APPLICATION,
            |writer| {
                writer.u32(sender_ssrc.0)?;
                // draft-alvestrand-rmcat-remb-03 §2.2: the media source is always zero.
                writer.u32(0)?;
                writer.bytes(&remb::IDENTIFIER)?;
                writer.u8(count)?;
                writer.u24(remb::encode(bitrate_bps))?;
                ssrcs.iter().try_for_each(|ssrc| writer.u32(ssrc.0))
            },
        )
    }

    /// Reports the packets from the head's base sequence number on, at most
    /// [`super::STATUSES_MAX`]: each with the time since the one that arrived before it (the
    /// first: since the reference time) in units of 250 µs, or `None` if it did not arrive.
    pub fn transport_cc(
        &mut self,
        head: &TransportCcHead,
        deltas: impl Iterator<Item = Option<i16>> + Clone,
    ) -> Option<()> {
        self.packet(
            packet_type::TRANSPORT_FEEDBACK,
            format::TRANSPORT_CC,
            |writer| transport_cc::write(writer, head, deltas),
        )
    }

    fn packet(
        &mut self,
        packet_type: u8,
        count: u8,
        body: impl FnOnce(&mut ByteWriter<'a>) -> Option<()>,
    ) -> Option<()> {
        let start = self.writer.len();
        let written = self.header_and_body(packet_type, count, body);
        if written.is_none() {
            self.writer.truncate(start);
        }
        written
    }

    fn header_and_body(
        &mut self,
        packet_type: u8,
        count: u8,
        body: impl FnOnce(&mut ByteWriter<'a>) -> Option<()>,
    ) -> Option<()> {
        let start = self.writer.len();
        self.writer.bytes(&[VERSION_2 | count, packet_type, 0, 0])?;
        body(&mut self.writer)?;
        let words = (self.writer.len() - start - HEADER_LEN) / 4;
        self.writer
            .patch(start + 2, &u16::try_from(words).ok()?.to_be_bytes())
    }
}

/// The header's count of these entries.
fn count<T>(entries: &[T]) -> Option<u8> {
    u8::try_from(entries.len())
        .ok()
        .filter(|count| usize::from(*count) <= COUNT_MAX)
}
