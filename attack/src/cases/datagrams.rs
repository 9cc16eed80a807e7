//! Strangers over UDP.

use super::{Case, case};
use crate::packets::{dtls_hello, stun, stun_signed};
use crate::rng::Rng;
use crate::server::Kind;
use crate::stage::Stage;
use crate::udp_raw::{Forger, paced};
use std::net::SocketAddr;

/// Datagrams a second: what a stranger can send on a small line.
const FLOOD: u64 = 30_000;
/// The load of a stranger's requests on both threads. Whether the quiet pair's addresses could be flushed
/// by them depends on which sockets the kernel chose for it; the simulation of a shared port shows that they
/// are not.
const FLUSH: (u64, u32) = (60_000, 3);

pub(super) const CASES: &[Case] = &[
    case(
        "stun-seen",
        "2,000 forged requests a second with user names seen on the wire",
        |stage| seen(stage, 2000, stun),
    ),
    case(
        "stun-seen-signed",
        "the same with a made-up integrity and USE-CANDIDATE",
        |stage| seen(stage, 2000, stun_signed),
    ),
    case(
        "stun-seen-slow",
        "190 forged requests a second with user names seen on the wire",
        |stage| seen(stage, 190, stun),
    ),
    one_port(
        "stun-seen-one-port",
        "forged requests with seen user names, one port for two threads",
        |stage| seen(stage, 2000, stun),
    ),
    one_port(
        "stun-foreign-threads",
        "the load of 60,000 requests a second that name threads, one port for two threads",
        |stage| {
            flush(stage, |_, number| {
                format!("{:02x}qqqqqqqqqqqqqq:abcd", number % 2)
            })
        },
    ),
    one_port(
        "stun-foreign-random",
        "the same with user names of any thread",
        |stage| {
            flush(stage, |rng, _| {
                format!("{:02x}{}:abcd", rng.below(256), rng.text(14))
            })
        },
    ),
    one_port(
        "media-foreign",
        "RTP and DTLS from many addresses, one port for two threads",
        |stage| {
            random(stage, |rng, number| match number % 2 {
                0 => dtls_hello(rng),
                _ => [&[0x80, 111][..], &rng.bytes(100)].concat(),
            })
        },
    ),
    case("stun-random", "requests with user names of nobody", |stage| {
        named(stage, |rng, _| format!("{}:{}", rng.text(8), rng.text(4)))
    }),
    case(
        "stun-truncated",
        "requests that end early or lie about their length",
        |stage| {
            random(stage, |rng, number| {
                let mut packet = stun_signed(rng, "abcdefgh:ijkl");
                if number.is_multiple_of(2) {
                    packet.truncate(rng.below(packet.len() as u64) as usize);
                } else {
                    packet[3] = number as u8;
                }
                packet
            })
        },
    ),
    case("dtls-hellos", "handshakes with nobody", |stage| {
        random(stage, |rng, _| dtls_hello(rng))
    }),
    case("noise", "random bytes of every first byte", |stage| {
        random(stage, |rng, number| {
            let mut noise = rng.bytes(60);
            noise[0] = number as u8;
            noise
        })
    }),
    case("giants", "datagrams of 60 KB and of nothing", |stage| {
        let large = vec![0x80; 60_000];
        let targets = stage.server.udp.clone();
        let forger = Forger::new()?;
        let sent = paced(2000, 1, |number| {
            let payload = if number.is_multiple_of(2) { &large[..] } else { &[] };
            forger.send(
                number << 16,
                targets[number as usize / 2 % targets.len()],
                payload,
            );
        });
        stage.note(format!("{sent} datagrams"));
        Ok(())
    }),
];

const fn one_port(
    name: &'static str,
    about: &'static str,
    run: fn(&mut Stage<'_>) -> anyhow::Result<()>,
) -> Case {
    Case {
        name,
        about,
        kind: Kind::OnePort,
        run,
    }
}

/// Requests with user names of the quiet pair.
fn seen(stage: &mut Stage<'_>, rate: u64, make: fn(&mut Rng, &str) -> Vec<u8>) -> anyhow::Result<()> {
    let names = stage.shared.user_names();
    anyhow::ensure!(!names.is_empty(), "no user name was seen");
    let forger = Forger::new()?;
    let mut rng = stage.rng.clone();
    let sent = paced(rate, 1, |number| {
        let (name, to) = &names[number as usize % names.len()];
        let packet = make(&mut rng, name);
        forger.send(rng.draw(), *to, &packet);
    });
    stage.note(format!("{sent} datagrams, {} user names", names.len()));
    Ok(())
}

/// Requests with made-up user names.
fn named(stage: &mut Stage<'_>, name: fn(&mut Rng, u64) -> String) -> anyhow::Result<()> {
    flood(stage, (FLOOD, 1), |rng, number| {
        let name = name(rng, number);
        stun(rng, &name)
    })
}

/// The same for longer.
fn flush(stage: &mut Stage<'_>, name: fn(&mut Rng, u64) -> String) -> anyhow::Result<()> {
    flood(stage, FLUSH, |rng, number| {
        let name = name(rng, number);
        stun(rng, &name)
    })
}

fn random(stage: &mut Stage<'_>, make: fn(&mut Rng, u64) -> Vec<u8>) -> anyhow::Result<()> {
    flood(stage, (FLOOD, 1), make)
}

fn flood(
    stage: &mut Stage<'_>,
    (rate, spells): (u64, u32),
    mut make: impl FnMut(&mut Rng, u64) -> Vec<u8>,
) -> anyhow::Result<()> {
    let targets: Vec<SocketAddr> = stage.server.udp.clone();
    let forger = Forger::new()?;
    let mut rng = stage.rng.clone();
    let sent = paced(rate, spells, |number| {
        let packet = make(&mut rng, number);
        forger.send(rng.draw(), targets[number as usize % targets.len()], &packet);
    });
    stage.note(format!("{sent} datagrams"));
    Ok(())
}
