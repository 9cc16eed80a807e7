//! Participants with a peer connection.

use super::{Case, case};
use crate::packets::feedback;
use crate::probes::packet;
use crate::stage::{PATIENCE, Stage, spell};
use bench::guest::{Guest, LOSSY, RELIABLE, World};
use livekit_protocol as proto;
use peer::{Codec, Kind, Payload, RtpWrite, SendSpec};
use prost::Message;
use proto::signal_request::Message as Request;
use std::time::Instant;
use wire::ext::ExtensionIds;

pub(super) const CASES: &[Case] = &[
    case(
        "data-reliable-deaf",
        "reliable messages at full speed to one who reads nothing",
        |stage| flood(stage, RELIABLE, false, packet(&[7; 15_000])),
    ),
    case(
        "data-reliable",
        "reliable messages at full speed to one who reads",
        |stage| flood(stage, RELIABLE, true, packet(&[7; 15_000])),
    ),
    case("data-lossy", "small lossy messages at full speed", |stage| {
        flood(stage, LOSSY, true, packet(&[7; 10]))
    }),
    case(
        "data-lossy-deaf",
        "large lossy messages to one who reads nothing",
        |stage| flood(stage, LOSSY, false, packet(&[7; 60_000])),
    ),
    case(
        "data-destinations",
        "messages to 30,000 participants each",
        |stage| {
            let message = proto::DataPacket {
                destination_identities: vec![String::new(); 30_000],
                ..proto::DataPacket::decode(&*packet(b"x"))?
            };
            flood(stage, RELIABLE, true, message.encode_to_vec())
        },
    ),
    case("data-garbage", "messages that are no data packets", |stage| {
        let noise = stage.rng.bytes(1000);
        flood(stage, RELIABLE, true, noise)
    }),
    case(
        "rtp-flood",
        "sound at 20,000 packets a second, with a subscriber",
        |stage| {
            rtp(stage, |guest, number| {
                let link = guest.sending.as_mut()?;
                Some(link.write(0x4000_0001, &write(number * 7, &[0xF8; 60])))
            })
        },
    ),
    case(
        "rtp-sequence-jumps",
        "sound whose numbers jump by 30,000",
        |stage| {
            rtp(stage, |guest, number| {
                let link = guest.sending.as_mut()?;
                Some(link.write(0x4000_0001, &write(number * 30_000, &[0xF8; 60])))
            })
        },
    ),
    case(
        "rtp-unknown-ssrc",
        "packets of SSRCs and sections that nobody described",
        |stage| {
            rtp(stage, |guest, number| {
                let link = guest.sending.as_mut()?;
                let tag = 0x7000_0000 + number % 3000;
                if link.peer.send_index(tag).is_none() {
                    link.peer.add_send(stream(tag));
                }
                Some(link.write(tag, &write(number, &[0xF8; 60])))
            })
        },
    ),
    case(
        "rtp-unprotected",
        "packets that are not sealed, from the right address",
        |stage| {
            rtp(stage, |guest, number| {
                let link = guest.sending.as_ref()?;
                let to = link.addresses.first().copied()?;
                let mut bytes = vec![0x80, 111];
                bytes.extend((number as u16).to_be_bytes());
                bytes.extend([7; 80]);
                // A full socket drops.
                let _ = link.inject(&bytes, to);
                Some(true)
            })
        },
    ),
    case(
        "rtcp-nacks",
        "a subscriber misses everything, 10,000 times a second",
        |stage| {
            rtcp(stage, |ssrc, number| {
                let mut missing = Vec::new();
                for index in 0..200u16 {
                    missing.extend(((number as u16).wrapping_mul(17).wrapping_add(index * 17)).to_be_bytes());
                    missing.extend([0xFF, 0xFF]);
                }
                feedback(1, 205, ssrc, &missing)
            })
        },
    ),
    case(
        "rtcp-key-frames",
        "a subscriber asks for key frames by PLI and FIR",
        |stage| {
            rtcp(stage, |ssrc, number| match number % 2 {
                0 => feedback(1, 206, ssrc, &[]),
                _ => feedback(4, 206, 0, &[ssrc.to_be_bytes(), [number as u8, 0, 0, 0]].concat()),
            })
        },
    ),
    case("rtcp-strange", "reports, BYE, REMB and SDES that lie", |stage| {
        rtcp(stage, |ssrc, number| match number % 4 {
            0 => [&[0x9F, 201, 0, 187][..], &vec![0xFF; 187 * 4]].concat(),
            1 => [&[0x81, 203, 0, 1][..], &ssrc.to_be_bytes()].concat(),
            2 => feedback(
                15,
                206,
                0,
                &[b"REMB".as_slice(), &[255, 0xFF, 0xFF, 0xFF], &vec![0xAB; 1020]].concat(),
            ),
            _ => [&[0x9F, 202, 0, 10][..], &[0xFF; 40]].concat(),
        })
    }),
    case("sctp-strange", "SCTP that no library sends, sealed", |stage| {
        let noise = stage.rng.bytes(1100);
        rtp(stage, move |guest, number| {
            let link = guest.sending.as_mut()?;
            let kind = (number % 64) as u8;
            let mut sctp = vec![0x13, 0x88, 0x13, 0x88, 0, 0, 0, 0, 0, 0, 0, 0, kind, 3];
            sctp.extend((noise.len() as u16 + 4).to_be_bytes());
            sctp.extend(&noise);
            Some(link.peer.send_sctp_unchecked(Instant::now(), &sctp))
        })
    }),
    case(
        "resubscribe",
        "a subscription to and fro at full speed",
        |stage| {
            toggle(stage, |sid, on| {
                Request::Subscription(proto::UpdateSubscription {
                    track_sids: vec![sid],
                    subscribe: on,
                    participant_tracks: Vec::new(),
                })
            })
        },
    ),
    case(
        "track-settings",
        "a track disabled and enabled at full speed",
        |stage| {
            toggle(stage, |sid, on| {
                Request::TrackSetting(proto::UpdateTrackSettings {
                    track_sids: vec![sid],
                    disabled: on,
                    width: 9999,
                    ..Default::default()
                })
            })
        },
    ),
    case(
        "publish-loop",
        "tracks published and unpublished as fast as they are answered",
        |stage| {
            let (world, room) = names(stage);
            let count = stage.block_on(async move {
                let mut guest = Guest::join(&world, &room, "m").await?;
                let (mut count, began) = (0, Instant::now());
                while began.elapsed() < spell() {
                    guest.publish(20).await?;
                    guest.unpublish().await?;
                    count += 1;
                }
                anyhow::Ok(count)
            })?;
            stage.note(format!("{count} rounds of 20 tracks"));
            Ok(())
        },
    ),
];

fn names(stage: &Stage<'_>) -> (World, String) {
    (stage.world.clone(), stage.room.clone())
}

/// Messages from one to another of the room, as fast as the channel takes them.
fn flood(stage: &mut Stage<'_>, label: &str, reads: bool, message: Vec<u8>) -> anyhow::Result<()> {
    let (world, room) = names(stage);
    let (sent, came) = stage.block_on(async move {
        let mut reader = Guest::join(&world, &room, "reader").await?;
        reader.open_data().await?;
        let mut sender = Guest::join(&world, &room, "sender").await?;
        sender.open_data().await?;
        let (mut sent, mut came, began) = (0u64, 0u64, Instant::now());
        while began.elapsed() < spell() && !sender.ended {
            if let Some(link) = &mut sender.sending {
                for _ in 0..5 {
                    for _ in 0..200 {
                        if !link.send(label, &message) {
                            break;
                        }
                        sent += 1;
                    }
                    link.flush().await;
                }
            }
            sender.step().await?;
            if reads {
                reader.step().await?;
                while reader.receiving.message().is_some() {
                    came += 1;
                }
            }
        }
        anyhow::Ok((sent, came))
    })?;
    stage.note(format!("{sent} messages, {came} arrived"));
    Ok(())
}

/// A publisher with a subscriber; `work` is done some 10,000 times a second.
fn rtp(stage: &mut Stage<'_>, mut work: impl FnMut(&mut Guest, u64) -> Option<bool>) -> anyhow::Result<()> {
    let (world, room) = names(stage);
    let (count, heard) = stage.block_on(async move {
        let mut other = Guest::join(&world, &room, "other").await?;
        let mut guest = Guest::join(&world, &room, "m").await?;
        guest.open_data().await?;
        guest.publish(1).await?;
        let began = Instant::now();
        while (other.offered.0 == 0 || !other.is_connected()) && began.elapsed() < PATIENCE {
            guest.step().await?;
            other.step().await?;
        }
        guest.silent = true;
        let (mut number, began) = (1u64, Instant::now());
        while began.elapsed() < spell() {
            for _ in 0..5 {
                for _ in 0..50 {
                    number += 1;
                    if work(&mut guest, number) != Some(true) {
                        break;
                    }
                }
                if let Some(link) = &mut guest.sending {
                    link.flush().await;
                }
            }
            guest.step().await?;
            other.step().await?;
        }
        anyhow::Ok((number, other.receiving.heard))
    })?;
    stage.note(format!("{count} packets, {heard} heard"));
    Ok(())
}

/// A subscriber that sends RTCP about what it receives.
fn rtcp(stage: &mut Stage<'_>, make: fn(u32, u64) -> Vec<u8>) -> anyhow::Result<()> {
    let (world, room) = names(stage);
    let (count, heard) = stage.block_on(async move {
        let mut publisher = Guest::join(&world, &room, "publisher").await?;
        let mut guest = Guest::join(&world, &room, "m").await?;
        publisher.publish(1).await?;
        let began = Instant::now();
        while (guest.offered_ssrcs.is_empty() || guest.receiving.heard == 0) && began.elapsed() < PATIENCE {
            publisher.step().await?;
            guest.step().await?;
        }
        let ssrc = guest.offered_ssrcs.first().copied().unwrap_or(1);
        let (mut number, began) = (0u64, Instant::now());
        while began.elapsed() < spell() {
            for _ in 0..5 {
                for _ in 0..50 {
                    number += 1;
                    if !guest.receiving.write_rtcp(&make(ssrc, number)) {
                        break;
                    }
                }
                guest.receiving.flush().await;
            }
            guest.step().await?;
            publisher.step().await?;
        }
        anyhow::Ok((number, guest.receiving.heard))
    })?;
    stage.note(format!("{count} packets, {heard} heard"));
    Ok(())
}

/// A subscriber that changes its mind about a track.
fn toggle(stage: &mut Stage<'_>, make: fn(String, bool) -> Request) -> anyhow::Result<()> {
    let (world, room) = names(stage);
    let count = stage.block_on(async move {
        let mut publisher = Guest::join(&world, &room, "publisher").await?;
        let mut guest = Guest::join(&world, &room, "m").await?;
        publisher.publish(1).await?;
        let began = Instant::now();
        while guest.receiving.heard == 0 && began.elapsed() < PATIENCE {
            publisher.step().await?;
            guest.step().await?;
        }
        let sid = guest.remote_sids.first().cloned().unwrap_or_default();
        let (mut count, began) = (0u64, Instant::now());
        while began.elapsed() < spell() && !guest.ended {
            for _ in 0..50 {
                count += 1;
                guest.request(make(sid.clone(), count.is_multiple_of(2))).await?;
            }
            guest.step().await?;
            publisher.step().await?;
        }
        anyhow::Ok(count)
    })?;
    stage.note(format!("{count} changes"));
    Ok(())
}

const fn write(sequence: u64, payload: &[u8]) -> RtpWrite<'_> {
    RtpWrite {
        codec: Codec::Opus,
        sequence,
        timestamp: (sequence as u32).wrapping_mul(960),
        marker: false,
        dependency_descriptor: &[],
        abs_capture_time: &[],
        prefix: &[],
        payload,
        padding: 0,
        retransmission: false,
    }
}

/// A stream that no description tells of.
fn stream(tag: u64) -> SendSpec {
    SendSpec {
        tag,
        mid: format!("m{tag}"),
        kind: Kind::Audio,
        ssrc: tag as u32,
        rtx_ssrc: None,
        payloads: vec![Payload {
            codec: Codec::Opus,
            pt: 111,
            rtx_pt: None,
            nack: false,
        }],
        extensions: ExtensionIds {
            mid: 1,
            ..ExtensionIds::default()
        },
        cname: "m".to_owned(),
        playout_delay: None,
    }
}
