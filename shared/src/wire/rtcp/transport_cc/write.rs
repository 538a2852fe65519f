use super::chunk::{ChunkWriter, Symbol};
use super::{STATUSES_MAX, TransportCcHead};
use crate::wire::bytes::ByteWriter;

/// Writes the packet's body; the statuses are read twice, for their chunks and for their deltas.
pub(in crate::wire::rtcp) fn write(
    writer: &mut ByteWriter<'_>,
    head: &TransportCcHead,
    deltas: impl Iterator<Item = Option<i16>> + Clone,
) -> Option<()> {
    writer.u32(head.sender_ssrc.0)?;
    writer.u32(head.media_ssrc.0)?;
    writer.u16(head.base_seq.0)?;
    let count_at = writer.len();
    writer.u16(0)?;
    writer.u24(head.reference_time)?;
    writer.u8(head.feedback_count)?;

    let mut chunks = ChunkWriter::new();
    let mut count = 0_u16;
    for delta in deltas.clone() {
        count = count
            .checked_add(1)
            .filter(|count| *count <= STATUSES_MAX)?;
        chunks.push(writer, Symbol::of(delta))?;
    }
    chunks.finish(writer)?;
    writer.patch(count_at, &count.to_be_bytes())?;

    for delta in deltas.flatten() {
        match u8::try_from(delta) {
            Ok(small) => writer.u8(small)?,
            Err(_) => writer.u16(delta.cast_unsigned())?,
        }
    }
    // Zeros up to a whole word, outside of RTCP's padding: that would have to end the compound
    // (RFC 3550 §6.4.1), and receivers count the deltas anyway.
    writer.zeros(writer.len().next_multiple_of(4) - writer.len())
}
