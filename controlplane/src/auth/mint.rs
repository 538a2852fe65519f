use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header};

use super::{ApiKeys, Claims};

/// How long a token is valid when nobody says otherwise; LiveKit's SDKs use the same.
pub const VALIDITY_DEFAULT: Duration = Duration::from_hours(6);

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MintError {
    #[error("no API key is configured")]
    NoKey,
    #[error("the token could not be signed: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

/// Signs `claims` with the API key that they name as issuer, or with the first one. Issuer, validity
/// and `nbf` are set here; everything else is taken as it stands.
pub fn mint(
    keys: &ApiKeys,
    claims: &Claims,
    now: SystemTime,
    validity: Duration,
) -> Result<String, MintError> {
    let (key, secret) = keys
        .secret(&claims.iss)
        .map(|secret| (claims.iss.as_str(), secret))
        .or_else(|| keys.first())
        .ok_or(MintError::NoKey)?;
    let now_secs = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let claims = Claims {
        iss: key.to_owned(),
        nbf: Some(now_secs),
        exp: now_secs.saturating_add(validity.as_secs()),
        ..claims.clone()
    };
    let signing_key = EncodingKey::from_secret(secret.as_bytes());
    Ok(jsonwebtoken::encode(
        &Header::default(),
        &claims,
        &signing_key,
    )?)
}
