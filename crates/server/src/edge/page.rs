//! The page: built from `web/`, embedded in the binary, served in development or when switched on,
//! together with the tokens it needs.

use super::Edge;
use super::http::{Call, header, respond, status, text};
use crate::clock;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ACCEPT, CACHE_CONTROL, HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Method, Response, StatusCode};
use protocol::grants::{Claims, VideoGrant};
use protocol::token;
use rust_embed::RustEmbed;
use serde_json::json;
use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Validity of a token of the page. A call lasts as long as it lasts: the server refreshes tokens.
const TOKEN_VALID_S: u64 = 6 * 60 * 60;

/// Shown instead of a page that was not built.
const NOT_BUILT: &str = "<!doctype html><meta charset=\"utf-8\"><title>Plenum</title>\
    <p>The page is not built yet: run <code>cargo xtask dev</code>.";

#[derive(RustEmbed)]
#[folder = "../../web/dist"]
#[allow_missing = true]
struct Files;

/// The page for a browser that asks for `/`. `None`: the health answer is wanted.
#[must_use]
pub fn page(edge: &Edge, request: &Request) -> Option<Response<Body>> {
    let browser =
        header(request.headers(), ACCEPT.as_str()).is_some_and(|accept| accept.contains("text/html"));
    if !browser || !edge.config.page_enabled() || request.method() != Method::GET {
        return None;
    }
    Some(file("index.html").unwrap_or_else(|| respond(StatusCode::OK, "text/html; charset=utf-8", NOT_BUILT)))
}

/// A file of the page, or a token. `None`: not ours.
#[must_use]
pub fn asset(edge: &Edge, call: &Call) -> Option<Response<Body>> {
    let method = call.request.method();
    if !edge.config.page_enabled() || (method != Method::GET && method != Method::HEAD) {
        return None;
    }
    if call.path == "/plenum/token" {
        return Some(mint(edge, call));
    }
    let name = call.path.trim_start_matches('/');
    if name == "index.html" {
        return None;
    }
    file(name)
}

fn file(name: &str) -> Option<Response<Body>> {
    let file = Files::get(name)?;
    let mut response = respond(
        StatusCode::OK,
        content_type(name),
        match file.data {
            // A slow reader costs no copy.
            Cow::Borrowed(data) => Body::from(data),
            Cow::Owned(data) => Body::from(data),
        },
    );
    // Vite puts a hash of the content into the names below assets/.
    let cache = if name.starts_with("assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    Some(response)
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "json" | "map" | "webmanifest" => "application/json",
        "wasm" => "application/wasm",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

/// Whether a script of another site asks: a browser then names its origin. CORS is open to all, as
/// LiveKit's clients need, so without this every site that a developer visits could join.
fn foreign(request: &Request) -> bool {
    let headers = request.headers();
    let host = header(headers, HOST.as_str()).unwrap_or_default();
    header(headers, ORIGIN.as_str())
        .is_some_and(|origin| origin.split_once("://").is_none_or(|(_, name)| name != host))
}

/// Whether the request came by an address, by `localhost` or by a configured name. Any other name may
/// be one that a foreign site's owner lets point here, so that browsers take us for a part of the site
/// (DNS rebinding). What a proxy says of the name is not asked for: anybody can say it.
fn by_known_name(request: &Request, names: &[String]) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let authority = request.uri().authority().map(Authority::as_str);
    let known = |host: &str| is_known(host, names);
    host.to_str().is_ok_and(known) && authority.is_none_or(known)
}

/// A host with or without a port.
fn is_known(host: &str, names: &[String]) -> bool {
    let is_port = |port: &str| !port.is_empty() && port.parse::<u16>().is_ok();
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(address, port)| {
            let port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            port && address.parse::<Ipv6Addr>().is_ok()
        });
    }
    let name = match host.split_once(':') {
        Some((name, port)) if is_port(port) => name,
        Some(_) => return false,
        None => host,
    };
    let plain = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let name = plain(name);
    name.parse::<Ipv4Addr>().is_ok()
        || name == "localhost"
        || name
            .strip_suffix(".localhost")
            .is_some_and(|rest| !rest.is_empty())
        || (!name.is_empty() && names.iter().any(|known| plain(known) == name))
}

/// `GET /plenum/token?room=&name=` → a token for that room. The identity gets a random tail, so
/// that two people of one name do not push each other out.
fn mint(edge: &Edge, call: &Call) -> Response<Body> {
    if foreign(&call.request) {
        return text(
            StatusCode::FORBIDDEN,
            "only this server's own page gets tokens here",
        );
    }
    if !by_known_name(&call.request, &edge.config.plenum.page_hosts) {
        return text(
            StatusCode::FORBIDDEN,
            "this name is not among plenum.page.hosts of the server's configuration",
        );
    }
    let room = call.query.text("room");
    let name = call.query.text("name");
    let limit = &edge.config.limit;
    if room.is_empty() || name.is_empty() {
        return text(StatusCode::BAD_REQUEST, "room and name are required");
    }
    let longer = |text: &str, max: usize| max > 0 && text.len() > max;
    if longer(room, limit.max_room_name_length) || longer(name, limit.max_participant_name_length) {
        return text(StatusCode::BAD_REQUEST, "room or name is too long");
    }
    let tail = protocol::ids::sid("", clock::random_u128());
    let mut end = name.len().min(64);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    let identity = format!(
        "{}-{}",
        name.get(..end).unwrap_or_default(),
        tail.get(..6).unwrap_or_default()
    );
    let claims = Claims {
        identity: identity.clone(),
        name: name.to_owned(),
        video: Some(VideoGrant {
            room_join: true,
            room: room.to_owned(),
            can_update_own_metadata: Some(true),
            ..VideoGrant::default()
        }),
        ..Claims::default()
    };
    let now = clock::now().unix_s();
    match token::sign(&edge.config.keys, &claims, now, TOKEN_VALID_S) {
        Some(token) => {
            let body = json!({"token": token, "identity": identity, "room": room});
            let mut response = respond(StatusCode::OK, "application/json", body.to_string());
            response
                .headers_mut()
                .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        None => text(status(500), "no API key"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_others_may_let_point_here_are_not_known() {
        let names = ["Plenum.example.com.".to_owned()];
        for (host, known) in [
            ("127.0.0.1", true),
            ("192.0.2.7:7880", true),
            ("[::1]", true),
            ("[2001:db8::1]:80", true),
            ("localhost", true),
            ("LocalHost:7880", true),
            ("localhost.:7880", true),
            ("a.localhost", true),
            ("plenum.example.com", true),
            ("PLENUM.example.com.:443", true),
            ("evil.example", false),
            ("evil.example:7880", false),
            ("localhost.evil.example", false),
            ("evillocalhost", false),
            (".localhost", false),
            ("127.0.0.1.evil.example", false),
            ("127.1", false),
            ("2130706433", false),
            ("x.plenum.example.com", false),
            ("user@localhost", false),
            ("localhost:", false),
            ("localhost:x", false),
            ("localhost:1:2", false),
            ("localhost..", false),
            ("[::1", false),
            ("[::1]x", false),
            ("[localhost]", false),
            ("::1", false),
            (".", false),
            ("", false),
        ] {
            assert_eq!(is_known(host, &names), known, "{host}");
        }
    }

    #[test]
    fn a_request_names_one_host_and_its_uri_no_other() {
        let request = |uri: &str, hosts: &[&str]| {
            let builder = hosts.iter().fold(Request::builder().uri(uri), |builder, host| {
                builder.header(HOST, *host)
            });
            by_known_name(&builder.body(Body::empty()).expect("a request"), &[])
        };
        assert!(request("/", &["localhost"]));
        assert!(!request("/", &[]));
        assert!(!request("/", &["localhost", "evil.example"]));
        assert!(!request("http://evil.example/", &["localhost"]));
        assert!(request("http://localhost/", &["localhost"]));
    }
}
