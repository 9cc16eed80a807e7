//! Access tokens: JWT (RFC 7519), HS256 only.
//!
//! Owns the order of the checks and their texts. Must not know: HTTP, clocks (`now` is passed in).

use crate::claims::{CLAIMS, claims_below, decode_claims};
use crate::decoded::{self, Bounds};
use crate::grants::Claims;
use crate::lenient;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto};
use serde_json::{Map, Value, json};
use std::fmt;

/// How far `exp` and `nbf` may be off, seconds. The reference's value; more would keep expired
/// tokens alive, less would refuse clients whose clock is a little wrong.
pub const LEEWAY_S: f64 = 60.0;

/// API keys and their secrets, in the order of the configuration.
#[derive(Clone, Default)]
pub struct Keys {
    pairs: Vec<(String, String)>,
}

impl Keys {
    /// From (key, secret) pairs.
    #[must_use]
    pub fn new(pairs: Vec<(String, String)>) -> Self {
        Self { pairs }
    }

    /// The secret of a key. `None` also when it is empty: anybody could sign with it.
    #[must_use]
    pub fn secret(&self, api_key: &str) -> Option<&str> {
        let pair = self.pairs.iter().find(|(key, _)| key == api_key)?;
        Some(pair.1.as_str()).filter(|secret| !secret.is_empty())
    }

    /// The first pair: signs what the server signs.
    #[must_use]
    pub fn first(&self) -> Option<(&str, &str)> {
        let (key, secret) = self.pairs.first()?;
        Some((key, secret))
    }

    /// The API keys.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().map(|(key, _)| key.as_str())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// None at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

/// Secrets are never shown.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.pairs.iter().map(|(key, _)| key))
            .finish()
    }
}

/// Why a request is turned away with 401. `Display` is the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// The `Authorization` header has another scheme.
    NotBearer,
    /// Not a JWT.
    Unparsable,
    /// Issuer missing or not among our keys.
    UnknownKey,
    /// Signature, algorithm or claims; the reason in the reference's words.
    Invalid(String),
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBearer => f.write_str("invalid authorization header. Must start with Bearer "),
            Self::Unparsable => f.write_str("invalid authorization token"),
            Self::UnknownKey => f.write_str("invalid API key"),
            Self::Invalid(reason) => write!(f, "invalid authorization token: {reason}"),
        }
    }
}

impl std::error::Error for TokenError {}

/// The token of a request: the header wins, an empty header counts as none. `Ok(None)`: there is
/// no token, the handler decides.
///
/// # Errors
/// The header is not exactly `Bearer …`.
pub fn find_token<'a>(
    authorization: Option<&'a str>,
    access_token: Option<&'a str>,
) -> Result<Option<&'a str>, TokenError> {
    match authorization {
        Some(header) if !header.is_empty() => header
            .strip_prefix("Bearer ")
            .filter(|token| !token.is_empty())
            .map(Some)
            .ok_or(TokenError::NotBearer),
        _ => Ok(access_token.filter(|token| !token.is_empty())),
    }
}

/// Verifies a token and returns its claims.
///
/// # Errors
/// In the reference's order: unparsable, unknown key, then algorithm, signature, claims.
pub fn verify(token: &str, keys: &Keys, now_unix_s: f64) -> Result<Claims, TokenError> {
    let parts = Parts::split(token).ok_or(TokenError::Unparsable)?;
    let issuer = match parts.claims.get("iss") {
        None | Some(Value::Null) => "",
        Some(Value::String(issuer)) => issuer,
        Some(_) => return Err(TokenError::Unparsable),
    };
    let secret = keys.secret(issuer).ok_or(TokenError::UnknownKey)?;
    let claims = decode_claims(&parts.claims, &parts.claims_text).map_err(|reason| {
        invalid(format!(
            "token is malformed: could not JSON decode claim: {reason}"
        ))
    })?;
    if parts.algorithm != "HS256" {
        return Err(invalid(format!(
            "token signature is invalid: signing method {} is invalid",
            parts.algorithm
        )));
    }
    let key = DecodingKey::from_secret(secret.as_bytes());
    let genuine = crypto::verify(parts.signature, parts.signed.as_bytes(), &key, Algorithm::HS256);
    if !matches!(genuine, Ok(true)) {
        return Err(invalid(
            "token signature is invalid: signature is invalid".to_owned(),
        ));
    }
    check_times(&parts.claims, now_unix_s)?;
    Ok(claims)
}

/// The `user:password` of a Basic authorization (RFC 7617 §2).
#[must_use]
pub fn decode_basic(encoded: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()
}

/// Signs claims with the first key. `None` when there is no key.
#[must_use]
pub fn sign(keys: &Keys, claims: &Claims, now_unix_s: i64, valid_s: u64) -> Option<String> {
    let (api_key, secret) = keys.first()?;
    let expires = now_unix_s.saturating_add(i64::try_from(valid_s).unwrap_or(i64::MAX));
    let body = signed_claims(api_key, claims, now_unix_s, expires);
    let header = URL_SAFE_NO_PAD.encode(br#"{"alg":"HS256","typ":"JWT"}"#);
    let payload = URL_SAFE_NO_PAD.encode(body.to_string());
    let message = format!("{header}.{payload}");
    let key = EncodingKey::from_secret(secret.as_bytes());
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).ok()?;
    Some(format!("{message}.{signature}"))
}

fn signed_claims(api_key: &str, claims: &Claims, now_unix_s: i64, expires: i64) -> Value {
    let kind = if claims.kind.is_empty() {
        "standard"
    } else {
        &claims.kind
    };
    let mut body = Map::new();
    body.insert("iss".into(), json!(api_key));
    body.insert("sub".into(), json!(claims.identity));
    body.insert("identity".into(), json!(claims.identity));
    body.insert("nbf".into(), json!(now_unix_s));
    body.insert("iat".into(), json!(now_unix_s));
    body.insert("exp".into(), json!(expires));
    body.insert("kind".into(), json!(kind));
    let texts = [
        ("name", &claims.name),
        ("metadata", &claims.metadata),
        ("roomPreset", &claims.room_preset),
        ("sha256", &claims.sha256),
    ];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        body.insert(name.into(), json!(text));
    }
    // `kindDetails` is left out, as the reference does: a participant's details are set when it joins.
    if !claims.attributes.is_empty() {
        body.insert("attributes".into(), json!(claims.attributes));
    }
    if let Some(video) = &claims.video {
        body.insert("video".into(), without_zeros(json!(video)));
    }
    if let Some(sip) = &claims.sip {
        body.insert("sip".into(), without_zeros(json!(sip)));
    }
    if let Some(config) = &claims.room_config {
        body.insert("roomConfig".into(), config.clone());
    }
    Value::Object(body)
}

/// Drops what says nothing: false, empty texts and lists, unset options. An explicit `false` of an
/// optional grant (`canPublish`…) stays, because unset means something else there.
fn without_zeros(value: Value) -> Value {
    let Value::Object(fields) = value else {
        return value;
    };
    let kept = fields.into_iter().filter(|(name, value)| match value {
        Value::Null => false,
        Value::Bool(false) => name.starts_with("can"),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::Object(_) => true,
    });
    Value::Object(kept.collect())
}

/// A token taken apart, nothing verified yet.
struct Parts<'a> {
    algorithm: String,
    claims: Map<String, Value>,
    claims_text: String,
    signed: &'a str,
    signature: &'a str,
}

/// Algorithms that the reference's JWT library knows: others make a token unparsable.
const KNOWN_ALGORITHMS: [&str; 14] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384",
    "ES512", "EdDSA", "none",
];

impl<'a> Parts<'a> {
    fn split(token: &'a str) -> Option<Self> {
        // Files and shells leave a line end behind a token; the reference's base64 reader passes it over.
        let token = token.trim_end_matches(['\r', '\n']);
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        if payload.contains('.') {
            return None;
        }
        let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        let algorithm = header.get("alg")?.as_str()?.to_owned();
        if !KNOWN_ALGORITHMS.contains(&algorithm.as_str()) {
            return None;
        }
        let claims_text = lenient::mend(&URL_SAFE_NO_PAD.decode(payload).ok()?).into_owned();
        // Anybody may write claims, and whoever signs them may put a whole room's settings in: they are
        // read by way of a tree before the signature is known to be good.
        decoded::measure_json(claims_text.as_bytes(), true, &Bounds::CLIENT).ok()?;
        let claims = lenient::read_object(&claims_text, &CLAIMS, claims_below).ok()?;
        if !is_audience(claims.get("aud")) {
            return None;
        }
        URL_SAFE_NO_PAD.decode(signature).ok()?;
        for name in ["exp", "nbf", "iat"] {
            numeric_date(claims.get(name)).ok()?;
        }
        Some(Self {
            algorithm,
            claims,
            claims_text,
            signed,
            signature,
        })
    }
}

/// RFC 7519 §4.1.3: a text or a list of texts.
fn is_audience(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::String(_)) => true,
        Some(Value::Array(items)) => items.iter().all(Value::is_string),
        Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => false,
    }
}

/// `exp` is mandatory, `nbf` counts when given, `iat` is not looked at.
fn check_times(claims: &Map<String, Value>, now_unix_s: f64) -> Result<(), TokenError> {
    let mut reasons = Vec::new();
    match numeric_date(claims.get("exp")) {
        Ok(Some(exp)) if now_unix_s >= exp + LEEWAY_S => reasons.push("token is expired"),
        Ok(Some(_)) => {}
        Ok(None) | Err(()) => reasons.push("token is missing required claim: exp claim is required"),
    }
    if let Ok(Some(nbf)) = numeric_date(claims.get("nbf"))
        && now_unix_s < nbf - LEEWAY_S
    {
        reasons.push("token is not valid yet");
    }
    if reasons.is_empty() {
        return Ok(());
    }
    Err(invalid(format!(
        "token has invalid claims: {}",
        reasons.join(", ")
    )))
}

/// A NumericDate (RFC 7519 §2), also as text and with a fraction. `Ok(None)` when absent.
pub(crate) fn numeric_date(value: Option<&Value>) -> Result<Option<f64>, ()> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => Ok(number.as_f64()),
        Some(Value::String(text)) => text
            .parse()
            .ok()
            .filter(|v: &f64| v.is_finite())
            .map(Some)
            .ok_or(()),
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => Err(()),
    }
}

fn invalid(reason: String) -> TokenError {
    TokenError::Invalid(reason)
}

#[cfg(test)]
mod tests;
