use super::protobuf::{
    TYPE_BYTES, TYPE_VARINT, bytes_field_len, write_bytes, write_tag, write_varint,
};
use super::{DataKind, field, user_field};
use crate::wire::bytes::ByteWriter;

/// The encoded kind. Appended to a packet it overrides what the sender wrote, since the last value
/// of a field counts.
pub const fn kind_field(kind: DataKind) -> [u8; 2] {
    let tag = 1 << 3;
    match kind {
        DataKind::Reliable => [tag, 0],
        DataKind::Lossy => [tag, 1],
    }
}

/// Who sent a packet. Appended to it, this overrides what the sender wrote. `None` if `out` is too
/// small.
pub fn write_stamp(out: &mut [u8], identity: &str, sid: &str) -> Option<usize> {
    let mut writer = ByteWriter::new(out);
    write_bytes(
        &mut writer,
        field::PARTICIPANT_IDENTITY,
        identity.as_bytes(),
    )?;
    write_bytes(&mut writer, field::PARTICIPANT_SID, sid.as_bytes())?;
    Some(writer.len())
}

/// The same inside of a user packet, where older clients look for it. Only for packets whose value
/// is [`super::DataValue::User`]: it merges with that, and would replace any other value.
pub fn write_user_stamp(out: &mut [u8], identity: &str, sid: &str) -> Option<usize> {
    let mut writer = ByteWriter::new(out);
    let len = bytes_field_len(identity.len()) + bytes_field_len(sid.len());
    write_tag(&mut writer, field::USER, TYPE_BYTES)?;
    write_varint(&mut writer, u64::try_from(len).ok()?)?;
    write_bytes(&mut writer, user_field::PARTICIPANT_SID, sid.as_bytes())?;
    write_bytes(
        &mut writer,
        user_field::PARTICIPANT_IDENTITY,
        identity.as_bytes(),
    )?;
    Some(writer.len())
}

/// A packet with a user's payload, as a client publishes it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct UserPacket<'a> {
    pub kind: DataKind,
    /// Everybody if empty.
    pub destination_identities: &'a [&'a str],
    /// 0 for none.
    pub sequence: u32,
    pub topic: Option<&'a str>,
    pub payload: &'a [u8],
}

/// `None` if `out` is too small.
pub fn write_user_packet(out: &mut [u8], packet: &UserPacket<'_>) -> Option<usize> {
    let mut writer = ByteWriter::new(out);
    writer.bytes(&kind_field(packet.kind))?;
    let topic_len = packet.topic.map_or(0, |topic| bytes_field_len(topic.len()));
    let user_len = bytes_field_len(packet.payload.len()) + topic_len;
    write_tag(&mut writer, field::USER, TYPE_BYTES)?;
    write_varint(&mut writer, u64::try_from(user_len).ok()?)?;
    write_bytes(&mut writer, user_field::PAYLOAD, packet.payload)?;
    if let Some(topic) = packet.topic {
        write_bytes(&mut writer, user_field::TOPIC, topic.as_bytes())?;
    }
    for identity in packet.destination_identities {
        write_bytes(
            &mut writer,
            field::DESTINATION_IDENTITIES,
            identity.as_bytes(),
        )?;
    }
    if packet.sequence != 0 {
        write_tag(&mut writer, field::SEQUENCE, TYPE_VARINT)?;
        write_varint(&mut writer, u64::from(packet.sequence))?;
    }
    Some(writer.len())
}
