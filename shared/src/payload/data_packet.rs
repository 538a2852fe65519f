//! LiveKit's `DataPacket` (livekit_models.proto), read only as far as routing needs it, and
//! without building it: who it is for, which kind of value it has, and its sequence number.

mod protobuf;
mod write;

#[cfg(test)]
mod tests;

use thiserror::Error;

use protobuf::{Field, Fields};
pub use write::{UserPacket, kind_field, write_stamp, write_user_packet, write_user_stamp};

/// Field numbers of `DataPacket`.
mod field {
    pub(super) const KIND: u32 = 1;
    pub(super) const USER: u32 = 2;
    pub(super) const PARTICIPANT_IDENTITY: u32 = 4;
    pub(super) const DESTINATION_IDENTITIES: u32 = 5;
    pub(super) const SEQUENCE: u32 = 16;
    pub(super) const PARTICIPANT_SID: u32 = 17;
}

/// Field numbers of `UserPacket`.
mod user_field {
    pub(super) const PARTICIPANT_SID: u32 = 1;
    pub(super) const PAYLOAD: u32 = 2;
    pub(super) const DESTINATION_SIDS: u32 = 3;
    pub(super) const TOPIC: u32 = 4;
    pub(super) const PARTICIPANT_IDENTITY: u32 = 5;
    pub(super) const DESTINATION_IDENTITIES: u32 = 6;
}

#[derive(Copy, Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum DataPacketError {
    #[error("a field runs past the end")]
    Truncated,
    #[error("a number of more than 64 bits, or a field number out of range")]
    Varint,
    #[error("a group, a reserved wire type, or not the type of the field")]
    WireType,
    #[error("text that is not UTF-8")]
    Text,
}

#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum DataKind {
    Reliable,
    Lossy,
}

/// Which member of the `value` oneof a packet has.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum DataValue {
    User,
    Speaker,
    SipDtmf,
    Transcription,
    Metrics,
    ChatMessage,
    RpcRequest,
    RpcAck,
    RpcResponse,
    StreamHeader,
    StreamChunk,
    StreamTrailer,
    Encrypted,
}

impl DataValue {
    const fn from_field(number: u32) -> Option<Self> {
        match number {
            field::USER => Some(Self::User),
            3 => Some(Self::Speaker),
            6 => Some(Self::SipDtmf),
            7 => Some(Self::Transcription),
            8 => Some(Self::Metrics),
            9 => Some(Self::ChatMessage),
            10 => Some(Self::RpcRequest),
            11 => Some(Self::RpcAck),
            12 => Some(Self::RpcResponse),
            13 => Some(Self::StreamHeader),
            14 => Some(Self::StreamChunk),
            15 => Some(Self::StreamTrailer),
            18 => Some(Self::Encrypted),
            _ => None,
        }
    }
}

/// A packet whose routing fields are well-formed. The contents of values other than the user
/// packet are not looked into.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataPacketView<'a> {
    /// What the sender says; the data channel it came on decides. `None` for a number that no kind
    /// has.
    pub kind: Option<DataKind>,
    /// Of reliable packets, from 1; 0 if the sender numbers none.
    pub sequence: u32,
    /// What the sender says, or nothing.
    pub participant_identity: &'a str,
    /// What the sender says, or nothing.
    pub participant_sid: &'a str,
    pub value: Option<DataValue>,
    message: &'a [u8],
    /// The part of `message` whose user packets count: behind the last other value.
    user: &'a [u8],
    /// Destinations stand outside of the user packet.
    has_destinations: bool,
}

impl<'a> DataPacketView<'a> {
    pub fn parse(message: &'a [u8]) -> Result<Self, DataPacketError> {
        let mut view = Self {
            kind: Some(DataKind::Reliable),
            sequence: 0,
            participant_identity: "",
            participant_sid: "",
            value: None,
            message,
            user: message,
            has_destinations: false,
        };
        let mut fields = Fields::new(message);
        while let Some((number, field)) = fields.next().transpose()? {
            view.read(number, field, fields.rest())?;
        }
        Ok(view)
    }

    /// Identities the packet is for; everybody if there are none and no
    /// [`destination_sids`](Self::destination_sids) either.
    pub fn destination_identities(&self) -> impl Iterator<Item = &'a str> + Clone + 'a {
        let outer = texts(self.message, field::DESTINATION_IDENTITIES);
        // Older clients name the destinations in the user packet alone. LiveKit's server honours
        // these when there are no others.
        let user = if self.has_destinations {
            &[]
        } else {
            self.user
        };
        outer.chain(user_texts(user, user_field::DESTINATION_IDENTITIES))
    }

    /// Participant sids that a user packet is for, in addition to its identities. Deprecated, but a
    /// packet with these alone must not reach everybody.
    pub fn destination_sids(&self) -> impl Iterator<Item = &'a str> + Clone + 'a {
        user_texts(self.user, user_field::DESTINATION_SIDS)
    }

    fn read(
        &mut self,
        number: u32,
        field: Field<'a>,
        rest: &'a [u8],
    ) -> Result<(), DataPacketError> {
        // Protobuf: of a field that comes twice, the last one counts.
        match number {
            field::KIND => {
                self.kind = match field.varint()? {
                    0 => Some(DataKind::Reliable),
                    1 => Some(DataKind::Lossy),
                    _ => None,
                };
            }
            field::SEQUENCE => {
                // Protobuf: a number too long for its type loses its high bits.
                let [.., a, b, c, d] = field.varint()?.to_be_bytes();
                self.sequence = u32::from_be_bytes([a, b, c, d]);
            }
            field::PARTICIPANT_IDENTITY => self.participant_identity = field.text()?,
            field::PARTICIPANT_SID => self.participant_sid = field.text()?,
            field::DESTINATION_IDENTITIES => {
                field.text()?;
                self.has_destinations = true;
            }
            _ => {
                let Some(value) = DataValue::from_field(number) else {
                    return Ok(());
                };
                let content = field.bytes()?;
                self.value = Some(value);
                if value == DataValue::User {
                    check_user(content)?;
                } else {
                    // Protobuf: setting one member of a oneof clears the others, and the same one
                    // twice is merged.
                    self.user = rest;
                }
            }
        }
        Ok(())
    }
}

/// Holds what [`user_texts`] relies on.
fn check_user(user: &[u8]) -> Result<(), DataPacketError> {
    for field in Fields::new(user) {
        let (number, field) = field?;
        if let user_field::DESTINATION_SIDS | user_field::DESTINATION_IDENTITIES = number {
            field.text()?;
        }
    }
    Ok(())
}

/// The values of a repeated text field.
fn texts(message: &[u8], wanted: u32) -> impl Iterator<Item = &str> + Clone {
    Fields::new(message).filter_map(move |field| match field {
        Ok((number, field)) if number == wanted => field.text().ok(),
        _ => None,
    })
}

/// The values of a repeated text field of all user packets in a message.
fn user_texts(message: &[u8], wanted: u32) -> impl Iterator<Item = &str> + Clone {
    Fields::new(message)
        .filter_map(|field| match field {
            Ok((field::USER, field)) => field.bytes().ok(),
            _ => None,
        })
        .flat_map(move |user| texts(user, wanted))
}
