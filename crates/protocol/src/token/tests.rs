//! Tokens: what is accepted, and the words for what is not.

use super::*;
use crate::grants::VideoGrant;

const NOW: f64 = 1_800_000_000.0;

fn keys() -> Keys {
    let pair = |key: &str, secret: &str| (key.to_owned(), secret.to_owned());
    Keys::new(vec![
        pair("first", "first-secret-first-secret-first!"),
        pair("second", "second-secret-second-secret-2nd!"),
    ])
}

fn forge(algorithm: &str, body: &Value, secret: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": algorithm, "typ": "JWT"}).to_string());
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(body.to_string()));
    let key = EncodingKey::from_secret(secret.as_bytes());
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("HS256 signs");
    format!("{message}.{signature}")
}

fn check(body: &Value) -> Result<Claims, String> {
    let issuer = body["iss"].as_str().unwrap_or("");
    let keys = keys();
    let secret = keys.secret(issuer).unwrap_or("x").to_owned();
    verify(&forge("HS256", body, &secret), &keys, NOW).map_err(|error| error.to_string())
}

fn body(exp: i64) -> Value {
    json!({"iss": "first", "sub": "alice", "exp": exp, "video": {"roomJoin": true, "room": "r"}})
}

#[test]
fn header_wins_and_must_be_bearer() {
    assert_eq!(find_token(None, Some("q")), Ok(Some("q")));
    assert_eq!(find_token(Some(""), Some("q")), Ok(Some("q")));
    assert_eq!(find_token(Some("Bearer h"), Some("q")), Ok(Some("h")));
    assert_eq!(find_token(None, None), Ok(None));
    for bad in ["Basic abc", "bearer x", "Bearer ", "x"] {
        assert_eq!(find_token(Some(bad), Some("q")), Err(TokenError::NotBearer));
    }
}

#[test]
fn tokens_of_every_key_are_accepted() {
    for (key, secret) in [
        ("first", "first-secret-first-secret-first!"),
        ("second", "second-secret-second-secret-2nd!"),
    ] {
        let mut body = body(1_800_000_100);
        body["iss"] = json!(key);
        let claims = verify(&forge("HS256", &body, secret), &keys(), NOW).expect("valid");
        assert_eq!(
            (claims.api_key.as_str(), claims.identity.as_str()),
            (key, "alice")
        );
        assert_eq!(claims.expires_at_s, 1_800_000_100);
        assert!(claims.video.expect("video grant").room_join);
    }
}

#[test]
fn garbage_is_unparsable() {
    for token in ["garbage", "a.b.c", "", "..", " x.y.z"] {
        assert_eq!(
            verify(token, &keys(), NOW),
            Err(TokenError::Unparsable),
            "{token}"
        );
    }
}

#[test]
fn unknown_or_missing_issuer_is_no_key() {
    let mut stranger = body(1_800_000_100);
    stranger["iss"] = json!("nokey");
    assert_eq!(check(&stranger).expect_err("refused"), "invalid API key");
    stranger.as_object_mut().expect("object").remove("iss");
    assert_eq!(check(&stranger).expect_err("refused"), "invalid API key");
}

#[test]
fn wrong_signature_is_named() {
    let token = forge("HS256", &body(1_800_000_100), "another secret");
    let error = verify(&token, &keys(), NOW).expect_err("refused").to_string();
    assert_eq!(
        error,
        "invalid authorization token: token signature is invalid: signature is invalid"
    );
}

#[test]
fn only_hs256_is_accepted() {
    for algorithm in ["HS384", "HS512", "none"] {
        let token = forge(
            algorithm,
            &body(1_800_000_100),
            "first-secret-first-secret-first!",
        );
        let error = verify(&token, &keys(), NOW).expect_err("refused").to_string();
        let expected = format!(
            "invalid authorization token: token signature is invalid: signing method {algorithm} is invalid"
        );
        assert_eq!(error, expected);
    }
}

#[test]
fn expiry_has_a_minute_of_leeway() {
    for age_s in [0, 30, 59] {
        assert!(check(&body(1_800_000_000 - age_s)).is_ok(), "{age_s}");
    }
    for age_s in [61, 90] {
        assert_eq!(
            check(&body(1_800_000_000 - age_s)).expect_err("refused"),
            "invalid authorization token: token has invalid claims: token is expired",
            "{age_s}"
        );
    }
}

#[test]
fn not_before_has_a_minute_of_leeway() {
    let mut early = body(1_800_001_000);
    early["nbf"] = json!(1_800_000_059);
    assert!(check(&early).is_ok());
    for nbf in [1_800_000_061, 1_800_000_300] {
        early["nbf"] = json!(nbf);
        assert_eq!(
            check(&early).expect_err("refused"),
            "invalid authorization token: token has invalid claims: token is not valid yet"
        );
    }
    early["nbf"] = json!(0);
    early["iat"] = json!(1_800_000_300);
    assert!(check(&early).is_ok());
}

#[test]
fn expiry_is_mandatory() {
    let mut endless = body(0);
    endless.as_object_mut().expect("object").remove("exp");
    assert_eq!(
        check(&endless).expect_err("refused"),
        "invalid authorization token: token has invalid claims: \
         token is missing required claim: exp claim is required"
    );
}

#[test]
fn expiry_may_be_text_or_a_fraction() {
    let mut odd = body(0);
    odd["exp"] = json!("1800000100");
    assert!(check(&odd).is_ok());
    odd["exp"] = json!(1_800_000_100.5);
    assert!(check(&odd).is_ok());
}

#[test]
fn identity_falls_back_to_jti() {
    let mut token = body(1_800_000_100);
    token.as_object_mut().expect("object").remove("sub");
    token["jti"] = json!("fromjti");
    assert_eq!(check(&token).expect("valid").identity, "fromjti");
}

#[test]
fn wrong_claim_types_are_named() {
    let mut token = body(1_800_000_100);
    token["video"]["roomJoin"] = json!("yes");
    assert_eq!(
        check(&token).expect_err("refused"),
        "invalid authorization token: token is malformed: could not JSON decode claim: json: cannot \
         unmarshal string into Go struct field VideoGrant.ClaimGrants.video.roomJoin of type bool"
    );
    let mut token = body(1_800_000_100);
    token["roomConfig"] = json!({"emptyTimeout": "abc"});
    assert_eq!(
        check(&token).expect_err("refused"),
        "invalid authorization token: token is malformed: could not JSON decode claim: proto: \
         (line 1:17): invalid value for uint32 field emptyTimeout: \"abc\""
    );
}

#[test]
fn claims_that_grow_when_they_are_read_are_no_token() {
    let grown = |name: &str, value: Value| {
        let mut token = body(1_800_000_100);
        token[name] = value;
        check(&token)
    };
    let agents = |count: usize| json!({"agents": vec![json!({"agentName": "a"}); count]});
    assert!(grown("roomConfig", agents(100)).is_ok());
    assert!(grown("metadata", json!("m".repeat(500_000))).is_ok());
    let attributes = (0..1_000).map(|number| (format!("a{number}"), json!("value")));
    assert!(grown("attributes", Value::Object(attributes.collect())).is_ok());
    let nested = (0..100).fold(json!(1), |inner, _| json!([inner]));
    for (name, value) in [
        ("roomConfig", agents(20_000)),
        ("roomConfig", json!({"tags": {"a": vec![0; 10_000]}})),
        ("attributes", json!(vec![""; 10_000])),
        ("whatever", nested),
    ] {
        assert_eq!(
            grown(name, value).expect_err("refused"),
            "invalid authorization token",
            "{name}"
        );
    }
}

#[test]
fn unknown_claims_and_fields_are_passed_over() {
    let mut token = body(1_800_000_100);
    token["whatever"] = json!({"a": 1});
    token["video"]["canDoMagic"] = json!(true);
    token["kind"] = json!("martian");
    token["roomConfig"] = json!({"nofield": 1});
    token["metadata"] = Value::Null;
    assert!(check(&token).is_ok());
}

#[test]
fn signed_tokens_verify_and_keep_explicit_denials() {
    let claims = Claims {
        identity: "bob".to_owned(),
        name: "Bob".to_owned(),
        video: Some(VideoGrant {
            room: "r".to_owned(),
            room_join: true,
            can_publish: Some(false),
            ..VideoGrant::default()
        }),
        ..Claims::default()
    };
    let token = sign(&keys(), &claims, 1_800_000_000, 600).expect("has a key");
    let read = verify(&token, &keys(), NOW).expect("valid");
    assert_eq!((read.identity.as_str(), read.name.as_str()), ("bob", "Bob"));
    assert_eq!((read.api_key.as_str(), read.kind.as_str()), ("first", "standard"));
    assert_eq!(read.video, claims.video);
    assert_eq!(read.expires_at_s, 1_800_000_600);
    let payload = token.split('.').nth(1).expect("three parts");
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).expect("base64")).expect("utf-8");
    assert!(text.contains("\"identity\":\"bob\""), "{text}");
    assert!(!text.contains("roomCreate"), "{text}");
}

#[test]
fn debug_of_keys_hides_secrets() {
    assert!(!format!("{:?}", keys()).contains("secret"));
}

/// A token with the text of the claims as it is.
fn forge_text(claims: &[u8]) -> String {
    let header = URL_SAFE_NO_PAD.encode(br#"{"alg":"HS256","typ":"JWT"}"#);
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(b"first-secret-first-secret-first!");
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("HS256 signs");
    format!("{message}.{signature}")
}

fn check_text(claims: &[u8], behind: &str) -> Result<Claims, String> {
    let token = forge_text(claims) + behind;
    verify(&token, &keys(), NOW).map_err(|error| error.to_string())
}

#[test]
fn names_of_claims_may_be_in_any_case() {
    let claims = br#"{"ISS":"first","Sub":"ann","EXP":1800000100,
        "Video":{"RoomJoin":true,"ROOM":"r","CanPublish":false},"Attributes":{"Sub":"kept"}}"#;
    let claims = check_text(claims, "").expect("valid");
    assert_eq!(
        (claims.api_key.as_str(), claims.identity.as_str()),
        ("first", "ann")
    );
    assert_eq!(claims.attributes.get("Sub").map(String::as_str), Some("kept"));
    let video = claims.video.expect("a grant");
    assert_eq!(
        (video.room_join, video.room.as_str(), video.can_publish),
        (true, "r", Some(false))
    );
    let twice = br#"{"iss":"first","sub":"ann","SUB":"bob","exp":1800000100}"#;
    assert_eq!(check_text(twice, "").expect("valid").identity, "bob");
}

#[test]
fn text_that_is_no_unicode_is_mended() {
    let half = br#"{"iss":"first","sub":"ann","name":"x\ud83d","metadata":"\ude00","exp":1800000100}"#;
    let claims = check_text(half, "").expect("valid");
    assert_eq!(
        (claims.name.as_str(), claims.metadata.as_str()),
        ("x\u{fffd}", "\u{fffd}")
    );
    let latin = b"{\"iss\":\"first\",\"sub\":\"J\xfcrgen\",\"exp\":1800000100}";
    assert_eq!(check_text(latin, "").expect("valid").identity, "J\u{fffd}rgen");
}

#[test]
fn a_line_end_behind_the_token_is_passed_over_and_other_space_is_not() {
    let plain = br#"{"iss":"first","sub":"ann","exp":1800000100}"#;
    for (behind, passes) in [
        ("\n", true),
        ("\r\n", true),
        (" ", false),
        ("=", false),
        ("\n.", false),
    ] {
        assert_eq!(check_text(plain, behind).is_ok(), passes, "{behind:?}");
    }
}

#[test]
fn an_audience_is_a_text_or_a_list_of_texts() {
    for (audience, passes) in [
        (json!("me"), true),
        (json!(["me", "you"]), true),
        (json!(null), true),
        (json!(5), false),
        (json!([5]), false),
        (json!({"a": 1}), false),
        (json!(true), false),
    ] {
        let mut claims = body(1_800_000_100);
        claims["aud"] = audience.clone();
        assert_eq!(check(&claims).is_ok(), passes, "{audience}");
    }
}
