//! Secrets do not get out by errors, by what is printed at start, or by logs at any level.
#![allow(missing_docs, reason = "tests")]

mod common;

use common::process::{Running, plenum};
use common::socket::Socket;
use common::{KEY, SECRET, http, join_token};
use protocol::proto;

/// Must be nowhere.
const WORD: &str = "hunter2hunter2hunter2hunter2hunter2";

/// What a start that fails prints.
fn refusal(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = plenum(arguments, environment).output().expect("runs");
    assert_ne!(output.status.code(), Some(0), "{arguments:?}");
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    assert!(!printed.is_empty(), "{arguments:?}");
    printed
}

#[test]
fn errors_of_the_configuration_show_no_secrets() {
    let word = |text: &str| text.replace('%', WORD);
    for body in [
        "keys: {a: %}\nnonsense: 1\n",
        "{keys: {a: %}, nonsense: 1}\n",
        "keys: {a: %}\nnonsense: 1 # %\n",
        "nonsense: %\n",
        "keyz: {a: %}\n",
        "keys: %\n",
        "keys: \"a: %\"\n",
        "keys: [%]\n",
        "keys: {a: [%]}\n",
        "keys:\n  a: {b: %}\n",
        "keys: {a: b}\nredis: {pasword: %}\n",
        "keys: {a: b}\nredis: {password: %, db: x}\n",
        "keys: {a: b}\nredis: {db: x, password: \"%\"}\n",
        "keys: {a: b}\nredis: {password: [%]}\n",
        "keys: {a: b}\nredis: {password: {x: %}}\n",
        "keys: {a: b}\nredis: {password: &p %, db: *p}\n",
        "keys: {a: b}\nrtc: {turn_servers: [{host: h, credential: %, secret: %, prot: 1}]}\n",
        "keys: {a: b}\nrtc: {turn_servers: [{credential: %, port: x}]}\n",
        "keys: {a: b}\nprometheus: {port: x, password: %}\n",
        "keys: {a: b}\nredis: {address: \"redis://u:%@h\", db: x}\n",
        "keys: {a: %}\nkeys: {a: b}\n",
        "keys: {a: %\nport: 1\n",
        "keys: {a: \"%\n",
        "keys:\n\ta: %\n",
        "a: %: %\n",
        "keys: !!int {a: %}\nx: [\n",
        "keys: {a: %, *b : c}\n",
        "%\n",
        "- %\n",
        "- a: %\n",
        "keys: |\n  a: %\nnonsense: 1\n",
        "keys: {a: >-\n  %\n}\nnonsense: 1\n",
    ] {
        let printed = refusal(&["--config-body", &word(body)], &[]);
        assert!(!printed.contains("hunter2"), "{body}\n{printed}");
    }
}

#[test]
fn errors_of_flags_and_the_environment_show_no_secrets() {
    let (pair, joined) = (format!("a:{WORD}"), format!("--redis.pasword={WORD}"));
    let keys = format!("--keys={WORD}");
    for arguments in [
        &["--keys", &pair][..],
        &[&keys, &keys],
        &[WORD],
        &[&pair],
        &[&joined],
        &["--redis.pasword", WORD],
        &["--redis-password"],
        &["generate-keys", WORD],
        &["--keys", "a: b", "--redis.db", "x", "--redis.password", WORD],
        &["--dev", &pair],
    ] {
        let printed = refusal(arguments, &[]);
        assert!(!printed.contains("hunter2"), "{arguments:?}\n{printed}");
    }
    for environment in [
        [("LIVEKIT_KEYS", WORD), ("A", "")],
        [("LIVEKIT_KEYS", &pair), ("LIVEKIT_REDIS_DB", "x")],
        [("LIVEKIT_CONFIG", WORD), ("A", "")],
        [("LIVEKIT_REDIS_PASSWORD", WORD), ("LIVEKIT_REDIS_DB", "x")],
    ] {
        let printed = refusal(&[], &environment);
        assert!(!printed.contains("hunter2"), "{environment:?}\n{printed}");
    }
    let hidden = [
        ("LIVEKIT_KEYS", WORD),
        ("LIVEKIT_CONFIG", WORD),
        ("REDIS_PASSWORD", WORD),
        ("REDIS_HOST", WORD),
        ("LIVEKIT_TURN_KEY", WORD),
    ];
    let output = plenum(&["--help"], &hidden).output().expect("runs");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("hunter2"));
}

#[tokio::test]
async fn no_log_tells_tokens_or_passwords() {
    let body = format!(
        "port: 0\nbind_addresses: [127.0.0.1]\nrtc: {{udp_port: 50000-60000, node_ip: 127.0.0.1, \
         enable_loopback_candidate: true}}\nplenum: {{media: {{threads: 1}}, page: {{enabled: true}}}}\n\
         keys: {{{KEY}: {SECRET}}}\nredis: {{password: {WORD}, address: \"redis://u:{WORD}@h\"}}\n\
         webhook: {{urls: [\"https://u:{WORD}@h/x?token={WORD}\"], api_key: {KEY}}}\n"
    );
    for level in ["trace", "trace,hyper=trace,tungstenite=trace,is=trace"] {
        let server = Running::start(plenum(&["--config-body", &body], &[("RUST_LOG", level)]));
        let token = join_token("a", "r");
        let mut socket = Socket::connect(server.address, "/rtc?protocol=16", &token).await;
        let joined = socket.join().await;
        // An offer, so that passwords are made and answered.
        let password = "clientpasswordclientpass";
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
             m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\n\
             a=ice-pwd:{password}\r\na=fingerprint:sha-256 {}\r\na=setup:actpass\r\na=mid:0\r\n\
             a=sctp-port:5000\r\n",
            ["AA"; 32].join(":")
        );
        let offer = proto::SessionDescription {
            r#type: "offer".to_owned(),
            sdp,
            ..Default::default()
        };
        socket.send(proto::signal_request::Message::Offer(offer)).await;
        let answer = socket
            .wait(|response| {
                if let proto::signal_response::Message::Answer(answer) = response {
                    Some(answer.sdp.clone())
                } else {
                    None
                }
            })
            .await;
        let (_, own) = answer.split_once("a=ice-pwd:").expect("a password");
        let own = own.lines().next().expect("a password").to_owned();
        let minted = http(server.address, "GET", "/plenum/token?room=r&name=n", &[], None)
            .await
            .json();
        let bearer = [("Authorization".to_owned(), format!("Bearer {token}"))];
        http(server.address, "GET", "/rtc/validate", &bearer, None).await;
        let signature = |token: &str| token.rsplit('.').next().unwrap_or_default().to_owned();
        let minted = signature(minted["token"].as_str().expect("a token"));
        drop(joined);
        drop(socket);
        let log = server.log();
        assert!(log.contains("room opened"), "{log}");
        for secret in [&signature(&token), &minted, SECRET, WORD, password, &own] {
            assert!(!log.contains(secret), "{level}: {secret} in {log}");
        }
    }
}
