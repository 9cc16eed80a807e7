//! Sending: runs of equal-sized datagrams to one destination become trains (`UDP_SEGMENT`), and
//! many messages leave in one `sendmmsg`.

use crate::address::{self, RawAddress};
use crate::socket::Socket;
use std::io;
use std::net::SocketAddr;

/// Most messages in one system call. Above 32 nothing is gained; above 64 the set no longer fits
/// the first-level cache.
const MESSAGES_MAX: usize = 64;

/// Most segments in one train: `UDP_MAX_SEGMENTS` of kernels before 6.9.
const SEGMENTS_MAX: usize = 64;

/// Most bytes in one train: below 65,535 less IP and UDP headers, for either family.
const TRAIN_BYTES_MAX: usize = 65_000;

/// How long one call may wait for room in the kernel's send buffer before it drops, in ms. Longer
/// rides out longer bursts, but holds up everything else on the thread.
const ROOM_WAIT_MS: libc::c_int = 1;

/// One datagram to send, within the bytes given to [`Sender::send`].
#[derive(Clone, Copy, Debug)]
pub struct Outgoing {
    /// Destination.
    pub to: SocketAddr,
    /// Offset of its first byte.
    pub start: usize,
    /// Length in bytes.
    pub len: usize,
    /// It may leave in one train with its neighbours.
    pub trainable: bool,
}

/// What a [`Sender`] counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendStats {
    /// `sendmmsg` calls.
    pub calls: u64,
    /// Messages that the kernel took (a train counts once).
    pub messages: u64,
    /// Messages with more than one datagram.
    pub trains: u64,
    /// Datagrams that the kernel took.
    pub datagrams: u64,
    /// Bytes that the kernel took.
    pub bytes: u64,
    /// Times the kernel's buffer was full.
    pub full: u64,
    /// Datagrams dropped because the buffer stayed full.
    pub dropped_full: u64,
    /// Datagrams that the kernel refused (no route, too large, filtered).
    pub dropped_refused: u64,
    /// Trains that had to be sent one by one.
    pub trains_refused: u64,
}

/// The control message of a train: header and a `u16`, as `CMSG_SPACE(2)` lays them out.
const CONTROL_LEN: usize = 24;

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

#[derive(Clone, Copy)]
struct Message {
    start: usize,
    len: usize,
    segment: usize,
    segments: usize,
    to: SocketAddr,
    trainable: bool,
}

/// Builds trains and sends them. Made once, on the thread that uses it; allocates nothing later.
pub struct Sender {
    messages: Vec<Message>,
    names: Vec<RawAddress>,
    controls: Vec<Control>,
    iovecs: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    trains: bool,
    stats: SendStats,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender")
            .field("trains", &self.trains)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl Sender {
    /// A sender; with `trains` false every datagram is its own message.
    #[must_use]
    pub fn new(trains: bool) -> Self {
        // SAFETY: `mmsghdr` is plain data for which all-zero (null pointers, zero lengths) is valid.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let iovec = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        Self {
            messages: Vec::with_capacity(MESSAGES_MAX),
            names: vec![address::empty(); MESSAGES_MAX],
            controls: vec![Control([0; CONTROL_LEN]); MESSAGES_MAX],
            iovecs: vec![iovec; MESSAGES_MAX],
            headers: vec![header; MESSAGES_MAX],
            trains,
            stats: SendStats::default(),
        }
    }

    /// What was counted so far.
    #[must_use]
    pub const fn stats(&self) -> SendStats {
        self.stats
    }

    /// Sends datagrams that lie in `bytes`, in order. Consecutive ones to one destination that are
    /// trainable, side by side and of one length (only the last may be shorter) form a train.
    /// What the kernel does not take is dropped and counted.
    ///
    /// # Panics
    /// When a datagram lies outside of `bytes`.
    pub fn send(&mut self, socket: &Socket, bytes: &[u8], datagrams: impl IntoIterator<Item = Outgoing>) {
        for datagram in datagrams {
            assert!(
                datagram.start <= bytes.len() && datagram.len <= bytes.len() - datagram.start,
                "a datagram lies within the arena"
            );
            if let Some(last) = self.messages.last_mut()
                && self.trains
                && joins(last, &datagram)
            {
                last.len += datagram.len;
                last.segments += 1;
                continue;
            }
            if self.messages.len() == MESSAGES_MAX {
                self.flush(socket, bytes);
            }
            self.messages.push(Message {
                start: datagram.start,
                len: datagram.len,
                segment: datagram.len,
                segments: 1,
                to: datagram.to,
                trainable: datagram.trainable,
            });
        }
        self.flush(socket, bytes);
    }

    /// Sends and forgets all collected messages.
    fn flush(&mut self, socket: &Socket, bytes: &[u8]) {
        let mut next = 0;
        let mut may_wait = true;
        while next < self.messages.len() {
            match self.submit(socket, bytes, next) {
                Ok(sent) => {
                    for message in &self.messages[next..next + sent] {
                        self.stats.messages += 1;
                        self.stats.trains += u64::from(message.segments > 1);
                        self.stats.datagrams += message.segments as u64;
                        self.stats.bytes += message.len as u64;
                    }
                    next += sent;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_full(&error) => {
                    self.stats.full += 1;
                    if may_wait && wait_for_room(socket) {
                        may_wait = false;
                        continue;
                    }
                    for message in &self.messages[next..] {
                        self.stats.dropped_full += message.segments as u64;
                    }
                    break;
                }
                Err(error) => {
                    self.refused(socket, bytes, next, &error);
                    next += 1;
                }
            }
        }
        self.messages.clear();
    }

    /// One `sendmmsg` of the messages from `first` on; how many the kernel took (at least one).
    fn submit(&mut self, socket: &Socket, bytes: &[u8], first: usize) -> io::Result<usize> {
        let count = self.messages.len() - first;
        for slot in 0..count {
            let message = self.messages[first + slot];
            self.iovecs[slot] = libc::iovec {
                // The kernel only reads through it, though the type is shared with receiving.
                iov_base: bytes[message.start..].as_ptr().cast_mut().cast(),
                iov_len: message.len,
            };
            let name = &mut self.names[slot];
            let name_len = address::encode(message.to, name);
            let header = &mut self.headers[slot].msg_hdr;
            header.msg_name = std::ptr::from_mut(name).cast();
            header.msg_namelen = name_len;
            header.msg_iov = &mut self.iovecs[slot];
            header.msg_iovlen = 1;
            header.msg_flags = 0;
            if message.segments > 1 {
                header.msg_control = self.controls[slot].0.as_mut_ptr().cast();
                header.msg_controllen = CONTROL_LEN;
                write_segment(header, message.segment);
            } else {
                header.msg_control = std::ptr::null_mut();
                header.msg_controllen = 0;
            }
        }
        self.stats.calls += 1;
        // At most MESSAGES_MAX.
        let count = count as libc::c_uint;
        // SAFETY: `headers` holds at least `count` headers, each pointing at a name, an iovec over
        // `bytes` (bounds checked by `send`) and maybe a control block; all outlive the call.
        let result =
            unsafe { libc::sendmmsg(socket.fd(), self.headers.as_mut_ptr(), count, libc::MSG_DONTWAIT) };
        match usize::try_from(result) {
            Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
            Ok(sent) => Ok(sent),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }

    /// The kernel refused the message `index`: a train is tried again datagram by datagram.
    fn refused(&mut self, socket: &Socket, bytes: &[u8], index: usize, error: &io::Error) {
        let message = self.messages[index];
        if message.segments == 1 {
            self.stats.dropped_refused += 1;
            return;
        }
        self.stats.trains_refused += 1;
        // EIO: this network device cannot do it, and never will (`udp(7)`). Everything else may
        // concern this train alone, such as segments over the path's MTU.
        if error.raw_os_error() == Some(libc::EIO) {
            self.trains = false;
        }
        let train = &bytes[message.start..message.start + message.len];
        for datagram in train.chunks(message.segment) {
            match socket.send_to(datagram, message.to) {
                Ok(_) => {
                    self.stats.messages += 1;
                    self.stats.datagrams += 1;
                    self.stats.bytes += datagram.len() as u64;
                }
                Err(error) if is_full(&error) => self.stats.dropped_full += 1,
                Err(_) => self.stats.dropped_refused += 1,
            }
        }
    }
}

fn joins(last: &Message, next: &Outgoing) -> bool {
    last.trainable
        && next.trainable
        && next.len > 0
        && next.start == last.start + last.len
        // A shorter datagram ended the train.
        && last.len == last.segment * last.segments
        && next.len <= last.segment
        && last.segments < SEGMENTS_MAX
        && last.len + next.len <= TRAIN_BYTES_MAX
        && next.to == last.to
}

fn write_segment(header: &libc::msghdr, segment: usize) {
    let segment = u16::try_from(segment).expect("a train is shorter than 64 KiB");
    const {
        // SAFETY: pure arithmetic.
        assert!(unsafe { libc::CMSG_SPACE(size_of::<u16>() as libc::c_uint) } as usize == CONTROL_LEN);
    };
    // SAFETY: `msg_control` points at CONTROL_LEN writable, aligned bytes, which is exactly the
    // space of one control message with a `u16` (asserted above).
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header);
        (*message).cmsg_level = libc::SOL_UDP;
        (*message).cmsg_type = libc::UDP_SEGMENT;
        (*message).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as libc::c_uint) as usize;
        libc::CMSG_DATA(message).cast::<u16>().write_unaligned(segment);
    }
}

fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

fn wait_for_room(socket: &Socket) -> bool {
    let mut poll = libc::pollfd {
        fd: socket.fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: one `pollfd`, exclusively borrowed for the call.
    unsafe { libc::poll(&mut poll, 1, ROOM_WAIT_MS) == 1 }
}
