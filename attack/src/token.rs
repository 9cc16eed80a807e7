//! Tokens, good and bad, signed without the server's code.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) const KEY: &str = "attackkey";
pub(crate) const SECRET: &str = "a-secret-of-more-than-32-characters";

pub(crate) fn unix_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Signs claims as they are.
pub(crate) fn sign(claims: &str, secret: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", encode(r#"{"alg":"HS256","typ":"JWT"}"#), encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()));
    format!("{message}.{signature}")
}

/// A token with a video grant that lasts ten minutes.
pub(crate) fn granting(identity: &str, video: &Value) -> String {
    let claims = json!({"iss": KEY, "sub": identity, "exp": unix_s() + 600, "video": video});
    sign(&claims.to_string(), SECRET)
}

/// A participant who may change its own metadata.
pub(crate) fn join(identity: &str, room: &str) -> String {
    let video = json!({"roomJoin": true, "room": room, "canUpdateOwnMetadata": true});
    granting(identity, &video)
}

/// Whoever runs a room over the API.
pub(crate) fn admin(room: &str) -> String {
    let video = json!({"roomCreate": true, "roomList": true, "roomAdmin": true, "room": room});
    granting("admin", &video)
}
