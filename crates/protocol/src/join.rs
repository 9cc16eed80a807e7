//! A wish to join: parameters of `/rtc` and `/rtc/v1`, and the checks before the upgrade.
//!
//! Owns the order of the checks, their statuses and texts. Must not know: HTTP types, rooms.

use crate::client::{bounded_client, client_of_query, complete_client};
use crate::decoded::{self, Bounds, DecodeError};
use crate::grants::Claims;
use crate::lenient::mend;
use crate::proto;
use crate::proto::wrapped_join_request::Compression;
use crate::query::Query;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use prost::Message;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

/// Bound of a join request, wrapped and unwrapped, bytes (the reference's header limit).
pub const JOIN_REQUEST_BYTES_MAX: usize = 1 << 20;

/// Most tracks that a join request may announce: more than a room takes at once.
pub const ADD_TRACKS_MAX: usize = 32;

/// Longest suffix of `publish`, bytes. Clients use a word or a number; it becomes part of an identity
/// that everybody in the room is told.
pub const SUFFIX_BYTES_MAX: usize = 64;

/// Which path was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/rtc`: query parameters, unless there is a `join_request`.
    V0,
    /// `/rtc/v1`: `join_request` is required.
    V1,
}

/// What the request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A WebSocket.
    Connect,
    /// Only the verdict.
    Validate,
}

/// What the checks need to know of the server.
pub struct Rules<'a> {
    /// Longest identity, bytes; 0 = unlimited.
    pub identity_bytes_max: usize,
    /// Longest room name, bytes; 0 = unlimited.
    pub room_name_bytes_max: usize,
    /// `room.auto_create`.
    pub auto_create: bool,
    /// Whether a room exists.
    pub room_exists: &'a dyn Fn(&str) -> bool,
}

impl fmt::Debug for Rules<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("auto_create", &self.auto_create)
            .finish_non_exhaustive()
    }
}

/// The HTTP error that refuses a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinError {
    /// HTTP status.
    pub status: u16,
    /// Body.
    pub text: String,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for JoinError {}

/// A request that passed all checks.
#[derive(Clone, Debug)]
pub struct JoinParameters {
    /// The token's claims, with `publish` applied.
    pub claims: Claims,
    /// `publish` was applied: another session of the same token.
    pub sender_only: bool,
    /// Room to join.
    pub room: String,
    /// Client info.
    pub client: proto::ClientInfo,
    /// A join request was used.
    pub single_peer_connection: bool,
    /// Subscribe to every track.
    pub auto_subscribe: bool,
    /// Subscribe to every data track.
    pub auto_subscribe_data_track: bool,
    /// Adaptive stream.
    pub adaptive_stream: bool,
    /// Overrides the configured default.
    pub subscriber_allow_pause: Option<bool>,
    /// No ICE-lite.
    pub disable_ice_lite: bool,
    /// Replaces the token's metadata.
    pub metadata: Option<String>,
    /// Merged over the token's.
    pub attributes: Vec<(String, String)>,
    /// Tracks to announce at once.
    pub add_tracks: Vec<proto::AddTrackRequest>,
    /// Offer to answer at once.
    pub publisher_offer: Option<proto::SessionDescription>,
    /// `reconnect`: participant SID and reason.
    pub resume: Option<(String, i32)>,
}

/// Checks a request on one of the `/rtc` paths.
///
/// # Errors
/// The first check that fails, in the reference's order.
pub fn check_join(
    endpoint: Endpoint,
    purpose: Purpose,
    query: &Query,
    claims: Option<&Claims>,
    rules: &Rules<'_>,
) -> Result<JoinParameters, JoinError> {
    let denied = || refuse(401, "no permissions to access the room");
    let claims = claims.ok_or_else(denied)?;
    let grant = claims.video.as_ref().ok_or_else(denied)?;
    let mut wish = read_wish(endpoint, purpose, query, claims)?;
    if !grant.room_join {
        return Err(refuse(401, "permissions denied"));
    }
    if claims.identity.is_empty() {
        return Err(refuse(400, "identity cannot be empty"));
    }
    within("participant identity", &claims.identity, rules.identity_bytes_max)?;
    if grant.room.is_empty() {
        return Err(refuse(400, "no room name"));
    }
    within("room name", &grant.room, rules.room_name_bytes_max)?;
    if !wish.single_peer_connection && !query.text("publish").is_empty() {
        publish_only(&mut wish.claims, query.text("publish"))?;
        within(
            "participant identity",
            &wish.claims.identity,
            rules.identity_bytes_max,
        )?;
        wish.sender_only = true;
    }
    if !rules.auto_create && !grant.room_create && !(rules.room_exists)(&grant.room) {
        return Err(refuse(404, "requested room does not exist"));
    }
    let touches_own = wish.metadata.is_some() || !wish.attributes.is_empty();
    if touches_own && !grant.can_update_own_metadata.unwrap_or(false) {
        return Err(denied());
    }
    wish.attributes.retain(|(_, value)| !value.is_empty());
    Ok(wish)
}

impl JoinParameters {
    /// Adds what only the connection tells: address and User-Agent.
    pub fn complete_client(&mut self, address: &str, user_agent: &str) {
        complete_client(&mut self.client, address, user_agent);
    }
}

fn refuse(status: u16, text: &str) -> JoinError {
    JoinError {
        status,
        text: text.to_owned(),
    }
}

fn within(what: &str, value: &str, max: usize) -> Result<(), JoinError> {
    if max == 0 || value.len() <= max {
        return Ok(());
    }
    Err(refuse(
        400,
        &format!("{what} length exceeds limits: max length {max}"),
    ))
}

/// `publish=<suffix>`: a second session of the same user that only sends.
fn publish_only(claims: &mut Claims, suffix: &str) -> Result<(), JoinError> {
    within("publish suffix", suffix, SUFFIX_BYTES_MAX)?;
    let Some(grant) = claims.video.as_mut().filter(|grant| grant.may_publish()) else {
        return Err(refuse(401, "no permissions to access the room"));
    };
    grant.can_subscribe = Some(false);
    claims.identity = format!("{}#{suffix}", claims.identity);
    Ok(())
}

fn read_wish(
    endpoint: Endpoint,
    purpose: Purpose,
    query: &Query,
    claims: &Claims,
) -> Result<JoinParameters, JoinError> {
    let wrapped = query.text("join_request");
    if !wrapped.is_empty() {
        let request = decode_join_request(wrapped)?;
        let tracks = request.add_track_requests.len();
        if tracks > ADD_TRACKS_MAX {
            let text = format!("{tracks} tracks in join_request, at most {ADD_TRACKS_MAX}");
            return Err(refuse(400, &text));
        }
        return Ok(wish_of_request(request, claims));
    }
    if endpoint == Endpoint::V1 {
        return Err(refuse(400, "join_request is required"));
    }
    let attributes = match decode_attributes(query.text("attributes")) {
        Some(attributes) => attributes,
        None if purpose == Purpose::Validate => return Err(refuse(400, "cannot decode attributes")),
        None => Vec::new(),
    };
    Ok(wish_of_query(query, claims, attributes))
}

fn wish_of_query(query: &Query, claims: &Claims, attributes: Vec<(String, String)>) -> JoinParameters {
    let resume = query.flag("reconnect").unwrap_or(false);
    JoinParameters {
        sender_only: false,
        room: room_of(claims),
        claims: claims.clone(),
        client: bounded_client(client_of_query(query)),
        single_peer_connection: false,
        auto_subscribe: query.flag("auto_subscribe").unwrap_or(true),
        auto_subscribe_data_track: query.flag("auto_subscribe_data_track").unwrap_or(false),
        adaptive_stream: query.flag("adaptive_stream").unwrap_or(false),
        subscriber_allow_pause: query.flag("subscriber_allow_pause"),
        disable_ice_lite: query.flag("disable_ice_lite").unwrap_or(false),
        metadata: None,
        attributes,
        add_tracks: Vec::new(),
        publisher_offer: None,
        resume: resume.then(|| (query.text("sid").to_owned(), query.number("reconnect_reason"))),
    }
}

fn wish_of_request(request: proto::JoinRequest, claims: &Claims) -> JoinParameters {
    let settings = request.connection_settings.unwrap_or_default();
    let mut attributes: Vec<_> = request.participant_attributes.into_iter().collect();
    attributes.sort();
    JoinParameters {
        sender_only: false,
        room: room_of(claims),
        claims: claims.clone(),
        client: bounded_client(request.client_info.unwrap_or_default()),
        single_peer_connection: true,
        auto_subscribe: settings.auto_subscribe,
        auto_subscribe_data_track: settings.auto_subscribe_data_track.unwrap_or(false),
        adaptive_stream: settings.adaptive_stream,
        subscriber_allow_pause: settings.subscriber_allow_pause,
        disable_ice_lite: settings.disable_ice_lite,
        metadata: Some(request.metadata).filter(|metadata| !metadata.is_empty()),
        attributes,
        add_tracks: request.add_track_requests,
        publisher_offer: request.publisher_offer,
        resume: request
            .reconnect
            .then_some((request.participant_sid, request.reconnect_reason)),
    }
}

fn room_of(claims: &Claims) -> String {
    claims
        .video
        .as_ref()
        .map(|grant| grant.room.clone())
        .unwrap_or_default()
}

/// base64-url of a JSON object of texts. `None`: not decodable.
fn decode_attributes(text: &str) -> Option<Vec<(String, String)>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let json = URL_SAFE.decode(text).ok()?;
    let attributes: BTreeMap<String, String> = serde_json::from_str(&mend(&json)).ok()?;
    Some(attributes.into_iter().collect())
}

fn decode_join_request(text: &str) -> Result<proto::JoinRequest, JoinError> {
    let bad = |text| refuse(400, text);
    if text.len() > JOIN_REQUEST_BYTES_MAX {
        return Err(bad("join request too large"));
    }
    let wrapped = URL_SAFE
        .decode(text)
        .map_err(|_| bad("cannot base64 decode wrapped join request"))?;
    let wrapped = proto::WrappedJoinRequest::decode(wrapped.as_slice())
        .map_err(|_| bad("cannot unmarshal wrapped join request"))?;
    let bytes = match Compression::try_from(wrapped.compression) {
        Ok(Compression::None) => wrapped.join_request,
        Ok(Compression::Gzip) => gunzip(&wrapped.join_request)?,
        // The reference reads nothing then: an empty request.
        Err(_) => Vec::new(),
    };
    let read = decoded::decode(&bytes, &Bounds::CLIENT);
    read.map(|(request, _)| request).map_err(|error| match error {
        DecodeError::Malformed => bad("cannot unmarshal join request"),
        DecodeError::TooLarge => bad("join request too large"),
    })
}

/// Decompresses, never more than the bound and one byte.
fn gunzip(data: &[u8]) -> Result<Vec<u8>, JoinError> {
    let mut bytes = Vec::new();
    let bound = u64::try_from(JOIN_REQUEST_BYTES_MAX).unwrap_or(u64::MAX);
    flate2::read::MultiGzDecoder::new(data)
        .take(bound.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|_| refuse(400, "cannot read decompressed join request"))?;
    if bytes.len() > JOIN_REQUEST_BYTES_MAX {
        return Err(refuse(400, "join request too large"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
