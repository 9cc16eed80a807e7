//! Recorded HTTP cases, replayed against a running server.
#![allow(missing_docs, reason = "tests")]

mod common;

use common::{Server, cases, config, http, replay};
use serde_json::Value;

/// Cases whose name has all of these words; at least one.
async fn replay_where(server: &Server, text: &str, wanted: impl Fn(&str) -> bool) {
    let mut count = 0;
    for case in cases(text) {
        if wanted(case["name"].as_str().expect("a name")) {
            replay(server.address, &case, "").await;
            count += 1;
        }
    }
    assert!(count > 0, "no case fits");
}

const VALIDATE: &str = include_str!("vectors/validate.json");
const SURFACE: &str = include_str!("vectors/surface.json");
const LIMITS: &str = include_str!("vectors/limits.json");

#[tokio::test(flavor = "multi_thread")]
async fn validate_answers_every_token_as_recorded() {
    let server = Server::start(config());
    replay_where(&server, VALIDATE, |name| {
        !name.contains("connect") && !name.contains("upgrade")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_without_upgrade_is_not_found() {
    let server = Server::start(config());
    replay_where(&server, VALIDATE, |name| name.contains("connect")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_come_before_the_upgrade_as_recorded() {
    let server = Server::start(config());
    replay_where(&server, VALIDATE, |name| name.contains("upgrade")).await;
    assert_eq!(server.running.counters.signal_connections.get(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_health_and_cors_are_as_recorded() {
    let server = Server::start(config());
    replay_where(&server, SURFACE, |_| true).await;
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
    replay_where(&server, LIMITS, |_| true).await;
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
        assert!(text.contains("plenum_media_packets_total{"), "{text}");
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
