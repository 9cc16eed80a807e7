//! Sessions: many of one token, coming and going, resuming, leaving large things behind.

use super::{Case, case};
use crate::stage::{Ask, PATIENCE, Stage, path, spell};
use crate::token;
use crate::ws::{Ws, request};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use livekit_protocol as proto;
use prost::Message;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use std::time::{Duration, Instant};

pub(super) const CASES: &[Case] = &[
    case(
        "publish-suffix",
        "identities of 60 KB by `publish=`, then somebody joins",
        |stage| {
            stage.victims(3, "", None)?;
            let token = token::join("mallory", &stage.room);
            let mut held = Vec::new();
            for index in 0..100 {
                let query = format!("&publish={index:03}{}", "x".repeat(60_000));
                held.extend(stage.enter(
                    &token,
                    Ask {
                        query: &query,
                        ..Ask::default()
                    },
                ));
            }
            stage.note(format!("{} sessions", held.len()));
            newcomer(stage)
        },
    ),
    case(
        "publish-sessions",
        "330 sessions of one token, 80 changes of metadata",
        |stage| {
            let token = token::join("mallory", &stage.room);
            let mut held = Vec::new();
            for index in 0..330 {
                let query = format!("&publish={index}");
                let ask = Ask {
                    query: &query,
                    receive_buffer: Some(16 * 1024),
                    ..Ask::default()
                };
                held.extend(stage.enter(&token, ask));
            }
            stage.note(format!("{} sessions", held.len()));
            let mut first = stage.enter(&token, Ask::default())?;
            for index in 0..20 {
                let metadata = format!("{index:03}{}", "m".repeat(500_000));
                let update = proto::UpdateParticipantMetadata {
                    metadata,
                    ..Default::default()
                };
                if first.request(Request::UpdateMetadata(update)).is_err() {
                    stage.note("cut");
                    break;
                }
            }
            newcomer(stage)
        },
    ),
    case(
        "departures",
        "45 leave with 500 KB of metadata, then somebody resumes",
        departures,
    ),
    case("join-storm", "joins and departures as fast as one can", |stage| {
        stage.victims(5, "", None)?;
        let (room, began) = (stage.room.clone(), Instant::now());
        let mut count = 0;
        while began.elapsed() < spell() {
            let mut ws = stage.enter(&token::join(&format!("m-{count}"), &room), Ask::default())?;
            ws.join()?;
            count += 1;
        }
        stage.note(format!("{count} joins"));
        Ok(())
    }),
    case(
        "join-storm-deaf",
        "200 upgrades at once that nobody reads, in one room",
        |stage| {
            stage.victims(5, "", None)?;
            let mut held = Vec::new();
            for index in 0..200 {
                let path = path(&token::join(&format!("m-{index}"), &stage.room), "");
                held.push(Ws::ask(stage.server.address, &path, "", Some(4096), PATIENCE)?);
            }
            newcomer(stage)
        },
    ),
    case("room-storm", "a room for each join", |stage| {
        let (room, began) = (stage.room.clone(), Instant::now());
        let mut held = Vec::new();
        while began.elapsed() < spell() && held.len() < 1000 {
            let token = token::join("m", &format!("{room}-{}", held.len()));
            held.push(stage.enter(&token, Ask::default())?);
        }
        stage.note(format!("{} rooms", held.len()));
        Ok(())
    }),
    case(
        "duplicate-storm",
        "the same identity joins again and again",
        |stage| {
            stage.victims(5, "", None)?;
            let (token, began) = (token::join("m", &stage.room), Instant::now());
            let mut held = Vec::new();
            while began.elapsed() < spell() && held.len() < 2000 {
                held.push(stage.enter(&token, Ask::default())?);
            }
            stage.note(format!("{} joins", held.len()));
            Ok(())
        },
    ),
    case(
        "resume-storm",
        "the same session resumes again and again",
        |stage| {
            stage.victims(20, "", None)?;
            let token = token::join("m", &stage.room);
            let mut ws = stage.enter(&token, Ask::default())?;
            let sid = ws.join()?.participant.unwrap_or_default().sid;
            let query = format!("&reconnect=1&sid={sid}");
            let (mut count, began) = (0, Instant::now());
            while began.elapsed() < spell() {
                ws = stage.enter(
                    &token,
                    Ask {
                        query: &query,
                        ..Ask::default()
                    },
                )?;
                count += 1;
            }
            drop(ws);
            stage.note(format!("{count} resumes"));
            Ok(())
        },
    ),
    case(
        "resume-foreign",
        "resumes of sessions that are another's or nobody's",
        |stage| {
            stage.victims(2, "", None)?;
            let mut other = stage.join("other")?;
            let sid = other.join()?.participant.unwrap_or_default().sid;
            let token = token::join("m", &stage.room);
            let began = Instant::now();
            let mut count = 0;
            while began.elapsed() < spell() {
                let noise = stage.rng.text(12);
                for sid in [&*sid, &*format!("PA_{noise}")] {
                    let query = format!("&reconnect=1&sid={sid}");
                    drop(stage.enter(
                        &token,
                        Ask {
                            query: &query,
                            ..Ask::default()
                        },
                    ));
                    count += 1;
                }
            }
            stage.note(format!("{count} resumes"));
            // Whose session was named still has it.
            other.request(Request::Ping(1))?;
            other.until(PATIENCE, |response| {
                matches!(response, Response::Pong(_)).then_some(())
            })
        },
    ),
    case(
        "forwarded-for",
        "40 sessions with 900 KB of X-Forwarded-For each",
        |stage| large_heads(stage, "X-Forwarded-For"),
    ),
    case(
        "user-agent",
        "40 sessions with a User-Agent of 900 KB each",
        |stage| large_heads(stage, "User-Agent"),
    ),
    case(
        "client-info",
        "60 sessions whose client information has 60 KB",
        |stage| {
            stage.victims(3, "", None)?;
            let model = "d".repeat(30_000);
            let query = format!("&device_model={model}&browser={model}&os=x");
            let held: Vec<_> = (0..60)
                .filter_map(|index| {
                    let ask = Ask {
                        query: &query,
                        ..Ask::default()
                    };
                    stage.join_with(&format!("m-{index}"), ask).ok()
                })
                .collect();
            stage.note(format!("{} sessions", held.len()));
            newcomer(stage)
        },
    ),
    case(
        "join-request",
        "join requests of the second path with 20,000 tracks",
        |stage| {
            let join = proto::JoinRequest {
                add_track_requests: vec![proto::AddTrackRequest::default(); 20_000],
                ..Default::default()
            };
            let wrapped = proto::WrappedJoinRequest {
                join_request: join.encode_to_vec(),
                ..Default::default()
            };
            let wrapped = URL_SAFE_NO_PAD.encode(wrapped.encode_to_vec());
            let token = token::join("m", &stage.room);
            let path = format!("/rtc/v1?access_token={token}&join_request={wrapped}");
            refused(stage, &path)
        },
    ),
    case(
        "join-request-bomb",
        "a join request of 40 MiB, compressed to 40 KiB",
        |stage| {
            use flate2::{Compression, write::GzEncoder};
            use std::io::Write;
            let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
            gzip.write_all(&vec![0x0A; 40 << 20])?;
            let wrapped = proto::WrappedJoinRequest {
                compression: proto::wrapped_join_request::Compression::Gzip as i32,
                join_request: gzip.finish()?,
            };
            let wrapped = URL_SAFE_NO_PAD.encode(wrapped.encode_to_vec());
            let token = token::join("m", &stage.room);
            refused(
                stage,
                &format!("/rtc/v1?access_token={token}&join_request={wrapped}"),
            )
        },
    ),
    case("leave-loop", "leaves and messages behind them", |stage| {
        stage.victims(5, "", None)?;
        let leave = request(Request::Leave(proto::LeaveRequest::default()));
        let ping = request(Request::Ping(1)).repeat(1000);
        let began = Instant::now();
        while began.elapsed() < spell() {
            let ws = stage.join("m")?;
            let mut sockets = [ws.stream];
            let frames = [leave.clone(), ping.clone()];
            crate::crowd::flood(&mut sockets, &frames, Duration::from_millis(50), 20, false);
        }
        Ok(())
    }),
];

/// The room is still open to others, within the time that a client would wait.
fn newcomer(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let began = Instant::now();
    let joined = stage.join("newcomer").and_then(|mut ws| ws.join());
    stage.note(format!("then a join took {} ms", began.elapsed().as_millis()));
    match joined {
        Ok(join) => {
            let size = join.encoded_len() >> 10;
            stage.must(size < 4096, format!("the join response has {size} KiB"));
        }
        Err(error) => stage.must(false, format!("nobody can join any more: {error:#}")),
    }
    Ok(())
}

fn large_heads(stage: &mut Stage<'_>, name: &str) -> anyhow::Result<()> {
    stage.victims(3, "", None)?;
    let headers = format!("{name}: {}\r\n", "1".repeat(900_000));
    let mut held = Vec::new();
    for index in 0..40 {
        let ask = Ask {
            headers: &headers,
            ..Ask::default()
        };
        held.extend(stage.join_with(&format!("m-{index}"), ask));
    }
    stage.note(format!("{} sessions", held.len()));
    newcomer(stage)
}

/// Asks again and again for what no server should grant; an answer must come each time.
fn refused(stage: &mut Stage<'_>, path: &str) -> anyhow::Result<()> {
    let (mut statuses, began) = (std::collections::BTreeSet::new(), Instant::now());
    while began.elapsed() < spell() {
        let mut ws = Ws::ask(stage.server.address, path, "", None, PATIENCE)?;
        statuses.insert(ws.read_head().unwrap_or(0));
    }
    stage.note(format!("answered {statuses:?}"));
    stage.must(!statuses.contains(&101), "it was let in");
    Ok(())
}

fn departures(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let mut victim = stage.join("victim")?;
    let sid = victim.join()?.participant.unwrap_or_default().sid;
    let crowd = crate::crowd::Crowd::read(vec![victim], None);
    let token = token::join("mallory", &stage.room);
    for index in 0..45 {
        let query = format!("&publish={index}");
        let Ok(mut ws) = stage.enter(
            &token,
            Ask {
                query: &query,
                ..Ask::default()
            },
        ) else {
            stage.note(format!("refused after {index}"));
            break;
        };
        let metadata = "m".repeat(500_000);
        let update = proto::UpdateParticipantMetadata {
            metadata,
            ..Default::default()
        };
        ws.request(Request::UpdateMetadata(update))?;
        ws.request(Request::Leave(proto::LeaveRequest::default()))?;
        while ws.receive().is_ok() {}
    }
    // The victim comes back, while its old connection is as good as lost. What it is told first must fit what a client can read in a moment.
    let query = format!("&reconnect=1&sid={sid}");
    let mut ws = stage.join_with(
        "victim",
        Ask {
            query: &query,
            ..Ask::default()
        },
    )?;
    let mut bytes = 0;
    let told = ws.until(PATIENCE, |response| {
        bytes += proto::SignalResponse {
            message: Some(response.clone()),
        }
        .encoded_len();
        matches!(response, Response::RefreshToken(_)).then_some(())
    });
    stage.note(format!("the resume was told {} KiB", bytes >> 10));
    if let Err(error) = told {
        stage.must(false, format!("the resume was cut: {error:#}"));
    }
    stage.must(
        bytes < 4 << 20,
        format!("the resume was told {} KiB", bytes >> 10),
    );
    drop(crowd);
    Ok(())
}
