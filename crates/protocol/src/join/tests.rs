//! The checks of a join, one by one and in order.

use super::*;
use crate::grants::VideoGrant;
use std::io::Write;

fn claims() -> Claims {
    Claims {
        identity: "alice".to_owned(),
        video: Some(VideoGrant {
            room_join: true,
            room: "r".to_owned(),
            ..VideoGrant::default()
        }),
        ..Claims::default()
    }
}

fn rules() -> Rules<'static> {
    Rules {
        identity_bytes_max: 256,
        room_name_bytes_max: 256,
        auto_create: true,
        room_exists: &|_| false,
    }
}

fn check(endpoint: Endpoint, query: &str, claims: &Claims) -> Result<JoinParameters, (u16, String)> {
    check_join(
        endpoint,
        Purpose::Validate,
        &Query::parse(query),
        Some(claims),
        &rules(),
    )
    .map_err(|error| (error.status, error.text))
}

fn refusal(endpoint: Endpoint, query: &str, claims: &Claims) -> (u16, String) {
    check(endpoint, query, claims).expect_err("refused")
}

fn wrap(request: &proto::JoinRequest, gzip: bool) -> String {
    let mut bytes = request.encode_to_vec();
    if gzip {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&bytes).expect("writes to memory");
        bytes = encoder.finish().expect("writes to memory");
    }
    let wrapped = proto::WrappedJoinRequest {
        compression: i32::from(gzip),
        join_request: bytes,
    };
    URL_SAFE.encode(wrapped.encode_to_vec())
}

#[test]
fn v0_defaults_subscribe_to_everything() {
    let wish = check(Endpoint::V0, "protocol=9&sdk=go", &claims()).expect("passes");
    assert!(wish.auto_subscribe && !wish.auto_subscribe_data_track && !wish.adaptive_stream);
    assert!(!wish.single_peer_connection);
    assert_eq!((wish.room.as_str(), wish.client.protocol), ("r", 9));
    assert_eq!(wish.resume, None);
    let resumed = check(Endpoint::V0, "reconnect=1&sid=PA_x&reconnect_reason=2", &claims()).expect("passes");
    assert_eq!(resumed.resume, Some(("PA_x".to_owned(), 2)));
}

#[test]
fn v1_settings_come_from_the_message() {
    let request = proto::JoinRequest {
        client_info: Some(proto::ClientInfo {
            protocol: 18,
            ..Default::default()
        }),
        connection_settings: Some(proto::ConnectionSettings {
            adaptive_stream: true,
            ..Default::default()
        }),
        add_track_requests: vec![proto::AddTrackRequest::default()],
        ..Default::default()
    };
    for gzip in [false, true] {
        let query = format!("join_request={}", wrap(&request, gzip));
        for endpoint in [Endpoint::V0, Endpoint::V1] {
            let wish = check(endpoint, &query, &claims()).expect("passes");
            assert!(wish.single_peer_connection && wish.adaptive_stream && !wish.auto_subscribe);
            assert_eq!((wish.client.protocol, wish.add_tracks.len()), (18, 1));
        }
    }
}

#[test]
fn bad_join_requests_are_named() {
    let cases = [
        ("", "join_request is required"),
        (
            "join_request=%25%25%25",
            "cannot base64 decode wrapped join request",
        ),
        (
            "join_request=EgkKBwgBGBAiAXg",
            "cannot base64 decode wrapped join request",
        ),
        ("join_request=____", "cannot unmarshal wrapped join request"),
        ("join_request=EgP___8=", "cannot unmarshal join request"),
        (
            "join_request=CAESB25vdGd6aXA=",
            "cannot read decompressed join request",
        ),
        (
            "join_request=CAESDR-LCAAAAAAAAgOTSqk=",
            "cannot read decompressed join request",
        ),
    ];
    for (query, text) in cases {
        assert_eq!(
            refusal(Endpoint::V1, query, &claims()),
            (400, text.to_owned()),
            "{query}"
        );
    }
}

#[test]
fn what_a_join_request_announces_and_says_of_the_client_is_bounded() {
    let query = |request: &proto::JoinRequest| format!("join_request={}", wrap(request, true));
    let tracks = |count| proto::JoinRequest {
        add_track_requests: vec![proto::AddTrackRequest::default(); count],
        ..Default::default()
    };
    let accepted = check(Endpoint::V1, &query(&tracks(ADD_TRACKS_MAX)), &claims()).expect("passes");
    assert_eq!(accepted.add_tracks.len(), ADD_TRACKS_MAX);
    assert_eq!(
        refusal(Endpoint::V1, &query(&tracks(33)), &claims()),
        (400, "33 tracks in join_request, at most 32".to_owned())
    );
    // What would take a hundred megabytes is not even decoded.
    assert_eq!(
        refusal(Endpoint::V1, &query(&tracks(500_000)), &claims()),
        (400, "join request too large".to_owned())
    );
    let talkative = proto::JoinRequest {
        client_info: Some(proto::ClientInfo {
            version: "é".repeat(10_000),
            capabilities: (0..8_000).map(|number| number / 2).collect(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let client = check(Endpoint::V1, &query(&talkative), &claims())
        .expect("passes")
        .client;
    assert_eq!(client.version.len(), 1024);
    assert_eq!(client.capabilities, (0..32).collect::<Vec<_>>());
}

#[test]
fn join_requests_are_bounded_raw_and_inflated() {
    let big = |bytes: usize| proto::JoinRequest {
        metadata: "m".repeat(bytes),
        ..Default::default()
    };
    let mut allowed = claims();
    allowed.video.as_mut().expect("grant").can_update_own_metadata = Some(true);
    let query = format!("join_request={}", wrap(&big(2 << 20), true));
    assert_eq!(
        refusal(Endpoint::V1, &query, &allowed),
        (400, "join request too large".to_owned())
    );
    let query = format!("join_request={}", wrap(&big(1 << 20), false));
    assert_eq!(
        refusal(Endpoint::V1, &query, &allowed),
        (400, "join request too large".to_owned())
    );
    let query = format!("join_request={}", wrap(&big((1 << 20) - 100), true));
    assert!(check(Endpoint::V1, &query, &allowed).is_ok());
}

#[test]
fn checks_come_in_order() {
    let none = check_join(Endpoint::V1, Purpose::Validate, &Query::default(), None, &rules());
    assert_eq!(
        none.expect_err("refused").text,
        "no permissions to access the room"
    );
    let mut token = Claims::default();
    assert_eq!(
        refusal(Endpoint::V0, "", &token).1,
        "no permissions to access the room"
    );
    token.video = Some(VideoGrant::default());
    assert_eq!(
        refusal(Endpoint::V0, "", &token),
        (401, "permissions denied".to_owned())
    );
    token.video.as_mut().expect("grant").room_join = true;
    assert_eq!(
        refusal(Endpoint::V0, "", &token),
        (400, "identity cannot be empty".to_owned())
    );
    token.identity = "€".repeat(86);
    let text = "participant identity length exceeds limits: max length 256";
    assert_eq!(refusal(Endpoint::V0, "", &token), (400, text.to_owned()));
    token.identity = "i".repeat(256);
    assert_eq!(
        refusal(Endpoint::V0, "", &token),
        (400, "no room name".to_owned())
    );
    token.video.as_mut().expect("grant").room = "r".repeat(257);
    let text = "room name length exceeds limits: max length 256";
    assert_eq!(refusal(Endpoint::V0, "", &token), (400, text.to_owned()));
    token.video.as_mut().expect("grant").room = "r".repeat(256);
    assert!(check(Endpoint::V0, "", &token).is_ok());
}

#[test]
fn rooms_are_made_on_the_fly_only_when_allowed() {
    let closed = |exists: &'static dyn Fn(&str) -> bool| Rules {
        auto_create: false,
        room_exists: exists,
        ..rules()
    };
    let ask = |claims: &Claims, rules: &Rules<'_>| {
        check_join(
            Endpoint::V0,
            Purpose::Connect,
            &Query::default(),
            Some(claims),
            rules,
        )
        .map(|wish| wish.room)
        .map_err(|error| (error.status, error.text))
    };
    let missing = (404, "requested room does not exist".to_owned());
    assert_eq!(ask(&claims(), &closed(&|_| false)), Err(missing));
    assert_eq!(ask(&claims(), &closed(&|name| name == "r")), Ok("r".to_owned()));
    let mut creator = claims();
    creator.video.as_mut().expect("grant").room_create = true;
    assert_eq!(ask(&creator, &closed(&|_| false)), Ok("r".to_owned()));
}

#[test]
fn a_suffix_is_bounded_and_so_is_the_identity_that_it_makes() {
    let wish = check(Endpoint::V0, &format!("publish={}", "x".repeat(64)), &claims()).expect("passes");
    assert!(wish.sender_only);
    let (status, text) = refusal(Endpoint::V0, &format!("publish={}", "x".repeat(65)), &claims());
    assert_eq!(
        (status, text.as_str()),
        (400, "publish suffix length exceeds limits: max length 64")
    );
    let mut long = claims();
    long.identity = "a".repeat(200);
    let (status, text) = refusal(Endpoint::V0, &format!("publish={}", "x".repeat(60)), &long);
    assert_eq!(
        (status, text.as_str()),
        (400, "participant identity length exceeds limits: max length 256")
    );
    assert!(!check(Endpoint::V0, "", &claims()).expect("passes").sender_only);
}

#[test]
fn publish_makes_a_sender_of_another_name() {
    let wish = check(Endpoint::V0, "publish=cam", &claims()).expect("passes");
    assert_eq!(wish.claims.identity, "alice#cam");
    assert!(!wish.claims.video.expect("grant").may_subscribe());
    let mut mute = claims();
    mute.video.as_mut().expect("grant").can_publish = Some(false);
    assert_eq!(refusal(Endpoint::V0, "publish=cam", &mute).0, 401);
    let query = format!(
        "publish=cam&join_request={}",
        wrap(
            &proto::JoinRequest {
                reconnect: true,
                ..Default::default()
            },
            false
        )
    );
    let single = check(Endpoint::V0, &query, &mute).expect("passes");
    assert_eq!(single.claims.identity, "alice");
}

#[test]
fn own_attributes_need_permission_and_decoding() {
    let mut allowed = claims();
    allowed.video.as_mut().expect("grant").can_update_own_metadata = Some(true);
    for bad in ["attributes=%25%25", "attributes=e3g", "attributes=eyJhIjoiYmMifQ"] {
        assert_eq!(
            refusal(Endpoint::V0, bad, &allowed),
            (400, "cannot decode attributes".to_owned())
        );
        let connect = check_join(
            Endpoint::V0,
            Purpose::Connect,
            &Query::parse(bad),
            Some(&allowed),
            &rules(),
        );
        assert!(connect.expect("passed over").attributes.is_empty());
    }
    let wish = check(Endpoint::V0, "attributes=eyJhIjoiYiJ9", &allowed).expect("passes");
    assert_eq!(wish.attributes, [("a".to_owned(), "b".to_owned())]);
    let text = "no permissions to access the room".to_owned();
    assert_eq!(
        refusal(Endpoint::V0, "attributes=eyJhIjoiYiJ9", &claims()),
        (401, text.clone())
    );
    let metadata = wrap(
        &proto::JoinRequest {
            metadata: "m".to_owned(),
            ..Default::default()
        },
        false,
    );
    let query = format!("join_request={metadata}");
    assert_eq!(refusal(Endpoint::V1, &query, &claims()), (401, text));
    assert_eq!(
        check(Endpoint::V1, &query, &allowed)
            .expect("passes")
            .metadata
            .as_deref(),
        Some("m")
    );
}
