//! What a stranger with a token can put into the query of `/rtc` and `/rtc/v1`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;
use protocol::grants::{Claims, VideoGrant};
use protocol::join::{ADD_TRACKS_MAX, Endpoint, JoinError, JoinParameters, Purpose, Rules, check_join};
use protocol::proto;
use protocol::query::Query;
use std::io::Write;

/// The first byte says what the rest is: a query, a wrapped join request, the compressed inside of
/// one, or the join request itself.
pub(crate) fn join_request(data: &[u8]) {
    let _ = join_wish(data);
}

/// As the target; what was asked for, if it was accepted.
pub(crate) fn join_wish(data: &[u8]) -> Option<JoinParameters> {
    let (kind, rest) = data.split_first()?;
    match kind % 4 {
        0 => {
            let query = String::from_utf8_lossy(rest);
            let _ = checked(Endpoint::V1, &query);
            checked(Endpoint::V0, &query)
        }
        1 => wrapped(rest),
        2 => wrapped(&wrap(true, rest.to_vec())),
        _ => whole(rest),
    }
    .ok()
}

/// A join request says the same plain and compressed, and what it says is what was written.
fn whole(request: &[u8]) -> Result<JoinParameters, JoinError> {
    let compressed = wrapped(&wrap(true, gzip(request, Compression::fast())));
    // An empty message is no parameter.
    let plain = match request {
        [] => compressed.clone(),
        _ => wrapped(&wrap(false, request.to_vec())),
    };
    let Ok(request) = proto::JoinRequest::decode(request) else {
        assert!(
            plain.is_err() && compressed.is_err(),
            "what is no request is refused"
        );
        return plain;
    };
    let too_many = request.add_track_requests.len() > ADD_TRACKS_MAX;
    for wish in [&plain, &compressed] {
        assert_eq!(wish.is_err(), too_many, "what is a request is accepted: {wish:?}");
    }
    for wish in [&plain, &compressed].into_iter().flatten() {
        assert_eq!(wish.add_tracks, request.add_track_requests);
        assert_eq!(wish.publisher_offer, request.publisher_offer);
        assert_eq!(wish.metadata.as_deref().unwrap_or_default(), request.metadata);
        assert_eq!(wish.resume.is_some(), request.reconnect);
        let attributes = request.participant_attributes.iter();
        assert_eq!(
            wish.attributes.len(),
            attributes.filter(|(_, value)| !value.is_empty()).count()
        );
    }
    plain
}

fn wrapped(message: &[u8]) -> Result<JoinParameters, JoinError> {
    let query = format!("join_request={}", URL_SAFE.encode(message));
    let wish = checked(Endpoint::V1, &query);
    if let Ok(wish) = &wish {
        assert!(wish.single_peer_connection);
    }
    wish
}

/// A server that knows no room yet.
pub(super) const RULES: Rules<'_> = Rules {
    identity_bytes_max: 256,
    room_name_bytes_max: 256,
    auto_create: true,
    room_exists: &|_| false,
};

/// A token that allows everything.
pub(super) fn claims() -> Claims {
    Claims {
        identity: "alice".to_owned(),
        video: Some(VideoGrant {
            room_join: true,
            room: "r".to_owned(),
            can_update_own_metadata: Some(true),
            ..VideoGrant::default()
        }),
        ..Claims::default()
    }
}

/// Asks with a token that allows everything, for a verdict and for a connection.
fn checked(endpoint: Endpoint, query: &str) -> Result<JoinParameters, JoinError> {
    let claims = claims();
    let query = Query::parse(query);
    let check = |purpose| check_join(endpoint, purpose, &query, Some(&claims), &RULES);
    let verdict = check(Purpose::Validate);
    let mut wish = check(Purpose::Connect);
    if let Err(error) = &wish {
        assert_eq!(error.status, 400, "the token allows everything: {error}");
        assert!(verdict.is_err(), "a verdict is as strict as a connection");
    }
    if let Ok(wish) = &mut wish {
        assert_eq!(wish.room, "r");
        assert!(wish.claims.identity.starts_with("alice"));
        assert!(wish.attributes.iter().all(|(_, value)| !value.is_empty()));
        wish.complete_client("192.0.2.1", query.text("user_agent"));
    }
    wish
}

/// A wrapped join request.
pub(crate) fn wrap(compressed: bool, join_request: Vec<u8>) -> Vec<u8> {
    let wrapped = proto::WrappedJoinRequest {
        compression: i32::from(compressed),
        join_request,
    };
    wrapped.encode_to_vec()
}

/// A gzip file.
pub(crate) fn gzip(data: &[u8], level: Compression) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), level);
    encoder.write_all(data).expect("writes to memory");
    encoder.finish().expect("writes to memory")
}
