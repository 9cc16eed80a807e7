//! Strangers over TCP: no token, or a bad one.

use super::{Case, case};
use crate::http::{self, PROTOBUF};
use crate::proto_bytes::repeated;
use crate::server::{FEW_DESCRIPTORS, Kind};
use crate::stage::{PATIENCE, Stage, spell};
use crate::token::{self, KEY, SECRET};
use crate::ws::Ws;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// The largest body that the API takes by default.
const BODY_MAX: usize = 10 << 20;
const LIST_ROOMS: &str = "/twirp/livekit.RoomService/ListRooms";

pub(super) const CASES: &[Case] = &[
    case(
        "body-no-token",
        "bodies of five million empty names without a token, eight at a time",
        |stage| {
            let body = repeated(1, b"", BODY_MAX);
            let bodies = http::head("POST", LIST_ROOMS, None, PROTOBUF, body.len()).into_bytes();
            at_once(stage, 8, &[bodies, body].concat())
        },
    ),
    case(
        "body-bad-token",
        "the same with a token of another key",
        |stage| {
            let body = repeated(1, b"", BODY_MAX);
            let token = token::sign(
                &format!("{{\"iss\":\"{KEY}\",\"exp\":{}}}", token::unix_s() + 60),
                "another",
            );
            let bodies = http::head("POST", LIST_ROOMS, Some(&token), PROTOBUF, body.len()).into_bytes();
            at_once(stage, 8, &[bodies, body].concat())
        },
    ),
    case(
        "body-unfinished",
        "150 bodies of 10 MiB less a byte without a token",
        |stage| {
            let mut request = http::head("POST", LIST_ROOMS, None, PROTOBUF, BODY_MAX).into_bytes();
            request.resize(request.len() + BODY_MAX - 1, 0);
            held(stage, 150, &request)
        },
    ),
    case(
        "body-unfinished-json",
        "150 JSON bodies of 10 MiB less a byte for every method",
        |stage| {
            let path = "/twirp/livekit.RoomService/SendData";
            let mut request = http::head("POST", path, None, http::JSON, BODY_MAX).into_bytes();
            request.resize(request.len() + BODY_MAX - 1, b'[');
            held(stage, 150, &request)
        },
    ),
    case(
        "body-chunked",
        "chunked bodies without end, without a token",
        |stage| {
            let head = format!(
                "POST {LIST_ROOMS} HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\nTransfer-Encoding: chunked\r\n\r\n"
            );
            let mut chunk = format!("{:x}\r\n", 1 << 20).into_bytes();
            chunk.resize(chunk.len() + (1 << 20), 0);
            chunk.extend(b"\r\n");
            let mut sockets = connections(stage, 20)?;
            for socket in &mut sockets {
                socket.write_all(head.as_bytes())?;
            }
            stage.flood_sockets(&mut sockets, &[chunk], u64::MAX, false);
            Ok(())
        },
    ),
    case(
        "body-other-paths",
        "bodies of 10 MiB to paths that take none",
        |stage| {
            let paths = [
                "/",
                "/rtc",
                "/rtc/validate",
                "/nowhere",
                "/twirp/livekit.Egress/ListEgress",
                "/whip/x",
            ];
            let requests: Vec<_> = paths
                .iter()
                .map(|path| {
                    let mut request = http::head("POST", path, None, PROTOBUF, BODY_MAX).into_bytes();
                    request.resize(request.len() + BODY_MAX - 1, 0);
                    request
                })
                .collect();
            let mut sockets = connections(stage, 60)?;
            stage.flood_sockets(&mut sockets, &requests, 60, false);
            Ok(())
        },
    ),
    case("head-unfinished", "300 heads of 1 MiB that never end", |stage| {
        let mut request = b"GET / HTTP/1.1\r\nHost: x\r\nX: ".to_vec();
        request.resize(1 << 20, b'x');
        held(stage, 300, &request)
    }),
    case(
        "head-unfinished-token",
        "300 heads whose token never ends",
        |stage| {
            let mut request = b"GET /rtc?access_token=".to_vec();
            request.resize(60_000, b'x');
            held(stage, 300, &request)
        },
    ),
    case(
        "head-slow",
        "500 heads that grow by a byte now and then",
        |stage| {
            let mut sockets = connections(stage, 500)?;
            for socket in &mut sockets {
                socket.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")?;
            }
            let began = Instant::now();
            while began.elapsed() < spell() {
                // Whom the server has closed cannot write: that is its right.
                sockets.retain_mut(|socket| socket.write_all(b"x").is_ok());
                crate::stage::pause(Duration::from_millis(100));
            }
            stage.note(format!("{} of 500 left", sockets.len()));
            Ok(())
        },
    ),
    case("head-fields", "heads with 20,000 fields", |stage| {
        let mut request = String::from("GET / HTTP/1.1\r\nHost: x\r\n");
        for index in 0..20_000 {
            request += &format!("X-{index}: y\r\n");
        }
        at_once(stage, 20, (request + "\r\n").as_bytes())
    }),
    case(
        "connect-storm",
        "connections opened and dropped at full speed",
        |stage| {
            let (mut count, began) = (0, Instant::now());
            while began.elapsed() < spell() {
                drop(stage.connect()?);
                count += 1;
            }
            stage.note(format!("{count} connections"));
            Ok(())
        },
    ),
    case("connect-idle", "1,000 connections that say nothing", |stage| {
        let sockets = connections(stage, 1000)?;
        crate::stage::pause(spell());
        stage.note(format!("{} held", sockets.len()));
        Ok(())
    }),
    case(
        "half-closed",
        "requests whose sender has closed its half",
        |stage| {
            let (mut answered, mut count, began) = (0, 0, Instant::now());
            while began.elapsed() < spell() {
                let mut socket = stage.connect()?;
                socket.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
                socket.shutdown(Shutdown::Write)?;
                answered += u32::from(http::answer(&mut socket).is_ok());
                count += 1;
            }
            stage.note(format!("{answered} of {count} answered"));
            Ok(())
        },
    ),
    case(
        "pipelined",
        "100,000 requests in a row whose answers nobody reads",
        |stage| {
            let mut sockets = connections(stage, 8)?;
            let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
            stage.flood_sockets(&mut sockets, &[request], u64::MAX, true);
            Ok(())
        },
    ),
    case(
        "pipelined-large",
        "pipelined calls whose answers are errors",
        |stage| {
            let mut sockets = connections(stage, 8)?;
            let request = http::head("POST", LIST_ROOMS, None, http::JSON, 2) + "{}";
            stage.flood_sockets(&mut sockets, &[request.repeat(1000).into_bytes()], u64::MAX, true);
            Ok(())
        },
    ),
    case("gets", "`GET /` at full speed on eight connections", |stage| {
        let mut sockets = connections(stage, 8)?;
        let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20);
        stage.flood_sockets(&mut sockets, &[request], u64::MAX, false);
        Ok(())
    }),
    case("tls-hello", "TLS, SSH and HTTP/2 on the plain port", |stage| {
        let hello = [
            &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3][..],
            &stage.rng.bytes(600),
        ]
        .concat();
        let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        let began = Instant::now();
        while began.elapsed() < spell() {
            for bytes in [&hello, &http2, &b"SSH-2.0-x\r\n".to_vec()] {
                let mut socket = stage.connect()?;
                socket.write_all(bytes)?;
                // Whatever it says.
                let _ = socket.read(&mut [0; 1024]);
            }
        }
        Ok(())
    }),
    case(
        "tokens-bad",
        "joins with tokens that are wrong in every way, at full speed",
        |stage| {
            let now = token::unix_s();
            let claims = format!(
                "{{\"iss\":\"{KEY}\",\"sub\":\"m\",\"exp\":{},\"video\":{{\"roomJoin\":true,\"room\":\"r\"}}}}",
                now + 60
            );
            let none =
                URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#) + "." + &URL_SAFE_NO_PAD.encode(&claims) + ".";
            let tokens = [
                token::sign(&claims, "wrong"),
                token::sign(&claims.replace(KEY, "nobody"), SECRET),
                token::sign(&claims.replace(&(now + 60).to_string(), "1"), SECRET),
                token::sign("{", SECRET),
                none,
                "a.b.c".to_owned(),
                String::new(),
            ];
            let statuses = ask_all(stage, &tokens)?;
            stage.must(!statuses.contains(&101), "a bad token was taken");
            Ok(())
        },
    ),
    case(
        "tokens-expiry",
        "tokens that expire at 2^63, before 1970, at no number",
        |stage| {
            let body = |exp: &str| {
                let claims = format!(
                    "{{\"iss\":\"{KEY}\",\"sub\":\"m\",\"exp\":{exp},\"nbf\":0,\"video\":{{\"roomJoin\":true,\"room\":\"{}\"}}}}",
                    stage.room
                );
                token::sign(&claims, SECRET)
            };
            let tokens: Vec<_> = [
                "9223372036854775807",
                "9223372036854775808",
                "1e300",
                "-1",
                "\"x\"",
                "18446744073709551616",
            ]
            .map(body)
            .into();
            ask_all(stage, &tokens)?;
            Ok(())
        },
    ),
    case("tokens-huge", "tokens of 900 KB, valid and not", |stage| {
        let metadata = "m".repeat(600_000);
        let claims = format!(
            "{{\"iss\":\"{KEY}\",\"sub\":\"m\",\"exp\":{},\"metadata\":\"{metadata}\",\"video\":{{\"roomJoin\":true,\"room\":\"{}\"}}}}",
            token::unix_s() + 60,
            stage.room
        );
        // The first is a good token of somebody whose metadata is too long, which its room says: the
        // reference answers the same.
        let tokens = [(500, SECRET), (401, "wrong")];
        let tokens = tokens.map(|(status, secret)| (status, token::sign(&claims, secret)));
        ask_by_header(stage, &tokens)
    }),
    case(
        "tokens-nested",
        "valid tokens whose claims nest without end",
        |stage| {
            let deep = "[".repeat(200_000) + &"]".repeat(200_000);
            let claims = format!(
                "{{\"iss\":\"{KEY}\",\"sub\":\"m\",\"exp\":{},\"video\":{{}},\"x\":{deep}}}",
                token::unix_s() + 60
            );
            ask_by_header(stage, &[(401, token::sign(&claims, SECRET))])
        },
    ),
    Case {
        name: "page-rebound",
        about: "a name that was rebound to this address asks for a join token",
        kind: Kind::Page,
        run: |stage| {
            let hosts = [
                "evil.example",
                "evil.example:7880",
                "127.0.0.1.evil.example",
                "localhost.evil.example",
            ];
            for host in hosts {
                let mut socket = stage.connect()?;
                let request = format!("GET /plenum/token?room=r&name=n HTTP/1.1\r\nHost: {host}\r\n\r\n");
                socket.write_all(request.as_bytes())?;
                let answer = http::answer(&mut socket)?;
                stage.must(answer.status != 200, format!("{host} is given a token"));
            }
            let mut socket = stage.connect()?;
            let request = format!(
                "GET /plenum/token?room=r&name=n HTTP/1.1\r\nHost: {}\r\n\r\n",
                stage.server.address
            );
            socket.write_all(request.as_bytes())?;
            let answer = http::answer(&mut socket)?;
            stage.must(
                answer.status == 200,
                format!("the page itself is answered {}", answer.status),
            );
            Ok(())
        },
    },
    Case {
        name: "page-storm",
        about: "the page and its tokens at full speed",
        kind: Kind::Page,
        run: |stage| {
            let mut sockets = connections(stage, 8)?;
            let host = stage.server.address;
            let page = format!("GET / HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\n\r\n");
            let token = format!("GET /plenum/token?room=r&name=n HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let frames = [page.repeat(20).into_bytes(), token.repeat(20).into_bytes()];
            stage.flood_sockets(&mut sockets, &frames, u64::MAX, false);
            Ok(())
        },
    },
    Case {
        name: "few-descriptors-idle",
        about: "more idle connections than the server may have files",
        kind: Kind::FewDescriptors,
        run: |stage| {
            let sockets = connections(stage, FEW_DESCRIPTORS as usize + 200)?;
            crate::stage::pause(spell());
            stage.note(format!("{} held", sockets.len()));
            Ok(())
        },
    },
    Case {
        name: "few-descriptors-heads",
        about: "as many connections with a head that grows",
        kind: Kind::FewDescriptors,
        run: |stage| {
            let mut sockets = connections(stage, FEW_DESCRIPTORS as usize + 200)?;
            let began = Instant::now();
            while began.elapsed() < spell() {
                sockets.retain_mut(|socket| socket.write_all(b"GET / HTTP/1.1\r\nX: ").is_ok());
                crate::stage::pause(Duration::from_millis(200));
            }
            stage.note(format!("{} left", sockets.len()));
            Ok(())
        },
    },
    Case {
        name: "few-descriptors-bodies",
        about: "as many connections with a body that never ends",
        kind: Kind::FewDescriptors,
        run: |stage| {
            let request = http::head("POST", LIST_ROOMS, None, PROTOBUF, 1 << 20);
            held(stage, FEW_DESCRIPTORS as usize + 200, request.as_bytes())
        },
    },
];

/// Connections, as many of so many as the server takes.
fn connections(stage: &Stage<'_>, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    (0..count).map(|_| stage.connect()).collect()
}

/// The same request on many connections, each again when it was answered.
fn at_once(stage: &mut Stage<'_>, count: usize, request: &[u8]) -> anyhow::Result<()> {
    let began = Instant::now();
    let (mut statuses, mut rounds) = (BTreeSet::new(), 0);
    while began.elapsed() < spell() {
        let mut sockets = connections(stage, count)?;
        crate::crowd::flood(&mut sockets, &[request.to_vec()], spell(), count as u64, true);
        for socket in &mut sockets {
            socket.set_nonblocking(false)?;
            // Refused before all was sent, the answer may be lost with the connection.
            statuses.insert(http::answer(socket).map_or(0, |answer| answer.status));
        }
        rounds += 1;
    }
    stage.note(format!("{rounds} rounds of {count}, answered {statuses:?}"));
    Ok(())
}

/// One request on each of many connections, which then stay open until the spell is over.
fn held(stage: &mut Stage<'_>, count: usize, request: &[u8]) -> anyhow::Result<()> {
    let mut sockets = connections(stage, count)?;
    let mut at = vec![0; count];
    let began = Instant::now();
    for socket in &sockets {
        socket.set_nonblocking(true)?;
    }
    let mut closed = 0;
    while began.elapsed() < spell() {
        let mut moved = false;
        for (socket, at) in sockets.iter_mut().zip(&mut at) {
            let end = (*at + (256 << 10)).min(request.len());
            match socket.write(&request[*at..end]) {
                Ok(written) => {
                    *at += written;
                    moved |= written > 0;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => {
                    closed += 1;
                    *at = request.len();
                }
            }
        }
        if !moved {
            crate::stage::pause(Duration::from_millis(10));
        }
    }
    let sent: usize = at.iter().sum();
    stage.note(format!("{} KiB sent, {closed} closed", sent >> 10));
    Ok(())
}

/// Joins by each token again and again; which answers there were.
fn ask_all(stage: &mut Stage<'_>, tokens: &[String]) -> anyhow::Result<BTreeSet<u16>> {
    let (mut statuses, mut count, began) = (BTreeSet::new(), 0, Instant::now());
    while began.elapsed() < spell() {
        for token in tokens {
            let path = crate::stage::path(token, "");
            let mut ws = Ws::ask(stage.server.address, &path, "", None, PATIENCE)?;
            statuses.insert(ws.read_head().unwrap_or(0));
            count += 1;
        }
    }
    stage.note(format!("{count} requests, answered {statuses:?}"));
    Ok(statuses)
}

/// The same with tokens too long for a path, and the answer that each must have.
fn ask_by_header(stage: &mut Stage<'_>, tokens: &[(u16, String)]) -> anyhow::Result<()> {
    let (mut statuses, mut wrong) = (BTreeSet::new(), BTreeSet::new());
    let (mut count, began) = (0, Instant::now());
    while began.elapsed() < spell() {
        for (right, token) in tokens {
            let headers = format!("Authorization: Bearer {token}\r\n");
            let mut ws = Ws::ask(stage.server.address, "/rtc?protocol=16", &headers, None, PATIENCE)?;
            let status = ws.read_head().unwrap_or(0);
            statuses.insert(status);
            wrong.extend((status != *right).then_some((status, *right)));
            count += 1;
        }
    }
    stage.must(wrong.is_empty(), format!("answered, and should be: {wrong:?}"));
    stage.note(format!("{count} requests, answered {statuses:?}"));
    Ok(())
}
