//! Socket addresses between Rust's shape and the kernel's.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Room for the kernel's form of an IPv4 or IPv6 socket address. The v6 form is the larger one,
/// and begins with the same family field.
pub(crate) type RawAddress = libc::sockaddr_in6;

/// Size of [`RawAddress`] as the kernel wants it.
pub(crate) const RAW_LEN: libc::socklen_t = size_of::<RawAddress>() as libc::socklen_t;

const _: () = assert!(size_of::<libc::sockaddr_in>() <= size_of::<RawAddress>());
const _: () = assert!(align_of::<libc::sockaddr_in>() <= align_of::<RawAddress>());

/// An empty address for the kernel to fill.
pub(crate) const fn empty() -> RawAddress {
    RawAddress {
        sin6_family: 0,
        sin6_port: 0,
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
        sin6_scope_id: 0,
    }
}

/// Writes `address` in the kernel's form; returns its length.
pub(crate) fn encode(address: SocketAddr, raw: &mut RawAddress) -> libc::socklen_t {
    match address {
        SocketAddr::V4(v4) => {
            let form = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(v4.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: `raw` is at least as large and as aligned as `sockaddr_in` (asserted above),
            // and exclusively borrowed; both types are plain data.
            unsafe { std::ptr::from_mut(raw).cast::<libc::sockaddr_in>().write(form) };
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(v6) => {
            *raw = RawAddress {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            };
            RAW_LEN
        }
    }
}

/// Reads what the kernel wrote; `None` for another family.
pub(crate) fn decode(raw: &RawAddress) -> Option<SocketAddr> {
    match libc::c_int::from(raw.sin6_family) {
        libc::AF_INET => {
            // SAFETY: `raw` is large and aligned enough for `sockaddr_in` (asserted above), fully
            // initialised, and every bit pattern is a valid `sockaddr_in`.
            let form = unsafe { std::ptr::from_ref(raw).cast::<libc::sockaddr_in>().read() };
            let ip = Ipv4Addr::from(form.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(form.sin_port))))
        }
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
            let port = u16::from_be(raw.sin6_port);
            Some(SocketAddr::V6(SocketAddrV6::new(
                ip,
                port,
                raw.sin6_flowinfo,
                raw.sin6_scope_id,
            )))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in [
            "127.0.0.1:9",
            "203.0.113.7:65535",
            "[::1]:1",
            "[2001:db8::7]:7882",
        ] {
            let address: SocketAddr = text.parse().unwrap();
            let mut raw = empty();
            encode(address, &mut raw);
            assert_eq!(decode(&raw), Some(address));
        }
        assert_eq!(decode(&empty()), None);
    }
}
