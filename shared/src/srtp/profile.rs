//! Protection profiles and the master keys that a DTLS handshake exports for them.

use std::fmt;

use arrayvec::ArrayVec;

/// SRTP protection profile (RFC 5764 §4.1.2, RFC 7714 §14.2). Key sizes follow from the profile a
/// handshake reports, never from the one we hoped for.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Profile {
    Aes128CmSha1_80,
    AeadAes128Gcm,
    AeadAes256Gcm,
}

const KEY_LEN_MAX: usize = 32;
const SALT_LEN_MAX: usize = 14;

impl Profile {
    pub const ALL: [Self; 3] = [
        Self::Aes128CmSha1_80,
        Self::AeadAes128Gcm,
        Self::AeadAes256Gcm,
    ];

    /// The profile of an identifier of the use_srtp extension.
    pub const fn from_id(id: u16) -> Option<Self> {
        match id {
            1 => Some(Self::Aes128CmSha1_80),
            7 => Some(Self::AeadAes128Gcm),
            8 => Some(Self::AeadAes256Gcm),
            _ => None,
        }
    }

    pub const fn id(self) -> u16 {
        match self {
            Self::Aes128CmSha1_80 => 1,
            Self::AeadAes128Gcm => 7,
            Self::AeadAes256Gcm => 8,
        }
    }

    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 | Self::AeadAes128Gcm => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    pub const fn salt_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }

    /// Bytes that [`super::SrtpTx::protect_rtp`] adds.
    pub const fn rtp_overhead(self) -> usize {
        self.tag_len()
    }

    /// Bytes that [`super::SrtpTx::protect_rtcp`] adds: tag, E flag and index.
    pub const fn rtcp_overhead(self) -> usize {
        self.tag_len() + 4
    }

    /// What the handshake must export: both sides' key and salt.
    pub const fn keying_material_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }

    const fn tag_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 => super::transform::SHA1_80_TAG_LEN,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => super::transform::GCM_TAG_LEN,
        }
    }
}

/// Master key and salt of one direction.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    profile: Profile,
    key: ArrayVec<u8, KEY_LEN_MAX>,
    salt: ArrayVec<u8, SALT_LEN_MAX>,
}

impl MasterKey {
    /// `None` unless key and salt have the profile's lengths.
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Option<Self> {
        if key.len() != profile.key_len() || salt.len() != profile.salt_len() {
            return None;
        }
        Some(Self {
            profile,
            key: ArrayVec::try_from(key).ok()?,
            salt: ArrayVec::try_from(salt).ok()?,
        })
    }

    pub fn profile(&self) -> Profile {
        self.profile
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(super) fn salt(&self) -> &[u8] {
        &self.salt
    }
}

impl fmt::Debug for MasterKey {
    // Keys never reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey")
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

/// Our and the peer's master key from a DTLS-SRTP export; `None` when it is too short for the
/// profile.
pub fn split_keying_material(
    profile: Profile,
    material: &[u8],
    we_are_dtls_server: bool,
) -> Option<(MasterKey, MasterKey)> {
    // RFC 5764 §4.2: client key, server key, client salt, server salt.
    let (client_key, rest) = material.split_at_checked(profile.key_len())?;
    let (server_key, rest) = rest.split_at_checked(profile.key_len())?;
    let (client_salt, rest) = rest.split_at_checked(profile.salt_len())?;
    let (server_salt, _) = rest.split_at_checked(profile.salt_len())?;

    let client = MasterKey::new(profile, client_key, client_salt)?;
    let server = MasterKey::new(profile, server_key, server_salt)?;
    Some(if we_are_dtls_server {
        (server, client)
    } else {
        (client, server)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_in_the_order_of_rfc_5764() {
        for profile in Profile::ALL {
            let (key, salt) = (profile.key_len(), profile.salt_len());
            let material: Vec<u8> = [(1, key), (2, key), (3, salt), (4, salt)]
                .into_iter()
                .flat_map(|(byte, len)| std::iter::repeat_n(byte, len))
                .collect();
            assert_eq!(material.len(), profile.keying_material_len());

            let (local, remote) = split_keying_material(profile, &material, true).unwrap();
            assert_eq!((local.key()[0], local.salt()[0]), (2, 4));
            assert_eq!((remote.key()[0], remote.salt()[0]), (1, 3));
            let (client, server) = split_keying_material(profile, &material, false).unwrap();
            assert_eq!((client, server), (remote, local));

            let short = &material[..material.len() - 1];
            assert_eq!(split_keying_material(profile, short, true), None);
        }
    }

    #[test]
    fn ids_round_trip_and_others_are_unknown() {
        for profile in Profile::ALL {
            assert_eq!(Profile::from_id(profile.id()), Some(profile));
        }
        // AES_CM_128_HMAC_SHA1_32 and the NULL profiles are not ours.
        for id in [0, 2, 5, 6] {
            assert_eq!(Profile::from_id(id), None);
        }
    }
}
