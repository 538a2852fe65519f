use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;

use super::{ApiKeys, Claims};

/// Longest token that is looked at. A token has to fit into a request's head, and an unauthenticated
/// one costs a base64 and a JSON pass.
pub const TOKEN_LEN_MAX: usize = 128 * 1024;

/// Clock difference granted to the issuer, as LiveKit grants it.
const LEEWAY_SECS: u64 = 60;

/// Why a token was refused. The texts are those clients and operators know from LiveKit.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    #[error("invalid authorization token")]
    Malformed,
    #[error("invalid API key")]
    UnknownKey,
    #[error("invalid authorization token: {0}")]
    Refused(&'static str),
}

/// Checks a token and returns what it says. The issuer names the API key whose secret must have
/// signed it with HMAC-SHA256; RFC 8725 §3.1: the algorithm is ours to choose, never the token's.
pub fn verify(keys: &ApiKeys, token: &str) -> Result<Claims, TokenError> {
    if token.len() > TOKEN_LEN_MAX {
        return Err(TokenError::Malformed);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
    if header.alg != Algorithm::HS256 {
        return Err(TokenError::Refused("token is not signed with HS256"));
    }
    let issuer = issuer(token).ok_or(TokenError::Malformed)?;
    // An empty secret would let anybody sign.
    let secret = keys
        .secret(&issuer)
        .filter(|secret| !secret.is_empty())
        .ok_or(TokenError::UnknownKey)?;

    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_required_spec_claims(&["exp", "iss"]);
    validation.set_issuer(&[&issuer]);
    validation.leeway = LEEWAY_SECS;
    validation.validate_nbf = true;
    // LiveKit's tokens have no audience and its server ignores one.
    validation.validate_aud = false;
    let decoded = jsonwebtoken::decode::<Value>(
        token,
        &DecodingKey::from_secret(secret.as_bytes()),
        &validation,
    )
    .map_err(|error| TokenError::Refused(refusal(error.kind())))?;
    claims(decoded.claims)
}

/// The issuer as an unverified token states it; nothing but the choice of the secret hangs on it.
fn issuer(token: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Issuer {
        iss: String,
    }
    jsonwebtoken::dangerous::insecure_decode::<Issuer>(token)
        .ok()
        .map(|decoded| decoded.claims.iss)
}

const fn refusal(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ExpiredSignature => "token is expired",
        ErrorKind::ImmatureSignature => "token is not valid yet",
        ErrorKind::InvalidSignature => "signature is invalid",
        ErrorKind::MissingRequiredClaim(_) => "exp claim is required",
        _ => "token is malformed",
    }
}

fn claims(mut payload: Value) -> Result<Claims, TokenError> {
    drop_nulls(&mut payload);
    // RFC 7519 §2: a NumericDate may have a fraction, which is of no use here.
    for claim in ["exp", "nbf"] {
        if let Some(seconds) = payload.get(claim).and_then(Value::as_f64) {
            let whole = serde_json::to_value(seconds.max(0.0).round() as u64);
            payload[claim] = whole.unwrap_or_default();
        }
    }
    let mut claims: Claims = serde_json::from_value(payload)
        .map_err(|_| TokenError::Refused("a claim has an unexpected type"))?;
    if claims.sub.is_empty() {
        claims.sub.clone_from(&claims.jti);
    }
    Ok(claims)
}

/// A claim of null is an absent one: Go reads it so, and SDKs of other languages write it.
fn drop_nulls(value: &mut Value) {
    if let Value::Object(members) = value {
        members.retain(|_, member| !member.is_null());
        members.values_mut().for_each(drop_nulls);
    }
}
