//! RTP packets (RFC 3550 §5.1) with header extensions (RFC 8285).

use thiserror::Error;

use super::bytes::{ByteReader, ByteWriter};
use crate::ids::{Pt, Ssrc};
use crate::time::{RtpTime, SeqNo};

/// The fixed part of the header.
pub const HEADER_LEN_MIN: usize = 12;

const VERSION_2: u8 = 0x80;
const PADDING_BIT: u8 = 0x20;
const EXTENSION_BIT: u8 = 0x10;
const MARKER_BIT: u8 = 0x80;
const PROFILE_ONE_BYTE: u16 = 0xbede;
const PROFILE_TWO_BYTE: u16 = 0x1000;

#[derive(Copy, Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum RtpError {
    #[error("shorter than its header says")]
    Truncated,
    #[error("RTP version is not 2")]
    Version,
    #[error("padding is zero, or longer than the payload")]
    Padding,
}

/// Header of a packet whose payload may still be encrypted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RtpHeaderView<'a> {
    pub marker: bool,
    pub pt: Pt,
    pub seq: SeqNo,
    pub timestamp: RtpTime,
    pub ssrc: Ssrc,
    /// The P bit. Where the padding starts is known after decryption only.
    pub padding: bool,
    header_len: usize,
    exts: Exts<'a>,
}

impl<'a> RtpHeaderView<'a> {
    /// Length of header, CSRCs and extension block: where the payload starts.
    pub const fn header_len(&self) -> usize {
        self.header_len
    }

    /// The first extension element with this id.
    pub fn ext(&self, id: u8) -> Option<&'a [u8]> {
        self.exts()
            .find_map(|(found, ext)| (found == id).then_some(ext))
    }

    /// All extension elements in packet order; ends early at a malformed one.
    pub fn exts(&self) -> Exts<'a> {
        self.exts.clone()
    }
}

/// Reads the header alone, so that it also serves a packet that is still encrypted.
pub fn parse_header(packet: &[u8]) -> Result<RtpHeaderView<'_>, RtpError> {
    let mut reader = ByteReader::new(packet);
    let [first, second] = reader.array().ok_or(RtpError::Truncated)?;
    if first & 0xc0 != VERSION_2 {
        return Err(RtpError::Version);
    }
    let seq = reader.u16().ok_or(RtpError::Truncated)?;
    let timestamp = reader.u32().ok_or(RtpError::Truncated)?;
    let ssrc = reader.u32().ok_or(RtpError::Truncated)?;
    let csrc_count = usize::from(first & 0x0f);
    reader.take(csrc_count * 4).ok_or(RtpError::Truncated)?;
    let exts = if first & EXTENSION_BIT == 0 {
        Exts::NONE
    } else {
        let profile = reader.u16().ok_or(RtpError::Truncated)?;
        let words = reader.u16().ok_or(RtpError::Truncated)?;
        let block = reader
            .take(usize::from(words) * 4)
            .ok_or(RtpError::Truncated)?;
        Exts::new(profile, block)
    };
    Ok(RtpHeaderView {
        marker: second & MARKER_BIT != 0,
        pt: Pt(second & 0x7f),
        seq: SeqNo(seq),
        timestamp: RtpTime(timestamp),
        ssrc: Ssrc(ssrc),
        padding: first & PADDING_BIT != 0,
        header_len: packet.len() - reader.rest().len(),
        exts,
    })
}

/// A decrypted packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RtpView<'a> {
    pub marker: bool,
    pub pt: Pt,
    pub seq: SeqNo,
    pub timestamp: RtpTime,
    pub ssrc: Ssrc,
    /// Bytes of padding behind the payload, the count byte included.
    pub padding_len: usize,
    header_len: usize,
    exts: Exts<'a>,
    payload: &'a [u8],
}

impl<'a> RtpView<'a> {
    pub fn parse(packet: &'a [u8]) -> Result<Self, RtpError> {
        let header = parse_header(packet)?;
        let body = packet.get(header.header_len..).ok_or(RtpError::Truncated)?;
        let padding_len = match (header.padding, body.last()) {
            (false, _) => 0,
            // RFC 3550 §5.1: the last byte counts the padding, itself included.
            (true, Some(count)) if *count > 0 => usize::from(*count),
            (true, _) => return Err(RtpError::Padding),
        };
        let payload_len = body
            .len()
            .checked_sub(padding_len)
            .ok_or(RtpError::Padding)?;
        Ok(Self {
            marker: header.marker,
            pt: header.pt,
            seq: header.seq,
            timestamp: header.timestamp,
            ssrc: header.ssrc,
            padding_len,
            header_len: header.header_len,
            exts: header.exts,
            payload: body.get(..payload_len).ok_or(RtpError::Padding)?,
        })
    }

    /// Length of header, CSRCs and extension block: where the payload starts.
    pub const fn header_len(&self) -> usize {
        self.header_len
    }

    /// Without padding; empty for a packet of padding only.
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The first extension element with this id.
    pub fn ext(&self, id: u8) -> Option<&'a [u8]> {
        self.exts()
            .find_map(|(found, ext)| (found == id).then_some(ext))
    }

    /// All extension elements in packet order; ends early at a malformed one.
    pub fn exts(&self) -> Exts<'a> {
        self.exts.clone()
    }
}

/// Iterator over extension elements as (id, content) in both forms of RFC 8285.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exts<'a> {
    rest: ByteReader<'a>,
    two_byte: bool,
}

impl<'a> Exts<'a> {
    const NONE: Exts<'static> = Exts {
        rest: ByteReader::new(&[]),
        two_byte: false,
    };

    fn new(profile: u16, block: &'a [u8]) -> Self {
        match profile {
            PROFILE_ONE_BYTE => Self {
                rest: ByteReader::new(block),
                two_byte: false,
            },
            // RFC 8285 §4.3: the low four bits are "appbits", which we ignore.
            _ if profile & 0xfff0 == PROFILE_TWO_BYTE => Self {
                rest: ByteReader::new(block),
                two_byte: true,
            },
            // Some other profile's block (RFC 3550 §5.3.1): opaque.
            _ => Self::NONE,
        }
    }

    fn element(&mut self) -> Option<(u8, &'a [u8])> {
        loop {
            let first = self.rest.u8()?;
            // RFC 8285 §4.2, §4.3: zero bytes between elements are padding.
            if first == 0 {
                // In the two-byte form only the id is zero then; no length byte follows it.
                continue;
            }
            let (id, len) = if self.two_byte {
                (first, usize::from(self.rest.u8()?))
            } else {
                (first >> 4, usize::from(first & 0x0f) + 1)
            };
            // RFC 8285 §4.2: id 15 ends the one-byte form, and so does id 0 with a length.
            if !self.two_byte && matches!(id, 0 | 15) {
                return None;
            }
            return Some((id, self.rest.take(len)?));
        }
    }
}

impl<'a> Iterator for Exts<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let element = self.element();
        if element.is_none() {
            *self = Self::NONE;
        }
        element
    }
}

/// The content of an extension element, to be overwritten in place: the sequence number of
/// transport-cc and the absolute send time are known only when the packet leaves.
pub fn ext_mut(packet: &mut [u8], id: u8) -> Option<&mut [u8]> {
    let header = parse_header(packet).ok()?;
    let mut exts = header.exts();
    let (_, ext) = exts.find(|(found, _)| *found == id)?;
    // The element ends where the unread rest of the block begins.
    let end = header.header_len.checked_sub(exts.rest.rest().len())?;
    let start = end.checked_sub(ext.len())?;
    packet.get_mut(start..end)
}

/// Fixed header fields of a packet we send: version 2, without CSRCs.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct RtpHeader {
    pub marker: bool,
    pub pt: Pt,
    pub seq: SeqNo,
    pub timestamp: RtpTime,
    pub ssrc: Ssrc,
}

/// Exact length of what [`write_header`] writes for these extension elements.
pub fn header_len(exts: &[(u8, &[u8])]) -> usize {
    if exts.is_empty() {
        return HEADER_LEN_MIN;
    }
    HEADER_LEN_MIN + 4 + ext_block_len(exts).next_multiple_of(4)
}

/// Writes the header with the extension elements in the one-byte form, or in the two-byte form if
/// one of them needs it (the receiver must have negotiated `extmap-allow-mixed` then). `None` if
/// `out` is too small, an id is 0 or an element is longer than 255 bytes.
pub fn write_header(out: &mut [u8], header: &RtpHeader, exts: &[(u8, &[u8])]) -> Option<usize> {
    let mut writer = ByteWriter::new(out);
    let extension = if exts.is_empty() { 0 } else { EXTENSION_BIT };
    let marker = if header.marker { MARKER_BIT } else { 0 };
    writer.u8(VERSION_2 | extension)?;
    writer.u8(marker | (header.pt.0 & 0x7f))?;
    writer.u16(header.seq.0)?;
    writer.u32(header.timestamp.0)?;
    writer.u32(header.ssrc.0)?;
    if !exts.is_empty() {
        write_exts(&mut writer, exts)?;
    }
    Some(writer.len())
}

/// Appends `padding_len` bytes of padding to the packet in the first `len` bytes and sets its P
/// bit; returns the new length. `None` if the packet is padded already, `padding_len` is 0 or
/// `out` is too small.
pub fn pad(out: &mut [u8], len: usize, padding_len: u8) -> Option<usize> {
    if len < HEADER_LEN_MIN || out.first()? & PADDING_BIT != 0 {
        return None;
    }
    let end = len.checked_add(usize::from(padding_len))?;
    let (count, zeros) = out.get_mut(len..end)?.split_last_mut()?;
    zeros.fill(0);
    *count = padding_len;
    *out.first_mut()? |= PADDING_BIT;
    Some(end)
}

fn needs_two_byte(exts: &[(u8, &[u8])]) -> bool {
    // RFC 8285 §4.2: the one-byte form has ids 1..=14 and contents of 1..=16 bytes.
    exts.iter()
        .any(|(id, ext)| *id > 14 || !(1..=16).contains(&ext.len()))
}

fn ext_block_len(exts: &[(u8, &[u8])]) -> usize {
    let head_len = if needs_two_byte(exts) { 2 } else { 1 };
    exts.iter().map(|(_, ext)| head_len + ext.len()).sum()
}

fn write_exts(writer: &mut ByteWriter<'_>, exts: &[(u8, &[u8])]) -> Option<()> {
    let two_byte = needs_two_byte(exts);
    let block_len = ext_block_len(exts);
    let words = u16::try_from(block_len.div_ceil(4)).ok()?;
    writer.u16(if two_byte {
        PROFILE_TWO_BYTE
    } else {
        PROFILE_ONE_BYTE
    })?;
    writer.u16(words)?;
    for (id, ext) in exts {
        if *id == 0 {
            return None;
        }
        let len = u8::try_from(ext.len()).ok()?;
        if two_byte {
            writer.bytes(&[*id, len])?;
        } else {
            writer.u8((id << 4) | (len - 1))?;
        }
        writer.bytes(ext)?;
    }
    writer.zeros(usize::from(words) * 4 - block_len)
}

#[cfg(test)]
mod tests;
