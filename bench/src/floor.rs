//! The floor: what it costs on this machine, at this moment, to encrypt a payload once per
//! destination and hand it to the kernel, with nothing else around it.
//!
//! F1 sends one datagram per message, 32 messages per `sendmmsg`. F8 sends `UDP_SEGMENT` trains of
//! 8 datagrams to one destination. Encryption is AES-256-GCM with a key per destination, as any
//! SRTP server must have. Written straight on libc, so that no code of the server can slow it down
//! and flatter the server's ratio.

use anyhow::{Context, bail, ensure};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use udp::{Options, RecvBatch, Socket, ThreadClock};

const MESSAGES: usize = 32;
const HEADER: usize = 12;
const TAG: usize = 16;
/// Datagrams sent before the receivers must have taken them all: bounded by their buffers, so that
/// nothing is lost and every datagram counted was really queued to a socket.
const CHUNK: usize = 2048;

/// Shape of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One datagram per message.
    F1,
    /// Trains of 8.
    F8,
}

impl Shape {
    const fn train(self) -> usize {
        match self {
            Self::F1 => 1,
            Self::F8 => 8,
        }
    }
}

/// The destinations: sockets that the calling thread drains while the floor runs.
pub(crate) struct Sinks {
    sockets: Vec<Socket>,
    batch: RecvBatch,
}

impl Sinks {
    pub(crate) fn new(count: usize) -> anyhow::Result<Self> {
        let options = Options {
            recv_buffer_bytes: 8 << 20,
            ..Options::default()
        };
        let bind = |_| Socket::bind("127.0.0.1:0".parse()?, options).context("cannot bind a sink");
        Ok(Self {
            sockets: (0..count).map(bind).collect::<anyhow::Result<_>>()?,
            batch: RecvBatch::new(16, 2048),
        })
    }

    fn drain(&mut self) -> u64 {
        let before = self.batch.stats().datagrams;
        for socket in &self.sockets {
            while matches!(socket.recv_batch(&mut self.batch), Ok(16)) {}
        }
        self.batch.stats().datagrams - before
    }
}

/// Prints the floor at the sizes of typical audio and video packets, to 100 destinations.
pub(crate) fn run() -> anyhow::Result<()> {
    crate::alloc::this_thread_is_load();
    udp::pin_current_thread(crate::fanout::LOAD_CPU).context("the receivers need a CPU")?;
    let mut sinks = Sinks::new(100)?;
    for len in [108, 1086] {
        for shape in [Shape::F1, Shape::F8] {
            let rounds: Vec<f64> = (0..9)
                .map(|_| measure(&mut sinks, shape, len, 100_000))
                .collect::<anyhow::Result<_>>()?;
            let spread = crate::table::Spread::of(rounds);
            println!(
                "{shape:?} {len:>5} B: {:.2} µs per packet, {} per core-s",
                1e6 / spread.median,
                spread.thousands()
            );
        }
    }
    Ok(())
}

/// Datagrams of `len` bytes per second of CPU time; at least `packets` of them are sent.
pub(crate) fn measure(sinks: &mut Sinks, shape: Shape, len: usize, packets: usize) -> anyhow::Result<f64> {
    ensure!(
        (HEADER + TAG + 1..=1472).contains(&len),
        "no datagram has {len} bytes"
    );
    let targets: Vec<SocketAddr> = sinks.sockets.iter().map(Socket::local_address).collect();
    let received = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sender = std::thread::Builder::new().spawn_scoped(scope, || {
            let result = send_all(&targets, shape, len, packets, &received);
            done.store(true, Ordering::Release);
            result
        })?;
        while !done.load(Ordering::Acquire) {
            let count = sinks.drain();
            received.fetch_add(count, Ordering::Release);
        }
        sender
            .join()
            .unwrap_or_else(|_| bail!("the floor's sender panicked"))
    })
}

fn send_all(
    targets: &[SocketAddr],
    shape: Shape,
    len: usize,
    packets: usize,
    received: &AtomicU64,
) -> anyhow::Result<f64> {
    crate::alloc::this_thread_is_load();
    udp::pin_current_thread(crate::fanout::SERVER_CPU).context("cannot pin the floor's sender")?;
    let clock = ThreadClock::current()?;
    let mut sender = Sender::new(targets, shape, len)?;
    let mut cpu = Duration::ZERO;
    let mut sent = 0_u64;
    let mut warm = false;
    while sent < packets as u64 || !warm {
        let before = clock.read().context("no thread clock")?;
        let mut chunk = 0;
        while chunk < CHUNK {
            chunk += sender.send_batch()?;
        }
        let used = clock.read().context("no thread clock")? - before;
        let deadline = Instant::now() + Duration::from_secs(3);
        sender.total += chunk as u64;
        while received.load(Ordering::Acquire) < sender.total {
            ensure!(
                Instant::now() < deadline,
                "the floor lost datagrams: receivers too slow"
            );
            std::hint::spin_loop();
        }
        // The first chunk warms caches and page tables.
        if warm {
            cpu += used;
            sent += chunk as u64;
        }
        warm = true;
    }
    Ok(sent as f64 / cpu.as_secs_f64())
}

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 24]);

struct Sender {
    socket: UdpSocket,
    keys: Vec<LessSafeKey>,
    payload: Vec<u8>,
    arena: Vec<u8>,
    headers: Vec<libc::mmsghdr>,
    iovecs: Vec<libc::iovec>,
    controls: Vec<Control>,
    names: Vec<libc::sockaddr_in>,
    len: usize,
    train: usize,
    next_target: usize,
    nonce: u64,
    total: u64,
}

impl Sender {
    fn new(targets: &[SocketAddr], shape: Shape, len: usize) -> anyhow::Result<Self> {
        let train = shape.train();
        let names = targets.iter().map(|target| match target {
            SocketAddr::V4(v4) => Ok(libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(v4.ip().octets()),
                },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(_) => bail!("the floor runs on IPv4"),
        });
        let key = |index: usize| {
            let mut bytes = [0x5A; 32];
            bytes[..8].copy_from_slice(&index.to_le_bytes());
            UnboundKey::new(&AES_256_GCM, &bytes)
                .map(LessSafeKey::new)
                .context("a key has 32 bytes")
        };
        // SAFETY: `mmsghdr` is plain data for which all-zero is valid.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let iovec = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        Ok(Self {
            socket: UdpSocket::bind("127.0.0.1:0")?,
            keys: (0..targets.len()).map(key).collect::<anyhow::Result<_>>()?,
            payload: vec![0xA5; len - HEADER - TAG],
            arena: vec![0; MESSAGES * train * len],
            headers: vec![header; MESSAGES],
            iovecs: vec![iovec; MESSAGES],
            controls: vec![Control([0; 24]); MESSAGES],
            names: names.collect::<anyhow::Result<_>>()?,
            len,
            train,
            next_target: 0,
            nonce: 0,
            total: 0,
        })
    }

    /// Encrypts and sends 32 messages; returns how many datagrams those were.
    fn send_batch(&mut self) -> anyhow::Result<usize> {
        let message_len = self.len * self.train;
        for slot in 0..MESSAGES {
            let target = self.next_target;
            self.next_target = (target + 1) % self.names.len();
            let message = &mut self.arena[slot * message_len..][..message_len];
            for datagram in message.chunks_exact_mut(self.len) {
                seal(&self.keys[target], &mut self.nonce, &self.payload, datagram)?;
            }
            self.iovecs[slot] = libc::iovec {
                iov_base: message.as_mut_ptr().cast(),
                iov_len: message_len,
            };
            let header = &mut self.headers[slot].msg_hdr;
            header.msg_name = std::ptr::from_mut(&mut self.names[target]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            header.msg_iov = &mut self.iovecs[slot];
            header.msg_iovlen = 1;
            if self.train > 1 {
                header.msg_control = self.controls[slot].0.as_mut_ptr().cast();
                header.msg_controllen = size_of::<Control>();
                // SAFETY: the control block has the 24 aligned bytes of one message with a `u16`.
                unsafe {
                    let message = libc::CMSG_FIRSTHDR(header);
                    (*message).cmsg_level = libc::SOL_UDP;
                    (*message).cmsg_type = libc::UDP_SEGMENT;
                    (*message).cmsg_len = libc::CMSG_LEN(2) as usize;
                    libc::CMSG_DATA(message)
                        .cast::<u16>()
                        .write_unaligned(self.len as u16);
                }
            }
        }
        let mut done = 0;
        while done < MESSAGES {
            // SAFETY: headers `done..MESSAGES` were filled above and point into this value.
            let sent = unsafe {
                let headers = self.headers.as_mut_ptr().add(done);
                libc::sendmmsg(
                    self.socket.as_raw_fd(),
                    headers,
                    (MESSAGES - done) as libc::c_uint,
                    0,
                )
            };
            ensure!(sent > 0, "sendmmsg: {}", std::io::Error::last_os_error());
            done += sent as usize;
        }
        Ok(MESSAGES * self.train)
    }
}

fn seal(key: &LessSafeKey, nonce: &mut u64, payload: &[u8], datagram: &mut [u8]) -> anyhow::Result<()> {
    *nonce += 1;
    let mut iv = [0; 12];
    iv[4..].copy_from_slice(&nonce.to_be_bytes());
    let (header, rest) = datagram.split_at_mut(HEADER);
    header.copy_from_slice(&iv);
    let (body, tag) = rest.split_at_mut(payload.len());
    body.copy_from_slice(payload);
    let sealed = key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(iv), Aad::from(&*header), body)
        .context("sealing cannot fail")?;
    tag.copy_from_slice(sealed.as_ref());
    Ok(())
}
