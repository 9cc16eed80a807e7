//! Requests to join; see the target for the first byte.

use super::Seeds;
use super::room::requests;
use crate::targets::{gzip, wrap};
use flate2::Compression;
use prost::Message;
use protocol::join::ADD_TRACKS_MAX;
use protocol::proto;
use protocol::proto::signal_request::Message as Request;

/// Names that begin with `bad` are refused.
pub(super) fn join_request() -> Seeds {
    let with = |kind: u8, bytes: &[u8]| [&[kind], bytes].concat();
    let fresh = fresh().encode_to_vec();
    let resumed = proto::JoinRequest {
        reconnect: true,
        participant_sid: "PA_x".to_owned(),
        reconnect_reason: 2,
        ..Default::default()
    }
    .encode_to_vec();
    // Not compressed, so that no other version of the library writes other bytes.
    let zipped = gzip(&fresh, Compression::none());
    let two_files = [
        gzip(&fresh[..40], Compression::none()),
        gzip(&fresh[40..], Compression::none()),
    ]
    .concat();
    let query =
        b"auto_subscribe=1&adaptive_stream=true&subscriber_allow_pause=0&protocol=17&sdk=js&publish=screen\
                  &reconnect=1&sid=PA_x&reconnect_reason=2&attributes=eyJhIjoiMSIsImIiOiIifQ%3D%3D";
    let many = proto::JoinRequest {
        add_track_requests: vec![proto::AddTrackRequest::default(); ADD_TRACKS_MAX + 1],
        ..Default::default()
    };
    [
        ("query", with(0, query)),
        ("wrapped", with(1, &wrap(false, fresh.clone()))),
        ("wrapped_gzip", with(1, &wrap(true, zipped.clone()))),
        ("gzip", with(2, &zipped)),
        ("gzip_two_files", with(2, &two_files)),
        ("request", with(3, &fresh)),
        ("resumed", with(3, &resumed)),
        ("bad_query", with(0, b"join_request=***&attributes=e30")),
        ("bad_gzip", with(2, &zipped[..zipped.len() - 9])),
        ("bad_many_tracks", with(3, &many.encode_to_vec())),
        ("bad_request", with(3, &fresh[..fresh.len() - 1])),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .to_vec()
}

/// A join with everything that a current client says. One attribute only: maps have no order.
fn fresh() -> proto::JoinRequest {
    let add_track_requests = requests().into_iter().filter_map(|(_, message)| {
        let Request::AddTrack(request) = message else {
            return None;
        };
        Some(request)
    });
    proto::JoinRequest {
        client_info: Some(proto::ClientInfo {
            sdk: proto::client_info::Sdk::Js.into(),
            version: "2.23.0".to_owned(),
            protocol: 17,
            browser: "Chrome".to_owned(),
            ..Default::default()
        }),
        connection_settings: Some(proto::ConnectionSettings {
            auto_subscribe: true,
            adaptive_stream: true,
            subscriber_allow_pause: Some(false),
            ..Default::default()
        }),
        metadata: "hello".to_owned(),
        participant_attributes: [("key".to_owned(), "value".to_owned())].into(),
        add_track_requests: add_track_requests.collect(),
        publisher_offer: Some(proto::SessionDescription {
            r#type: "offer".to_owned(),
            sdp: "v=0\r\n".to_owned(),
            id: 1,
            ..Default::default()
        }),
        ..Default::default()
    }
}
