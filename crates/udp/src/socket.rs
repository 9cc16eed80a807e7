//! One bound UDP socket.

use crate::address::{self, RawAddress};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// How a [`Socket`] is bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Several sockets share the address; the kernel spreads remote addresses over them
    /// (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// Kernel receive buffer in bytes, 0 for the system's default. The kernel may grant less
    /// (`net.core.rmem_max`) to a process without `CAP_NET_ADMIN`.
    pub recv_buffer_bytes: usize,
    /// Kernel send buffer in bytes, 0 for the system's default.
    pub send_buffer_bytes: usize,
    /// Let the kernel join equal-sized datagrams of one sender (`UDP_GRO`). The receiver must
    /// then use buffers of 64 KiB. Where the kernel does not know it, nothing changes.
    pub gro: bool,
}

/// A bound, non-blocking UDP socket. IPv6 sockets are IPv6 only.
#[derive(Debug)]
pub struct Socket {
    inner: UdpSocket,
    local: SocketAddr,
}

impl Socket {
    /// Binds `address`; port 0 lets the kernel choose.
    ///
    /// # Errors
    /// When the kernel refuses, most often because the address is in use or not this machine's.
    pub fn bind(address: SocketAddr, options: Options) -> io::Result<Self> {
        let family = match address {
            SocketAddr::V4(_) => libc::AF_INET,
            SocketAddr::V6(_) => libc::AF_INET6,
        };
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no pointers are passed; the result is checked before it is owned.
        let fd = check(unsafe { libc::socket(family, kind, 0) })?;
        // SAFETY: `fd` was just created and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        if options.reuse_port {
            set(&fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        }
        if family == libc::AF_INET6 {
            set(&fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
        }
        for (bytes, forced, option) in [
            (options.recv_buffer_bytes, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
            (options.send_buffer_bytes, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
        ] {
            if bytes > 0 {
                let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
                // The forced form goes over the system's limit, and needs a privilege.
                if set(&fd, libc::SOL_SOCKET, forced, bytes).is_err() {
                    set(&fd, libc::SOL_SOCKET, option, bytes)?;
                }
            }
        }
        if options.gro {
            // An old kernel does not know it: then datagrams simply arrive one by one.
            let _unknown = set(&fd, libc::SOL_UDP, libc::UDP_GRO, 1);
        }
        // Says with later datagrams how many were lost to a full buffer (`socket(7)`).
        set(&fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)?;
        let mut raw: RawAddress = address::empty();
        let len = address::encode(address, &mut raw);
        // SAFETY: `raw` holds an address of `len` bytes and outlives the call.
        check(unsafe { libc::bind(fd.as_raw_fd(), std::ptr::from_ref(&raw).cast(), len) })?;
        let inner = UdpSocket::from(fd);
        let local = inner.local_addr()?;
        Ok(Self { inner, local })
    }

    /// The bound address, with the port that the kernel chose.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Bytes of the kernel's receive buffer, as granted. `None` when the system does not tell.
    #[must_use]
    pub fn recv_buffer_bytes(&self) -> Option<usize> {
        let mut value: libc::c_int = 0;
        let mut len = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: `value` has room for the `len` bytes of a `c_int`, and both outlive the call.
        let result = unsafe {
            libc::getsockopt(
                self.fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVBUF,
                (&raw mut value).cast(),
                &raw mut len,
            )
        };
        check(result).ok()?;
        // The kernel doubles what was asked for, to have room for its own records (`socket(7)`).
        usize::try_from(value).ok().map(|bytes| bytes / 2)
    }

    /// Sends one datagram outside of any batch; for tests and tools.
    ///
    /// # Errors
    /// As `sendto(2)`.
    pub fn send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.inner.send_to(bytes, to)
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}

/// The result of a call that returns −1 on failure.
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

fn set(fd: &OwnedFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    let value = std::ptr::from_ref(&value).cast();
    // SAFETY: `value` points to a `c_int` of `len` bytes that outlives the call.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, value, len) }).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_granted_buffer_is_told() {
        let options = Options {
            recv_buffer_bytes: 64 * 1024,
            ..Options::default()
        };
        let socket = Socket::bind("127.0.0.1:0".parse().unwrap(), options).unwrap();
        assert_eq!(socket.recv_buffer_bytes(), Some(64 * 1024));
    }

    #[test]
    fn two_sockets_share_a_port_only_when_told_to() {
        let shared = Options {
            reuse_port: true,
            ..Options::default()
        };
        let first = Socket::bind("127.0.0.1:0".parse().unwrap(), shared).unwrap();
        assert!(Socket::bind(first.local_address(), shared).is_ok());
        let error = Socket::bind(first.local_address(), Options::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
