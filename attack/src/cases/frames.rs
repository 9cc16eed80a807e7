//! Frames: bombs, fragments, floods of small ones, readers that do not read.

use super::{Case, case};
use crate::proto_bytes::{field, varint};
use crate::stage::{Ask, Stage};
use crate::token;
use crate::ws::{DEFLATE, Ws, binary, frame, packed, request};
use livekit_protocol as proto;
use prost::Message as _;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use std::io::Write as _;
use std::time::Duration;

pub(super) const CASES: &[Case] = &[
    case("deflate-bomb", "frames of 2 MiB that would be 2 GiB", |stage| {
        // One block of zeros again and again: each copy inflates to 64 MiB.
        let block = crate::ws::deflate(&vec![0; 64 << 20]);
        bomb(stage, &block.repeat(30))
    }),
    case(
        "deflate-bomb-small",
        "frames of 64 KiB that would be 64 MiB, eight sessions",
        |stage| bomb(stage, &crate::ws::deflate(&vec![0; 64 << 20])),
    ),
    case("deflate-garbage", "compressed frames that are none", |stage| {
        let noise = stage.rng.bytes(64 * 1024);
        bomb(stage, &noise)
    }),
    case(
        "frame-huge",
        "the head of a frame of 2^62 bytes, and then its beginning",
        |stage| {
            let mut head = vec![0x82, 0xFF];
            head.extend((1u64 << 62).to_be_bytes());
            head.extend(vec![0; 1 << 20]);
            let attackers = crowd(stage, 20, "")?;
            stage.flood(attackers, &[head], 200, false);
            Ok(())
        },
    ),
    case(
        "frame-unfinished",
        "60 sessions that each keep 2 MiB less a byte unfinished",
        |stage| {
            let size = (2 << 20) - 64;
            let mut whole = frame(0x82, &vec![0; size]);
            whole.pop();
            let mut attackers = crowd(stage, 60, "")?;
            hold(stage, &mut attackers, &whole)
        },
    ),
    case(
        "frame-large-idle",
        "100 sessions that say one message of 2 MiB in 2 KiB each and then nothing",
        large_and_idle,
    ),
    case(
        "deflate-tables",
        "frames of 1 MiB of compressed blocks with nothing in them, eight sessions",
        |stage| {
            let attackers = crowd(stage, 8, DEFLATE)?;
            stage.flood(attackers, &[frame(0xC2, &empty_blocks(1 << 20))], 200, false);
            Ok(())
        },
    ),
    case("frame-fragments", "empty fragments without end", |stage| {
        let mut frames = frame(0x02, b"x");
        frames.extend(frame(0x00, b"").repeat(10_000));
        let attackers = crowd(stage, 4, "")?;
        stage.flood(
            attackers,
            &[frames, frame(0x00, b"").repeat(10_000)],
            100_000,
            false,
        );
        Ok(())
    }),
    case(
        "frame-unmasked",
        "frames without mask, with reserved bits, of unknown opcodes",
        |stage| {
            let frames = [
                vec![0x82, 1, 0],
                frame(0xF2, b"x"),
                frame(0x8F, b"x"),
                frame(0x88, &[3]),
            ];
            for bad in frames {
                let attackers = crowd(stage, 4, "")?;
                crate::crowd::flood(
                    &mut attackers.into_iter().map(|ws| ws.stream).collect::<Vec<_>>(),
                    &[bad],
                    Duration::from_millis(200),
                    1000,
                    false,
                );
            }
            Ok(())
        },
    ),
    case(
        "ping-frames-deaf",
        "WebSocket pings at full speed, pongs unread",
        |stage| {
            let attackers = crowd(stage, 8, "")?;
            stage.flood(attackers, &[frame(0x89, &[7; 125]).repeat(200)], u64::MAX, true);
            Ok(())
        },
    ),
    case("pings", "signal pings at full speed", |stage| {
        let ping = request(Request::PingReq(proto::Ping { timestamp: 1, rtt: 1 }));
        let attackers = crowd(stage, 4, "")?;
        stage.flood(attackers, &[ping.repeat(500)], u64::MAX, false);
        Ok(())
    }),
    case(
        "pings-deaf",
        "signal pings at full speed, answers unread",
        |stage| {
            let ping = request(Request::PingReq(proto::Ping { timestamp: 1, rtt: 1 }));
            let attackers = crowd(stage, 8, "")?;
            stage.flood(attackers, &[ping.repeat(500)], u64::MAX, true);
            Ok(())
        },
    ),
    case(
        "unknown-messages",
        "messages of no known kind, large and small",
        |stage| {
            let mut small = Vec::new();
            varint(&mut small, 999 << 3);
            small.push(1);
            let frames = [binary(&small).repeat(500), binary(&field(998, &vec![1; 1 << 20]))];
            let attackers = crowd(stage, 4, "")?;
            stage.flood(attackers, &frames, u64::MAX, false);
            Ok(())
        },
    ),
    case("empty-messages", "empty frames at full speed", |stage| {
        let attackers = crowd(stage, 4, "")?;
        stage.flood(attackers, &[binary(b"").repeat(2000)], u64::MAX, false);
        Ok(())
    }),
    case(
        "simulate",
        "every scenario that clients may ask for, again and again",
        |stage| {
            use proto::simulate_scenario::Scenario;
            let scenarios = [
                Scenario::SpeakerUpdate(i32::MAX),
                Scenario::SubscriberBandwidth(i64::MIN),
                Scenario::SwitchCandidateProtocol(9),
                Scenario::DisconnectSignalOnResumeNoMessages(true),
            ];
            let frames: Vec<_> = scenarios
                .map(|scenario| {
                    request(Request::Simulate(proto::SimulateScenario {
                        scenario: Some(scenario),
                    }))
                    .repeat(50)
                })
                .into();
            stage.victims(5, "", None)?;
            let attackers = crowd(stage, 4, "")?;
            stage.flood(attackers, &frames, u64::MAX, false);
            Ok(())
        },
    ),
];

/// Sessions of participants of their own.
fn crowd(stage: &Stage<'_>, count: usize, headers: &str) -> anyhow::Result<Vec<Ws>> {
    let enter = |index| {
        let ask = Ask {
            headers,
            ..Ask::default()
        };
        stage.enter(&token::join(&format!("mallory-{index}"), &stage.room), ask)
    };
    (0..count).map(enter).collect()
}

/// Blocks of a deflate stream with the fixed tables and nothing in them, of 10 bits each.
fn empty_blocks(length: usize) -> Vec<u8> {
    // Not the last one, type 1, end of block; bits from the lowest on.
    let bit = |at: usize| u8::from(at % 10 == 1);
    let byte = |at: usize| (0..8).map(|shift| bit(at * 8 + shift) << shift).sum();
    (0..length).map(byte).collect()
}

fn large_and_idle(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let before = stage.rss_mib();
    let mut attackers = crowd(stage, 100, DEFLATE)?;
    let large = packed(2, &field(999, &vec![0; (2 << 20) - 64]));
    let asks = packed(2, &{
        let ping = proto::SignalRequest {
            message: Some(Request::PingReq(proto::Ping::default())),
        };
        ping.encode_to_vec()
    });
    for attacker in &mut attackers {
        attacker.stream.write_all(&large)?;
        attacker.stream.write_all(&asks)?;
    }
    // All has been read.
    for attacker in &mut attackers {
        attacker.until(Duration::from_secs(5), |message| {
            matches!(message, Response::PongResp(_)).then_some(())
        })?;
    }
    stage.note(format!(
        "{} MiB before, {} MiB with all of them idle",
        before,
        stage.rss_mib()
    ));
    stage.must(
        stage.rss_mib() <= before + 100,
        "idle sessions hold what they said",
    );
    Ok(())
}

fn bomb(stage: &mut Stage<'_>, compressed: &[u8]) -> anyhow::Result<()> {
    let attackers = crowd(stage, 8, DEFLATE)?;
    stage.flood(attackers, &[frame(0xC2, compressed), packed(2, b"")], 200, false);
    Ok(())
}

/// Sends a frame to all and keeps them open for the spell.
fn hold(stage: &mut Stage<'_>, attackers: &mut Vec<Ws>, bytes: &[u8]) -> anyhow::Result<()> {
    let sockets = std::mem::take(attackers);
    let count = sockets.len() as u64;
    stage.flood(sockets, &[bytes.to_vec(), Vec::from(&bytes[..1])], count, false);
    Ok(())
}
