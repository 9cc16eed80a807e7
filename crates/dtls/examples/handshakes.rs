//! What handshakes and sessions cost: `cargo run -p dtls --profile fast --example handshakes`.
//!
//! Both sides run on one core, so that a handshake here is a client's and a server's work. Compare
//! with `openssl speed ecdsap256 ecdhx25519`: two signatures, two verifications, and on each side a
//! key pair and a key agreement are what no library can save. `dimpl` is the other stack.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "an example"
)]

#[path = "../tests/ends/mod.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod ends;

use dtls::{Context, Identity, Role, Session};
use ends::epoch;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUNDS: u32 = 1000;

fn main() {
    let ours = measure("AWS-LC, P-256 and P-256", &Ours::new(None));
    let rsa = Identity::from_der(
        include_bytes!("../tests/identities/rsa-2048.crt.der").to_vec(),
        include_bytes!("../tests/identities/rsa-2048.key.der").to_vec(),
    );
    measure("AWS-LC, a client with RSA-2048", &Ours::new(Some(&rsa)));
    let theirs = measure("dimpl, DTLS 1.2", &Theirs::new(false));
    measure("dimpl, DTLS 1.3", &Theirs::new(true));
    println!("ours / dimpl 1.2: {:.2}", ours / theirs);
}

trait Stack {
    type Session;
    /// Client and server, connected.
    fn connect(&self) -> (Self::Session, Self::Session);
}

fn measure<S: Stack>(name: &str, stack: &S) -> f64 {
    for _ in 0..50 {
        stack.connect();
    }
    let begin = Instant::now();
    for _ in 0..ROUNDS {
        stack.connect();
    }
    let rate = f64::from(ROUNDS) / begin.elapsed().as_secs_f64();
    let before = heap();
    let kept: Vec<_> = (0..ROUNDS).map(|_| stack.connect()).collect();
    let each = (heap() - before) as f64 / f64::from(2 * ROUNDS) / 1024.0;
    drop(kept);
    println!("{name}: {rate:.0} handshakes/s (both sides), {each:.2} KiB per idle session");
    rate
}

/// Bytes in use, of Rust and of C alike: both allocate by `malloc` here.
fn heap() -> usize {
    // SAFETY: takes nothing, returns numbers.
    unsafe { libc::mallinfo2() }.uordblks
}

struct Ours {
    client: Context,
    server: Context,
}

impl Ours {
    fn new(client: Option<&Identity>) -> Self {
        let identity = Identity::generate().unwrap();
        Self {
            client: Context::new(client.unwrap_or(&identity), epoch()).unwrap(),
            server: Context::new(&identity, epoch()).unwrap(),
        }
    }
}

impl Stack for Ours {
    type Session = Session;

    fn connect(&self) -> (Session, Session) {
        let now = epoch();
        let mut client =
            Session::new(&self.client, Role::Client, self.server.fingerprint().into(), now).unwrap();
        let mut server =
            Session::new(&self.server, Role::Server, self.client.fingerprint().into(), now).unwrap();
        while !(client.is_established() && server.is_established()) {
            while let Some(packet) = client.poll_packet() {
                server.handle_packet(now, &packet).unwrap();
            }
            while let Some(packet) = server.poll_packet() {
                client.handle_packet(now, &packet).unwrap();
            }
        }
        assert!(client.srtp().is_some() && server.srtp().is_some());
        (client, server)
    }
}

struct Theirs {
    config: Arc<dimpl::Config>,
    certificate: dimpl::DtlsCertificate,
    newest: bool,
}

impl Theirs {
    fn new(newest: bool) -> Self {
        let config = dimpl::Config::builder().use_server_cookie(false).build().unwrap();
        Self {
            config: Arc::new(config),
            certificate: dimpl::certificate::generate_self_signed_certificate().unwrap(),
            newest,
        }
    }
}

impl Stack for Theirs {
    type Session = dimpl::Dtls;

    fn connect(&self) -> (dimpl::Dtls, dimpl::Dtls) {
        let mut ends = [true, false].map(|active| {
            let (config, certificate) = (self.config.clone(), self.certificate.clone());
            let mut session = if self.newest {
                dimpl::Dtls::new_auto(config, certificate, epoch())
            } else {
                dimpl::Dtls::new_12(config, certificate, epoch())
            };
            session.set_active(active);
            session.handle_timeout(epoch()).unwrap();
            session
        });
        let mut buffer = vec![0; 4096];
        let mut up = [false; 2];
        while up != [true; 2] {
            for from in [0, 1] {
                loop {
                    let packet = match ends[from].poll_output(&mut buffer) {
                        dimpl::Output::Packet(packet) => packet.to_vec(),
                        dimpl::Output::Connected => {
                            up[from] = true;
                            continue;
                        }
                        dimpl::Output::Timeout(_) => break,
                        _ => continue,
                    };
                    ends[1 - from].handle_packet(&packet).unwrap();
                }
            }
        }
        // What is still to be acknowledged.
        for from in [0, 1, 0, 1] {
            while let dimpl::Output::Packet(packet) = ends[from].poll_output(&mut buffer) {
                let packet = packet.to_vec();
                ends[1 - from].handle_packet(&packet).unwrap();
            }
        }
        for end in &mut ends {
            end.handle_timeout(epoch() + Duration::from_secs(5)).unwrap();
        }
        ends.into()
    }
}
