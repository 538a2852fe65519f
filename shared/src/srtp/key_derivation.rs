//! Session keys from a master key (RFC 3711 §4.3): AES in counter mode as a pseudo-random function,
//! for every profile (RFC 7714 §11 keeps it; AES-256 per RFC 6188 §3).

use aes::{Aes128Enc, Aes256Enc};
use ctr::cipher::{BlockCipherEncrypt, InnerIvInit, KeyInit, StreamCipher, consts::U16};
use ctr::{Ctr128BE, CtrCore};

use super::profile::MasterKey;

/// What a derived key is for (RFC 3711 §4.3.1 and §4.3.2).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Label {
    RtpEncryption = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpEncryption = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
}

/// The session key of `N` bytes for `label`.
pub(super) fn derive<const N: usize>(master: &MasterKey, label: Label) -> [u8; N] {
    let mut key = [0; N];
    prf(master.key(), master.salt(), label, &mut key);
    key
}

/// Fills `out`, which is zero, with the key stream. The key derivation rate is 0: WebRTC
/// negotiates no other.
fn prf(key: &[u8], salt: &[u8], label: Label, out: &mut [u8]) {
    // x = (label || index / rate) xor salt, 112 bits, with the label in byte 7; the first counter
    // block is x * 2^16. RFC 7714 §11: a 96-bit salt is padded with zeros on the right.
    let mut block = [0; 16];
    for (byte, salt) in block.iter_mut().zip(salt) {
        *byte = *salt;
    }
    block[7] ^= label as u8;

    if let Ok(aes) = Aes256Enc::new_from_slice(key) {
        apply_counter_mode(&aes, block, out);
    } else {
        let aes = Aes128Enc::new_from_slice(key).expect("a master key has 16 or 32 bytes");
        apply_counter_mode(&aes, block, out);
    }
}

/// AES in counter mode (RFC 3711 §4.1.1) from the given first counter block.
pub(super) fn apply_counter_mode<C>(aes: &C, counter: [u8; 16], bytes: &mut [u8])
where
    C: BlockCipherEncrypt<BlockSize = U16>,
{
    Ctr128BE::from_core(CtrCore::inner_iv_init(aes, &counter.into())).apply_keystream(bytes);
}

#[cfg(test)]
mod tests {
    use super::super::tests::hex;
    use super::*;

    fn derived(key: &str, salt: &str, label: Label, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        prf(&hex(key), &hex(salt), label, &mut out);
        out
    }

    #[test]
    fn rfc_3711_b3_key_derivation() {
        let key = "E1F97A0D3E018BE0D64FA32C06DE4139";
        let salt = "0EC675AD498AFEEBB6960B3AABE6";
        assert_eq!(
            derived(key, salt, Label::RtpEncryption, 16),
            hex("C61E7A93744F39EE10734AFE3FF7A087")
        );
        assert_eq!(
            derived(key, salt, Label::RtpSalt, 14),
            hex("30CBBC08863D8C85D49DB34A9AE1")
        );
        assert_eq!(
            derived(key, salt, Label::RtpAuthentication, 94),
            hex(concat!(
                "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCE",
                "E049646C43D9327AD175578EF72270986371C10C9A369AC2F94A8C5FBCDDDC25",
                "6D6E919A48B610EF17C2041E474035766B68642C59BBFC2F34DB60DBDFB2",
            ))
        );
    }

    #[test]
    fn rfc_6188_7_4_key_derivation_with_aes_256() {
        let key = "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6";
        let salt = "3b04803de51ee7c96423ab5b78d2";
        assert_eq!(
            derived(key, salt, Label::RtpEncryption, 32),
            hex("5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4")
        );
        assert_eq!(
            derived(key, salt, Label::RtpSalt, 14),
            hex("fa31791685ca444a9e07c6c64e93")
        );
    }

    #[test]
    fn rfc_3711_b2_counter_mode_key_stream() {
        let key = hex("2B7E151628AED2A6ABF7158809CF4F3C");
        let aes = Aes128Enc::new_from_slice(&key).unwrap();
        let counter: [u8; 16] = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000").try_into().unwrap();
        let mut stream = vec![0; 0xff02 * 16];
        apply_counter_mode(&aes, counter, &mut stream);

        for (block, expected) in [
            (0, "E03EAD0935C95E80E166B16DD92B4EB4"),
            (1, "D23513162B02D0F72A43A2FE4A5F97AB"),
            (2, "41E95B3BB0A2E8DD477901E4FCA894C0"),
            (0xfeff, "EC8CDF7398607CB0F2D21675EA9EA1E4"),
            (0xff00, "362B7C3C6773516318A077D7FC5073AE"),
            (0xff01, "6A2CC3787889374FBEB4C81B17BA6C44"),
        ] {
            assert_eq!(
                stream[block * 16..][..16],
                hex(expected),
                "block {block:#x}"
            );
        }
    }
}
