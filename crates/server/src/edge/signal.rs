//! `/rtc` and `/rtc/v1`: checks, the way into a room, and the upgrade, which waits for the room's
//! first answer.

use super::http::{Call, client_address, header, status, text};
use super::socket::Agreed;
use super::{Edge, OpenSocket, deflate, socket};
use crate::clock;
use crate::rooms::{OpenError, RoomWish};
use crate::shell::http_server::Permit;
use crate::shell::mailbox::Line;
use crate::shell::outgoing::{Outgoing, OutgoingReceiver, outgoing};
use crate::shell::room_task::Input;
use crate::shell::signal_message::SignalMessage;
use axum::body::Body;
use axum::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE, USER_AGENT, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use protocol::grants::Claims;
use protocol::join::{Endpoint, JoinError, JoinParameters, Purpose, Rules, check_join};
use protocol::query::Query;
use room::action::{Resume, Settings};
use room::{ApiCall, Join};
use std::sync::Arc;
use std::time::Duration;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Tries to get a first answer from a room: a room may just be closing.
const ATTEMPTS: u32 = 3;

/// Patience for the first answer; each further try waits a second longer.
const FIRST_ANSWER: Duration = Duration::from_secs(3);

/// Body of the HTTP error for joins that find too much waiting to be sent.
const BUSY: &str = "too much waits to be sent, try again";

/// Body of the HTTP error for joins that need one room more than there may be.
const TOO_MANY_ROOMS: &str = "too many rooms";

/// The checks of the `/rtc` paths.
///
/// # Errors
/// The HTTP error.
pub fn check(
    edge: &Edge,
    endpoint: Endpoint,
    purpose: Purpose,
    query: &Query,
    claims: Option<&Claims>,
) -> Result<JoinParameters, JoinError> {
    let rules = Rules {
        identity_bytes_max: edge.config.limit.max_participant_identity_length,
        room_name_bytes_max: edge.config.limit.max_room_name_length,
        auto_create: edge.config.room.auto_create,
        room_exists: &|name| edge.rooms.exists(name),
    };
    check_join(endpoint, purpose, query, claims, &rules)
}

/// A connect: answers with the switch to WebSocket or an error.
pub async fn connect(edge: &Edge, endpoint: Endpoint, call: Call) -> Response<Body> {
    let (mut parts, _) = call.request.into_parts();
    if !wants_upgrade(&parts.headers) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    }
    let checked = check(
        edge,
        endpoint,
        Purpose::Connect,
        &call.query,
        call.claims.as_ref(),
    );
    let mut wish = match checked {
        Ok(wish) => wish,
        Err(error) => return text(status(error.status), error.text),
    };
    let address = client_address(&parts.headers, call.peer);
    wish.complete_client(
        &address,
        header(&parts.headers, USER_AGENT.as_str()).unwrap_or_default(),
    );
    if let Some(problem) = handshake_problem(&parts.headers) {
        return bad_handshake(problem);
    }
    let Some(upgrade) = parts.extensions.remove::<OnUpgrade>() else {
        return bad_handshake("websocket: not a websocket handshake");
    };
    match open_session(edge, &wish).await {
        Ok(session) => {
            let permit = parts.extensions.remove::<Permit>();
            if permit.as_ref().is_some_and(|permit| !permit.switch()) {
                edge.counters.connections_refused.add();
                return text(StatusCode::SERVICE_UNAVAILABLE, "too many connections");
            }
            edge.counters.signal_connections.add();
            let agreed = Agreed {
                deflate: deflate_offered(&parts.headers),
                limit: match edge.config.limit.signal_message_size_limit {
                    0 => usize::MAX,
                    limit => limit,
                },
            };
            tokio::spawn(socket::run(edge.clone(), session, upgrade, agreed, permit));
            switch(&parts.headers, agreed)
        }
        Err((status, problem)) => text(status, problem),
    }
}

/// Why a join would be refused because the server has no time, or no memory, for it: as told to who
/// asks before joining. Nothing is counted, and no room is made.
pub(super) async fn refused_for_load(edge: &Edge, wish: &JoinParameters) -> Option<&'static str> {
    let busy = edge.rooms.is_full();
    if !edge.rooms.exists(&wish.room) {
        if busy {
            return Some(room::NODE_FULL);
        }
        return edge.rooms.has_all_rooms().then_some(TOO_MANY_ROOMS);
    }
    if !busy {
        return None;
    }
    // Who is in the room may come back.
    let identity = wish.claims.identity.clone();
    let present = edge.rooms.call(&wish.room, ApiCall::GetParticipant { identity });
    let present = tokio::time::timeout(FIRST_ANSWER, present).await;
    (!matches!(present, Ok(Ok(_)))).then_some(room::NODE_FULL)
}

/// A session that a room has answered.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) line: Line,
    pub(super) outgoing: OutgoingReceiver,
    pub(super) open: OpenSocket,
    pub(super) first: Arc<SignalMessage>,
}

/// A token's rest is not counted any longer than this: ten years. Some tokens end in some billion
/// years, which no clock can add.
const REMAINING_S_MAX: u64 = 10 * 365 * 24 * 60 * 60;

async fn open_session(edge: &Edge, wish: &JoinParameters) -> Result<Session, (StatusCode, String)> {
    let failed = |text: String| (StatusCode::INTERNAL_SERVER_ERROR, text);
    let mut problem = "connection closed by media".to_owned();
    let grants_creation = wish.claims.video.as_ref().is_some_and(|grant| grant.room_create);
    let may_create = edge.config.room.auto_create || grants_creation;
    // Nobody is there who might come back.
    if edge.rooms.is_full() && !edge.rooms.exists(&wish.room) {
        edge.counters.joins_refused.add();
        return Err((StatusCode::SERVICE_UNAVAILABLE, room::NODE_FULL.to_owned()));
    }
    for attempt in 0..ATTEMPTS {
        let opened = edge.rooms.open(&wish.room, &room_wish(&wish.claims), may_create);
        let room = match opened {
            Ok(room) => room,
            // It was there when the request was checked.
            Err(OpenError::NotFound) => {
                let text = "requested room does not exist".to_owned();
                return Err((StatusCode::NOT_FOUND, text));
            }
            Err(OpenError::Full) => {
                edge.counters.joins_refused.add();
                return Err((StatusCode::SERVICE_UNAVAILABLE, TOO_MANY_ROOMS.to_owned()));
            }
            Err(OpenError::Stopping | OpenError::UnknownPreset) => break,
        };
        let connection = edge.next_connection();
        let (sender, mut outgoing) = outgoing();
        let input = Input::Join {
            join: Box::new(join_of(edge, connection, wish)),
            outgoing: sender,
        };
        if room.call(input).await.is_err() {
            continue;
        }
        let mut line = room.line(connection);
        let patience = FIRST_ANSWER + Duration::from_secs(attempt.into());
        let answer = tokio::time::timeout(patience, outgoing.recv()).await;
        match answer.map(|taken| taken.map(|taken| taken.outgoing)) {
            Ok(Some(Outgoing::Message(first))) => {
                line.answered();
                return Ok(Session {
                    line,
                    open: edge.sockets.open(),
                    outgoing,
                    first,
                });
            }
            Ok(Some(Outgoing::Refuse(text))) => {
                tracing::debug!(reason = text, "join refused");
                if text == room::NODE_FULL {
                    return Err((StatusCode::SERVICE_UNAVAILABLE, text));
                }
                return Err(failed(text));
            }
            Ok(Some(Outgoing::Busy)) => {
                return Err((StatusCode::SERVICE_UNAVAILABLE, BUSY.to_owned()));
            }
            Ok(Some(Outgoing::Close) | None) => {
                "connection closed by media".clone_into(&mut problem);
            }
            Err(_) => "timed out while waiting for signal response".clone_into(&mut problem),
        }
    }
    Err(failed(problem))
}

fn room_wish(claims: &Claims) -> RoomWish {
    let settings = claims.room_config.clone();
    RoomWish {
        // The token's verification has already read it once.
        settings: settings
            .and_then(|value| serde_json::from_value(value).ok())
            .unwrap_or_default(),
        preset: claims.room_preset.clone(),
    }
}

fn join_of(edge: &Edge, connection: room::ConnectionId, wish: &JoinParameters) -> Join {
    let remaining = wish.claims.expires_at_s.saturating_sub(clock::now().unix_s());
    Join {
        connection,
        claims: wish.claims.clone(),
        sender_only: wish.sender_only,
        client: wish.client.clone(),
        settings: settings_of(wish, edge.config.rtc.allow_pause),
        single_peer_connection: wish.single_peer_connection,
        metadata: wish.metadata.clone(),
        attributes: wish.attributes.clone(),
        add_tracks: wish.add_tracks.clone(),
        publisher_offer: wish.publisher_offer.clone(),
        resume: wish.resume.clone().map(|(participant_sid, reason)| Resume {
            participant_sid,
            reason,
        }),
        placement: edge.rooms.place(&wish.room),
        token_remaining_s: u64::try_from(remaining).unwrap_or(0).min(REMAINING_S_MAX),
        full: edge.rooms.is_full(),
    }
}

/// What the client does not say about pausing, `rtc.congestion_control.allow_pause` does.
fn settings_of(wish: &JoinParameters, allow_pause: bool) -> Settings {
    Settings {
        auto_subscribe: wish.auto_subscribe,
        auto_subscribe_data_track: wish.auto_subscribe_data_track,
        adaptive_stream: wish.adaptive_stream,
        allow_pause: wish.subscriber_allow_pause.unwrap_or(allow_pause),
        disable_ice_lite: wish.disable_ice_lite,
    }
}

fn wants_upgrade(headers: &HeaderMap) -> bool {
    let has = |name: &str, wanted: &str| {
        header(headers, name).is_some_and(|value| {
            value
                .split(',')
                .any(|item| item.trim().eq_ignore_ascii_case(wanted))
        })
    };
    has(CONNECTION.as_str(), "upgrade") && has(UPGRADE.as_str(), "websocket")
}

/// What is wrong with a handshake, in the reference's words.
fn handshake_problem(headers: &HeaderMap) -> Option<&'static str> {
    if header(headers, SEC_WEBSOCKET_VERSION.as_str()) != Some("13") {
        return Some("websocket: unsupported version: 13 not found in 'Sec-Websocket-Version' header");
    }
    // 16 bytes in base64.
    let key = header(headers, SEC_WEBSOCKET_KEY.as_str()).unwrap_or_default();
    let plausible = key.len() == 24
        && key.ends_with("==")
        && key
            .bytes()
            .take(22)
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/');
    (!plausible).then_some(
        "websocket: not a websocket handshake: 'Sec-WebSocket-Key' header must be Base64 encoded value of \
         16-byte in length",
    )
}

/// Some send several headers where one list would do.
fn deflate_offered(headers: &HeaderMap) -> bool {
    headers
        .get_all(SEC_WEBSOCKET_EXTENSIONS)
        .iter()
        .any(|value| value.to_str().is_ok_and(deflate::is_offered))
}

/// The switch to WebSocket.
fn switch(headers: &HeaderMap, agreed: Agreed) -> Response<Body> {
    let key = header(headers, SEC_WEBSOCKET_KEY.as_str()).unwrap_or_default();
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).expect("base64 fits in a header");
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if agreed.deflate {
        headers.insert(
            SEC_WEBSOCKET_EXTENSIONS,
            HeaderValue::from_static(deflate::ACCEPTED),
        );
    }
    response
}

fn bad_handshake(problem: &str) -> Response<Body> {
    let mut response = text(StatusCode::BAD_REQUEST, format!("Bad Request\n{problem}"));
    let headers = response.headers_mut();
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE;
    use prost::Message as _;
    use protocol::grants::VideoGrant;
    use protocol::proto;

    fn wish(settings: proto::ConnectionSettings) -> JoinParameters {
        let request = proto::JoinRequest {
            connection_settings: Some(settings),
            ..Default::default()
        };
        let wrapped = proto::WrappedJoinRequest {
            join_request: request.encode_to_vec(),
            ..Default::default()
        };
        let wrapped = URL_SAFE.encode(wrapped.encode_to_vec());
        checked(Endpoint::V1, &format!("join_request={wrapped}"))
    }

    fn checked(endpoint: Endpoint, query: &str) -> JoinParameters {
        let claims = Claims {
            identity: "alice".to_owned(),
            video: Some(VideoGrant {
                room_join: true,
                room: "r".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let rules = Rules {
            identity_bytes_max: 256,
            room_name_bytes_max: 256,
            auto_create: true,
            room_exists: &|_| false,
        };
        check_join(
            endpoint,
            Purpose::Validate,
            &Query::parse(query),
            Some(&claims),
            &rules,
        )
        .expect("a plain join")
    }

    #[test]
    fn a_join_request_that_says_nothing_about_pausing_gets_the_configured_default() {
        for (said, configured, allowed) in [
            (None, false, false),
            (None, true, true),
            (Some(false), true, false),
            (Some(true), false, true),
        ] {
            let wish = wish(proto::ConnectionSettings {
                subscriber_allow_pause: said,
                ..Default::default()
            });
            assert_eq!(
                settings_of(&wish, configured).allow_pause,
                allowed,
                "{said:?} {configured}"
            );
        }
    }

    #[test]
    fn a_query_that_says_nothing_about_pausing_gets_the_configured_default() {
        for (query, configured, allowed) in [
            ("", false, false),
            ("", true, true),
            ("subscriber_allow_pause=", true, true),
            ("subscriber_allow_pause=0", true, false),
            ("subscriber_allow_pause=false", true, false),
            ("subscriber_allow_pause=1", false, true),
            ("subscriber_allow_pause=true", false, true),
        ] {
            let wish = checked(Endpoint::V0, &format!("auto_subscribe=1&{query}"));
            assert_eq!(
                settings_of(&wish, configured).allow_pause,
                allowed,
                "{query} {configured}"
            );
        }
    }
}
