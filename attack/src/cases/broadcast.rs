//! What one participant does and all others of its room are told: n-fold work and memory.

use super::{Case, case};
use crate::proto_bytes::{field, repeated};
use crate::stage::Ask;
use crate::token;
use crate::ws::{DEFLATE, packed, request};
use livekit_protocol as proto;
use proto::signal_request::Message as Request;

/// Others in the room.
const VICTIMS: usize = 20;
/// A reader on a bad line, in bytes a second.
const SLOW: usize = 1_000_000;
/// Metadata just below the default limit.
const METADATA: usize = 500_000;

pub(super) const CASES: &[Case] = &[
    case(
        "metadata-slow",
        "metadata of 500 KB changed 80 times, 20 readers at 1 MB/s",
        |stage| {
            stage.victims(VICTIMS, "", Some(SLOW))?;
            let frames: Vec<_> = (0..80).map(|index| request(metadata(index))).collect();
            let attackers = vec![stage.join("mallory")?];
            stage.flood(attackers, &frames, 80, false);
            Ok(())
        },
    ),
    case("metadata-packed", "the same compressed to half a KiB", |stage| {
        stage.victims(VICTIMS, "", Some(SLOW))?;
        let frames: Vec<_> = (0..80)
            .map(|index| packed(2, &payload(metadata(index))))
            .collect();
        let ask = Ask {
            headers: DEFLATE,
            ..Ask::default()
        };
        let attackers = vec![stage.join_with("mallory", ask)?];
        stage.flood(attackers, &frames, 80, false);
        Ok(())
    }),
    case(
        "metadata-many",
        "metadata of 500 KB from ten participants, 20 readers that pause",
        |stage| {
            stage.victims(VICTIMS, "", Some(50_000))?;
            let frames: Vec<_> = (0..20)
                .map(|index| packed(2, &payload(metadata(index))))
                .collect();
            let mut attackers = Vec::new();
            for index in 0..10 {
                let ask = Ask {
                    headers: DEFLATE,
                    ..Ask::default()
                };
                attackers.push(stage.join_with(&format!("mallory-{index}"), ask)?);
            }
            stage.flood(attackers, &frames, 100, false);
            Ok(())
        },
    ),
    case("names", "name changes at full speed, 20 readers", |stage| {
        stage.victims(VICTIMS, "", None)?;
        let frames: Vec<_> = (0..1000).map(|index| request(name(index))).collect();
        let attackers = vec![stage.join("mallory")?];
        stage.flood(attackers, &frames, u64::MAX, false);
        Ok(())
    }),
    case(
        "names-slow",
        "name changes at full speed from four, 20 slow readers",
        |stage| {
            stage.victims(VICTIMS, "", Some(SLOW / 4))?;
            let frames: Vec<_> = (0..1000).map(|index| request(name(index))).collect();
            let mut attackers = Vec::new();
            for index in 0..4 {
                attackers.push(stage.join(&format!("mallory-{index}"))?);
            }
            stage.flood(attackers, &frames, u64::MAX, false);
            Ok(())
        },
    ),
    case(
        "attributes",
        "attributes of 60 KB changed at full speed, 20 readers",
        |stage| {
            stage.victims(VICTIMS, "", Some(SLOW))?;
            let frames: Vec<_> = (0..20)
                .map(|index| {
                    request(Request::UpdateMetadata(proto::UpdateParticipantMetadata {
                        attributes: [("k".to_owned(), format!("{index:03}{}", "v".repeat(60_000)))].into(),
                        ..Default::default()
                    }))
                })
                .collect();
            let attackers = vec![stage.join("mallory")?];
            stage.flood(attackers, &frames, 2000, false);
            Ok(())
        },
    ),
    case(
        "permission-toggles",
        "permission to and fro over 1,000 data tracks, 20 subscribers",
        |stage| {
            stage.victims(VICTIMS, "&auto_subscribe_data_track=1", None)?;
            let mut mallory = stage.join("mallory")?;
            mallory.join()?;
            let tracks: Vec<_> = (1..=1000)
                .flat_map(|handle| request(data_track(handle)))
                .collect();
            let toggles: Vec<_> = [false, true]
                .into_iter()
                .flat_map(|all| request(permission(all)))
                .collect();
            let mut frames = vec![tracks];
            frames.extend(std::iter::repeat_n(toggles, 100));
            stage.flood(vec![mallory], &frames, 101, false);
            Ok(())
        },
    ),
    case(
        "permission-toggles-slow",
        "the same for 20 slow subscribers",
        |stage| {
            stage.victims(VICTIMS, "&auto_subscribe_data_track=1", Some(SLOW))?;
            let mallory = stage.join("mallory")?;
            let tracks: Vec<_> = (1..=500).flat_map(|handle| request(data_track(handle))).collect();
            let toggles: Vec<_> = [false, true]
                .into_iter()
                .flat_map(|all| request(permission(all)))
                .collect();
            let mut frames = vec![tracks];
            frames.extend(std::iter::repeat_n(toggles, 300));
            stage.flood(vec![mallory], &frames, 301, false);
            Ok(())
        },
    ),
    case(
        "data-track-toggles",
        "data tracks published and unpublished at full speed",
        |stage| {
            stage.victims(VICTIMS, "&auto_subscribe_data_track=1", None)?;
            let frames: Vec<_> = (1..=200)
                .flat_map(|handle| {
                    let unpublish = proto::UnpublishDataTrackRequest { pub_handle: handle };
                    [
                        request(data_track(handle)),
                        request(Request::UnpublishDataTrackRequest(unpublish)),
                    ]
                })
                .collect();
            let attackers = vec![stage.join("mallory")?];
            stage.flood(attackers, &frames, u64::MAX, false);
            Ok(())
        },
    ),
    case(
        "add-tracks",
        "tracks announced without end, never offered",
        |stage| {
            stage.victims(VICTIMS, "", None)?;
            let frames: Vec<_> = (0..20_000)
                .map(|index| {
                    request(Request::AddTrack(proto::AddTrackRequest {
                        cid: format!("cid-{index}"),
                        name: "n".repeat(200),
                        ..Default::default()
                    }))
                })
                .collect();
            let attackers = vec![stage.join("mallory")?];
            stage.flood(attackers, &frames, u64::MAX, false);
            Ok(())
        },
    ),
    case(
        "mute-toggles",
        "mutes of tracks that are there and that are not",
        |stage| {
            stage.victims(VICTIMS, "", None)?;
            let mut mallory = stage.join("mallory")?;
            mallory.join()?;
            mallory.request(Request::AddTrack(proto::AddTrackRequest {
                cid: "cid".into(),
                ..Default::default()
            }))?;
            let sid = mallory.until(crate::stage::PATIENCE, |response| {
                let proto::signal_response::Message::TrackPublished(track) = response else {
                    return None;
                };
                Some(track.track.unwrap_or_default().sid)
            })?;
            let frames: Vec<_> = [(&*sid, true), (&*sid, false), ("TR_none", true)]
                .map(|(sid, muted)| {
                    request(Request::Mute(proto::MuteTrackRequest {
                        sid: sid.to_owned(),
                        muted,
                    }))
                    .repeat(100)
                })
                .into();
            stage.flood(vec![mallory], &frames, u64::MAX, false);
            Ok(())
        },
    ),
    case(
        "permissions-per-track",
        "SubscriptionPermission with 8,000 entries at full speed",
        |stage| {
            stage.victims(VICTIMS, "", None)?;
            let mut one = field(4, b"victim-1");
            one.extend(field(3, b"TR_none"));
            let permission = field(11, &repeated(2, &one, 160_000));
            let attackers = vec![stage.join("mallory")?];
            stage.flood(attackers, &[crate::ws::binary(&permission)], u64::MAX, false);
            Ok(())
        },
    ),
    case(
        "api-metadata",
        "UpdateParticipant with 500 KB of metadata over the API, slow readers",
        |stage| {
            stage.victims(VICTIMS, "", Some(SLOW))?;
            let token = token::admin(&stage.room);
            let mut stream = stage.connect()?;
            for index in 0..60 {
                let body = serde_json::json!({"room": stage.room, "identity": "victim-0",
                "metadata": format!("{index:03}{}", "m".repeat(METADATA))});
                let answer = crate::http::post(
                    &mut stream,
                    "UpdateParticipant",
                    Some(&token),
                    crate::http::JSON,
                    body.to_string().as_bytes(),
                )?;
                if index == 0 {
                    stage.note(format!("answered {}", answer.status));
                }
            }
            Ok(())
        },
    ),
];

fn metadata(index: usize) -> Request {
    Request::UpdateMetadata(proto::UpdateParticipantMetadata {
        metadata: format!("{index:03}{}", "m".repeat(METADATA)),
        ..Default::default()
    })
}

fn name(index: usize) -> Request {
    Request::UpdateMetadata(proto::UpdateParticipantMetadata {
        name: format!("{index:05}"),
        ..Default::default()
    })
}

fn data_track(handle: u32) -> Request {
    Request::PublishDataTrackRequest(proto::PublishDataTrackRequest {
        pub_handle: handle,
        name: format!("t{handle}"),
        ..Default::default()
    })
}

const fn permission(all_participants: bool) -> Request {
    Request::SubscriptionPermission(proto::SubscriptionPermission {
        all_participants,
        track_permissions: Vec::new(),
    })
}

/// A request without its frame.
fn payload(message: Request) -> Vec<u8> {
    use prost::Message;
    let request = proto::SignalRequest {
        message: Some(message),
    };
    request.encode_to_vec()
}
