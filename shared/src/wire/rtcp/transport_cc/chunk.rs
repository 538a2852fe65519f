//! Packet status chunks (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1.2 to §3.1.4).

use super::RtcpError;
use crate::wire::bytes::{ByteReader, ByteWriter};

/// A run length has 13 bits.
const RUN_MAX: u16 = 0x1fff;
/// Symbols of a vector chunk, by the bits of each.
const VECTOR_LEN_1_BIT: u16 = 14;
const VECTOR_LEN_2_BIT: u16 = 7;
const VECTOR_BIT: u16 = 0x8000;
const TWO_BIT_BIT: u16 = 0x4000;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Symbol {
    Lost = 0,
    /// 0..=63.75 ms in one byte.
    SmallDelta = 1,
    /// ±8.19 s in two bytes.
    LargeDelta = 2,
}

impl Symbol {
    pub(super) const fn delta_len(self) -> usize {
        self as usize
    }

    pub(super) fn of(delta: Option<i16>) -> Self {
        match delta {
            None => Self::Lost,
            Some(0..=255) => Self::SmallDelta,
            Some(_) => Self::LargeDelta,
        }
    }

    fn from_bits(bits: u16) -> Result<Self, RtcpError> {
        match bits {
            0 => Ok(Self::Lost),
            1 => Ok(Self::SmallDelta),
            2 => Ok(Self::LargeDelta),
            _ => Err(RtcpError::TransportCc),
        }
    }
}

/// Reads chunks as runs of equal symbols, as many as the status count says.
#[derive(Clone, Debug)]
pub(super) struct Runs<'a> {
    chunks: ByteReader<'a>,
    /// Statuses not handed out yet.
    left: u16,
    vector: Vector,
}

/// The rest of a vector chunk: its next symbol is in the topmost `width` bits.
#[derive(Copy, Clone, Debug)]
struct Vector {
    bits: u16,
    width: u16,
    left: u16,
}

impl<'a> Runs<'a> {
    pub(super) const fn new(chunks: &'a [u8], status_count: u16) -> Self {
        Self {
            chunks: ByteReader::new(chunks),
            left: status_count,
            vector: Vector {
                bits: 0,
                width: 1,
                left: 0,
            },
        }
    }

    /// What lies behind the chunks read so far.
    pub(super) const fn unread(&self) -> &'a [u8] {
        self.chunks.rest()
    }

    pub(super) fn next_run(&mut self) -> Result<Option<(Symbol, u16)>, RtcpError> {
        if self.left == 0 {
            return Ok(None);
        }
        let (symbol, count) = match self.vector.next_symbol() {
            Some(symbol) => (symbol?, 1),
            None => self.chunk()?,
        };
        // The last chunk may be longer than what is left to report.
        let count = count.min(self.left);
        self.left -= count;
        Ok(Some((symbol, count)))
    }

    fn chunk(&mut self) -> Result<(Symbol, u16), RtcpError> {
        let chunk = self.chunks.u16().ok_or(RtcpError::Truncated)?;
        if chunk & VECTOR_BIT == 0 {
            return Ok((Symbol::from_bits((chunk >> 13) & 3)?, chunk & RUN_MAX));
        }
        let (width, left) = if chunk & TWO_BIT_BIT == 0 {
            (1, VECTOR_LEN_1_BIT)
        } else {
            (2, VECTOR_LEN_2_BIT)
        };
        self.vector = Vector {
            bits: chunk << 2,
            width,
            left,
        };
        let symbol = self.vector.next_symbol().ok_or(RtcpError::TransportCc)??;
        Ok((symbol, 1))
    }
}

impl Vector {
    fn next_symbol(&mut self) -> Option<Result<Symbol, RtcpError>> {
        self.left = self.left.checked_sub(1)?;
        let symbol = self.bits >> (16 - self.width);
        self.bits <<= self.width;
        Some(Symbol::from_bits(symbol))
    }
}

/// Gathers symbols until a chunk is full: a run as long as all are equal, else 14 of one bit, else
/// 7 of two bits.
pub(super) struct ChunkWriter {
    /// The first symbols gathered; a run longer than this repeats the first.
    symbols: [Symbol; VECTOR_LEN_1_BIT as usize],
    len: u16,
}

impl ChunkWriter {
    pub(super) const fn new() -> Self {
        Self {
            symbols: [Symbol::Lost; VECTOR_LEN_1_BIT as usize],
            len: 0,
        }
    }

    pub(super) fn push(&mut self, writer: &mut ByteWriter<'_>, symbol: Symbol) -> Option<()> {
        while !self.takes(symbol) {
            self.write_chunk(writer, false)?;
        }
        if let Some(slot) = self.symbols.get_mut(usize::from(self.len)) {
            *slot = symbol;
        }
        self.len += 1;
        Some(())
    }

    pub(super) fn finish(mut self, writer: &mut ByteWriter<'_>) -> Option<()> {
        while self.len > 0 {
            self.write_chunk(writer, true)?;
        }
        Some(())
    }

    fn gathered(&self) -> &[Symbol] {
        let len = usize::from(self.len).min(self.symbols.len());
        self.symbols.get(..len).unwrap_or_default()
    }

    /// The symbol of a run, while everything gathered is one.
    fn run(&self) -> Option<Symbol> {
        let (first, rest) = self.gathered().split_first()?;
        rest.iter().all(|symbol| symbol == first).then_some(*first)
    }

    fn has_large(&self) -> bool {
        self.gathered().contains(&Symbol::LargeDelta)
    }

    /// Whether one chunk can hold what is gathered and this symbol.
    fn takes(&self, symbol: Symbol) -> bool {
        let one_bit = symbol != Symbol::LargeDelta && !self.has_large();
        self.len < VECTOR_LEN_2_BIT
            || (self.len < VECTOR_LEN_1_BIT && one_bit)
            || (self.len < RUN_MAX && self.run() == Some(symbol))
    }

    /// Writes one chunk of what is gathered and keeps what does not fit into it. Only the `last`
    /// chunk may have room left, since the next one continues where a full one would end.
    fn write_chunk(&mut self, writer: &mut ByteWriter<'_>, last: bool) -> Option<()> {
        if let Some(symbol) = self.run() {
            writer.u16((u16::from(symbol as u8) << 13) | self.len)?;
            self.len = 0;
            return Some(());
        }
        let one_bit = !self.has_large() && (last || self.len == VECTOR_LEN_1_BIT);
        let (flags, width, capacity) = if one_bit {
            (VECTOR_BIT, 1, VECTOR_LEN_1_BIT)
        } else {
            (VECTOR_BIT | TWO_BIT_BIT, 2, VECTOR_LEN_2_BIT)
        };
        let written = capacity.min(self.len);
        let symbols = self.symbols.iter().take(usize::from(written));
        // Both vectors fill the lower 14 bits from the top.
        let (bits, _) = symbols.fold((flags, 14), |(bits, end), symbol| {
            let at = end - width;
            (bits | (u16::from(*symbol as u8) << at), at)
        });
        writer.u16(bits)?;
        self.symbols
            .rotate_left(usize::from(written % VECTOR_LEN_1_BIT));
        self.len -= written;
        Some(())
    }
}
