//! Every HTTP request: LiveKit's order of checks, then the handler of its path.

use super::{Edge, cors, page, path, signal, twirp};
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, ORIGIN, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use protocol::grants::Claims;
use protocol::join::{Endpoint, Purpose};
use protocol::query::Query;
use protocol::token;
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

/// A request that passed the common checks.
#[derive(Debug)]
pub struct Call {
    /// The request.
    pub request: Request,
    /// Clean path.
    pub path: String,
    /// Query.
    pub query: Query,
    /// Claims of its token, if it has one.
    pub claims: Option<Claims>,
    /// The other end of the TCP connection.
    pub peer: SocketAddr,
}

/// Handles a request.
pub async fn handle(edge: &Edge, peer: SocketAddr, request: Request) -> Response<Body> {
    if let Some(response) = cors::preflight(request.method(), request.headers()) {
        return response;
    }
    let origin = request.headers().get(ORIGIN).cloned();
    let wanted = path::strip_double_slash(request.uri().path()).to_owned();
    let passed = check(edge, &request);
    let open = matches!(wanted.as_str(), "/rtc/validate" | "/rtc/v1/validate");
    let mut response = match passed {
        Err(response) => *response,
        Ok((query, claims)) => {
            let clean = path::clean(&wanted);
            if clean == wanted {
                let call = Call {
                    request,
                    path: clean,
                    query,
                    claims,
                    peer,
                };
                dispatch(edge, call).await
            } else {
                redirect(request.method(), &clean, request.uri().query())
            }
        }
    };
    let open = open && response.status() != StatusCode::PAYLOAD_TOO_LARGE;
    cors::decorate(&mut response, origin.as_ref(), open);
    response
}

/// Body size and token: both come before routing.
fn check(edge: &Edge, request: &Request) -> Result<(Query, Option<Claims>), Box<Response<Body>>> {
    let limit = edge.config.limit.max_api_request_body_size;
    let length: Option<usize> =
        header(request.headers(), CONTENT_LENGTH.as_str()).and_then(|v| v.parse().ok());
    if limit > 0 && length.is_some_and(|length| length > limit) {
        return Err(Box::new(text(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request body too large",
        )));
    }
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let refuse = |error: token::TokenError| Box::new(text(StatusCode::UNAUTHORIZED, error.to_string()));
    let authorization = header(request.headers(), AUTHORIZATION.as_str());
    let found = token::find_token(authorization, query.get("access_token")).map_err(refuse)?;
    let claims = match found {
        None => None,
        Some(found) => {
            let now = crate::clock::unix().as_secs_f64();
            Some(token::verify(found, &edge.config.keys, now).map_err(refuse)?)
        }
    };
    Ok((query, claims))
}

async fn dispatch(edge: &Edge, call: Call) -> Response<Body> {
    match call.path.as_str() {
        "/rtc" => signal::connect(edge, Endpoint::V0, call).await,
        "/rtc/v1" => signal::connect(edge, Endpoint::V1, call).await,
        "/rtc/validate" => validate(edge, Endpoint::V0, call).await,
        "/rtc/v1/validate" => validate(edge, Endpoint::V1, call).await,
        path if path.starts_with("/twirp/") => twirp::handle(edge, call).await,
        "/" => page::page(edge, &call.request).unwrap_or_else(|| health(edge)),
        _ => page::asset(edge, &call).unwrap_or_else(not_found),
    }
}

/// Like the reference's when its node is not fit to serve.
fn health(edge: &Edge) -> Response<Body> {
    match edge.rooms.problem() {
        None => text(StatusCode::OK, "OK"),
        Some(problem) => text(StatusCode::NOT_ACCEPTABLE, format!("Not Ready\n{problem}")),
    }
}

/// Clients ask here why they did not get in.
async fn validate(edge: &Edge, endpoint: Endpoint, call: Call) -> Response<Body> {
    let checked = signal::check(
        edge,
        endpoint,
        Purpose::Validate,
        &call.query,
        call.claims.as_ref(),
    );
    match checked {
        Ok(wish) => match signal::refused_for_load(edge, &wish).await {
            None => text(StatusCode::OK, "success"),
            Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, reason),
        },
        Err(error) => text(status(error.status), error.text),
    }
}

/// A plain text response, no newline added.
pub fn text(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    respond(status, "text/plain; charset=utf-8", body)
}

/// A response with a content type.
pub fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The reference's 404.
#[must_use]
pub fn not_found() -> Response<Body> {
    let mut response = text(StatusCode::NOT_FOUND, "404 page not found\n");
    response
        .headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// 307 to a clean path, with a link for those who read it. Browsers read a backslash as a slash, and
/// skip control characters: `/\evil.example` would lead to another site.
#[must_use]
pub fn redirect(method: &Method, path: &str, query: Option<&str>) -> Response<Body> {
    let path: String = path.chars().map(escaped).collect();
    let target = match query {
        Some(query) => format!("{path}?{}", query.chars().map(escaped).collect::<String>()),
        None => path,
    };
    let mut response = if method == Method::GET || method == Method::HEAD {
        let escaped = target
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('\'', "&#39;")
            .replace('"', "&#34;");
        let link = format!("<a href=\"{escaped}\">Temporary Redirect</a>.\n\n");
        respond(StatusCode::TEMPORARY_REDIRECT, "text/html; charset=utf-8", link)
    } else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
        response
    };
    // A path that is no header value cannot have come in as a request line.
    if let Ok(location) = HeaderValue::from_str(&target) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// A character of a place to go to.
fn escaped(character: char) -> Cow<'static, str> {
    match character {
        '\\' => "%5C".into(),
        '"' => "%22".into(),
        control if u32::from(control) <= 0x20 || u32::from(control) == 0x7F => {
            format!("%{:02X}", u32::from(control)).into()
        }
        ascii if ascii.is_ascii() => ascii.to_string().into(),
        other => {
            let mut bytes = [0; 4];
            let bytes = other.encode_utf8(&mut bytes).bytes();
            bytes
                .map(|byte| format!("%{byte:02X}"))
                .collect::<String>()
                .into()
        }
    }
}

/// A status from our own tables.
#[must_use]
pub fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A header as text; one that is not text counts as absent.
#[must_use]
pub fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The client's address: the first that a proxy in front says, else the other end of the connection.
/// Only an address is kept, for as long as the client is there; anybody can send such headers.
#[must_use]
pub fn client_address(headers: &HeaderMap, peer: SocketAddr) -> String {
    ["cf-connecting-ip", "x-forwarded-for", "x-real-ip"]
        .into_iter()
        .filter_map(|name| header(headers, name))
        .find_map(|value| address_in(value.split(',').next()?.trim()))
        .unwrap_or_else(|| peer.ip())
        .to_canonical()
        .to_string()
}

/// Some proxies add the port.
fn address_in(text: &str) -> Option<IpAddr> {
    text.parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_is_kept_of_what_a_proxy_says() {
        let peer = SocketAddr::from(([192, 0, 2, 1], 5000));
        let told = |headers: &[(&'static str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, HeaderValue::from_str(value).expect("a header"));
            }
            client_address(&map, peer)
        };
        assert_eq!(told(&[]), "192.0.2.1");
        assert_eq!(told(&[("x-forwarded-for", "198.51.100.7")]), "198.51.100.7");
        assert_eq!(
            told(&[("x-forwarded-for", " 198.51.100.7 , 10.0.0.1")]),
            "198.51.100.7"
        );
        assert_eq!(told(&[("x-forwarded-for", "198.51.100.7:4711")]), "198.51.100.7");
        assert_eq!(told(&[("x-real-ip", "[2001:db8::1]:443")]), "2001:db8::1");
        assert_eq!(
            told(&[("x-forwarded-for", "::ffff:198.51.100.7")]),
            "198.51.100.7"
        );
        let both = [("cf-connecting-ip", "2001:db8::2"), ("x-real-ip", "198.51.100.7")];
        assert_eq!(told(&both), "2001:db8::2");
        let long = "1".repeat(900_000);
        for header in ["cf-connecting-ip", "x-forwarded-for", "x-real-ip"] {
            assert_eq!(told(&[(header, &long)]), "192.0.2.1");
        }
        assert_eq!(
            told(&[("cf-connecting-ip", &long), ("x-real-ip", "198.51.100.7")]),
            "198.51.100.7"
        );
    }
}
