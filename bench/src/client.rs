//! The load: many WebRTC clients on one thread. They connect as any client does; afterwards media is
//! counted straight from the sockets, every sequence number checked and a sample authenticated.
//!
//! Clients do not join datagrams (`UDP_GRO`): trains would cross the loopback interface whole and
//! inflate every figure.

use anyhow::{Context, bail};
use bench::describe::host_candidate;
use peer::{
    Candidate, IceCredentials, Outbox, Peer, PeerInit, ReceiveSpec, Remote, RtpWrite, SendSpec, Shared,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use udp::{Options, Outgoing, RecvBatch, Sender, Socket};

use crate::traffic::Packet;

/// One packet in so many is decrypted and authenticated.
const SAMPLE: u64 = 64;
const TIMER_INTERVAL: Duration = Duration::from_millis(10);
const MESSAGES: usize = 16;

/// One client to be made.
pub(crate) struct ClientSpec {
    pub(crate) shared: Arc<Shared>,
    pub(crate) ice: IceCredentials,
    pub(crate) ice_controlling: bool,
    pub(crate) seed: u64,
}

/// What was received of one SSRC.
#[derive(Debug)]
struct Stream {
    ssrc: u32,
    /// The next sequence number in order.
    next: u16,
    received: u64,
}

/// One WebRTC connection with a socket of its own.
pub(crate) struct Client {
    peer: Peer,
    socket: Socket,
    streams: Vec<Stream>,
    connected: bool,
}

impl Client {
    pub(crate) fn new(spec: ClientSpec) -> anyhow::Result<Self> {
        let options = Options {
            recv_buffer_bytes: 8 << 20,
            ..Options::default()
        };
        let socket = Socket::bind("127.0.0.1:0".parse()?, options).context("cannot bind a client")?;
        let init = PeerInit {
            ice: spec.ice,
            ice_lite: false,
            ice_controlling: spec.ice_controlling,
            local: vec![(0, host_candidate(socket.local_address()))],
            seed: spec.seed,
        };
        Ok(Self {
            peer: Peer::new(spec.shared, init, Instant::now()),
            socket,
            streams: Vec::new(),
            connected: false,
        })
    }

    pub(crate) fn candidate(&self) -> Candidate {
        host_candidate(self.socket.local_address())
    }

    /// Describes the server.
    pub(crate) fn set_remote(&mut self, remote: Remote) {
        self.peer.set_remote(Instant::now(), remote);
    }

    /// Where the server is.
    pub(crate) fn add_server(&mut self, address: SocketAddr) {
        self.peer.add_remote_candidate(host_candidate(address));
    }

    pub(crate) fn add_send(&mut self, spec: SendSpec) {
        self.peer.add_send(spec);
    }

    pub(crate) fn add_receive(&mut self, spec: ReceiveSpec) {
        self.peer.add_receive(spec);
    }
}

/// What arrived at subscribers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Media packets, by header.
    pub(crate) packets: u64,
    /// Their bytes, as datagrams.
    pub(crate) bytes: u64,
    /// Packets that did not continue their stream's sequence: after a loss, or out of order.
    pub(crate) out_of_order: u64,
    /// Sampled packets that were decrypted and authenticated.
    pub(crate) authentic: u64,
    /// Sampled packets that were not.
    pub(crate) forged: u64,
}

/// All clients of a scenario.
pub(crate) struct Load {
    pub(crate) clients: Vec<Client>,
    batch: RecvBatch,
    sender: Sender,
    outbox: Outbox,
    next_timers: Instant,
    tally: Tally,
    /// While set, clients neither ask nor answer anything but media: see [`Self::set_quiet`].
    quiet: bool,
    /// Once set, subscribers' reports stay unsent: they have seen only the sample.
    silent_reports: bool,
}

impl Load {
    pub(crate) fn new(clients: Vec<Client>) -> Self {
        Self {
            clients,
            batch: RecvBatch::new(MESSAGES, 2048),
            sender: Sender::new(false),
            outbox: Outbox::new(256, 256 * 1500),
            next_timers: Instant::now(),
            tally: Tally::default(),
            silent_reports: false,
            quiet: false,
        }
    }

    /// Withholds keepalives for a while, so that the server has nothing to do but media. They must
    /// go on before consent expires, which takes ten seconds.
    pub(crate) const fn set_quiet(&mut self, quiet: bool) {
        self.quiet = quiet;
    }

    pub(crate) const fn tally(&self) -> Tally {
        self.tally
    }

    /// Runs until all clients are connected.
    pub(crate) fn connect(&mut self, timeout: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            let now = Instant::now();
            self.sweep(now);
            let missing = self.clients.iter().filter(|client| !client.connected).count();
            if missing == 0 {
                self.silent_reports = true;
                return Ok(());
            }
            if now > deadline {
                bail!("{missing} of {} clients did not connect", self.clients.len());
            }
        }
    }

    /// Whether all clients so far are connected.
    pub(crate) fn is_connected(&self) -> bool {
        self.clients.iter().all(|client| client.connected)
    }

    /// Sends packets of one publisher's stream, one datagram each, in one call.
    pub(crate) fn publish(
        &mut self,
        client: usize,
        tag: u64,
        codec: peer::Codec,
        packets: &[Packet],
    ) -> anyhow::Result<()> {
        let now = Instant::now();
        let client = &mut self.clients[client];
        let index = client.peer.send_index(tag).context("no such send stream")?;
        for packet in packets {
            let write = RtpWrite {
                codec,
                sequence: packet.sequence,
                timestamp: packet.timestamp,
                marker: packet.marker,
                dependency_descriptor: &[],
                abs_capture_time: &[],
                prefix: &[],
                payload: &packet.payload,
                padding: 0,
                retransmission: false,
            };
            anyhow::ensure!(
                client.peer.write_rtp(now, index, &write, &mut self.outbox),
                "outbox full"
            );
        }
        flush(&mut self.sender, &client.socket, &mut self.outbox, false);
        Ok(())
    }

    /// Receives what is there on every socket and runs timers.
    pub(crate) fn sweep(&mut self, now: Instant) {
        let timers = now >= self.next_timers && !self.quiet;
        if timers {
            self.next_timers = now + TIMER_INTERVAL;
        }
        for client in &mut self.clients {
            let mut handled = timers || !client.connected;
            loop {
                let messages = client.socket.recv_batch(&mut self.batch).unwrap_or(0);
                for (from, data) in self.batch.datagrams() {
                    if is_rtp(data) && client.connected {
                        receive(
                            &mut client.peer,
                            &mut client.streams,
                            &mut self.tally,
                            now,
                            from,
                            data,
                        );
                    } else if !self.quiet {
                        client.peer.handle_datagram(now, from, 0, data);
                        handled = true;
                    }
                }
                if messages < MESSAGES {
                    break;
                }
            }
            if handled {
                if client.peer.poll_timeout().is_some_and(|at| at <= now) {
                    client.peer.handle_timeout(now);
                }
                while client.peer.poll_event().is_some() {}
                loop {
                    let all = client.peer.poll_transmit(now, &mut self.outbox);
                    flush(
                        &mut self.sender,
                        &client.socket,
                        &mut self.outbox,
                        self.silent_reports,
                    );
                    if all {
                        break;
                    }
                }
                client.connected |= client.peer.is_connected();
            }
        }
    }

    /// How many streams subscribers have seen.
    pub(crate) fn streams(&self) -> usize {
        self.clients.iter().map(|client| client.streams.len()).sum()
    }
}

fn flush(sender: &mut Sender, socket: &Socket, outbox: &mut Outbox, without_reports: bool) {
    let keep = |datagram: &&peer::Datagram| {
        !(without_reports && wire::rtp::is_rtcp(outbox.datagram_bytes(datagram)))
    };
    let datagrams = outbox.datagrams().iter().filter(keep).map(|datagram| Outgoing {
        to: datagram.to,
        start: datagram.start as usize,
        len: usize::from(datagram.len),
        trainable: false,
    });
    sender.send(socket, outbox.bytes(), datagrams);
    outbox.clear();
}

fn is_rtp(data: &[u8]) -> bool {
    matches!(data.first(), Some(128..=191)) && !wire::rtp::is_rtcp(data)
}

fn receive(
    peer: &mut Peer,
    streams: &mut Vec<Stream>,
    tally: &mut Tally,
    now: Instant,
    from: SocketAddr,
    data: &mut [u8],
) {
    let Some([_, _, s0, s1, _, _, _, _, r0, r1, r2, r3]) = data.first_chunk::<12>().copied() else {
        return;
    };
    let sequence = u16::from_be_bytes([s0, s1]);
    let ssrc = u32::from_be_bytes([r0, r1, r2, r3]);
    tally.packets += 1;
    tally.bytes += data.len() as u64;
    let stream = match streams.iter_mut().position(|stream| stream.ssrc == ssrc) {
        Some(index) => &mut streams[index],
        None => {
            streams.push(Stream {
                ssrc,
                next: sequence,
                received: 0,
            });
            streams.last_mut().expect("just pushed")
        }
    };
    tally.out_of_order += u64::from(stream.next != sequence);
    stream.next = sequence.wrapping_add(1);
    stream.received += 1;
    // The first one too: it tells the rollover counter of those that follow.
    if stream.received % SAMPLE == 1 {
        match peer.handle_datagram(now, from, 0, data).rtp() {
            Some(_) => tally.authentic += 1,
            None => tally.forged += 1,
        }
    }
}
