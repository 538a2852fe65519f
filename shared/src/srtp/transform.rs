//! Encryption and authentication of one packet, RTP or RTCP, given its index. No state changes
//! here.

use aes::Aes128Enc;
use aes::cipher::KeyInit;
use ring::{aead, hmac};

use super::header::RTCP_CLEAR_LEN;
use super::key_derivation::{Label, apply_counter_mode, derive};
use super::profile::{MasterKey, Profile};
use crate::ids::Ssrc;

pub(super) const GCM_TAG_LEN: usize = 16;
pub(super) const SHA1_80_TAG_LEN: usize = 10;
/// E flag and SRTCP index (RFC 3711 §3.4).
const RTCP_INDEX_LEN: usize = 4;
const RTCP_E_FLAG: u32 = 0x8000_0000;
/// Largest SRTCP index: 31 bits.
pub(super) const RTCP_INDEX_MAX: u32 = 0x7fff_ffff;
/// Largest SRTP index: 32-bit roll-over counter and 16-bit sequence number.
pub(super) const RTP_INDEX_MAX: u64 = (1 << 48) - 1;

/// The session keys of one direction, for RTP or for RTCP.
#[derive(Debug)]
pub(super) enum Transform {
    /// RFC 7714.
    Gcm {
        key: aead::LessSafeKey,
        /// The low 96 bits.
        salt: u128,
    },
    /// RFC 3711 §4.1.1 and §4.2.1.
    CmSha1_80 {
        aes: Aes128Enc,
        mac: hmac::Key,
        /// The high 112 bits.
        salt: u128,
    },
}

impl Transform {
    pub(super) fn rtp(master: &MasterKey) -> Self {
        use Label::{RtpAuthentication, RtpEncryption, RtpSalt};
        Self::derived(master, RtpEncryption, RtpAuthentication, RtpSalt)
    }

    pub(super) fn rtcp(master: &MasterKey) -> Self {
        use Label::{RtcpAuthentication, RtcpEncryption, RtcpSalt};
        Self::derived(master, RtcpEncryption, RtcpAuthentication, RtcpSalt)
    }

    fn derived(
        master: &MasterKey,
        encryption: Label,
        authentication: Label,
        salt_label: Label,
    ) -> Self {
        // A 96-bit salt is the beginning of the 112-bit one: the same key stream, cut.
        let salt = derive::<14>(master, salt_label);
        match master.profile() {
            Profile::Aes128CmSha1_80 => Self::cm_sha1_80(
                &derive::<16>(master, encryption),
                &derive::<20>(master, authentication),
                salt,
            ),
            Profile::AeadAes128Gcm => {
                Self::gcm(&aead::AES_128_GCM, &derive::<16>(master, encryption), salt)
            }
            Profile::AeadAes256Gcm => {
                Self::gcm(&aead::AES_256_GCM, &derive::<32>(master, encryption), salt)
            }
        }
    }

    pub(super) fn gcm(algorithm: &'static aead::Algorithm, key: &[u8], salt: [u8; 14]) -> Self {
        let key = aead::UnboundKey::new(algorithm, key).expect("the algorithm's key length");
        Self::Gcm {
            key: aead::LessSafeKey::new(key),
            salt: left_aligned(salt) >> 32,
        }
    }

    fn cm_sha1_80(key: &[u8; 16], authentication: &[u8; 20], salt: [u8; 14]) -> Self {
        Self::CmSha1_80 {
            aes: Aes128Enc::new(key.into()),
            mac: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, authentication),
            salt: left_aligned(salt),
        }
    }

    /// Protects an RTP packet of `plain_len` bytes with the 48-bit `index`. Returns its new length,
    /// or `None`, with nothing changed, when `packet` has no room for the tag.
    pub(super) fn seal_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        plain_len: usize,
        ssrc: Ssrc,
        index: u64,
    ) -> Option<usize> {
        let (message, room) = packet.split_at_mut_checked(plain_len)?;
        match self {
            Self::Gcm { key, salt } => {
                let tag = room.first_chunk_mut::<GCM_TAG_LEN>()?;
                // RFC 7714 §8.2: the header is the associated data.
                let (header, payload) = message.split_at_mut_checked(header_len)?;
                let nonce = gcm_nonce(*salt, ssrc, index);
                *tag = gcm_seal(key, nonce, header, payload)?;
                Some(plain_len + GCM_TAG_LEN)
            }
            Self::CmSha1_80 { aes, mac, salt } => {
                let tag = room.first_chunk_mut::<SHA1_80_TAG_LEN>()?;
                let payload = message.get_mut(header_len..)?;
                apply_counter_mode(aes, cm_counter(*salt, ssrc, index), payload);
                // RFC 3711 §4.2: the tag covers the encrypted packet and the roll-over counter.
                let [_, _, roc @ .., _, _] = index.to_be_bytes();
                *tag = sha1_80_tag(mac, message, &roc);
                Some(plain_len + SHA1_80_TAG_LEN)
            }
        }
    }

    /// Undoes [`Self::seal_rtp`]. Returns the plain length, or `None` when the packet is not
    /// authentic under `index`; GCM has then destroyed its payload.
    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: Ssrc,
        index: u64,
    ) -> Option<usize> {
        match self {
            Self::Gcm { key, salt } => {
                let (message, tag) = packet.split_last_chunk_mut::<GCM_TAG_LEN>()?;
                let plain_len = message.len();
                let (header, payload) = message.split_at_mut_checked(header_len)?;
                let nonce = gcm_nonce(*salt, ssrc, index);
                gcm_open(key, nonce, header, payload, *tag)?;
                Some(plain_len)
            }
            Self::CmSha1_80 { aes, mac, salt } => {
                let (message, tag) = packet.split_last_chunk_mut::<SHA1_80_TAG_LEN>()?;
                let [_, _, roc @ .., _, _] = index.to_be_bytes();
                if !equal_in_constant_time(tag, &sha1_80_tag(mac, message, &roc)) {
                    return None;
                }
                let payload = message.get_mut(header_len..)?;
                apply_counter_mode(aes, cm_counter(*salt, ssrc, index), payload);
                Some(message.len())
            }
        }
    }

    /// Protects a compound RTCP packet of `plain_len` bytes; as [`Self::seal_rtp`] otherwise.
    pub(super) fn seal_rtcp(
        &self,
        packet: &mut [u8],
        plain_len: usize,
        ssrc: Ssrc,
        index: u32,
    ) -> Option<usize> {
        let (message, room) = packet.split_at_mut_checked(plain_len)?;
        let trailer = (RTCP_E_FLAG | index).to_be_bytes();
        match self {
            Self::Gcm { key, salt } => {
                // RFC 7714 §9.2 and §17: the trailer follows the tag, and closes the associated
                // data.
                let (tag, room) = room.split_first_chunk_mut::<GCM_TAG_LEN>()?;
                let trailer_out = room.first_chunk_mut::<RTCP_INDEX_LEN>()?;
                let (clear, body) = message.split_first_chunk_mut::<RTCP_CLEAR_LEN>()?;
                let nonce = gcm_nonce(*salt, ssrc, u64::from(index));
                *tag = gcm_seal(key, nonce, &rtcp_associated(*clear, trailer), body)?;
                *trailer_out = trailer;
                Some(plain_len + GCM_TAG_LEN + RTCP_INDEX_LEN)
            }
            Self::CmSha1_80 { aes, mac, salt } => {
                let (trailer_out, room) = room.split_first_chunk_mut::<RTCP_INDEX_LEN>()?;
                let tag = room.first_chunk_mut::<SHA1_80_TAG_LEN>()?;
                let body = message.get_mut(RTCP_CLEAR_LEN..)?;
                apply_counter_mode(aes, cm_counter(*salt, ssrc, u64::from(index)), body);
                *trailer_out = trailer;
                *tag = sha1_80_tag(mac, message, &trailer);
                Some(plain_len + RTCP_INDEX_LEN + SHA1_80_TAG_LEN)
            }
        }
    }

    /// The SRTCP index a packet claims; `None` when it is too short, or not encrypted.
    pub(super) fn rtcp_index(&self, packet: &[u8]) -> Option<u32> {
        let until_index = match self {
            Self::Gcm { .. } => packet,
            Self::CmSha1_80 { .. } => packet.split_last_chunk::<SHA1_80_TAG_LEN>()?.0,
        };
        let word = u32::from_be_bytes(*until_index.last_chunk::<RTCP_INDEX_LEN>()?);
        (word & RTCP_E_FLAG != 0).then_some(word & RTCP_INDEX_MAX)
    }

    /// Undoes [`Self::seal_rtcp`]; as [`Self::open_rtp`] otherwise.
    pub(super) fn open_rtcp(&self, packet: &mut [u8], ssrc: Ssrc, index: u32) -> Option<usize> {
        match self {
            Self::Gcm { key, salt } => {
                let (packet, trailer) = packet.split_last_chunk_mut::<RTCP_INDEX_LEN>()?;
                let (message, tag) = packet.split_last_chunk_mut::<GCM_TAG_LEN>()?;
                let plain_len = message.len();
                let (clear, body) = message.split_first_chunk_mut::<RTCP_CLEAR_LEN>()?;
                let nonce = gcm_nonce(*salt, ssrc, u64::from(index));
                gcm_open(key, nonce, &rtcp_associated(*clear, *trailer), body, *tag)?;
                Some(plain_len)
            }
            Self::CmSha1_80 { aes, mac, salt } => {
                let (covered, tag) = packet.split_last_chunk_mut::<SHA1_80_TAG_LEN>()?;
                if !equal_in_constant_time(tag, &sha1_80_tag(mac, covered, &[])) {
                    return None;
                }
                let (message, _) = covered.split_last_chunk_mut::<RTCP_INDEX_LEN>()?;
                let body = message.get_mut(RTCP_CLEAR_LEN..)?;
                apply_counter_mode(aes, cm_counter(*salt, ssrc, u64::from(index)), body);
                Some(message.len())
            }
        }
    }
}

/// The 112-bit salt times 2^16.
fn left_aligned(salt: [u8; 14]) -> u128 {
    let mut bytes = [0; 16];
    for (byte, salt) in bytes.iter_mut().zip(salt) {
        *byte = salt;
    }
    u128::from_be_bytes(bytes)
}

/// RFC 3711 §4.1.1: (salt * 2^16) xor (SSRC * 2^64) xor (index * 2^16).
fn cm_counter(salt: u128, ssrc: Ssrc, index: u64) -> [u8; 16] {
    (salt ^ (u128::from(ssrc.0) << 64) ^ (u128::from(index) << 16)).to_be_bytes()
}

/// RFC 7714 §8.1 and §9.1: two zero bytes, SSRC and a 48-bit index, xor the salt. The SRTCP index
/// has 31 bits, the rest of its 48 are zero.
fn gcm_nonce(salt: u128, ssrc: Ssrc, index: u64) -> aead::Nonce {
    let nonce = salt ^ (u128::from(ssrc.0) << 48) ^ u128::from(index);
    let [_, _, _, _, nonce @ ..] = nonce.to_be_bytes();
    aead::Nonce::assume_unique_for_key(nonce)
}

fn gcm_seal(
    key: &aead::LessSafeKey,
    nonce: aead::Nonce,
    associated: &[u8],
    plain: &mut [u8],
) -> Option<[u8; GCM_TAG_LEN]> {
    let tag = key
        .seal_in_place_separate_tag(nonce, aead::Aad::from(associated), plain)
        .ok()?;
    tag.as_ref().first_chunk().copied()
}

fn gcm_open(
    key: &aead::LessSafeKey,
    nonce: aead::Nonce,
    associated: &[u8],
    cipher_text: &mut [u8],
    tag: [u8; GCM_TAG_LEN],
) -> Option<()> {
    key.open_in_place_separate_tag(
        nonce,
        aead::Aad::from(associated),
        tag.into(),
        cipher_text,
        0..,
    )
    .ok()
    .map(|_| ())
}

/// RFC 7714 §9.2: the clear header, then E flag and index.
fn rtcp_associated(
    clear: [u8; RTCP_CLEAR_LEN],
    trailer: [u8; RTCP_INDEX_LEN],
) -> [u8; RTCP_CLEAR_LEN + RTCP_INDEX_LEN] {
    let [a, b, c, d, e, f, g, h] = clear;
    let [w, x, y, z] = trailer;
    [a, b, c, d, e, f, g, h, w, x, y, z]
}

fn sha1_80_tag(mac: &hmac::Key, covered: &[u8], more: &[u8]) -> [u8; SHA1_80_TAG_LEN] {
    let mut context = hmac::Context::with_key(mac);
    context.update(covered);
    context.update(more);
    *context
        .sign()
        .as_ref()
        .first_chunk()
        .expect("SHA-1 gives 20 bytes")
}

/// Takes the same time wherever the tags differ, so that a forger cannot find one byte by byte.
fn equal_in_constant_time(a: &[u8; SHA1_80_TAG_LEN], b: &[u8; SHA1_80_TAG_LEN]) -> bool {
    let difference = a.iter().zip(b).fold(0, |all, (x, y)| all | (x ^ y));
    std::hint::black_box(difference) == 0
}
