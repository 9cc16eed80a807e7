//! Recorded HTTP cases, replayed against a running server.
#![allow(missing_docs, reason = "tests")]

mod common;

use common::{Server, cases, config, http, replay_all};
use serde_json::Value;

const VALIDATE: &str = include_str!("vectors/validate.json");
const SURFACE: &str = include_str!("vectors/surface.json");
const LIMITS: &str = include_str!("vectors/limits.json");
const WHIP: &str = include_str!("vectors/whip.json");

/// Of paths that are not built, by what their cases' names begin with.
const NOT_BUILT: [(&str, &str); 5] = [
    ("path /whip", "WHIP is not built"),
    ("whip", "WHIP is not built"),
    ("path /agents", "agents are not built"),
    ("agent_", "agents are not built"),
    ("agents_endpoint", "agents are not built"),
];

/// The cases of [`NOT_BUILT`] in a recording.
fn not_built(cases: &[Value]) -> Vec<(&str, &'static str)> {
    let names = cases.iter().filter_map(|case| case["name"].as_str());
    let reason = |name: &str| NOT_BUILT.iter().find(|(start, _)| name.starts_with(start));
    names.filter_map(|name| Some((name, reason(name)?.1))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_errors_before_the_upgrade_are_as_recorded() {
    let server = Server::start(config());
    replay_all(server.address, VALIDATE, &[]).await;
    assert_eq!(server.running.counters.signal_connections.get(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_health_and_cors_are_as_recorded() {
    let server = Server::start(config());
    let surface = cases(SURFACE);
    let skipped = not_built(&surface);
    assert_eq!(skipped.len(), 31);
    replay_all(server.address, SURFACE, &skipped).await;
}

/// The day that one of these answers, its recording wants to be replayed.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_built_is_not_found() {
    let server = Server::start(config());
    let surface = cases(SURFACE);
    for (name, reason) in not_built(&surface) {
        let case = surface
            .iter()
            .find(|case| case["name"] == name)
            .expect("its case");
        let (method, path) = (&case["request"]["method"], &case["request"]["path"]);
        let (method, path) = (method.as_str().expect("a method"), path.as_str().expect("a path"));
        let reply = http(server.address, method, path, &[], None).await;
        let preflight = method == "OPTIONS" && reply.status == 200;
        assert!(
            reply.status == 404 || preflight,
            "{name} ({reason}): {}",
            reply.status
        );
    }
    for case in cases(WHIP) {
        let Some(path) = case["request"]["path"].as_str() else {
            continue;
        };
        let method = case["request"]["method"].as_str().expect("a method");
        let path = path.replace(['<', '>'], "_");
        let reply = http(server.address, method, &path, &[], None).await;
        assert_eq!(reply.status, 404, "{} (WHIP is not built)", case["name"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_rooms_that_must_exist_are_as_recorded() {
    let mut config = config();
    config.room.auto_create = false;
    config.limit.max_room_name_length = 20;
    config.limit.max_participant_identity_length = 10;
    config.limit.max_participant_name_length = 10;
    config.limit.max_metadata_size = 100;
    config.limit.max_attributes_size = 100;
    config.limit.max_api_request_body_size = 1000;
    let server = Server::start(config);
    replay_all(server.address, LIMITS, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_served_to_browsers_only_when_it_is_on() {
    let browser = [("Accept".to_owned(), "text/html,*/*".to_owned())];
    let server = Server::start(config());
    let off = http(server.address, "GET", "/", &browser, None).await;
    assert_eq!((off.status, off.text().as_str()), (200, "OK"));
    let path = "/plenum/token?room=r&name=Ann";
    assert_eq!(http(server.address, "GET", path, &[], None).await.status, 404);

    let mut config = config();
    config.plenum.page = true;
    let server = Server::start(config);
    let page = http(server.address, "GET", "/", &browser, None).await;
    assert!(
        page.text().to_lowercase().starts_with("<!doctype html>"),
        "{}",
        page.text()
    );
    assert_eq!(http(server.address, "GET", "/", &[], None).await.text(), "OK");
    let from = |origin: String| [("Origin".to_owned(), origin)];
    for foreign in ["https://example.com", "null", "http://127.0.0.1:1"] {
        let reply = http(server.address, "GET", path, &from(foreign.to_owned()), None).await;
        assert_eq!(reply.status, 403, "{foreign}");
    }
    let own = from(format!("http://{}", server.address));
    let minted = http(server.address, "GET", path, &own, None).await.json();
    let token = minted["token"].as_str().expect("a token");
    let path = format!("/rtc/validate?access_token={token}");
    let verdict = http(server.address, "GET", &path, &[], None).await;
    assert_eq!(verdict.text(), "success");
    assert_eq!(
        http(server.address, "GET", "/plenum/token?room=r", &[], None)
            .await
            .status,
        400
    );
    assert_ne!(minted["identity"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_exported_on_their_own_port() {
    let mut config = config();
    config.prometheus.port = Some(0);
    let server = Server::start(config);
    let address = server.running.metrics_addresses[0];
    for path in ["/", "/metrics", "/anything"] {
        let reply = http(address, "GET", path, &[], None).await;
        assert_eq!(reply.status, 200);
        assert_eq!(
            reply.header("Content-Type"),
            Some("text/plain; version=0.0.4; charset=utf-8")
        );
        let text = reply.text();
        assert!(
            text.contains("# TYPE livekit_room_total gauge\nlivekit_room_total{node_id=\"ND_"),
            "{text}"
        );
        for name in ["packets_total{", "messages_lost_total{", "dropped_total{"] {
            assert!(text.contains(&format!("plenum_media_{name}")), "{text}");
        }
    }
    assert_eq!(
        http(server.address, "GET", "/metrics", &[], None).await.status,
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_ask_for_the_configured_password() {
    let mut config = config();
    config.prometheus.port = Some(0);
    config.prometheus.credentials = Some(("u".to_owned(), "p".to_owned()));
    let server = Server::start(config);
    let address = server.running.metrics_addresses[0];
    for (authorization, status) in [(None, 401), (Some("Basic dTp4"), 401), (Some("Basic dTpw"), 200)] {
        let headers: Vec<_> = authorization
            .map(|value| ("Authorization".to_owned(), value.to_owned()))
            .into_iter()
            .collect();
        let reply = http(address, "GET", "/metrics", &headers, None).await;
        assert_eq!(reply.status, status);
        let realm = (status == 401).then_some("Basic realm=\"Protected Area\"");
        assert_eq!(reply.header("WWW-Authenticate"), realm);
    }
}
