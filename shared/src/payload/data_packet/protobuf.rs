//! The wire format of Protocol Buffers: tags, varints and lengths
//! (<https://protobuf.dev/programming-guides/encoding/>).

use super::DataPacketError;
use crate::wire::bytes::{ByteReader, ByteWriter};

/// Field numbers have 29 bits.
const NUMBER_MAX: u64 = (1 << 29) - 1;

pub(super) const TYPE_VARINT: u8 = 0;
const TYPE_FIXED_64: u8 = 1;
pub(super) const TYPE_BYTES: u8 = 2;
const TYPE_FIXED_32: u8 = 5;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// 32 or 64 bits; nothing that we read is one.
    Fixed,
}

impl<'a> Field<'a> {
    pub(super) fn varint(self) -> Result<u64, DataPacketError> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err(DataPacketError::WireType),
        }
    }

    pub(super) fn bytes(self) -> Result<&'a [u8], DataPacketError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(DataPacketError::WireType),
        }
    }

    pub(super) fn text(self) -> Result<&'a str, DataPacketError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| DataPacketError::Text)
    }
}

/// Iterator over the fields of a message as (number, field); ends behind the first error.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    reader: ByteReader<'a>,
}

impl<'a> Fields<'a> {
    pub(super) const fn new(message: &'a [u8]) -> Self {
        Self {
            reader: ByteReader::new(message),
        }
    }

    /// What follows the last field read.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.reader.rest()
    }

    fn field(&mut self) -> Result<(u32, Field<'a>), DataPacketError> {
        let tag = self.varint()?;
        let number = match tag >> 3 {
            number @ 1..=NUMBER_MAX => {
                u32::try_from(number).map_err(|_| DataPacketError::Varint)?
            }
            _ => return Err(DataPacketError::Varint),
        };
        let [kind, ..] = tag.to_le_bytes();
        let field = match kind & 0x07 {
            TYPE_VARINT => Field::Varint(self.varint()?),
            TYPE_FIXED_64 => self.fixed(8)?,
            TYPE_FIXED_32 => self.fixed(4)?,
            TYPE_BYTES => {
                let len = usize::try_from(self.varint()?);
                let bytes = len.ok().and_then(|len| self.reader.take(len));
                Field::Bytes(bytes.ok_or(DataPacketError::Truncated)?)
            }
            // Groups, which proto3 does not have, and two that nothing uses.
            _ => return Err(DataPacketError::WireType),
        };
        Ok((number, field))
    }

    fn fixed(&mut self, len: usize) -> Result<Field<'a>, DataPacketError> {
        self.reader.take(len).ok_or(DataPacketError::Truncated)?;
        Ok(Field::Fixed)
    }

    fn varint(&mut self) -> Result<u64, DataPacketError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.reader.u8().ok_or(DataPacketError::Truncated)?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for the topmost bit only.
            if shift == 63 && bits > 1 {
                return Err(DataPacketError::Varint);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DataPacketError::Varint)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Field<'a>), DataPacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            *self = Self::new(&[]);
        }
        Some(field)
    }
}

pub(super) const fn varint_len(value: u64) -> usize {
    let bits = (u64::BITS - value.leading_zeros()) as usize;
    if bits == 0 { 1 } else { bits.div_ceil(7) }
}

pub(super) fn write_varint(writer: &mut ByteWriter<'_>, mut value: u64) -> Option<()> {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return writer.u8(low & 0x7f);
        }
        writer.u8(low | 0x80)?;
    }
}

pub(super) fn write_tag(writer: &mut ByteWriter<'_>, number: u32, kind: u8) -> Option<()> {
    write_varint(writer, (u64::from(number) << 3) | u64::from(kind))
}

/// Length of a field of bytes, with its tag; right for field numbers below 16.
pub(super) fn bytes_field_len(len: usize) -> usize {
    1 + varint_len(u64::try_from(len).unwrap_or(u64::MAX)) + len
}

pub(super) fn write_bytes(writer: &mut ByteWriter<'_>, number: u32, bytes: &[u8]) -> Option<()> {
    write_tag(writer, number, TYPE_BYTES)?;
    write_varint(writer, u64::try_from(bytes.len()).ok()?)?;
    writer.bytes(bytes)
}
