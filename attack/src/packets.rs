//! Hostile datagrams.

use crate::rng::Rng;

/// A STUN binding request (RFC 8489 §5) with a user name and nothing that proves it.
pub(crate) fn stun(rng: &mut Rng, user: &str) -> Vec<u8> {
    let mut attributes = vec![0, 6];
    attributes.extend((user.len() as u16).to_be_bytes());
    attributes.extend(user.as_bytes());
    attributes.resize(attributes.len().next_multiple_of(4), 0);
    let mut out = vec![0, 1];
    out.extend((attributes.len() as u16).to_be_bytes());
    out.extend(0x2112_A442_u32.to_be_bytes());
    out.extend(rng.bytes(12));
    out.extend(attributes);
    out
}

/// The same with PRIORITY, USE-CANDIDATE and a MESSAGE-INTEGRITY that is made up.
pub(crate) fn stun_signed(rng: &mut Rng, user: &str) -> Vec<u8> {
    let mut out = stun(rng, user);
    out.extend([
        0, 0x24, 0, 4, 0x7E, 0, 0, 1, 0, 0x25, 0, 0, 0x80, 0x2A, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8,
    ]);
    out.extend([0, 8, 0, 20]);
    out.extend(rng.bytes(20));
    let length = (out.len() - 20) as u16;
    out[2..4].copy_from_slice(&length.to_be_bytes());
    out
}

/// The beginning of a DTLS 1.2 handshake (RFC 6347 §4.2), with noise for a ClientHello.
pub(crate) fn dtls_hello(rng: &mut Rng) -> Vec<u8> {
    let body = rng.bytes(200);
    let mut out = vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0];
    out.extend(((12 + body.len()) as u16).to_be_bytes());
    out.extend([1, 0, 0, body.len() as u8, 0, 0, 0, 0, 0, 0, 0, body.len() as u8]);
    out.extend(body);
    out
}

/// RTCP feedback (RFC 4585 §6.1) about an SSRC.
pub(crate) fn feedback(format: u8, kind: u8, ssrc: u32, information: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | format, kind];
    out.extend(((2 + information.len() / 4) as u16).to_be_bytes());
    out.extend(1u32.to_be_bytes());
    out.extend(ssrc.to_be_bytes());
    out.extend_from_slice(information);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forged_request_is_stun() {
        for packet in [
            stun(&mut Rng::new(1), "a:b"),
            stun_signed(&mut Rng::new(1), "a:b"),
        ] {
            let told = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
            assert_eq!((told + 20, told % 4), (packet.len(), 0));
        }
    }
}
