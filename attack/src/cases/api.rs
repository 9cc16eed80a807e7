//! The API by whoever has a token of small rights.

use super::{Case, case};
use crate::http::{self, JSON, PROTOBUF};
use crate::proto_bytes::{field, repeated};
use crate::stage::{Stage, spell};
use crate::token;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Instant;

const BODY_MAX: usize = (10 << 20) - 4096;

pub(super) const CASES: &[Case] = &[
    case(
        "list-rooms-names",
        "ListRooms with five million names, beside 1,000 rooms",
        |stage| {
            create(stage, 1000)?;
            let token = token::granting("lister", &json!({"roomList": true}));
            calls(
                stage,
                "ListRooms",
                &token,
                PROTOBUF,
                &repeated(1, b"", BODY_MAX),
                2,
            )?;
            delete(stage, 1000)
        },
    ),
    case(
        "list-rooms-json",
        "ListRooms with three million names as JSON",
        |stage| {
            let token = token::granting("lister", &json!({"roomList": true}));
            let body = format!("{{\"names\":[{}\"\"]}}", "\"\",".repeat(3_000_000));
            calls(stage, "ListRooms", &token, JSON, body.as_bytes(), 4)
        },
    ),
    case(
        "create-rooms",
        "5,000 rooms, listed at full speed, and deleted",
        |stage| {
            let before = stage.rss_mib();
            create(stage, 5000)?;
            let held = stage.rss_mib().saturating_sub(before);
            stage.note(format!("5,000 rooms hold {held} MiB"));
            stage.must(held < 100, format!("5,000 empty rooms hold {held} MiB"));
            calls(stage, "ListRooms", &token::admin(""), JSON, b"{}", u32::MAX)?;
            delete(stage, 5000)
        },
    ),
    case(
        "update-subscriptions",
        "UpdateSubscriptions with five million SIDs",
        |stage| {
            stage.victims(2, "", None)?;
            let mut body = field(1, stage.room.as_bytes());
            body.extend(field(2, b"victim-0"));
            body.extend(repeated(3, b"", BODY_MAX));
            calls(
                stage,
                "UpdateSubscriptions",
                &token::admin(&stage.room),
                PROTOBUF,
                &body,
                4,
            )
        },
    ),
    case(
        "send-data-destinations",
        "SendData to two million participants",
        |stage| {
            stage.victims(2, "", None)?;
            let mut body = field(1, stage.room.as_bytes());
            body.extend(field(2, b"x"));
            body.extend(repeated(4, b"", BODY_MAX / 2));
            body.extend(repeated(6, b"", BODY_MAX / 2));
            calls(stage, "SendData", &token::admin(&stage.room), PROTOBUF, &body, 4)
        },
    ),
    case("send-data-large", "SendData with 9 MiB at full speed", |stage| {
        stage.victims(10, "", None)?;
        let mut body = field(1, stage.room.as_bytes());
        body.extend(field(2, &vec![7; 9 << 20]));
        calls(stage, "SendData", &token::admin(&stage.room), PROTOBUF, &body, 8)
    }),
    case(
        "create-room-agents",
        "CreateRoom with a million tags, dispatches and egress lists",
        |stage| {
            let mut body = field(1, stage.room.as_bytes());
            body.extend(repeated(14, b"", BODY_MAX / 2));
            body.extend(repeated(15, b"", BODY_MAX / 2));
            calls(
                stage,
                "CreateRoom",
                &token::admin(&stage.room),
                PROTOBUF,
                &body,
                4,
            )
        },
    ),
    case("create-room-metadata", "rooms with metadata of 9 MiB", |stage| {
        let before = stage.rss_mib();
        for index in 0..20 {
            let body = json!({"name": format!("{}-{index}", stage.room), "metadata": "m".repeat(9 << 20)});
            let mut stream = stage.connect()?;
            let answer = http::post(
                &mut stream,
                "CreateRoom",
                Some(&token::admin("")),
                JSON,
                body.to_string().as_bytes(),
            )?;
            if index == 0 {
                stage.note(format!("answered {}", answer.status));
            }
        }
        let held = stage.rss_mib().saturating_sub(before);
        stage.note(format!("hold {held} MiB"));
        delete(stage, 20)
    }),
    case("json-body-nested", "API bodies that nest without end", |stage| {
        calls(
            stage,
            "CreateRoom",
            &token::admin(""),
            JSON,
            "[".repeat(BODY_MAX).as_bytes(),
            8,
        )
    }),
    case(
        "participants-storm",
        "ListParticipants of a room that is flooded",
        |stage| {
            stage.victims(20, "", None)?;
            let body = json!({"room": stage.room}).to_string();
            calls(
                stage,
                "ListParticipants",
                &token::admin(&stage.room),
                JSON,
                body.as_bytes(),
                u32::MAX,
            )
        },
    ),
    case(
        "other-methods",
        "every method with bodies that fit none",
        |stage| {
            let noise = stage.rng.bytes(100_000);
            for method in [
                "MutePublishedTrack",
                "RemoveParticipant",
                "UpdateRoomMetadata",
                "GetParticipant",
                "ForwardParticipant",
                "Nope",
            ] {
                let mut stream = stage.connect()?;
                let answer = http::post(&mut stream, method, Some(&token::admin("r")), PROTOBUF, &noise)?;
                stage.must(
                    answer.status >= 400,
                    format!("{method} takes noise: {}", answer.status),
                );
            }
            Ok(())
        },
    ),
];

/// The same call again and again, at most so often.
fn calls(
    stage: &mut Stage<'_>,
    method: &str,
    token: &str,
    kind: &str,
    body: &[u8],
    max: u32,
) -> anyhow::Result<()> {
    let (mut statuses, mut count, began) = (BTreeSet::new(), 0, Instant::now());
    while began.elapsed() < spell() && count < max {
        let mut stream = stage.connect()?;
        statuses.insert(
            http::post(&mut stream, method, Some(token), kind, body).map_or(0, |answer| answer.status),
        );
        count += 1;
    }
    stage.note(format!("{count} calls, answered {statuses:?}"));
    Ok(())
}

/// Makes rooms of the stage, on one connection.
fn create(stage: &mut Stage<'_>, count: u32) -> anyhow::Result<()> {
    let token = token::admin("");
    let mut stream = stage.connect()?;
    let mut refused = 0;
    for index in 0..count {
        let body = json!({"name": format!("{}-{index}", stage.room), "empty_timeout": 60}).to_string();
        let answer = http::post(&mut stream, "CreateRoom", Some(&token), JSON, body.as_bytes())?;
        refused += u32::from(answer.status != 200);
    }
    if refused > 0 {
        stage.note(format!("{refused} of {count} rooms refused"));
    }
    Ok(())
}

fn delete(stage: &Stage<'_>, count: u32) -> anyhow::Result<()> {
    let mut stream = stage.connect()?;
    for index in 0..count {
        let room = format!("{}-{index}", stage.room);
        let body = json!({"room": room}).to_string();
        // Those that were refused are not there.
        http::post(
            &mut stream,
            "DeleteRoom",
            Some(&token::admin(&room)),
            JSON,
            body.as_bytes(),
        )?;
    }
    Ok(())
}
