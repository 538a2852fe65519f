//! STUN Binding messages as ICE uses them (RFC 8489, RFC 8445).

mod checksum;
mod view;
mod write;

#[cfg(test)]
mod tests;

pub use checksum::IntegrityKey;
pub use view::StunView;
pub use write::{
    BindingError, BindingRequest, write_binding_error, write_binding_request, write_binding_success,
};

use thiserror::Error;

pub const HEADER_LEN: usize = 20;
/// RFC 8489 §5.
const MAGIC_COOKIE: u32 = 0x2112_a442;
/// Attribute header, and what HMAC-SHA1 and CRC-32 add to it.
const ATTRIBUTE_HEADER_LEN: usize = 4;
const INTEGRITY_LEN: usize = 20;

/// The one method that ICE uses.
pub const METHOD_BINDING: u16 = 0x001;

/// Attribute types (RFC 8489 §18.3, RFC 8445 §20.1).
mod attribute {
    pub(super) const MAPPED_ADDRESS: u16 = 0x0001;
    pub(super) const USERNAME: u16 = 0x0006;
    pub(super) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(super) const ERROR_CODE: u16 = 0x0009;
    pub(super) const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub(super) const REALM: u16 = 0x0014;
    pub(super) const NONCE: u16 = 0x0015;
    pub(super) const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
    pub(super) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub(super) const PRIORITY: u16 = 0x0024;
    pub(super) const USE_CANDIDATE: u16 = 0x0025;
    pub(super) const FINGERPRINT: u16 = 0x8028;
    pub(super) const ICE_CONTROLLED: u16 = 0x8029;
    pub(super) const ICE_CONTROLLING: u16 = 0x802a;
}

#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum StunClass {
    Request,
    Indication,
    Success,
    Error,
}

#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct TransactionId(pub [u8; 12]);

/// Who nominates, with the tie-breaker of a role conflict (RFC 8445 §7.3.1.1).
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum IceRole {
    Controlling(u64),
    Controlled(u64),
}

#[derive(Copy, Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum StunError {
    #[error("not a STUN message")]
    Header,
    #[error("length disagrees with the datagram")]
    Length,
    #[error("an attribute runs past the end, or has the wrong length")]
    Attribute,
    #[error("username is not text, or too long")]
    Username,
    #[error("attributes behind FINGERPRINT")]
    AfterFingerprint,
}

/// RFC 8489 §5: the class bits lie between the method bits (0b00MMMMM_C_MMM_C_MMMM).
const fn message_type(class: StunClass, method: u16) -> u16 {
    let class_bits = match class {
        StunClass::Request => 0x000,
        StunClass::Indication => 0x010,
        StunClass::Success => 0x100,
        StunClass::Error => 0x110,
    };
    ((method & 0xf80) << 2) | ((method & 0x070) << 1) | (method & 0x00f) | class_bits
}

const fn class_and_method(message_type: u16) -> (StunClass, u16) {
    let class = match message_type & 0x110 {
        0x000 => StunClass::Request,
        0x010 => StunClass::Indication,
        0x100 => StunClass::Success,
        _ => StunClass::Error,
    };
    let method =
        ((message_type >> 2) & 0xf80) | ((message_type >> 1) & 0x070) | (message_type & 0x00f);
    (class, method)
}
