//! Requests that no client sends, and names by which the page is not known.
#![allow(missing_docs, reason = "tests")]

mod common;

use common::{KEY, SECRET, Server, config, http, join_token, sign, unix_s};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Sends bytes and reads until the server closes.
async fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let _ = stream.write_all(request).await;
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    let _ = timeout(Duration::from_secs(9), read)
        .await
        .expect("it answers and closes");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn location(answer: &str) -> Option<&str> {
    answer.lines().find_map(|line| line.strip_prefix("location: "))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_stays_on_this_server() {
    let server = Server::start(config());
    for (path, expected) in [
        ("//\\evil.example/..//x", "/x"),
        ("///\\evil.example", "/%5Cevil.example"),
        ("/./\\/evil.example", "/%5C/evil.example"),
        ("/.//evil.example", "/evil.example"),
        ("///evil.example/%2e%2e", "/evil.example/%2e%2e"),
        ("/..//\\\\evil.example?a=\\b", "/%5C%5Cevil.example?a=%5Cb"),
        ("/a//%0d%0aSet-Cookie:x", "/a/%0d%0aSet-Cookie:x"),
        ("/a//\"onclick=\"x", "/a/%22onclick=%22x"),
        ("http://evil.example//x//y", "/x/y"),
    ] {
        for method in ["GET", "POST"] {
            let request =
                format!("{method} {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
            let answer = raw(server.address, request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 307 "), "{path}: {answer}");
            assert_eq!(location(&answer), Some(expected), "{path}: {answer}");
        }
    }
    let service = "POST /twirp/livekit.RoomService HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = raw(server.address, service.as_bytes()).await;
    assert_eq!(location(&answer), Some("/twirp/livekit.RoomService/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_requests_are_refused_and_harm_nobody() {
    let server = Server::start(config());
    let many = |count: usize| -> String { (0..count).map(|number| format!("A{number}: b\r\n")).collect() };
    let many_headers = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", many(1000));
    let long_uri = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100_000));
    let long_head = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(2 << 20));
    let parameters = format!(
        "GET /rtc/validate?{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "a=%41&".repeat(9000)
    );
    let bomb = format!(
        "GET /{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "%25".repeat(20_000)
    );
    for (request, status) in [
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}", ""),
        ("GET / HTTP/1.0\r\n\r\n", "HTTP/1.0 200 "),
        (
            "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 ",
        ),
        (
            "CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 307 ",
        ),
        (
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 400 ",
        ),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 400 ",
        ),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
            "HTTP/1.1 400 ",
        ),
        (&many_headers, "HTTP/1.1 431 "),
        (&long_uri, "HTTP/1.1 414 "),
        (&long_head, "HTTP/1.1 431 "),
        (&parameters, "HTTP/1.1 401 "),
        (&bomb, "HTTP/1.1 404 "),
    ] {
        let answer = raw(server.address, request.as_bytes()).await;
        let shown: String = request.chars().take(60).collect();
        assert!(answer.starts_with(status), "{shown}: {answer}");
    }
    assert_eq!(http(server.address, "GET", "/", &[], None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_gives_no_tokens_by_names_that_others_own() {
    let mut config = config();
    config.plenum.page = true;
    config.plenum.page_hosts = vec!["plenum.example".to_owned()];
    let server = Server::start(config);
    let port = server.address.port();
    let ask = async |target: &str, headers: &str| {
        let request = format!("GET {target} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        let answer = raw(server.address, request.as_bytes()).await;
        let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
        assert_eq!(
            answer.contains("\"token\""),
            status == "200",
            "{headers}: {answer}"
        );
        status
    };
    let path = "/plenum/token?room=r&name=n";
    for (headers, status) in [
        (format!("Host: 127.0.0.1:{port}\r\n"), "200"),
        (format!("Host: localhost:{port}\r\n"), "200"),
        (
            format!("Host: [::1]:{port}\r\nOrigin: http://[::1]:{port}\r\n"),
            "200",
        ),
        ("Host: plenum.example\r\n".to_owned(), "200"),
        (format!("Host: evil.example:{port}\r\n"), "403"),
        (
            format!("Host: evil.example:{port}\r\nOrigin: http://evil.example:{port}\r\n"),
            "403",
        ),
        (
            "Host: evil.example\r\nX-Forwarded-Host: localhost\r\n".to_owned(),
            "403",
        ),
        ("Host: localhost\r\nHost: evil.example\r\n".to_owned(), "403"),
        ("Host: localhost.evil.example\r\n".to_owned(), "403"),
        (
            "Host: localhost\r\nOrigin: http://evil.example\r\n".to_owned(),
            "403",
        ),
        ("Host: localhost\r\nOrigin: null\r\n".to_owned(), "403"),
        (String::new(), "403"),
    ] {
        assert_eq!(ask(path, &headers).await, status, "{headers}");
    }
    assert_eq!(
        ask(
            "http://evil.example/plenum/token?room=r&name=n",
            "Host: localhost\r\n"
        )
        .await,
        "403"
    );
}

async fn verdict(server: &Server, name: &str, value: &str) -> u16 {
    // Written by hand: some of these are no JSON that a library writes.
    let claims = json!({"iss": KEY, "sub": "a", "exp": "X", "video": {"roomJoin": true, "room": "r"}});
    let claims = match name {
        "exp" => claims.to_string().replace("\"X\"", value),
        other => {
            let end = (unix_s() + 600).to_string();
            claims
                .to_string()
                .replace("\"X\"", &format!("{end},\"{other}\":{value}"))
        }
    };
    let token = common::sign_text(&json!({"alg": "HS256"}), &claims, SECRET);
    let path = format!("/rtc/validate?access_token={token}");
    http(server.address, "GET", &path, &[], None).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn times_of_tokens_are_judged_whatever_they_are() {
    let server = Server::start(config());
    for (name, value, status) in [
        ("exp", "9223372036854775807", 200),
        ("exp", "9223372036854775808", 200),
        ("exp", "18446744073709551616", 200),
        ("exp", "1e308", 200),
        ("exp", "\"1e308\"", 200),
        ("exp", "1e309", 401),
        ("exp", "NaN", 401),
        ("exp", "\"NaN\"", 401),
        ("exp", "\"inf\"", 401),
        ("exp", "-1", 401),
        ("exp", "-9223372036854775809", 401),
        ("exp", "-1e308", 401),
        ("exp", "0", 401),
        ("exp", "null", 401),
        ("exp", "true", 401),
        ("exp", "[1]", 401),
        ("nbf", "-1e308", 200),
        ("nbf", "-9223372036854775809", 200),
        ("nbf", "9223372036854775808", 401),
        ("nbf", "1e308", 401),
        ("nbf", "{}", 401),
        ("iat", "1e308", 200),
        ("iat", "9223372036854775808", 200),
        ("iat", "\"x\"", 401),
    ] {
        assert_eq!(verdict(&server, name, value).await, status, "{name}: {value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_never_ends_joins_and_resumes() {
    let server = Server::start(config());
    let video = json!({"roomJoin": true, "room": "r"});
    for (number, exp) in [json!(i64::MAX), json!(u64::MAX), json!(1e308), json!(4e18)]
        .into_iter()
        .enumerate()
    {
        let claims = json!({"iss": KEY, "sub": format!("p{number}"), "exp": exp, "video": video});
        let token = sign(&json!({"alg": "HS256"}), &claims, SECRET);
        let mut socket = common::socket::Socket::connect(server.address, "/rtc?protocol=16", &token).await;
        let joined = socket.join().await;
        let sid = joined.participant.expect("a participant").sid;
        let path = format!("/rtc?protocol=16&reconnect=1&sid={sid}");
        let resumed = common::socket::Socket::try_connect(server.address, &path, &token).await;
        assert!(resumed.is_ok(), "{exp}");
    }
    assert_eq!(server.running.counters.rooms_failed.get(), 0);
    // The room still takes others.
    let mut other =
        common::socket::Socket::connect(server.address, "/rtc?protocol=16", &join_token("o", "r")).await;
    other.join().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_rooms_are_found_without_a_search_for_each() {
    let server = Server::start(config());
    let token = common::admin_token("r");
    for name in ["a", "b", "c"] {
        common::twirp(server.address, "CreateRoom", &token, &json!({"name": name})).await;
    }
    let listed = async |names: Value| {
        let reply = common::twirp(server.address, "ListRooms", &token, &json!({"names": names})).await;
        let rooms = reply.json()["rooms"].as_array().cloned().unwrap_or_default();
        rooms
            .iter()
            .map(|room| room["name"].as_str().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(listed(json!([])).await, ["a", "b", "c"]);
    assert_eq!(listed(json!(["c", "x", "a", "c", ""])).await, ["a", "c"]);
    assert!(listed(json!(["x"])).await.is_empty());
}
