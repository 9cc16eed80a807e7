//! One socket that many clients share: each has a loopback address of its own, all have one port.
//!
//! A server tells peers apart by their source address. Thousands of sockets with a packet each per
//! 20 ms would cost the load more than the server under test; here one `sendmmsg` carries packets of
//! 32 clients and one `recvmmsg` brings what the server sent to as many (`IP_PKTINFO`, `ip(7)`).

use anyhow::{Context, ensure};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

const MESSAGES: usize = 32;
const BUFFER: usize = 2048;
/// Kernel buffers: what the server sends while the load is busy sending, a few milliseconds.
const BUFFER_BYTES: libc::c_int = 32 << 20;

/// Room for one `in_pktinfo` in a control message.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 32]);

/// One datagram to be sent: where it lies in the bytes given to [`Air::send`], and who sends it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving {
    pub(super) client: usize,
    pub(super) start: usize,
    pub(super) len: usize,
}

/// The shared socket.
pub(super) struct Air {
    socket: UdpSocket,
    port: u16,
    server: libc::sockaddr_in,
    buffers: Vec<[u8; BUFFER]>,
    controls: Vec<Control>,
    iovecs: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    /// Datagrams that the kernel did not take.
    pub(super) unsent: u64,
}

impl Air {
    pub(super) fn new(server: SocketAddr) -> anyhow::Result<Self> {
        let SocketAddr::V4(server) = server else {
            anyhow::bail!("the load runs on IPv4");
        };
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_nonblocking(true)?;
        for (level, option, value) in [
            (libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
            (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, BUFFER_BYTES),
            (libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, BUFFER_BYTES),
        ] {
            // SAFETY: the value is a `c_int` that outlives the call, and its size is given.
            let done = unsafe {
                libc::setsockopt(
                    socket.as_raw_fd(),
                    level,
                    option,
                    (&raw const value).cast(),
                    size_of::<libc::c_int>() as libc::socklen_t,
                )
            };
            ensure!(
                done == 0,
                "setsockopt (the load needs CAP_NET_ADMIN): {}",
                std::io::Error::last_os_error()
            );
        }
        let port = socket.local_addr()?.port();
        // SAFETY: plain data for which all-zero is valid.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let iovec = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        Ok(Self {
            socket,
            port,
            server: libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: server.port().to_be(),
                sin_addr: to_kernel(*server.ip()),
                sin_zero: [0; 8],
            },
            buffers: vec![[0; BUFFER]; MESSAGES],
            controls: vec![Control([0; 32]); MESSAGES],
            iovecs: vec![iovec; MESSAGES],
            headers: vec![header; MESSAGES],
            unsent: 0,
        })
    }

    /// The address of a client.
    pub(super) fn address(&self, client: usize) -> SocketAddr {
        SocketAddr::V4(SocketAddrV4::new(address_of(client), self.port))
    }

    /// Sends datagrams that lie in `bytes`, each from its client's address.
    pub(super) fn send(&mut self, bytes: &[u8], leaving: &[Leaving]) -> anyhow::Result<()> {
        for group in leaving.chunks(MESSAGES) {
            for (slot, datagram) in group.iter().enumerate() {
                let part = bytes
                    .get(datagram.start..datagram.start + datagram.len)
                    .context("a datagram lies within the bytes")?;
                self.iovecs[slot] = libc::iovec {
                    // The kernel only reads it.
                    iov_base: part.as_ptr().cast_mut().cast(),
                    iov_len: part.len(),
                };
                let header = &mut self.headers[slot].msg_hdr;
                header.msg_name = (&raw mut self.server).cast();
                header.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
                header.msg_iov = &mut self.iovecs[slot];
                header.msg_iovlen = 1;
                header.msg_control = self.controls[slot].0.as_mut_ptr().cast();
                header.msg_controllen = size_of::<Control>();
                header.msg_flags = 0;
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: to_kernel(address_of(datagram.client)),
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                // SAFETY: the control block has 32 aligned bytes, enough for one `in_pktinfo`.
                unsafe {
                    let message = libc::CMSG_FIRSTHDR(header);
                    (*message).cmsg_level = libc::IPPROTO_IP;
                    (*message).cmsg_type = libc::IP_PKTINFO;
                    (*message).cmsg_len =
                        libc::CMSG_LEN(size_of::<libc::in_pktinfo>() as libc::c_uint) as usize;
                    libc::CMSG_DATA(message)
                        .cast::<libc::in_pktinfo>()
                        .write_unaligned(info);
                    header.msg_controllen =
                        libc::CMSG_SPACE(size_of::<libc::in_pktinfo>() as libc::c_uint) as usize;
                }
            }
            // SAFETY: as many headers were filled above; all they point at outlives the call.
            let sent = unsafe {
                libc::sendmmsg(
                    self.socket.as_raw_fd(),
                    self.headers.as_mut_ptr(),
                    group.len() as libc::c_uint,
                    0,
                )
            };
            let sent = usize::try_from(sent).unwrap_or(0);
            self.unsent += (group.len() - sent) as u64;
        }
        Ok(())
    }

    /// Receives up to 32 datagrams and gives each with its client to `take`; how many there were.
    pub(super) fn receive(&mut self, mut take: impl FnMut(usize, &mut [u8])) -> usize {
        for slot in 0..MESSAGES {
            self.iovecs[slot] = libc::iovec {
                iov_base: self.buffers[slot].as_mut_ptr().cast(),
                iov_len: BUFFER,
            };
            let header = &mut self.headers[slot].msg_hdr;
            header.msg_name = std::ptr::null_mut();
            header.msg_namelen = 0;
            header.msg_iov = &mut self.iovecs[slot];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[slot].0.as_mut_ptr().cast();
            header.msg_controllen = size_of::<Control>();
            header.msg_flags = 0;
        }
        // SAFETY: all headers were armed above with buffers of this value; no timeout.
        let count = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                MESSAGES as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).unwrap_or(0);
        for slot in 0..count {
            let len = (self.headers[slot].msg_len as usize).min(BUFFER);
            if let Some(client) = destination(&self.headers[slot].msg_hdr).and_then(client_of) {
                take(client, &mut self.buffers[slot][..len]);
            }
        }
        count
    }
}

/// Clients' addresses begin at 127.1.0.0.
fn address_of(client: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x7F01_0000 + client as u32)
}

fn client_of(address: Ipv4Addr) -> Option<usize> {
    usize::try_from(u32::from(address).checked_sub(0x7F01_0000)?).ok()
}

fn to_kernel(address: Ipv4Addr) -> libc::in_addr {
    libc::in_addr {
        s_addr: u32::from_ne_bytes(address.octets()),
    }
}

/// Where a received datagram was sent to.
fn destination(header: &libc::msghdr) -> Option<Ipv4Addr> {
    // SAFETY: the kernel filled the control block of this header, which is alive.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header);
        if message.is_null() || (*message).cmsg_type != libc::IP_PKTINFO {
            return None;
        }
        let info = libc::CMSG_DATA(message)
            .cast::<libc::in_pktinfo>()
            .read_unaligned();
        Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()))
    }
}
