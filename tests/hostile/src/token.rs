//! Access tokens, good ones and others.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

/// The node's API key.
#[derive(Clone, Debug)]
pub(crate) struct ApiKey {
    pub(crate) name: String,
    pub(crate) secret: String,
}

/// What a participant may do.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Grant {
    pub(crate) publish: bool,
    pub(crate) subscribe: bool,
}

impl ApiKey {
    pub(crate) fn new(name: &str, secret: &str) -> Self {
        Self {
            name: name.to_owned(),
            secret: secret.to_owned(),
        }
    }

    pub(crate) fn join(&self, room: &str, identity: &str, grant: Grant) -> String {
        self.sign(&self.claims(room, identity, grant))
    }

    /// Claims that are in order.
    pub(crate) fn claims(&self, room: &str, identity: &str, grant: Grant) -> Value {
        json!({
            "iss": self.name,
            "sub": identity,
            "exp": now() + 3_600,
            "video": {
                "roomJoin": true,
                "room": room,
                "canPublish": grant.publish,
                "canSubscribe": grant.subscribe,
                "canPublishData": grant.publish,
            },
        })
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_with(&json!({"alg": "HS256", "typ": "JWT"}), claims)
    }

    /// With a header of the caller's choice; the signature is always HMAC-SHA256.
    pub(crate) fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let text = format!("{}.{}", part(header), part(claims));
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes());
        let signature = hmac::sign(&key, text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

pub(crate) fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
