//! Nanoseconds per packet of protection alone, and of the whole write and receive paths.
//!
//! `cargo run -p peer --profile fast --example seal`. The sources are compiled in, so that what is
//! measured needs no public door.
#![allow(
    dead_code,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a tool on stdout with a real clock, and its own copy of the sources"
)]

#[path = "../src/receive/mod.rs"]
mod receive;
#[path = "../src/send/mod.rs"]
mod send;
#[path = "../src/srtp/mod.rs"]
mod srtp;
#[path = "../src/streams/mod.rs"]
mod streams;
#[path = "../src/window.rs"]
mod window;
mod config {
    pub use ::peer::config::*;
}
mod totals {
    pub use ::peer::{Delivery, MediaSent, ReceiveTotals, SendReport, SendTotals};
}
mod outbox {
    pub use ::peer::outbox::*;
}
mod peer {
    pub use ::peer::{PeerEvent, ReceivedRtp, RtpWrite};
}

use ::dtls::SrtpProfile;
use config::{Codec, Kind, Payload, ReceiveSpec, SendSpec};
use outbox::Outbox;
use peer::RtpWrite;
use srtp::Srtp;
use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Instant;
use streams::Streams;
use wire::ext::ExtensionIds;

const PACKETS: u64 = 200_000;
const BATCH: usize = 64;

fn main() {
    let profiles = [
        ("AES-128-GCM", SrtpProfile::AEAD_AES_128_GCM),
        ("AES-256-GCM", SrtpProfile::AEAD_AES_256_GCM),
        ("AES-CM-SHA1", SrtpProfile::AES128_CM_SHA1_80),
    ];
    println!("ns per packet, best of 5 rounds of {PACKETS}\n");
    println!(
        "{:12} {:>6} {:>8} {:>8} {:>10} {:>10}",
        "profile", "bytes", "seal", "write", "overhead", "receive"
    );
    for (name, profile) in profiles {
        for (len, codec) in [(100, Codec::Opus), (1100, Codec::Vp8)] {
            let seal = best(|| seal(profile, len));
            let write = best(|| write(profile, len, codec));
            let receive = best(|| receive_round(profile, len, codec));
            println!(
                "{name:12} {len:>6} {seal:>8.1} {write:>8.1} {:>10.1} {receive:>10.1}",
                write - seal
            );
        }
    }
}

fn best(mut round: impl FnMut() -> f64) -> f64 {
    (0..5).map(|_| round()).fold(f64::INFINITY, f64::min)
}

fn per_packet(start: Instant) -> f64 {
    start.elapsed().as_nanos() as f64 / PACKETS as f64
}

/// Protection alone, in an arena as large as the one of [`write`].
fn seal(profile: SrtpProfile, len: usize) -> f64 {
    let srtp = Srtp::new(profile, &[7; 88], true).unwrap();
    let mut arena = vec![3; (len + 40) * BATCH + 1500];
    let start = Instant::now();
    for index in 0..PACKETS {
        let at = index as usize % BATCH * (len + 40);
        let slot = &mut arena[at..at + 1500];
        black_box(srtp.seal_rtp(9, index, slot, 24, len + 24));
    }
    per_packet(start)
}

fn ends(profile: SrtpProfile, codec: Codec) -> (Streams, Streams) {
    let extensions = ExtensionIds {
        mid: 1,
        abs_send_time: 5,
        abs_capture_time: 7,
        dependency_descriptor: 8,
        ..ExtensionIds::default()
    };
    let payloads = vec![Payload {
        codec,
        pt: 96,
        rtx_pt: (codec.kind() == Kind::Video).then_some(97),
        nack: true,
    }];
    let mut sender = Streams::new(1, (Instant::now(), 1 << 60));
    let mut receiver = Streams::new(2, (Instant::now(), 1 << 60));
    sender.install_keys(profile, &[7; 88], true);
    receiver.install_keys(profile, &[7; 88], false);
    sender.add_send(SendSpec {
        tag: 1,
        mid: String::new(),
        kind: codec.kind(),
        ssrc: 9,
        rtx_ssrc: (codec.kind() == Kind::Video).then_some(10),
        payloads: payloads.clone(),
        extensions,
        cname: "x".into(),
        playout_delay: None,
    });
    receiver.add_receive(ReceiveSpec {
        tag: 1,
        mid: "0".into(),
        kind: codec.kind(),
        payloads,
        extensions,
        rids: Vec::new(),
        ssrcs: vec![(9, None)],
        transport_cc: false,
    });
    (sender, receiver)
}

fn packet(codec: Codec, sequence: u64, payload: &[u8]) -> RtpWrite<'_> {
    RtpWrite {
        codec,
        sequence,
        timestamp: sequence as u32,
        marker: false,
        dependency_descriptor: &[],
        abs_capture_time: &[],
        prefix: &payload[..4],
        payload: &payload[4..],
        padding: 0,
        retransmission: false,
    }
}

fn write(profile: SrtpProfile, len: usize, codec: Codec) -> f64 {
    let (mut sender, _) = ends(profile, codec);
    let payload = vec![3; len];
    let mut outbox = Outbox::new(BATCH, (len + 40) * BATCH + 1500);
    let to = SocketAddr::from(([127, 0, 0, 1], 9));
    let now = Instant::now();
    let start = Instant::now();
    for sequence in 0..PACKETS {
        let packet = packet(codec, sequence, black_box(&payload));
        if !sender.write_rtp(now, 0, &packet, to, 0, &mut outbox) {
            outbox.clear();
            assert!(sender.write_rtp(now, 0, &packet, to, 0, &mut outbox));
        }
    }
    per_packet(start)
}

/// Writing is done before the clock starts, batch by batch.
fn receive_round(profile: SrtpProfile, len: usize, codec: Codec) -> f64 {
    let (mut sender, mut receiver) = ends(profile, codec);
    let payload = vec![3; len];
    let mut outbox = Outbox::new(BATCH, (len + 40) * BATCH + 1500);
    let to = SocketAddr::from(([127, 0, 0, 1], 9));
    let now = Instant::now();
    let mut spent = std::time::Duration::ZERO;
    let mut batch: Vec<Vec<u8>> = Vec::new();
    for sequence in 0..PACKETS {
        assert!(sender.write_rtp(now, 0, &packet(codec, sequence, &payload), to, 0, &mut outbox));
        batch.push(outbox.bytes().to_vec());
        outbox.clear();
        if batch.len() == BATCH {
            let start = Instant::now();
            for bytes in &mut batch {
                assert!(black_box(receiver.handle_rtp(now, bytes)).is_some());
            }
            spent += start.elapsed();
            batch.clear();
        }
    }
    spent.as_nanos() as f64 / PACKETS as f64
}
