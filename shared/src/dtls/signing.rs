//! The node's private key for the library, which parses it for every association and keeps what it
//! parsed as long as that lives: half a kilobyte each, of a key that is the same for all.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use dimpl::crypto::{
    Buf, HashAlgorithm, KeyProvider, SignatureAlgorithm, SigningKey as LibrarySigningKey,
};
use dimpl::{CryptoError, CryptoOperation};
use ring::digest;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};

const HASH: HashAlgorithm = HashAlgorithm::SHA256;

/// The keys of all associations of this process. It has one identity, so the key parsed last is kept;
/// with more they are parsed again in turn.
pub(super) static SIGNING_KEYS: SigningKeys = SigningKeys {
    newest: Mutex::new(None),
};

pub(super) struct SigningKeys {
    /// With the digest of what it was parsed from.
    newest: Mutex<Option<(digest::Digest, SigningKey)>>,
}

impl fmt::Debug for SigningKeys {
    // No key reaches a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKeys").finish_non_exhaustive()
    }
}

impl KeyProvider for SigningKeys {
    fn load_private_key(&self, der: &[u8]) -> Result<Box<dyn LibrarySigningKey>, CryptoError> {
        let parsed_from = digest::digest(&digest::SHA256, der);
        // What panicked left it as it was.
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, key)) = &*newest
            && known.as_ref() == parsed_from.as_ref()
        {
            return Ok(Box::new(key.clone()));
        }
        let key = SigningKey::parse(der)?;
        *newest = Some((parsed_from, key.clone()));
        Ok(Box::new(key))
    }
}

/// A P-256 key, as our certificates have it.
#[derive(Clone, Debug)]
struct SigningKey(Arc<EcdsaKeyPair>);

impl SigningKey {
    fn parse(der: &[u8]) -> Result<Self, CryptoError> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &SystemRandom::new())
            .map(|pair| Self(Arc::new(pair)))
            .map_err(|_| CryptoError::InvalidPrivateKey)
    }
}

impl LibrarySigningKey for SigningKey {
    fn sign(
        &mut self,
        message: &[u8],
        hash: HashAlgorithm,
        out: &mut Buf,
    ) -> Result<(), CryptoError> {
        if hash != HASH {
            return Err(CryptoError::SigningKeyHashMismatch {
                key_hash: HASH,
                requested: hash,
            });
        }
        let signature = self
            .0
            .sign(&SystemRandom::new(), message)
            .map_err(|_| CryptoError::OperationFailed(CryptoOperation::Sign))?;
        out.clear();
        out.extend_from_slice(signature.as_ref());
        Ok(())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        HASH
    }

    fn supported_hash_algorithms(&self) -> &[HashAlgorithm] {
        &[HASH]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_parsed_once_and_another_one_replaces_it() {
        let keys = SigningKeys {
            newest: Mutex::new(None),
        };
        let holders = || {
            let newest = keys.newest.lock().unwrap();
            newest
                .as_ref()
                .map_or(0, |(_, key)| Arc::strong_count(&key.0))
        };
        let [first, second] = [(); 2].map(|()| {
            dimpl::certificate::generate_self_signed_certificate()
                .unwrap()
                .private_key
        });
        let shared = [(); 2].map(|()| keys.load_private_key(&first).unwrap());
        assert_eq!(holders(), 3);
        let _other = keys.load_private_key(&second).unwrap();
        assert_eq!(holders(), 2);
        drop(shared);
        assert!(keys.load_private_key(b"no key").is_err());
    }
}
