//! Data Channel Establishment Protocol messages (RFC 8832 §5).
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

use super::channel::Reliability;

const ACK: u8 = 2;
const OPEN: u8 = 3;
const UNORDERED: u8 = 0x80;
/// "Normal" of RFC 8831 §6.4. SCTP schedules streams in turn regardless.
const PRIORITY: u16 = 256;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum DcepMessage {
    Open {
        label: String,
        ordered: bool,
        reliability: Reliability,
    },
    Ack,
}

impl DcepMessage {
    /// `None` for what is malformed or of an unknown type or channel type. The protocol field of an
    /// OPEN is skipped: we offer none.
    pub(super) fn parse(message: &[u8]) -> Option<Self> {
        let (message_type, rest) = message.split_first()?;
        match *message_type {
            ACK => Some(Self::Ack),
            OPEN => {
                let ([channel_type, _, _, a, b, c, d, label_high, label_low, _, _], rest) =
                    rest.split_first_chunk::<11>()?;
                let parameter = u32::from_be_bytes([*a, *b, *c, *d]);
                let reliability = match channel_type & !UNORDERED {
                    0 => Reliability::Reliable,
                    1 => Reliability::Retransmits(u16::try_from(parameter).unwrap_or(u16::MAX)),
                    2 => Reliability::LifetimeMs(parameter),
                    _ => return None,
                };
                let label_len = usize::from(u16::from_be_bytes([*label_high, *label_low]));
                let label = std::str::from_utf8(rest.get(..label_len)?).ok()?;
                Some(Self::Open {
                    label: label.to_owned(),
                    ordered: channel_type & UNORDERED == 0,
                    reliability,
                })
            }
            _ => None,
        }
    }

    pub(super) fn write(&self) -> Vec<u8> {
        match self {
            Self::Ack => vec![ACK],
            Self::Open {
                label,
                ordered,
                reliability,
            } => {
                let (kind, parameter) = match *reliability {
                    Reliability::Reliable => (0, 0),
                    Reliability::Retransmits(count) => (1, u32::from(count)),
                    Reliability::LifetimeMs(lifetime_ms) => (2, lifetime_ms),
                };
                let order = if *ordered { 0 } else { UNORDERED };
                let label_len = u16::try_from(label.len()).unwrap_or(u16::MAX);
                let label = label.as_bytes();
                let label = label.get(..usize::from(label_len)).unwrap_or(label);

                let mut message = Vec::with_capacity(12 + label.len());
                message.extend_from_slice(&[OPEN, kind | order]);
                message.extend_from_slice(&PRIORITY.to_be_bytes());
                message.extend_from_slice(&parameter.to_be_bytes());
                message.extend_from_slice(&label_len.to_be_bytes());
                message.extend_from_slice(&[0, 0]);
                message.extend_from_slice(label);
                message
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reliability() -> impl Strategy<Value = Reliability> {
        prop_oneof![
            Just(Reliability::Reliable),
            any::<u16>().prop_map(Reliability::Retransmits),
            any::<u32>().prop_map(Reliability::LifetimeMs),
        ]
    }

    proptest! {
        #[test]
        fn open_round_trips(label: String, ordered: bool, reliability in reliability()) {
            let open = DcepMessage::Open { label, ordered, reliability };
            let bytes = open.write();
            prop_assert_eq!(DcepMessage::parse(&bytes), Some(open));
            for cut in 0..bytes.len() {
                prop_assert_eq!(DcepMessage::parse(&bytes[..cut]), None);
            }
        }

        #[test]
        fn junk_does_not_panic(bytes: Vec<u8>) {
            let _ = DcepMessage::parse(&bytes);
        }
    }

    /// As Chromium opens LiveKit's lossy channel: unordered, no retransmission, no protocol.
    #[test]
    fn parses_a_browsers_open() {
        let bytes = b"\x03\x81\x01\x00\x00\x00\x00\x00\x00\x06\x00\x00_lossy";
        assert_eq!(
            DcepMessage::parse(bytes),
            Some(DcepMessage::Open {
                label: "_lossy".to_owned(),
                ordered: false,
                reliability: Reliability::Retransmits(0),
            })
        );
    }
}
