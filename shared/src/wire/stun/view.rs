use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::checksum::{self, IntegrityKey};
use super::{
    ATTRIBUTE_HEADER_LEN, HEADER_LEN, INTEGRITY_LEN, IceRole, MAGIC_COOKIE, StunClass, StunError,
    TransactionId, attribute, class_and_method,
};
use crate::wire::bytes::ByteReader;

/// RFC 8489 §14.3: a username is shorter than 509 bytes.
const USERNAME_LEN_MAX: usize = 508;

/// A well-formed STUN message; nothing in it is authenticated before
/// [`verify_integrity`](Self::verify_integrity).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StunView<'a> {
    message: &'a [u8],
    class: StunClass,
    method: u16,
    transaction_id: TransactionId,
    attributes: Attributes<'a>,
}

/// RFC 8489 §14: of several attributes of one type, the first counts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Attributes<'a> {
    username: Option<&'a str>,
    priority: Option<u32>,
    use_candidate: bool,
    role: Option<IceRole>,
    mapped_address: Option<SocketAddr>,
    error: Option<(u16, &'a str)>,
    unknown_required: Option<u16>,
    integrity: Option<Located<[u8; INTEGRITY_LEN]>>,
    fingerprint: Option<Located<u32>>,
}

/// An attribute's value and where its header starts in the message.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Located<T> {
    at: usize,
    value: T,
}

impl<'a> StunView<'a> {
    /// `message` is the whole datagram.
    pub fn parse(message: &'a [u8]) -> Result<Self, StunError> {
        let mut reader = ByteReader::new(message);
        let message_type = reader.u16().ok_or(StunError::Header)?;
        let length = reader.u16().ok_or(StunError::Header)?;
        let cookie = reader.u32().ok_or(StunError::Header)?;
        let transaction_id = TransactionId(reader.array().ok_or(StunError::Header)?);
        // RFC 8489 §5: two zero bits, the cookie, and a length in whole words.
        if message_type & 0xc000 != 0 || cookie != MAGIC_COOKIE {
            return Err(StunError::Header);
        }
        if usize::from(length) != reader.rest().len() || length % 4 != 0 {
            return Err(StunError::Length);
        }
        let (class, method) = class_and_method(message_type);
        Ok(Self {
            message,
            class,
            method,
            transaction_id,
            attributes: Attributes::parse(message, reader, transaction_id)?,
        })
    }

    pub const fn class(&self) -> StunClass {
        self.class
    }

    pub const fn method(&self) -> u16 {
        self.method
    }

    pub const fn transaction_id(&self) -> TransactionId {
        self.transaction_id
    }

    pub const fn username(&self) -> Option<&'a str> {
        self.attributes.username
    }

    pub const fn priority(&self) -> Option<u32> {
        self.attributes.priority
    }

    pub const fn use_candidate(&self) -> bool {
        self.attributes.use_candidate
    }

    pub const fn role(&self) -> Option<IceRole> {
        self.attributes.role
    }

    /// Tie-breaker of a sender that nominates.
    pub const fn controlling(&self) -> Option<u64> {
        match self.attributes.role {
            Some(IceRole::Controlling(tie_breaker)) => Some(tie_breaker),
            _ => None,
        }
    }

    /// Tie-breaker of a sender that leaves nomination to us.
    pub const fn controlled(&self) -> Option<u64> {
        match self.attributes.role {
            Some(IceRole::Controlled(tie_breaker)) => Some(tie_breaker),
            _ => None,
        }
    }

    pub const fn xor_mapped_address(&self) -> Option<SocketAddr> {
        self.attributes.mapped_address
    }

    /// Code and reason phrase.
    pub const fn error_code(&self) -> Option<(u16, &'a str)> {
        self.attributes.error
    }

    /// An attribute we had to understand and do not: a request with one is answered by error 420
    /// (RFC 8489 §6.3.1).
    pub const fn unknown_required(&self) -> Option<u16> {
        self.attributes.unknown_required
    }

    pub const fn has_integrity(&self) -> bool {
        self.attributes.integrity.is_some()
    }

    /// Whether MESSAGE-INTEGRITY is there and right.
    pub fn verify_integrity(&self, key: &IntegrityKey) -> bool {
        let Some(integrity) = &self.attributes.integrity else {
            return false;
        };
        let end = integrity.at + ATTRIBUTE_HEADER_LEN + INTEGRITY_LEN - HEADER_LEN;
        let expected = self
            .message
            .get(..integrity.at)
            .zip(u16::try_from(end).ok())
            .and_then(|(before, length)| key.sign(before, length));
        expected.is_some_and(|expected| checksum::equal(&expected, &integrity.value))
    }

    pub const fn has_fingerprint(&self) -> bool {
        self.attributes.fingerprint.is_some()
    }

    /// Whether FINGERPRINT is there and right.
    pub fn fingerprint_ok(&self) -> bool {
        self.attributes.fingerprint.is_some_and(|fingerprint| {
            self.message
                .get(..fingerprint.at)
                .is_some_and(|before| checksum::fingerprint(before) == fingerprint.value)
        })
    }
}

impl<'a> Attributes<'a> {
    fn parse(
        message: &[u8],
        mut reader: ByteReader<'a>,
        transaction_id: TransactionId,
    ) -> Result<Self, StunError> {
        let mut attributes = Self::default();
        // Set by MESSAGE-INTEGRITY-SHA256, too, which we do not check but which ends the
        // attributes all the same.
        let mut sealed = false;
        while !reader.is_empty() {
            let at = message.len() - reader.rest().len();
            let kind = reader.u16().ok_or(StunError::Attribute)?;
            let len = usize::from(reader.u16().ok_or(StunError::Attribute)?);
            let value = reader.take(len).ok_or(StunError::Attribute)?;
            // RFC 8489 §14: values are padded to whole words; the padding may be anything.
            reader
                .take(len.next_multiple_of(4) - len)
                .ok_or(StunError::Attribute)?;
            // RFC 8489 §14.7: FINGERPRINT is the last attribute.
            if attributes.fingerprint.is_some() {
                return Err(StunError::AfterFingerprint);
            }
            match kind {
                attribute::FINGERPRINT => {
                    let value = exact(value).map(u32::from_be_bytes)?;
                    attributes.fingerprint = Some(Located { at, value });
                }
                attribute::MESSAGE_INTEGRITY if attributes.integrity.is_none() => {
                    // RFC 8489 §14.6: SHA256 may follow SHA1, not the other way round.
                    if !sealed {
                        let value = exact(value)?;
                        attributes.integrity = Some(Located { at, value });
                    }
                    sealed = true;
                }
                attribute::MESSAGE_INTEGRITY_SHA256 => sealed = true,
                // RFC 8489 §14.5: what follows the integrity is not covered by it and is ignored.
                _ if sealed => {}
                _ => attributes.read(kind, value, transaction_id)?,
            }
        }
        Ok(attributes)
    }

    fn read(
        &mut self,
        kind: u16,
        value: &'a [u8],
        transaction_id: TransactionId,
    ) -> Result<(), StunError> {
        match kind {
            attribute::USERNAME if self.username.is_none() => {
                let text = std::str::from_utf8(value).map_err(|_| StunError::Username)?;
                if text.len() > USERNAME_LEN_MAX {
                    return Err(StunError::Username);
                }
                self.username = Some(text);
            }
            attribute::PRIORITY if self.priority.is_none() => {
                self.priority = Some(exact(value).map(u32::from_be_bytes)?);
            }
            attribute::USE_CANDIDATE => self.use_candidate = true,
            attribute::ICE_CONTROLLING if self.role.is_none() => {
                let tie_breaker = exact(value).map(u64::from_be_bytes)?;
                self.role = Some(IceRole::Controlling(tie_breaker));
            }
            attribute::ICE_CONTROLLED if self.role.is_none() => {
                let tie_breaker = exact(value).map(u64::from_be_bytes)?;
                self.role = Some(IceRole::Controlled(tie_breaker));
            }
            attribute::XOR_MAPPED_ADDRESS if self.mapped_address.is_none() => {
                let address = xor_address(value, transaction_id).ok_or(StunError::Attribute)?;
                self.mapped_address = Some(address);
            }
            attribute::ERROR_CODE if self.error.is_none() => {
                self.error = Some(error_code(value).ok_or(StunError::Attribute)?);
            }
            _ if is_unknown_required(kind) => {
                self.unknown_required.get_or_insert(kind);
            }
            _ => {}
        }
        Ok(())
    }
}

/// RFC 8489 §14: types below 0x8000 must be understood. The ones named here are, or may be passed
/// over without harm.
fn is_unknown_required(kind: u16) -> bool {
    kind < 0x8000
        && !matches!(
            kind,
            attribute::MAPPED_ADDRESS
                | attribute::USERNAME
                | attribute::MESSAGE_INTEGRITY
                | attribute::ERROR_CODE
                | attribute::UNKNOWN_ATTRIBUTES
                | attribute::REALM
                | attribute::NONCE
                | attribute::XOR_MAPPED_ADDRESS
                | attribute::PRIORITY
                | attribute::USE_CANDIDATE
        )
}

fn exact<const N: usize>(value: &[u8]) -> Result<[u8; N], StunError> {
    value.try_into().map_err(|_| StunError::Attribute)
}

/// RFC 8489 §14.2: XORed with the cookie, an IPv6 address with the transaction id as well.
fn xor_address(value: &[u8], transaction_id: TransactionId) -> Option<SocketAddr> {
    let mut reader = ByteReader::new(value);
    let [_, family] = reader.array()?;
    let [high, low, ..] = MAGIC_COOKIE.to_be_bytes();
    let port = reader.u16()? ^ u16::from_be_bytes([high, low]);
    let ip = match family {
        1 => IpAddr::V4(Ipv4Addr::from_bits(reader.u32()? ^ MAGIC_COOKIE)),
        2 => {
            let bits = reader.array().map(u128::from_be_bytes)?;
            IpAddr::V6(Ipv6Addr::from_bits(bits ^ xor_mask_v6(transaction_id)))
        }
        _ => return None,
    };
    reader.is_empty().then_some(SocketAddr::new(ip, port))
}

/// The cookie and the transaction id, as they are XORed with an IPv6 address.
pub(super) fn xor_mask_v6(transaction_id: TransactionId) -> u128 {
    let id = transaction_id
        .0
        .iter()
        .fold(0, |bits, byte| (bits << 8) | u128::from(*byte));
    (u128::from(MAGIC_COOKIE) << 96) | id
}

/// RFC 8489 §14.8: hundreds in three bits, the rest in a byte, then the reason phrase.
fn error_code(value: &[u8]) -> Option<(u16, &str)> {
    let mut reader = ByteReader::new(value);
    let [_, _, class, number] = reader.array()?;
    let class = class & 0x07;
    if !(3..=6).contains(&class) || number > 99 {
        return None;
    }
    let reason = std::str::from_utf8(reader.rest()).unwrap_or_default();
    Some((u16::from(class) * 100 + u16::from(number), reason))
}
