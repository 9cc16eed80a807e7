//! Receiving: one `recvmmsg` fills many buffers, and each buffer may hold several datagrams that
//! the kernel joined (`UDP_GRO`).

use crate::address::{self, RAW_LEN, RawAddress};
use crate::socket::Socket;
use std::io;
use std::net::SocketAddr;

/// What a [`RecvBatch`] counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecvStats {
    /// System calls that returned something.
    pub calls: u64,
    /// Messages of the kernel (joined datagrams count once).
    pub messages: u64,
    /// Datagrams.
    pub datagrams: u64,
    /// Bytes of datagrams.
    pub bytes: u64,
    /// Messages dropped because they did not fit a buffer or had no usable address.
    pub dropped: u64,
}

/// Space for the control messages of a datagram: its segment size and the socket's count of overflows,
/// each a header and a `c_int`.
const CONTROL_LEN: usize = 2 * CONTROL_MESSAGE_LEN;
// SAFETY: pure arithmetic.
const CONTROL_MESSAGE_LEN: usize =
    unsafe { libc::CMSG_SPACE(size_of::<libc::c_int>() as libc::c_uint) } as usize;

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

#[derive(Clone, Copy)]
struct Received {
    from: SocketAddr,
    len: usize,
    /// Length of each datagram in the buffer but the last.
    segment: usize,
}

/// Buffers for a batch of received datagrams; made once, on the thread that uses it.
pub struct RecvBatch {
    buffers: Vec<u8>,
    buffer_bytes: usize,
    names: Vec<RawAddress>,
    controls: Vec<Control>,
    iovecs: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    /// One entry per filled buffer; `None` for a dropped message.
    received: Vec<Option<Received>>,
    /// See [`Self::overflows`].
    overflows: Option<u32>,
    stats: RecvStats,
}

impl std::fmt::Debug for RecvBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecvBatch")
            .field("buffer_bytes", &self.buffer_bytes)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl RecvBatch {
    /// Bytes that a buffer needs when the socket joins datagrams.
    pub const GRO_BUFFER: usize = 65_536;

    /// `messages` buffers of `buffer_bytes` each.
    #[must_use]
    pub fn new(messages: usize, buffer_bytes: usize) -> Self {
        // SAFETY: `mmsghdr` is plain data for which all-zero (null pointers, zero lengths) is valid.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let iovec = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        Self {
            buffers: vec![0; messages * buffer_bytes],
            buffer_bytes,
            names: vec![address::empty(); messages],
            controls: vec![Control([0; CONTROL_LEN]); messages],
            iovecs: vec![iovec; messages],
            headers: vec![header; messages],
            received: Vec::with_capacity(messages),
            overflows: None,
            stats: RecvStats::default(),
        }
    }

    /// What was counted so far.
    #[must_use]
    pub const fn stats(&self) -> RecvStats {
        self.stats
    }

    /// Datagrams that this socket's full buffer made the kernel drop since the socket was bound, modulo
    /// 2³², as the last [`Socket::recv_batch`] told; `None` when it told nothing. The kernel tells it
    /// with the datagrams that arrived after the drop.
    #[must_use]
    pub const fn overflows(&self) -> Option<u32> {
        self.overflows
    }

    /// Most messages that one call brings.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.headers.len()
    }

    /// The datagrams of the last [`Socket::recv_batch`], in order of arrival.
    pub fn datagrams(&mut self) -> impl Iterator<Item = (SocketAddr, &mut [u8])> {
        self.buffers
            .chunks_mut(self.buffer_bytes)
            .zip(&self.received)
            .filter_map(|(buffer, received)| received.as_ref().map(|received| (buffer, received)))
            .flat_map(|(buffer, received)| {
                buffer[..received.len]
                    .chunks_mut(received.segment)
                    .map(|datagram| (received.from, datagram))
            })
    }

    /// Points every header at its own buffer. The lengths must be set before each call, since the
    /// kernel overwrites them; the pointers too, since this value may have moved.
    fn arm(&mut self) {
        for (index, buffer) in self.buffers.chunks_mut(self.buffer_bytes).enumerate() {
            self.iovecs[index] = libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: buffer.len(),
            };
        }
        for (index, header) in self.headers.iter_mut().enumerate() {
            let header = &mut header.msg_hdr;
            header.msg_name = std::ptr::from_mut(&mut self.names[index]).cast();
            header.msg_namelen = RAW_LEN;
            header.msg_iov = &mut self.iovecs[index];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[index].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL_LEN;
            header.msg_flags = 0;
        }
    }

    fn digest(&mut self, messages: usize) {
        self.received.clear();
        self.overflows = None;
        for index in 0..messages {
            let header = &self.headers[index];
            let len = header.msg_len as usize;
            let truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            let from = address::decode(&self.names[index]);
            let told = control(&header.msg_hdr, libc::SOL_SOCKET, libc::SO_RXQ_OVFL);
            self.overflows = told.map(libc::c_int::cast_unsigned).or(self.overflows);
            let entry = match from {
                Some(from) if !truncated && len > 0 => {
                    let segment = segment_size(&header.msg_hdr).unwrap_or(len).clamp(1, len);
                    self.stats.datagrams += len.div_ceil(segment) as u64;
                    self.stats.bytes += len as u64;
                    Some(Received { from, len, segment })
                }
                _ => {
                    self.stats.dropped += 1;
                    None
                }
            };
            self.received.push(entry);
        }
        self.stats.calls += 1;
        self.stats.messages += messages as u64;
    }
}

impl Socket {
    /// Receives what is there, up to the batch's capacity, without waiting. Returns the number of
    /// messages, 0 when there was none; see [`RecvBatch::datagrams`].
    ///
    /// # Errors
    /// As `recvmmsg(2)`; nothing is in the batch then.
    pub fn recv_batch(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        batch.received.clear();
        batch.arm();
        let count = libc::c_uint::try_from(batch.headers.len()).unwrap_or(libc::c_uint::MAX);
        // SAFETY: `headers` holds `count` headers, each armed to point at a name, a control block,
        // and an iovec over its own part of `buffers`; all live in `batch`, which is exclusively
        // borrowed until the call returns. A null timeout is allowed.
        let result = unsafe {
            libc::recvmmsg(
                self.fd(),
                batch.headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let Ok(messages) = usize::try_from(result) else {
            let error = io::Error::last_os_error();
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ) {
                return Ok(0);
            }
            return Err(error);
        };
        batch.digest(messages);
        Ok(messages)
    }
}

/// The `UDP_GRO` control message, when the kernel attached one.
fn segment_size(header: &libc::msghdr) -> Option<usize> {
    let size = control(header, libc::SOL_UDP, libc::UDP_GRO)?;
    usize::try_from(size).ok().filter(|size| *size > 0)
}

/// The number in a control message of this kind, when the kernel attached one.
fn control(header: &libc::msghdr, level: libc::c_int, kind: libc::c_int) -> Option<libc::c_int> {
    // SAFETY: the kernel filled `msg_control` and `msg_controllen` of this header, whose control
    // block is alive; the macros walk only within that length, and both kinds carry a `c_int`.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            if (*message).cmsg_level == level && (*message).cmsg_type == kind {
                return Some(libc::CMSG_DATA(message).cast::<libc::c_int>().read_unaligned());
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::Options;

    #[test]
    fn a_full_socket_tells_how_many_datagrams_it_lost() {
        let any = "127.0.0.1:0".parse().unwrap();
        let small = Options {
            recv_buffer_bytes: 8 * 1024,
            ..Options::default()
        };
        let socket = Socket::bind(any, small).unwrap();
        let sender = Socket::bind(any, Options::default()).unwrap();
        let mut batch = RecvBatch::new(64, 2048);
        sender.send_to(b"first", socket.local_address()).unwrap();
        assert_eq!(
            (socket.recv_batch(&mut batch).unwrap(), batch.overflows()),
            (1, None)
        );
        for _ in 0..200 {
            sender.send_to(&[7; 1000], socket.local_address()).unwrap();
        }
        let mut kept = 0;
        loop {
            let count = socket.recv_batch(&mut batch).unwrap();
            if count == 0 {
                break;
            }
            kept += count;
        }
        assert!(kept < 200);
        // Told with the next datagram that finds room, and not again as long as nothing is lost.
        sender.send_to(b"later", socket.local_address()).unwrap();
        assert_eq!(socket.recv_batch(&mut batch).unwrap(), 1);
        assert_eq!(batch.overflows(), Some(200 - kept as u32));
    }
}
