use std::net::{IpAddr, SocketAddr};

use super::checksum::{self, IntegrityKey};
use super::view::xor_mask_v6;
use super::{
    ATTRIBUTE_HEADER_LEN, HEADER_LEN, INTEGRITY_LEN, IceRole, MAGIC_COOKIE, METHOD_BINDING,
    StunClass, TransactionId, attribute, message_type,
};
use crate::wire::bytes::ByteWriter;

/// A connectivity check (RFC 8445 §7.2.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BindingRequest<'a> {
    pub transaction_id: TransactionId,
    /// The receiver's ufrag, a colon, the sender's ufrag.
    pub username: &'a str,
    pub priority: u32,
    pub role: IceRole,
    pub use_candidate: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BindingError<'a> {
    pub transaction_id: TransactionId,
    /// 300..=699.
    pub code: u16,
    pub reason: &'a str,
    /// Attribute types that error 420 lists; empty otherwise.
    pub unknown: &'a [u16],
}

/// Writes a request; `None` if `out` is too small.
pub fn write_binding_request(
    out: &mut [u8],
    request: &BindingRequest<'_>,
    key: &IntegrityKey,
) -> Option<usize> {
    let mut message = Message::begin(out, StunClass::Request, request.transaction_id)?;
    message.attribute(attribute::USERNAME, request.username.as_bytes())?;
    message.attribute(attribute::PRIORITY, &request.priority.to_be_bytes())?;
    let (kind, tie_breaker) = match request.role {
        IceRole::Controlling(tie_breaker) => (attribute::ICE_CONTROLLING, tie_breaker),
        IceRole::Controlled(tie_breaker) => (attribute::ICE_CONTROLLED, tie_breaker),
    };
    message.attribute(kind, &tie_breaker.to_be_bytes())?;
    if request.use_candidate {
        message.attribute(attribute::USE_CANDIDATE, &[])?;
    }
    message.finish(Some(key))
}

/// Writes a success response; `None` if `out` is too small. `mapped` is where the request came
/// from.
pub fn write_binding_success(
    out: &mut [u8],
    transaction_id: TransactionId,
    mapped: SocketAddr,
    key: &IntegrityKey,
) -> Option<usize> {
    let mut message = Message::begin(out, StunClass::Success, transaction_id)?;
    message.xor_mapped_address(mapped, transaction_id)?;
    message.finish(Some(key))
}

/// Writes an error response; `None` if `out` is too small or the code no STUN error. Without a key
/// if the request could not be authenticated (RFC 8489 §9.1.3).
pub fn write_binding_error(
    out: &mut [u8],
    error: &BindingError<'_>,
    key: Option<&IntegrityKey>,
) -> Option<usize> {
    let mut message = Message::begin(out, StunClass::Error, error.transaction_id)?;
    message.error_code(error.code, error.reason)?;
    if !error.unknown.is_empty() {
        message.unknown_attributes(error.unknown)?;
    }
    message.finish(key)
}

struct Message<'a> {
    writer: ByteWriter<'a>,
}

impl<'a> Message<'a> {
    fn begin(out: &'a mut [u8], class: StunClass, transaction_id: TransactionId) -> Option<Self> {
        let mut writer = ByteWriter::new(out);
        writer.u16(message_type(class, METHOD_BINDING))?;
        writer.u16(0)?;
        writer.u32(MAGIC_COOKIE)?;
        writer.bytes(&transaction_id.0)?;
        Some(Self { writer })
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) -> Option<()> {
        self.attribute_header(kind, value.len())?;
        self.writer.bytes(value)?;
        self.pad()
    }

    fn attribute_header(&mut self, kind: u16, len: usize) -> Option<()> {
        self.writer.u16(kind)?;
        self.writer.u16(u16::try_from(len).ok()?)
    }

    fn pad(&mut self) -> Option<()> {
        let len = self.writer.len();
        self.writer.zeros(len.next_multiple_of(4) - len)
    }

    fn xor_mapped_address(&mut self, mapped: SocketAddr, id: TransactionId) -> Option<()> {
        let [high, low, ..] = MAGIC_COOKIE.to_be_bytes();
        let port = mapped.port() ^ u16::from_be_bytes([high, low]);
        // A socket of both families reports IPv4 peers as mapped IPv6; the peer thinks in IPv4.
        match mapped.ip().to_canonical() {
            IpAddr::V4(ip) => {
                self.attribute_header(attribute::XOR_MAPPED_ADDRESS, 8)?;
                self.writer.u16(1)?;
                self.writer.u16(port)?;
                self.writer.u32(ip.to_bits() ^ MAGIC_COOKIE)
            }
            IpAddr::V6(ip) => {
                let bits = ip.to_bits() ^ xor_mask_v6(id);
                self.attribute_header(attribute::XOR_MAPPED_ADDRESS, 20)?;
                self.writer.u16(2)?;
                self.writer.u16(port)?;
                self.writer.bytes(&bits.to_be_bytes())
            }
        }
    }

    fn error_code(&mut self, code: u16, reason: &str) -> Option<()> {
        // RFC 8489 §14.8: the reason phrase is shorter than 128 characters.
        if !(300..=699).contains(&code) || reason.chars().count() >= 128 {
            return None;
        }
        let class = u8::try_from(code / 100).ok()?;
        let number = u8::try_from(code % 100).ok()?;
        self.attribute_header(attribute::ERROR_CODE, 4 + reason.len())?;
        self.writer.bytes(&[0, 0, class, number])?;
        self.writer.bytes(reason.as_bytes())?;
        self.pad()
    }

    fn unknown_attributes(&mut self, kinds: &[u16]) -> Option<()> {
        self.attribute_header(attribute::UNKNOWN_ATTRIBUTES, kinds.len().checked_mul(2)?)?;
        for kind in kinds {
            self.writer.u16(*kind)?;
        }
        self.pad()
    }

    fn finish(mut self, key: Option<&IntegrityKey>) -> Option<usize> {
        if let Some(key) = key {
            let length = self.length_with(INTEGRITY_LEN)?;
            let mac = key.sign(self.writer.written(), length)?;
            self.attribute(attribute::MESSAGE_INTEGRITY, &mac)?;
        }
        // RFC 8489 §14.7: the length counts FINGERPRINT before its CRC is taken.
        let length = self.length_with(4)?;
        self.writer.patch(2, &length.to_be_bytes())?;
        let crc = checksum::fingerprint(self.writer.written());
        self.attribute(attribute::FINGERPRINT, &crc.to_be_bytes())?;
        Some(self.writer.len())
    }

    /// The length field once an attribute of `len` bytes has been appended.
    fn length_with(&self, len: usize) -> Option<u16> {
        u16::try_from(self.writer.len() - HEADER_LEN + ATTRIBUTE_HEADER_LEN + len).ok()
    }
}
