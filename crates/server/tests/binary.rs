//! The binary: configuration by environment, `--dev`, errors, the signal to stop.
#![allow(missing_docs, reason = "tests")]

mod common;

use common::process::{Running, plenum};
use common::socket::Socket;
use common::{KEY, SECRET, http, sign, unix_s};
use serde_json::json;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Output;

fn fails(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let Output { status, stdout, .. } = plenum(arguments, environment).output().expect("runs");
    assert_eq!(status.code(), Some(1));
    String::from_utf8_lossy(&stdout).into_owned()
}

async fn verdict(address: SocketAddr, key: &str, secret: &str) -> (u16, String) {
    let video = json!({"roomJoin": true, "room": "r"});
    let claims = json!({"iss": key, "sub": "a", "exp": unix_s() + 600, "video": video});
    let token = sign(&json!({"alg": "HS256"}), &claims, secret);
    let path = format!("/rtc/validate?access_token={token}");
    let reply = http(address, "GET", &path, &[], None).await;
    (reply.status, reply.text())
}

const BODY: &str = "port: 0\nbind_addresses: [127.0.0.1]\nrtc: {udp_port: 50000-60000, node_ip: 127.0.0.1}\n\
    plenum: {media: {threads: 1}}\nlogging: {json: false}\n";

#[tokio::test]
async fn configuration_and_keys_come_from_the_environment() {
    let keys = format!("{KEY}: {SECRET}");
    let server = Running::start(plenum(&[], &[("LIVEKIT_CONFIG", BODY), ("LIVEKIT_KEYS", &keys)]));
    assert_eq!(
        verdict(server.address, KEY, SECRET).await,
        (200, "success".to_owned())
    );
    let (code, printed) = server.terminate();
    assert_eq!((code, printed.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn dev_mode_takes_devkey_and_prints_its_page() {
    let server = Running::start(plenum(
        &["--dev", "--port", "0", "--udp-port", "50000-60000"],
        &[],
    ));
    let video = json!({"roomJoin": true, "room": "r"});
    let claims = json!({"iss": "devkey", "sub": "a", "exp": unix_s() + 600, "video": video});
    let token = sign(&json!({"alg": "HS256"}), &claims, "secret");
    let mut socket = Socket::connect(server.address, "/rtc?protocol=16", &token).await;
    assert_eq!(
        socket.join().await.participant.expect("participant").identity,
        "a"
    );
    let port = server.address.port();
    let (code, printed) = server.terminate();
    assert_eq!(code, Some(0));
    assert!(
        printed.contains(&format!("http://localhost:{port}/")),
        "{printed}"
    );
}

#[test]
fn errors_are_on_stdout_with_exit_code_1() {
    assert_eq!(fails(&[], &[]), "one of key-file or keys must be provided\n");
    let missing = fails(&["--config", "/nowhere/nope.yaml"], &[]);
    assert_eq!(missing, "open /nowhere/nope.yaml: no such file or directory\n");
    let unknown = fails(&["--config-body", "keys: {a: b}\nnonsense: 1\n"], &[]);
    assert!(
        unknown.contains("config:2:1: unknown key `nonsense`"),
        "{unknown}"
    );
}

#[test]
fn a_taken_port_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = taken.local_addr().expect("bound").port().to_string();
    let keys = format!("{KEY}: {SECRET}");
    let text = fails(&["--bind", "127.0.0.1", "--port", &port, "--keys", &keys], &[]);
    assert!(
        text.starts_with(&format!("listen tcp 127.0.0.1:{port}")),
        "{text}"
    );
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("keys-0644.yaml");
    fs::write(&path, format!("{KEY}: {SECRET}\n")).expect("writes");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("sets");
    let file = path.to_str().expect("text");
    assert_eq!(
        fails(&["--key-file", file], &[]),
        "key file others permissions must be set to 0\n"
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("sets");
    // With 0640 it is read: what is wrong now is the port.
    let text = fails(&["--key-file", file, "--port", "99999999"], &[]);
    assert_eq!(text, "invalid port 99999999\n");
}

#[test]
fn generate_keys_prints_a_pair() {
    let output = plenum(&["generate-keys"], &[]).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = text.lines();
    let key = lines
        .next()
        .and_then(|line| line.strip_prefix("API Key:  API"))
        .expect("a key");
    let secret = lines
        .next()
        .and_then(|line| line.strip_prefix("API Secret:  "))
        .expect("a secret");
    assert_eq!((key.len(), secret.len()), (12, 44));
}
