//! What the integration tests share: a server on a port of the kernel's choice, tokens, a client
//! that sends HTTP exactly as written, and the replay of recorded cases.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::wildcard_enum_match_arm,
    clippy::large_enum_variant,
    reason = "tests"
)]

pub(crate) mod process;
pub(crate) mod socket;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use protocol::proto;
use protocol::token::Keys;
use serde_json::{Value, json};
use server::config::{Config, UdpPorts};
use server::wiring::{self, Running};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const KEY: &str = "goldenkey";
pub(crate) const SECRET: &str = "goldensecretgoldensecretgoldensecret";
pub(crate) const SECOND_SECRET: &str = "secondsecretsecondsecretsecondsecret";

/// A configuration for tests: loopback, free ports, one media thread.
pub(crate) fn config() -> Config {
    let mut config = Config {
        port: 0,
        bind_addresses: vec!["127.0.0.1".parse().unwrap()],
        keys: Keys::new(vec![
            (KEY.to_owned(), SECRET.to_owned()),
            ("secondkey".to_owned(), SECOND_SECRET.to_owned()),
        ]),
        ..Config::default()
    };
    config.rtc.udp_port = UdpPorts::Single(0);
    config.plenum.media_threads = Some(1);
    config
}

pub(crate) struct Server {
    pub(crate) running: Running,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) fn start(config: Config) -> Self {
        let running = wiring::start(config).expect("the server starts");
        let address = running.addresses[0];
        Self { running, address }
    }
}

pub(crate) fn unix_s() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

/// Signs any claims. `header` may lie about the algorithm.
pub(crate) fn sign(header: &Value, claims: &Value, secret: &str) -> String {
    sign_text(header, &claims.to_string(), secret)
}

/// As the recorder wrote claims: a blank after each colon (places inside are part of one answer).
fn written(claims: &Value) -> String {
    claims.to_string().replace("\":", "\": ")
}

pub(crate) fn sign_text(header: &Value, claims: &str, secret: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", encode(&header.to_string()), encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()));
    format!("{message}.{signature}")
}

/// A token of the first key that lasts ten minutes.
pub(crate) fn token(claims: Value) -> String {
    let mut claims = claims;
    claims["iss"] = json!(KEY);
    claims["exp"] = json!(unix_s() + 600);
    sign(&json!({"alg": "HS256", "typ": "JWT"}), &claims, SECRET)
}

/// A token that may join.
pub(crate) fn join_token(identity: &str, room: &str) -> String {
    token(json!({"sub": identity, "video": {"roomJoin": true, "room": room}}))
}

/// A token that may do everything in a room.
pub(crate) fn admin_token(room: &str) -> String {
    let video = json!({"roomCreate": true, "roomList": true, "roomAdmin": true, "room": room});
    token(json!({"sub": "api", "video": video}))
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(&name.to_lowercase()).map(String::as_str)
    }
}

/// Sends a request exactly as written and reads the whole answer.
pub(crate) async fn http(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(String, String)],
    body: Option<&[u8]>,
) -> Reply {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n");
    let named = |name: &str| headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
    let chunked = named("Transfer-Encoding");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !named("Connection") {
        text.push_str("Connection: close\r\n");
    }
    if let Some(body) = body.filter(|_| !chunked) {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    let mut request = text.into_bytes();
    if chunked {
        let body = body.unwrap_or_default();
        request.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
        request.extend_from_slice(body);
        request.extend_from_slice(b"\r\n0\r\n\r\n");
    } else {
        request.extend_from_slice(body.unwrap_or_default());
    }
    let mut stream = TcpStream::connect(address).await.expect("connects");
    // The server may answer and close before it has read a body that is too large.
    let _ = stream.write_all(&request).await;
    read_reply(&mut stream, method).await
}

async fn read_reply(stream: &mut TcpStream, method: &str) -> Reply {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        if let Some(reply) = parse_reply(&bytes, method) {
            return reply;
        }
        match stream.read(&mut chunk).await {
            Ok(read) if read > 0 => bytes.extend_from_slice(&chunk[..read]),
            _ => panic!("the answer ends early: {}", String::from_utf8_lossy(&bytes)),
        }
    }
}

fn parse_reply(bytes: &[u8], method: &str) -> Option<Reply> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: BTreeMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers
        .get("content-length")
        .and_then(|value| value.parse().ok())
        .unwrap_or(0);
    let bodiless = method == "HEAD" || status == 101 || status == 204;
    let length = if bodiless { 0 } else { length };
    let body = bytes.get(end + 4..end + 4 + length)?.to_vec();
    Some(Reply {
        status,
        headers,
        body,
    })
}

/// A POST to the Twirp API in JSON.
pub(crate) async fn twirp(address: SocketAddr, method: &str, token: &str, body: &Value) -> Reply {
    let headers = [
        ("Authorization".to_owned(), format!("Bearer {token}")),
        ("Content-Type".to_owned(), "application/json".to_owned()),
    ];
    let path = format!("/twirp/livekit.RoomService/{method}");
    http(
        address,
        "POST",
        &path,
        &headers,
        Some(body.to_string().as_bytes()),
    )
    .await
}

/// Recorded cases: a JSON list, one case a line.
pub(crate) fn cases(text: &str) -> Vec<Value> {
    serde_json::from_str(text).expect("recorded cases")
}

/// Replays all recorded cases but those in `skipped` (names with reasons), which must all exist.
/// Panics with everything that differs.
pub(crate) async fn replay_all(address: SocketAddr, text: &str, skipped: &[(&str, &str)]) {
    let cases = cases(text);
    for (name, reason) in skipped {
        assert!(
            cases.iter().any(|case| case["name"] == *name),
            "no case {name} to skip"
        );
        assert!(!reason.is_empty(), "{name} is skipped without a reason");
    }
    let mut waiting = Vec::new();
    let mut failed = Vec::new();
    for case in cases {
        let name = case["name"].as_str().expect("a name").to_owned();
        if skipped.iter().any(|(skip, _)| *skip == name) {
            continue;
        }
        // Those without a target take their 3 s and change nothing.
        let slow = case["response"]["status"] == 503;
        let call = tokio::spawn(async move {
            match case["methods"].as_array() {
                Some(methods) => {
                    let method = |method: &Value| method.as_str().expect("a name").to_owned();
                    let calls = methods.iter().map(|name| {
                        let (case, name) = (&case, method(name));
                        async move { replay(address, case, &name).await }
                    });
                    futures_util::future::join_all(calls).await;
                }
                None => replay(address, &case, "").await,
            }
        });
        if slow {
            waiting.push((name, call));
        } else if call.await.is_err() {
            failed.push(name);
        }
    }
    for (name, call) in waiting {
        if call.await.is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "what differs stands above, in {failed:?}");
}

/// Replays a recorded case; `method` stands in for `<method>`. Panics where the answer differs.
pub(crate) async fn replay(address: SocketAddr, case: &Value, method: &str) {
    let name = case["name"].as_str().unwrap();
    let tokens = tokens_of(case);
    let fill = |text: &str| {
        let mut text = expand(&text.replace("<method>", method));
        for (placeholder, token) in &tokens {
            text = text.replace(placeholder, token);
        }
        text
    };
    let request = &case["request"];
    let headers: Vec<_> = request["headers"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), fill(value.as_str().unwrap())))
        .collect();
    let body = body_of(&request["body"]).map(|body| match String::from_utf8(body) {
        Ok(text) => fill(&text).into_bytes(),
        Err(binary) => binary.into_bytes(),
    });
    let path = fill(request["path"].as_str().unwrap());
    let verb = request["method"].as_str().unwrap();
    let reply = http(address, verb, &path, &headers, body.as_deref()).await;
    let expected = &case["response"];
    let what = format!("{name} ({method})");
    assert_eq!(
        u64::from(reply.status),
        expected["status"],
        "{what}: status, body {}",
        reply.text()
    );
    let wanted = &expected["body"];
    if let Some(json) = wanted.get("json") {
        let differs = difference(json, &reply.json(), method);
        assert_eq!(differs, None, "{what}: {}", reply.text());
    } else if let Some(text) = wanted["text"].as_str() {
        assert_eq!(reply.text(), text, "{what}");
    } else if let Some(recorded) = wanted["base64"].as_str() {
        let recorded = STANDARD.decode(recorded).unwrap();
        let differs = protobuf_difference(&path, &recorded, &reply.body);
        assert_eq!(differs, None, "{what}");
    }
    for (name, value) in expected["headers"].as_object().into_iter().flatten() {
        // Lengths follow from bodies; whether a connection stays is the server's own business.
        if name == "Content-Length" || name == "Connection" {
            continue;
        }
        assert_eq!(reply.header(name), value.as_str(), "{what}: header {name}");
    }
    if !expected["headers"]
        .as_object()
        .is_some_and(|h| h.contains_key("Access-Control-Allow-Origin"))
    {
        assert_eq!(reply.header("Access-Control-Allow-Origin"), None, "{what}");
    }
}

/// Where two answers in protobuf to calls of the room API differ, but for what is a room's own.
pub(crate) fn protobuf_difference(path: &str, expected: &[u8], found: &[u8]) -> Option<String> {
    match path.rsplit('/').next() {
        Some("CreateRoom") => rooms_difference(expected, found, |room: proto::Room| vec![room]),
        Some("ListRooms") => rooms_difference(expected, found, |list: proto::ListRoomsResponse| list.rooms),
        _ => Some(format!("no messages are known for {path}")),
    }
}

fn rooms_difference<T: prost::Message + Default>(
    expected: &[u8],
    found: &[u8],
    rooms: fn(T) -> Vec<proto::Room>,
) -> Option<String> {
    let read = |bytes: &[u8]| {
        let message = T::decode(bytes).ok()?;
        // Whole: no field is unknown, none is written that has its default.
        (message.encode_to_vec() == bytes).then(|| rooms(message))
    };
    let (Some(mut expected), Some(mut found)) = (read(expected), read(found)) else {
        return Some("not such a message".to_owned());
    };
    for room in expected.iter_mut().chain(&mut found) {
        let is_own = room.sid.len() == 15
            && room.sid.starts_with("RM_")
            && !room.turn_password.is_empty()
            && room.creation_time_ms / 1_000 == room.creation_time
            && room.creation_time > 1_700_000_000;
        if !is_own {
            return Some(format!("{room:?}"));
        }
        room.sid.clear();
        room.turn_password.clear();
        (room.creation_time, room.creation_time_ms) = (0, 0);
    }
    (expected != found).then(|| format!("{expected:?} / {found:?}"))
}

/// Where two JSON values differ; placeholders (`<…>`) in the expected one fit anything.
fn difference(expected: &Value, found: &Value, method: &str) -> Option<String> {
    match (expected, found) {
        (Value::String(text), Value::Array(items)) if text == "<default_codecs_snake>" => {
            (items.len() != 10).then(|| format!("codecs: {found}"))
        }
        (Value::String(text), Value::String(_)) if text.starts_with('<') && text.ends_with('>') => None,
        (Value::String(text), Value::String(other)) if text.contains("<method>") => {
            (text.replace("<method>", method) != *other).then(|| format!("{text} / {other}"))
        }
        (Value::Object(fields), Value::Object(others)) => {
            if fields.keys().ne(others.keys()) {
                return Some(format!("fields {:?} / {:?}", fields.keys(), others.keys()));
            }
            fields
                .iter()
                .find_map(|(name, value)| difference(value, &others[name], method))
        }
        (Value::Array(items), Value::Array(others)) => {
            if items.len() != others.len() {
                return Some(format!("{} / {} items", items.len(), others.len()));
            }
            // Lists of rooms come in any order.
            let by_name = |items: &[Value]| {
                let mut items = items.to_vec();
                items.sort_by_key(|item| item["name"].as_str().map(str::to_owned));
                items
            };
            let (items, others) = (by_name(items), by_name(others));
            let mut pairs = items.iter().zip(&others);
            pairs.find_map(|(item, other)| difference(item, other, method))
        }
        _ => (expected != found).then(|| format!("{expected} / {found}")),
    }
}

fn body_of(body: &Value) -> Option<Vec<u8>> {
    match body {
        Value::Null => None,
        Value::String(text) => Some(
            match text
                .strip_prefix('<')
                .and_then(|rest| rest.strip_suffix(" bytes>"))
            {
                Some(count) => vec![b' '; count.parse().unwrap()],
                None => text.clone().into_bytes(),
            },
        ),
        Value::Object(fields) if fields.contains_key("base64") => {
            Some(STANDARD.decode(fields["base64"].as_str().unwrap()).unwrap())
        }
        other => Some(other.to_string().into_bytes()),
    }
}

/// `<x x300>` stands for 300 times `x`.
fn expand(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        out.push_str(&rest[..start]);
        let tail = &rest[start..];
        let end = tail.find('>').map_or(tail.len(), |end| end + 1);
        let inside = tail[..end].trim_matches(['<', '>']);
        match inside
            .split_once(" x")
            .map(|(unit, count)| (unit, count.parse::<usize>()))
        {
            Some((unit, Ok(count))) => out.push_str(&unit.repeat(count)),
            _ => out.push_str(&tail[..end]),
        }
        rest = &tail[end..];
    }
    out.push_str(rest);
    out
}

/// Signs the case's tokens anew. What times and secrets were is told by the case's name.
fn tokens_of(case: &Value) -> Vec<(String, String)> {
    let name = case["name"].as_str().unwrap();
    let now = unix_s();
    let exp = if name.contains("expired_90s") || name.ends_with("expired") {
        now - 90
    } else if name.contains("expired_30s") {
        now - 30
    } else {
        now + 600
    };
    let mut tokens = Vec::new();
    for (placeholder, claims) in case["tokens"].as_object().into_iter().flatten() {
        let text = expand(&claims.to_string());
        let mut claims: Value = serde_json::from_str(&text).unwrap();
        let fields = claims.as_object_mut().unwrap();
        // The API's recordings leave out what every token has.
        let algorithm = fields.remove("alg").unwrap_or_else(|| {
            fields.insert("iss".to_owned(), json!(KEY));
            fields.insert("exp".to_owned(), json!("<time_s>"));
            json!("HS256")
        });
        for (claim, value) in fields.iter_mut() {
            if value == "<time_s>" {
                *value = json!(match claim.as_str() {
                    "exp" => exp,
                    _ if name.contains("future_30s") => now + 30,
                    _ if name.contains("future_300s") => now + 300,
                    _ => now,
                });
            } else if value == "<time_s.fraction>" {
                *value = json!(600.5 + f64::from(u32::try_from(now).unwrap()));
            }
        }
        if name.contains("exp_as_string") {
            fields["exp"] = json!(exp.to_string());
        }
        let secret = match fields.get("iss").and_then(Value::as_str) {
            _ if name.contains("bad_signature") => "some other secret",
            _ if name.contains("other_keys_secret") => SECOND_SECRET,
            Some("secondkey") => SECOND_SECRET,
            _ => SECRET,
        };
        let header = json!({"alg": algorithm, "typ": "JWT"});
        let mut token = sign_text(&header, &written(&claims), secret);
        if algorithm == "none" {
            token.truncate(token.rfind('.').unwrap() + 1);
        }
        tokens.push((placeholder.clone(), token));
    }
    tokens
}
