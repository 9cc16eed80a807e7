//! Handshakes with another stack (`dimpl`): the versions and curves that it may insist upon.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

#[allow(dead_code, reason = "each test file uses a part")]
mod ends;

use dimpl::{Config, NamedGroup, Output};
use dtls::{Identity, Role, SrtpProfile};
use ends::{End, epoch};
use std::sync::Arc;

/// The other stack, until it has nothing more to say.
struct Opponent {
    session: dimpl::Dtls,
    connected: bool,
    keys: Option<(Vec<u8>, dimpl::SrtpProfile)>,
    certificate: Option<Vec<u8>>,
}

impl Opponent {
    fn new(newest: bool, groups: &[NamedGroup], active: bool) -> (Self, [u8; 32]) {
        let certificate = dimpl::certificate::generate_self_signed_certificate().unwrap();
        let fingerprint = certificate.fingerprint().try_into().unwrap();
        let config = Config::builder().use_server_cookie(false).kx_groups(groups);
        let config = Arc::new(config.build().unwrap());
        let mut session = if newest {
            dimpl::Dtls::new_auto(config, certificate, epoch())
        } else {
            dimpl::Dtls::new_12(config, certificate, epoch())
        };
        session.set_active(active);
        session.handle_timeout(epoch()).unwrap();
        let opponent = Self {
            session,
            connected: false,
            keys: None,
            certificate: None,
        };
        (opponent, fingerprint)
    }

    fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        let mut buffer = vec![0; 4096];
        loop {
            match self.session.poll_output(&mut buffer) {
                Output::Packet(packet) => packets.push(packet.to_vec()),
                Output::Connected => self.connected = true,
                Output::KeyingMaterial(material, profile) => self.keys = Some((material.to_vec(), profile)),
                Output::PeerCert(certificate) => self.certificate = Some(certificate.to_vec()),
                Output::Timeout(_) => return packets,
                Output::BufferTooSmall { .. } | Output::ApplicationData(_) | Output::CloseNotify | _ => {}
            }
        }
    }
}

#[test]
fn every_version_and_curve_of_the_other_stack_connects_in_both_roles() {
    let groups = [NamedGroup::X25519, NamedGroup::Secp384r1, NamedGroup::Secp256r1];
    for newest in [false, true] {
        for groups in [&groups[..], &groups[1..2], &groups[2..]] {
            for role in [Role::Client, Role::Server] {
                let ours = Identity::generate().unwrap();
                let (mut theirs, fingerprint) = Opponent::new(newest, groups, role == Role::Server);
                let mut end = End::new(&ours, role, fingerprint.into());
                loop {
                    let to_us = theirs.drain();
                    for packet in &to_us {
                        end.take(epoch(), packet);
                    }
                    let to_them: Vec<_> = std::iter::from_fn(|| end.session.poll_packet()).collect();
                    for packet in &to_them {
                        theirs.session.handle_packet(packet).unwrap();
                    }
                    if to_us.is_empty() && to_them.is_empty() {
                        break;
                    }
                }
                let case = format!("{newest} {groups:?} {role:?}");
                assert_eq!(end.failure, None, "{case}");
                let (profile, keys) = end.session.srtp().unwrap_or_else(|| panic!("{case}"));
                assert_eq!(profile, SrtpProfile::AEAD_AES_256_GCM, "{case}");
                let (material, same) = theirs.keys.expect("keys");
                assert_eq!(
                    (&keys[..], same),
                    (&material[..], dimpl::SrtpProfile::AEAD_AES_256_GCM),
                    "{case}"
                );
                assert!(theirs.connected && theirs.certificate.is_some(), "{case}");
            }
        }
    }
}
