use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::*;

const SECRET: &str = "a secret of more than thirty-two characters";

fn keys() -> ApiKeys {
    [
        ("key".to_owned(), SECRET.to_owned()),
        ("open".to_owned(), String::new()),
    ]
    .into_iter()
    .collect()
}

fn now_secs() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(now.unwrap().as_secs()).unwrap()
}

fn payload() -> Value {
    json!({
        "iss": "key", "sub": "alice", "exp": now_secs() + 60, "nbf": now_secs(),
        "video": { "roomJoin": true, "room": "lobby" },
    })
}

fn sign_with(payload: &Value, secret: &str) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::default(), payload, &key).unwrap()
}

fn verify_with(change: impl FnOnce(&mut Value)) -> Result<Claims, TokenError> {
    let mut payload = payload();
    change(&mut payload);
    verify(&keys(), &sign_with(&payload, SECRET))
}

#[test]
fn a_minted_token_verifies() {
    let claims = Claims {
        sub: "alice".into(),
        video: Some(VideoGrant {
            room_join: true,
            room: "lobby".into(),
            ..VideoGrant::default()
        }),
        ..Claims::default()
    };
    let token = mint(&keys(), &claims, SystemTime::now(), VALIDITY_DEFAULT).unwrap();
    let verified = verify(&keys(), &token).unwrap();
    assert_eq!(verified.iss, "key");
    assert_eq!(verified.sub, "alice");
    assert_eq!(verified.video, claims.video);
    let valid_secs = i64::try_from(verified.exp).unwrap() - now_secs();
    assert!((6 * 3600 - 2..=6 * 3600).contains(&valid_secs));
}

#[test]
fn an_unsigned_token_is_refused() {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for alg in ["none", "None", "NONE"] {
        let header = encode(&json!({ "alg": alg, "typ": "JWT" }));
        for signature in ["", "AAAA"] {
            let token = format!("{header}.{}.{signature}", encode(&payload()));
            assert_eq!(verify(&keys(), &token), Err(TokenError::Malformed));
        }
    }
}

#[test]
fn other_algorithms_are_refused() {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for alg in ["RS256", "ES256", "EdDSA", "HS384", "HS512"] {
        let header = encode(&json!({ "alg": alg, "typ": "JWT" }));
        let token = format!("{header}.{}.AAAA", encode(&payload()));
        assert!(matches!(
            verify(&keys(), &token),
            Err(TokenError::Refused(_))
        ));
    }
    let header = Header::new(Algorithm::HS512);
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let token = jsonwebtoken::encode(&header, &payload(), &key).unwrap();
    assert!(verify(&keys(), &token).is_err());
}

#[test]
fn expiry_is_required_and_checked_with_a_minute_of_leeway() {
    let without = verify_with(|payload| {
        payload.as_object_mut().unwrap().remove("exp");
    });
    assert_eq!(without, Err(TokenError::Refused("exp claim is required")));
    let expired = verify_with(|payload| payload["exp"] = json!(now_secs() - 90));
    assert_eq!(expired, Err(TokenError::Refused("token is expired")));
    assert!(verify_with(|payload| payload["exp"] = json!(now_secs() - 30)).is_ok());
    assert!(verify_with(|payload| payload["exp"] = json!("tomorrow")).is_err());
    assert!(verify_with(|payload| payload["exp"] = Value::Null).is_err());
}

#[test]
fn a_token_of_the_future_is_refused() {
    let future = verify_with(|payload| payload["nbf"] = json!(now_secs() + 90));
    assert_eq!(future, Err(TokenError::Refused("token is not valid yet")));
    assert!(verify_with(|payload| payload["nbf"] = json!(now_secs() + 30)).is_ok());
}

#[test]
fn the_issuer_selects_the_secret() {
    let stranger = verify_with(|payload| payload["iss"] = json!("stranger"));
    assert_eq!(stranger, Err(TokenError::UnknownKey));
    let missing = verify_with(|payload| {
        payload.as_object_mut().unwrap().remove("iss");
    });
    assert_eq!(missing, Err(TokenError::Malformed));
    assert_eq!(
        verify(&keys(), &sign_with(&payload(), "another secret")),
        Err(TokenError::Refused("signature is invalid"))
    );
}

#[test]
fn an_empty_secret_signs_nothing() {
    let mut payload = payload();
    payload["iss"] = json!("open");
    assert_eq!(
        verify(&keys(), &sign_with(&payload, "")),
        Err(TokenError::UnknownKey)
    );
}

#[test]
fn an_oversized_token_is_refused_unread() {
    let long = verify_with(|payload| payload["metadata"] = json!("x".repeat(1_000_000)));
    assert_eq!(long, Err(TokenError::Malformed));
    assert_eq!(
        verify(&keys(), &"x.".repeat(500_000)),
        Err(TokenError::Malformed)
    );
}

#[test]
fn tokens_of_other_sdks_are_read() {
    let claims = verify_with(|payload| {
        payload["exp"] = json!(now_secs() as f64 + 60.5);
        payload["name"] = Value::Null;
        payload["aud"] = json!("somebody");
        payload["unheard"] = json!({ "of": [1] });
        payload["sub"] = Value::Null;
        payload["jti"] = json!("identity of old tokens");
        payload["sip"] = json!({ "admin": true });
        payload["video"]["canPublish"] = Value::Null;
    })
    .unwrap();
    assert_eq!(claims.sub, "identity of old tokens");
    assert!(claims.video.unwrap().publishes());
    assert!(claims.sip.unwrap().admin);
}

#[test]
fn garbage_is_refused() {
    for token in ["", ".", "..", "...", "a.b.c", "\u{0}", "é.é.é"] {
        assert_eq!(verify(&keys(), token), Err(TokenError::Malformed));
    }
}

#[test]
fn each_call_asks_for_its_own_grant() {
    let admin = Claims {
        video: Some(VideoGrant {
            room_admin: true,
            room: "lobby".into(),
            destination_room: "stage".into(),
            ..VideoGrant::default()
        }),
        ..Claims::default()
    };
    assert!(admin.permits(Permission::RoomAdmin("lobby")));
    assert!(!admin.permits(Permission::RoomAdmin("stage")));
    assert!(!admin.permits(Permission::RoomCreate));
    assert!(!admin.permits(Permission::RoomList));
    let to = |destination| Permission::RoomAdminTo {
        room: "lobby",
        destination,
    };
    assert!(admin.permits(to("stage")));
    assert!(!admin.permits(to("attic")));
    assert!(!Claims::default().permits(Permission::RoomAdmin("")));
    assert!(!Claims::default().permits(Permission::SipAdmin));
}

#[test]
fn keys_and_secrets_stay_out_of_debug_output() {
    assert!(!format!("{:?}", keys()).contains(SECRET));
    assert_eq!(generate_key().len(), 15);
    assert_eq!(generate_secret().len(), 44);
    assert_ne!(generate_secret(), generate_secret());
}

#[test]
fn minting_needs_a_key() {
    let minted = mint(
        &ApiKeys::default(),
        &Claims::default(),
        SystemTime::now(),
        Duration::from_secs(1),
    );
    assert!(matches!(minted, Err(MintError::NoKey)));
}
