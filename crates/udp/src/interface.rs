//! The addresses of this machine's network interfaces.

use crate::address::{self, RawAddress};
use crate::socket::check;
use std::ffi::CStr;
use std::io;
use std::net::IpAddr;

/// One address of one interface that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name, such as `eth0`.
    pub name: String,
    /// Address.
    pub address: IpAddr,
}

/// All addresses of interfaces that are up, in the system's order. IPv6 link-local addresses are
/// left out: they need a scope, which no candidate can carry.
///
/// # Errors
/// As `getifaddrs(3)`.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let mut list = std::ptr::null_mut();
    // SAFETY: `list` is exclusively borrowed; on success it points at a list we must free.
    check(unsafe { libc::getifaddrs(&mut list) })?;
    let mut found = Vec::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: `next` is a node of the list, which is freed only below.
        let entry = unsafe { &*next };
        next = entry.ifa_next;
        if entry.ifa_flags & libc::IFF_UP as libc::c_uint == 0 || entry.ifa_addr.is_null() {
            continue;
        }
        // SAFETY: every socket address begins with its family.
        let family = libc::c_int::from(unsafe { (*entry.ifa_addr).sa_family });
        let mut raw: RawAddress = address::empty();
        let len = match family {
            libc::AF_INET => size_of::<libc::sockaddr_in>(),
            libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
            _ => continue,
        };
        // SAFETY: an address of this family has `len` bytes, `raw` has room for them, and the two
        // do not overlap.
        unsafe {
            std::ptr::copy_nonoverlapping(
                entry.ifa_addr.cast::<u8>(),
                std::ptr::from_mut(&mut raw).cast::<u8>(),
                len,
            );
        }
        // SAFETY: the name is a C string that lives as long as the list.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) };
        if let Some(address) = address::decode(&raw).map(|address| address.ip())
            && !is_link_local(address)
        {
            found.push(Interface {
                name: name.to_string_lossy().into_owned(),
                address,
            });
        }
    }
    // SAFETY: `list` came from `getifaddrs` and nothing refers to it any more.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

const fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn loopback_is_among_the_interfaces() {
        let found = interfaces().unwrap();
        assert!(
            found
                .iter()
                .any(|entry| entry.address == IpAddr::V4(Ipv4Addr::LOCALHOST))
        );
    }
}
