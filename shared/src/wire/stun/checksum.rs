//! MESSAGE-INTEGRITY (RFC 8489 §14.5) and FINGERPRINT (§14.7).

use ring::hmac;

use super::INTEGRITY_LEN;

/// Key of the short-term credential (RFC 8489 §9.1.1: the password itself), prepared once.
#[derive(Clone, Debug)]
pub struct IntegrityKey(hmac::Key);

impl IntegrityKey {
    /// `password` is the ice-pwd of the side that receives the requests. ICE allows only ASCII in
    /// it (RFC 8839 §5.4), which OpaqueString leaves as it is.
    pub fn new(password: &[u8]) -> Self {
        Self(hmac::Key::new(
            hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            password,
        ))
    }

    /// HMAC-SHA1 over the message before MESSAGE-INTEGRITY, with `length` in place of its length
    /// field: RFC 8489 §14.5 counts up to the end of MESSAGE-INTEGRITY, whatever follows it.
    pub(super) fn sign(&self, before: &[u8], length: u16) -> Option<[u8; INTEGRITY_LEN]> {
        let (kind, rest) = before.split_first_chunk::<2>()?;
        let (_, rest) = rest.split_first_chunk::<2>()?;
        let mut mac = hmac::Context::with_key(&self.0);
        mac.update(kind);
        mac.update(&length.to_be_bytes());
        mac.update(rest);
        mac.sign().as_ref().try_into().ok()
    }
}

/// Compares without telling by its duration where the two differ.
pub(super) fn equal(expected: &[u8; INTEGRITY_LEN], found: &[u8; INTEGRITY_LEN]) -> bool {
    let difference = expected
        .iter()
        .zip(found)
        .fold(0, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(difference) == 0
}

/// RFC 8489 §14.7: CRC-32 of the message before the attribute, XORed with "STUN".
pub(super) fn fingerprint(before: &[u8]) -> u32 {
    let crc = before.iter().fold(u32::MAX, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        let entry = CRC_TABLE.get(usize::from(low ^ byte));
        (crc >> 8) ^ entry.copied().unwrap_or_default()
    });
    !crc ^ 0x5354_554e
}

/// ITU-T V.42, reflected.
static CRC_TABLE: [u32; 256] = crc_table();

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "evaluated by the compiler over 0..256"
)]
const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 0 {
                crc >> 1
            } else {
                (crc >> 1) ^ 0xedb8_8320
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}
