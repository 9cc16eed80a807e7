//! Datagrams from addresses that are not ours: forged where the system permits it, else from many
//! loopback addresses, all of which are ours.

use crate::stage::spell;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

/// Sockets that stand in for forged sources.
const SOCKETS: usize = 200;

#[derive(Debug)]
pub(crate) struct Forger {
    raw: Option<Socket>,
    sockets: Vec<UdpSocket>,
}

impl Forger {
    pub(crate) fn new() -> anyhow::Result<Self> {
        // IPPROTO_RAW: the IP header is ours to write.
        let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).ok();
        let mut sockets = Vec::new();
        if raw.is_none() {
            for index in 0..SOCKETS {
                let ip = Ipv4Addr::new(127, 2, (index / 250) as u8, (index % 250) as u8 + 1);
                sockets.push(UdpSocket::bind((ip, 0))?);
            }
        }
        Ok(Self { raw, sockets })
    }

    /// Sends from source number `from` of many.
    pub(crate) fn send(&self, from: u64, to: SocketAddr, payload: &[u8]) {
        let SocketAddr::V4(to) = to else { return };
        match &self.raw {
            Some(raw) => {
                let source = Ipv4Addr::new(127, 2, (from >> 24) as u8, ((from >> 16) % 254) as u8 + 1);
                let source = SocketAddrV4::new(source, 1024 + (from % 60_000) as u16);
                // Refused or full: one fewer of a flood.
                let _ = raw.send_to(
                    &datagram(source, to, payload),
                    &SockAddr::from(SocketAddrV4::new(*to.ip(), 0)),
                );
            }
            None => {
                let socket = &self.sockets[from as usize % self.sockets.len()];
                let _ = socket.send_to(payload, to);
            }
        }
    }
}

/// IPv4 (RFC 791 §3.1) and UDP (RFC 768) around a payload; the kernel fills in checksums.
fn datagram(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let length = (28 + payload.len()) as u16;
    let mut out = vec![0x45, 0];
    out.extend(length.to_be_bytes());
    out.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    out.extend(from.ip().octets());
    out.extend(to.ip().octets());
    out.extend(from.port().to_be_bytes());
    out.extend(to.port().to_be_bytes());
    out.extend((length - 20).to_be_bytes());
    out.extend([0, 0]);
    out.extend_from_slice(payload);
    out
}

/// Does something so often a second for some spells, in small bursts; how often it was done.
pub(crate) fn paced(rate: u64, spells: u32, mut work: impl FnMut(u64)) -> u64 {
    let began = Instant::now();
    let mut done = 0;
    loop {
        let elapsed = began.elapsed();
        let due = elapsed.as_micros() as u64 * rate / 1_000_000;
        // What the attacker's thread missed stays missed.
        done = done.max(due.saturating_sub(rate / 50));
        while done < due {
            work(done);
            done += 1;
        }
        if elapsed > spell() * spells {
            return done;
        }
        crate::stage::pause(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forged_datagram_says_its_length_twice() {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
        let bytes = datagram(address, address, b"12345");
        assert_eq!((bytes.len(), bytes[3], bytes[25]), (33, 33, 13));
    }
}
