//! The stamp that says who sent a data packet.

use bytes::{BufMut, Bytes, BytesMut};
use millrace_shared::link::DataPublish;
use prost::encoding::{WireType, encode_key, encode_varint};

/// Numbers of DataPacket's fields in livekit_models.proto.
const PARTICIPANT_IDENTITY: u32 = 4;
const PARTICIPANT_SID: u32 = 17;

/// A hidden participant's packets name no identity: the empty field must be there to override what
/// the sender wrote, so it is encoded by hand (prost leaves empty strings out).
pub(crate) fn data_publish(identity: &str, sid: &str, hidden: bool, allowed: bool) -> DataPublish {
    let identity = if hidden { "" } else { identity };
    let mut stamp = BytesMut::with_capacity(identity.len() + sid.len() + 8);
    for (field, value) in [(PARTICIPANT_IDENTITY, identity), (PARTICIPANT_SID, sid)] {
        encode_key(field, WireType::LengthDelimited, &mut stamp);
        encode_varint(value.len() as u64, &mut stamp);
        stamp.put_slice(value.as_bytes());
    }
    DataPublish {
        stamp: Bytes::from(stamp),
        allowed,
    }
}

#[cfg(test)]
mod tests {
    use livekit_protocol as proto;
    use prost::Message;

    use super::*;

    #[test]
    fn the_stamp_overrides_a_forged_sender() {
        let forged = proto::DataPacket {
            participant_identity: "admin".into(),
            participant_sid: "PA_admin".into(),
            sequence: 9,
            ..Default::default()
        };
        for (hidden, identity) in [(false, "bob"), (true, "")] {
            let mut packet = forged.encode_to_vec();
            packet.extend_from_slice(&data_publish("bob", "PA_bob", hidden, true).stamp);
            let received = proto::DataPacket::decode(packet.as_slice()).unwrap();
            assert_eq!(received.participant_identity, identity);
            assert_eq!(received.participant_sid, "PA_bob");
            assert_eq!(received.sequence, 9);
        }
    }
}
