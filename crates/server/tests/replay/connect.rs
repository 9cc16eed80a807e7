//! How clients that are played connect: the server they find, and the address that they ask for.

use super::compare::Learnt;
use super::{mint, percent, text_of, wrapped};
use crate::common::{Server, config};
use serde_json::Value;
use std::net::Ipv4Addr;

/// A server with a single candidate, as the recorded one had.
pub fn server() -> Server {
    let mut config = config();
    config.rtc.node_ip = vec![Ipv4Addr::LOCALHOST.into()];
    Server::start(config)
}

/// Path and query of a recorded `connect`, with a live token. `request` is its join request, ready to
/// be sent.
///
/// # Errors
/// When that is none.
pub fn path(case: &Value, frame: &Value, learnt: &Learnt, request: Option<Value>) -> Result<String, String> {
    let mut path = format!("{}?", text_of(&frame["connect"]));
    for (name, value) in frame["query"].as_object().into_iter().flatten() {
        let value = learnt.fill(&text_of(value));
        path.push_str(&format!("{name}={}&", percent(&value)));
    }
    if let Some(request) = request {
        let request = serde_json::from_value(request).map_err(|error| error.to_string())?;
        let gzip = frame["compression"] == "GZIP";
        path.push_str(&format!("join_request={}&", percent(&wrapped(&request, gzip))));
    }
    let mut claims = case["tokens"][text_of(&frame["token"])].clone();
    if let Some(claims) = claims.as_object_mut() {
        for name in ["alg", "nbf", "iat"] {
            claims.remove(name);
        }
    }
    path.push_str(&format!("access_token={}", mint(claims)));
    Ok(path)
}
