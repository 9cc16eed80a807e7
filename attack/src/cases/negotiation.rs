//! Descriptions and candidates.

use super::{Case, case};
use crate::stage::{Stage, spell};
use crate::ws::{Ws, request};
use bench::guest::Guest;
use livekit_protocol as proto;
use proto::signal_request::Message as Request;
use std::fmt::Write as _;
use std::time::Instant;

pub(super) const CASES: &[Case] = &[
    case("offer-sections", "offers with 5,000 sections", |stage| {
        let mut sdp = head();
        for mid in 0..5000 {
            sdp += &section(mid, "");
        }
        describe(stage, "offer", &sdp)
    }),
    case("offer-candidates", "offers with 20,000 candidates", |stage| {
        let mut candidates = String::new();
        for index in 0..20_000 {
            // Writing to a String cannot fail.
            let _ = write!(
                candidates,
                "a=candidate:{index} 1 udp 1 127.3.{}.{} 9 typ host\r\n",
                index / 250,
                index % 250
            );
        }
        describe(stage, "offer", &(head() + &section(0, &candidates)))
    }),
    case(
        "offer-payloads",
        "offers whose section has 30,000 formats and maps",
        |stage| {
            let mut maps = String::new();
            for index in 0..30_000 {
                let _ = write!(
                    maps,
                    "a=rtpmap:{} VP8/90000\r\na=fmtp:{} x={index}\r\n",
                    index % 128,
                    index % 128
                );
            }
            describe(stage, "offer", &(head() + &section(0, &maps)))
        },
    ),
    case("offer-ssrcs", "offers with 50,000 SSRCs and groups", |stage| {
        let mut ssrcs = String::new();
        for index in 0..50_000 {
            let _ = write!(ssrcs, "a=ssrc:{index} cname:c\r\n");
        }
        describe(stage, "offer", &(head() + &section(0, &ssrcs)))
    }),
    case("offer-line", "an offer of one line of 2 MB", |stage| {
        describe(stage, "offer", &(head() + "a=" + &"x".repeat(2_000_000)))
    }),
    case(
        "sdp-largest",
        "the largest offers that are taken, in the shapes that cost most, by one participant",
        |stage| {
            let frames: Vec<_> = (1..)
                .zip(largest())
                .map(|(id, sdp)| description("offer", id, &sdp))
                .collect();
            let attackers = vec![stage.join("mallory")?];
            stage.flood(attackers, &frames, u64::MAX, false);
            Ok(())
        },
    ),
    case("offer-small", "small offers at full speed", |stage| {
        describe(stage, "offer", &(head() + &section(0, "")))
    }),
    case(
        "answers-unasked",
        "answers to offers that were never made",
        |stage| {
            let mut sdp = head();
            for mid in 0..50 {
                sdp += &section(mid, "");
            }
            describe(stage, "answer", &sdp)
        },
    ),
    case("trickle", "candidates without end", |stage| {
        let frames: Vec<_> = (0..5000)
            .map(|index| trickle(&format!("127.4.{}.{}", index / 250, index % 250), index))
            .collect();
        let attackers = sessions(stage, 4)?;
        stage.flood(attackers, &frames, u64::MAX, false);
        Ok(())
    }),
    case("trickle-large", "candidates of 1 MB", |stage| {
        let frame = trickle(&"9".repeat(1_000_000), 0);
        let attackers = sessions(stage, 4)?;
        stage.flood(attackers, &[frame], u64::MAX, false);
        Ok(())
    }),
    case(
        "ice-restarts",
        "a connected participant restarts ICE as fast as it can",
        |stage| {
            let (world, room) = (stage.world.clone(), stage.room.clone());
            let count = stage.block_on(async move {
                let mut guest = Guest::join(&world, &room, "m").await?;
                guest.open_data().await?;
                let (mut count, began) = (0, Instant::now());
                while began.elapsed() < spell() {
                    guest.resume(&room).await?;
                    count += 1;
                }
                anyhow::Ok(count)
            })?;
            stage.note(format!("{count} restarts"));
            Ok(())
        },
    ),
    case(
        "offer-ice-restarts",
        "offers with new ICE credentials each, at full speed",
        |stage| {
            let frames: Vec<_> = (0..200)
                .map(|index| {
                    let sdp = (head() + &section(0, "")).replace("ufrag:abcd", &format!("ufrag:x{index:06}"));
                    description("offer", index, &sdp)
                })
                .collect();
            let attackers = sessions(stage, 3)?;
            stage.flood(attackers, &frames, u64::MAX, false);
            Ok(())
        },
    ),
];

fn head() -> String {
    "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n".to_owned()
}

fn section(mid: u32, more: &str) -> String {
    let fingerprint = ["AB"; 32].join(":");
    format!(
        "m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na=sendonly\r\na=rtcp-mux\r\n\
         a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=fingerprint:sha-256 {fingerprint}\r\n\
         a=setup:actpass\r\na=rtpmap:96 VP8/90000\r\na=msid:s t{mid}\r\n{more}"
    )
}

/// As many sections as may be, within the bytes that a message may have, each with as much to look for.
fn largest() -> Vec<String> {
    const SECTIONS_MAX: usize = 1024;
    const BYTES_MAX: usize = 2_000_000;
    let types: String = (0..128).map(|pt| format!(" {pt}")).collect();
    let lines = |line: &str| -> String {
        (0..128)
            .map(|pt| format!("a={}\r\n", line.replace('N', &pt.to_string())))
            .collect()
    };
    let maps = lines("rtpmap:N H264/90000");
    let shapes = [
        format!(
            "{}\r\n{}",
            " 96".repeat(500),
            lines("rtpmap:N rtx/90000").replace(":96 rtx", ":96 VP8")
        ),
        format!("{types}\r\n{maps}"),
        format!(
            "{types}\r\n{maps}{}",
            lines(&format!("fmtp:N {}", "a=b;".repeat(100)))
        ),
        format!(
            "{types}\r\n{maps}{}{}",
            lines("rtcp-fb:N nack"),
            lines("rtcp-fb:N nack pli")
        ),
        format!(
            " 96\r\na=rtpmap:96 VP8/90000\r\n{}{}",
            lines("ssrc:N cname:c"),
            format!("a=ssrc-group:FID{types}\r\n").repeat(64)
        ),
        format!(" 96\r\na=rtpmap:96 VP8/90000\r\n{}", "a=x:1\r\n".repeat(500)),
    ];
    let offer = |shape: String| {
        let size = section(0, "").len() + shape.len();
        let mut sdp = head();
        for mid in 0..SECTIONS_MAX.min(BYTES_MAX / size) {
            let whole = section(mid as u32, "");
            let (line, rest) = whole.split_once(" 96\r\n").unwrap_or((&whole, ""));
            // Its own map last, so that it is found last.
            let (own, rest) = rest.split_once("a=rtpmap:96 VP8/90000\r\n").unwrap_or((rest, ""));
            let _ = write!(sdp, "{line}{shape}{own}{rest}");
        }
        sdp
    };
    shapes.map(offer).into()
}

fn description(kind: &str, id: u32, sdp: &str) -> Vec<u8> {
    let description = proto::SessionDescription {
        r#type: kind.to_owned(),
        sdp: sdp.to_owned(),
        id,
        ..Default::default()
    };
    request(match kind {
        "offer" => Request::Offer(description),
        _ => Request::Answer(description),
    })
}

fn trickle(address: &str, index: u32) -> Vec<u8> {
    let line = format!("candidate:{index} 1 udp 1 {address} 9 typ host");
    request(Request::Trickle(proto::TrickleRequest {
        candidate_init: serde_json::json!({"candidate": line, "sdpMid": "0"}).to_string(),
        target: (index % 2) as i32,
        r#final: false,
    }))
}

fn sessions(stage: &Stage<'_>, count: usize) -> anyhow::Result<Vec<Ws>> {
    (0..count)
        .map(|index| stage.join(&format!("mallory-{index}")))
        .collect()
}

fn describe(stage: &mut Stage<'_>, kind: &str, sdp: &str) -> anyhow::Result<()> {
    let frames: Vec<_> = (1..4).map(|id| description(kind, id, sdp)).collect();
    let attackers = sessions(stage, 3)?;
    stage.flood(attackers, &frames, u64::MAX, false);
    Ok(())
}
