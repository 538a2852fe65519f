//! Parts of a memo whose types know no serde, or only its JSON.
//!
//! Memos are what the control plane lets the data plane keep of rooms and participants, see
//! [`crate::room`]. Messages of the protocol go in as protobuf.

/// A message of the protocol.
pub(crate) mod message {
    use prost::Message;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(crate) fn serialize<M: Message, S: Serializer>(
        message: &M,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&message.encode_to_vec())
    }

    pub(crate) fn deserialize<'de, M: Message + Default, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<M, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        M::decode(bytes.as_slice()).map_err(de::Error::custom)
    }
}

/// A queue of messages.
pub(crate) mod messages {
    use std::collections::VecDeque;

    use prost::Message;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(crate) fn serialize<M: Message, S: Serializer>(
        messages: &VecDeque<M>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(messages.iter().map(Message::encode_to_vec))
    }

    pub(crate) fn deserialize<'de, M: Message + Default, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<VecDeque<M>, D::Error> {
        Vec::<Vec<u8>>::deserialize(deserializer)?
            .iter()
            .map(|bytes| M::decode(bytes.as_slice()).map_err(de::Error::custom))
            .collect()
    }
}

/// A message that may be absent.
pub(crate) mod optional_message {
    use prost::Message;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de};

    #[expect(clippy::ref_option, reason = "serde passes the field's reference")]
    pub(crate) fn serialize<M: Message, S: Serializer>(
        message: &Option<M>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        message
            .as_ref()
            .map(Message::encode_to_vec)
            .serialize(serializer)
    }

    pub(crate) fn deserialize<'de, M: Message + Default, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<M>, D::Error> {
        Option::<Vec<u8>>::deserialize(deserializer)?
            .map(|bytes| M::decode(bytes.as_slice()).map_err(de::Error::custom))
            .transpose()
    }
}

/// An enumeration of the protocol, by its number.
pub(crate) mod enumeration {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(crate) fn serialize<E: Into<i32> + Copy, S: Serializer>(
        value: &E,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_i32((*value).into())
    }

    pub(crate) fn deserialize<'de, E: TryFrom<i32>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<E, D::Error> {
        let number = i32::deserialize(deserializer)?;
        E::try_from(number).map_err(|_| de::Error::custom("an unknown number of an enumeration"))
    }
}

/// What describes itself for JSON: fields that may be left out, and free values.
pub(crate) mod json {
    use serde::de::DeserializeOwned;
    use serde::{Deserialize as _, Deserializer, Serialize, Serializer, de, ser};

    pub(crate) fn serialize<T: Serialize, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = serde_json::to_string(value).map_err(ser::Error::custom)?;
        serializer.serialize_str(&text)
    }

    pub(crate) fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        serde_json::from_str(&text).map_err(de::Error::custom)
    }
}
