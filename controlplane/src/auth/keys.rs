use std::collections::BTreeMap;
use std::fmt;

use rand::Rng;
use serde::{Deserialize, Serialize};

/// Base57: digits and letters less those that look alike. LiveKit's ids and keys use it.
const BASE57: &[u8; 57] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// API keys and their secrets. The first key by name signs what the node itself issues.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ApiKeys(BTreeMap<String, String>);

impl fmt::Debug for ApiKeys {
    // Secrets never reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl FromIterator<(String, String)> for ApiKeys {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl ApiKeys {
    pub fn secret(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    pub fn first(&self) -> Option<(&str, &str)> {
        self.iter().next()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, secret)| (key.as_str(), secret.as_str()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn random_text(alphabet: &[u8], len: usize) -> String {
    let mut rng = rand::rng();
    (0..len)
        .filter_map(|_| alphabet.get(rng.random_range(0..alphabet.len())))
        .map(|byte| char::from(*byte))
        .collect()
}

/// A new id in LiveKit's form: a prefix that says of what, and 12 characters.
pub fn generate_id(prefix: &str) -> String {
    format!("{prefix}{}", random_text(BASE57, 12))
}

/// A new API key.
pub fn generate_key() -> String {
    generate_id("API")
}

/// A new secret: 44 characters of 62, more entropy than the 256 bits of the HMAC it keys.
pub fn generate_secret() -> String {
    random_text(BASE62, 44)
}
