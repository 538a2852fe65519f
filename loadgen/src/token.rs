//! Access tokens: a JWT signed with HS256 (RFC 7519, RFC 7515).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::json;

/// Longer than any run.
const VALIDITY: Duration = Duration::from_hours(24);
/// A server's clock may be behind ours.
const CLOCK_SKEW: Duration = Duration::from_mins(1);

/// What a token permits its bearer in a room.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Permission {
    pub publish: bool,
    pub subscribe: bool,
}

/// Key and secret that sign tokens.
#[derive(Clone)]
pub struct ApiKey {
    key: String,
    secret: String,
}

impl ApiKey {
    pub fn new(key: &str, secret: &str) -> Self {
        Self {
            key: key.to_owned(),
            secret: secret.to_owned(),
        }
    }

    /// A token with which `identity` joins `room`.
    pub fn join_token(
        &self,
        room: &str,
        identity: &str,
        permission: Permission,
        now: SystemTime,
    ) -> String {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let claims = json!({
            "iss": self.key,
            "sub": identity,
            "nbf": now.saturating_sub(CLOCK_SKEW).as_secs(),
            "exp": (now + VALIDITY).as_secs(),
            "video": {
                "roomJoin": true,
                "room": room,
                "canPublish": permission.publish,
                "canSubscribe": permission.subscribe,
                "canPublishData": permission.publish,
            },
        });
        self.sign(&claims.to_string())
    }

    fn sign(&self, claims: &str) -> String {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes());
        let signature = hmac::sign(&key, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

impl std::fmt::Debug for ApiKey {
    // The secret never reaches a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKey")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_of_a_known_token() {
        // The example of jwt.io, whose header has the same fields in the same order.
        let key = ApiKey::new("", "your-256-bit-secret");
        let claims = r#"{"sub":"1234567890","name":"John Doe","iat":1516239022}"#;
        assert_eq!(
            key.sign(claims),
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
             eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.\
             SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"
        );
    }

    #[test]
    fn claims_name_room_identity_and_permission() {
        let permission = Permission {
            publish: false,
            subscribe: true,
        };
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let token = ApiKey::new("devkey", "secret").join_token("r", "ann", permission, now);
        let claims = token.split('.').nth(1).unwrap();
        let claims = URL_SAFE_NO_PAD.decode(claims).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["iss"], "devkey");
        assert_eq!(claims["sub"], "ann");
        assert_eq!(claims["nbf"], 999_940);
        assert_eq!(claims["video"]["room"], "r");
        assert_eq!(claims["video"]["canPublish"], false);
        assert_eq!(claims["video"]["canSubscribe"], true);
    }
}
