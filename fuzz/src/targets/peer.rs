//! A peer connection: before the handshake, after it, and its streams behind decryption. Time is
//! virtual; certificates are made once per process, so the bytes of a handshake differ between
//! runs, what the peer makes of an input does not.

use super::{IDS, chunks, join};
use ::peer::fuzzing::UnlockedStreams;
use ::peer::{
    Candidate, CandidateKind, ChannelSpec, Codec, DtlsRole, IceCredentials, Kind, Outbox, Payload, Peer,
    PeerEvent, PeerInit, ReceiveSpec, Remote, RtpWrite, SctpRemote, SendSpec, Shared,
};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use udp::ThreadClock;
use wire::rtcp;

const NEAR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 1000);
const FAR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 2000);
const ELSEWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3)), 3000);

/// More events than this from one datagram cannot be right.
const EVENTS_MAX: usize = 8192;

pub(super) static START: LazyLock<Instant> = LazyLock::new(Instant::now);
pub(super) static SHARED: LazyLock<Arc<Shared>> = LazyLock::new(|| {
    let shared = Shared::new((*START, 0xE000_0000_0000_0000));
    Arc::new(shared.expect("the crypto library makes a certificate"))
});

/// CPU time of this thread since an earlier reading: what else the machine does is not in it.
pub(super) fn used_since(clock: &ThreadClock, start: Option<Duration>) -> Duration {
    let used = clock.read().zip(start);
    used.map_or(Duration::ZERO, |(now, start)| now.saturating_sub(start))
}

pub(super) fn credentials(ufrag: &str) -> IceCredentials {
    IceCredentials {
        ufrag: ufrag.to_owned(),
        pwd: format!("{ufrag}-password-of-24-chars"),
    }
}

pub(super) fn candidate(address: SocketAddr) -> Candidate {
    Candidate {
        address,
        priority: 2_130_706_431,
        foundation: "1".to_owned(),
        kind: CandidateKind::Host,
    }
}

fn new_peer(ufrag: &str, address: SocketAddr, controlling: bool) -> Peer {
    let init = PeerInit {
        ice: credentials(ufrag),
        ice_lite: false,
        ice_controlling: controlling,
        local: vec![(0, candidate(address))],
        seed: 1,
    };
    Peer::new(Arc::clone(&SHARED), init, *START)
}

fn remote(ufrag: &str, dtls_role: DtlsRole) -> Remote {
    Remote {
        ice: credentials(ufrag),
        fingerprint: SHARED.fingerprint().into(),
        dtls_role,
        ice_lite: false,
        sctp: Some(SctpRemote {
            port: SctpRemote::PORT,
            message_len_max: 65_535,
        }),
    }
}

/// The peer under test, at [`NEAR`].
struct Server {
    peer: Peer,
    now: Instant,
    outbox: Outbox,
}

impl Server {
    fn new() -> Self {
        let mut peer = new_peer("00server", NEAR, false);
        peer.add_receive(receive_video());
        peer.add_send(send_video());
        Self {
            peer,
            now: *START,
            outbox: Outbox::new(32, 32 * Outbox::DATAGRAM_MAX),
        }
    }

    fn know_remote(&mut self) {
        self.peer.set_remote(self.now, remote("client", DtlsRole::Server));
    }

    /// Drains, and returns what it sends, wherever to.
    fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut events = 0;
        while self.peer.poll_event().is_some() {
            events += 1;
        }
        assert!(events <= EVENTS_MAX, "{events} events");
        transmit(&mut self.peer, self.now, &mut self.outbox)
    }

    /// One operation of an input; see the corpus for examples.
    fn operate(&mut self, operation: u8, bytes: &[u8]) {
        let mut data = bytes.to_vec();
        match operation & 7 {
            0 => _ = self.peer.handle_datagram(self.now, FAR, 0, &mut data),
            1 => _ = self.peer.handle_datagram(self.now, ELSEWHERE, 0, &mut data),
            2 => self.know_remote(),
            3 => self.peer.add_remote_candidate(candidate(FAR)),
            4 => {
                let ticks = bytes.first().copied().unwrap_or(1);
                self.now += Duration::from_millis(u64::from(ticks) * 5);
                self.peer.handle_timeout(self.now);
            }
            5 => {
                let id = u16::from(bytes.first().copied().unwrap_or(0) & 3);
                _ = self.peer.send_message(self.now, id, true, bytes);
            }
            6 => self.peer.open_channel(ChannelSpec {
                label: "_lossy".to_owned(),
                ordered: false,
                max_retransmits: Some(0),
                negotiated: None,
            }),
            _ => self.peer.restart_ice(credentials("01server")),
        }
    }
}

pub(super) fn transmit(peer: &mut Peer, now: Instant, outbox: &mut Outbox) -> Vec<Vec<u8>> {
    let mut sent = Vec::new();
    loop {
        let done = peer.poll_transmit(now, outbox);
        for datagram in outbox.datagrams() {
            sent.push(outbox.datagram_bytes(datagram).to_vec());
        }
        outbox.clear();
        if done {
            return sent;
        }
    }
}

/// A peer to which nobody has proven anything yet.
pub(crate) fn stranger(data: &[u8]) {
    let mut server = Server::new();
    for chunk in chunks(data) {
        if let Some((&operation, bytes)) = chunk.split_first() {
            server.operate(operation, bytes);
            server.drain();
        }
    }
    assert!(!server.peer.is_connected(), "connected without a handshake");
}

/// A peer with a connected remote side and an open channel; the link then carries the input's
/// datagrams among the real ones, some of which it changes.
pub(crate) fn connected(data: &[u8]) {
    let mut link = Link::new();
    link.connect();
    for chunk in chunks(data) {
        let Some((&operation, bytes)) = chunk.split_first() else {
            continue;
        };
        match operation & 15 {
            // A message of the remote side, which arrives changed.
            8..=11 => {
                let now = link.server.now;
                _ = link.client.send_message(now, 0, operation & 1 == 0, bytes);
                link.carry(|sent| {
                    for (at, byte) in bytes.iter().enumerate().take(8) {
                        let place = usize::from(*byte) * 3 % sent.len().max(1);
                        if let Some(target) = sent.get_mut(place) {
                            *target ^= 1 << (at & 7);
                        }
                    }
                });
            }
            // A message that arrives whole.
            12..=15 => {
                let now = link.server.now;
                _ = link.client.send_message(now, 0, false, bytes);
                link.carry(|_| {});
            }
            operation => {
                link.server.operate(operation, bytes);
                link.carry(|_| {});
            }
        }
    }
}

/// A client and the server, and a link without latency.
struct Link {
    server: Server,
    client: Peer,
    outbox: Outbox,
    /// Datagrams that the server got, in order.
    carried: Vec<Vec<u8>>,
}

impl Link {
    fn new() -> Self {
        let mut link = Self {
            server: Server::new(),
            client: new_peer("client", FAR, true),
            outbox: Outbox::new(32, 32 * Outbox::DATAGRAM_MAX),
            carried: Vec::new(),
        };
        link.client
            .set_remote(*START, remote("00server", DtlsRole::Client));
        link.client.add_remote_candidate(candidate(NEAR));
        link.server.know_remote();
        link.server.peer.add_remote_candidate(candidate(FAR));
        link.client.open_channel(ChannelSpec {
            label: "_reliable".to_owned(),
            ordered: true,
            max_retransmits: None,
            negotiated: None,
        });
        link
    }

    fn connect(&mut self) {
        for _ in 0..400 {
            if self.carry(|_| {}) {
                return;
            }
            let due = [self.client.poll_timeout(), self.server.peer.poll_timeout()];
            let now = due.into_iter().flatten().min().expect("the handshake has timers");
            self.server.now = self.server.now.max(now);
            self.client.handle_timeout(self.server.now);
            self.server.peer.handle_timeout(self.server.now);
        }
        panic!("not connected after {:?}", self.server.now - *START);
    }

    /// Carries datagrams both ways until there are none; `change` sees those to the server. True
    /// when a channel opened at the client.
    fn carry(&mut self, change: impl Fn(&mut Vec<u8>)) -> bool {
        let mut opened = false;
        for _ in 0..64 {
            while let Some(event) = self.client.poll_event() {
                opened |= matches!(event, PeerEvent::ChannelOpen { .. });
            }
            let now = self.server.now;
            let up = transmit(&mut self.client, now, &mut self.outbox);
            let down = self.server.drain();
            if up.is_empty() && down.is_empty() {
                break;
            }
            for mut data in up {
                self.carried.push(data.clone());
                change(&mut data);
                _ = self.server.peer.handle_datagram(now, FAR, 0, &mut data);
            }
            for mut data in down {
                _ = self.client.handle_datagram(now, NEAR, 0, &mut data);
            }
        }
        opened
    }
}

/// What a server gets during a real handshake, as an input of [`stranger`]: its connectivity checks
/// and the first flight are as good the second time.
pub(crate) fn record_checks() -> Vec<u8> {
    let mut link = Link::new();
    link.connect();
    let mut steps = vec![vec![2], vec![3]];
    for data in link.carried.iter().take(12) {
        steps.push([&[0], &data[..]].concat());
    }
    join(&steps)
}

pub(super) fn receive_audio() -> ReceiveSpec {
    ReceiveSpec {
        tag: 1,
        mid: "0".to_owned(),
        kind: Kind::Audio,
        payloads: vec![payload(Codec::Opus, 111, None), payload(Codec::Red, 63, None)],
        extensions: IDS,
        rids: Vec::new(),
        ssrcs: vec![(0xCAFE_BABE, None)],
        transport_cc: true,
    }
}

pub(super) fn receive_video() -> ReceiveSpec {
    ReceiveSpec {
        tag: 2,
        mid: "1".to_owned(),
        kind: Kind::Video,
        payloads: vec![
            payload(Codec::Vp8, 96, Some(97)),
            payload(Codec::Av1, 45, Some(46)),
        ],
        extensions: IDS,
        rids: ["q", "h", "f"].map(str::to_owned).to_vec(),
        ssrcs: Vec::new(),
        transport_cc: true,
    }
}

pub(super) fn send_video() -> SendSpec {
    SendSpec {
        tag: 3,
        mid: "2".to_owned(),
        kind: Kind::Video,
        ssrc: 10,
        rtx_ssrc: Some(11),
        payloads: vec![payload(Codec::Vp8, 96, Some(97))],
        extensions: IDS,
        cname: "PA_x|TR_y".to_owned(),
        playout_delay: None,
    }
}

pub(super) fn send_audio() -> SendSpec {
    SendSpec {
        tag: 4,
        mid: "3".to_owned(),
        kind: Kind::Audio,
        ssrc: 12,
        rtx_ssrc: None,
        payloads: vec![payload(Codec::Opus, 111, None)],
        extensions: IDS,
        cname: "PA_x|TR_z".to_owned(),
        playout_delay: None,
    }
}

pub(super) const fn payload(codec: Codec, pt: u8, rtx_pt: Option<u8>) -> Payload {
    Payload {
        codec,
        pt,
        rtx_pt,
        nack: true,
    }
}

/// Plain RTP and RTCP of a remote side that completed its handshake, packets that we send, and
/// time that passes.
pub(crate) fn media(data: &[u8]) {
    media_counts(data);
}

/// What came of an input of [`media`], so that a test can tell whether it reaches anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MediaCounts {
    /// RTP packets that were taken.
    pub(crate) received: usize,
    /// Events.
    pub(crate) events: usize,
    /// RTCP datagrams written.
    pub(crate) written: usize,
}

pub(crate) fn media_counts(data: &[u8]) -> MediaCounts {
    let mut counts = MediaCounts::default();
    let receive = vec![receive_audio(), receive_video()];
    let mut streams = UnlockedStreams::new(*START, receive, vec![send_video(), send_audio()])
        .expect("the key material is long enough");
    let mut now = *START;
    let mut next = [100, 500];
    for chunk in chunks(data) {
        let Some((&operation, bytes)) = chunk.split_first() else {
            continue;
        };
        match operation & 7 {
            0..=3 => {
                if let Some((received, plain)) = streams.rtp(now, bytes) {
                    counts.received += 1;
                    for range in [
                        received.payload,
                        received.dependency_descriptor,
                        received.abs_capture_time,
                    ] {
                        assert!(plain.get(range).is_some(), "ranges are within the datagram");
                    }
                }
            }
            4 | 5 => streams.rtcp(now, bytes),
            6 => {
                now += Duration::from_millis(u64::from(bytes.first().copied().unwrap_or(1)) * 5);
                streams.handle_timeout(now);
            }
            _ => send(&mut streams, now, bytes, &mut next),
        }
        let (events, written) = streams.drain(now);
        assert!(events.len() <= EVENTS_MAX, "{} events", events.len());
        counts.events += events.len();
        counts.written += written.len();
        for plain in written {
            let len: usize = plain.len();
            let read: usize = rtcp::parse(&plain).count();
            assert!(read > 0 && len <= Outbox::DATAGRAM_MAX, "we write whole RTCP");
        }
    }
    counts
}

/// Writes a packet on one of the send streams: where, flags, sizes, and the payload.
fn send(streams: &mut UnlockedStreams, now: Instant, bytes: &[u8], next: &mut [u64; 2]) {
    let Some((&[index, flags, timestamp, padding], payload)) = bytes.split_first_chunk::<4>() else {
        return;
    };
    let index = usize::from(index & 1);
    let again = flags & 1 != 0;
    let sequence = next[index] - u64::from(again);
    next[index] += u64::from(!again);
    let descriptor_len = usize::from(flags >> 4).min(payload.len());
    let packet = RtpWrite {
        codec: if index == 0 { Codec::Vp8 } else { Codec::Opus },
        sequence,
        timestamp: u32::from(timestamp) * 3000,
        marker: flags & 2 != 0,
        dependency_descriptor: &payload[..descriptor_len],
        abs_capture_time: if flags & 4 != 0 { &[1; 8] } else { &[] },
        prefix: &[0x10],
        payload: payload.get(..1100).unwrap_or(payload),
        padding,
        retransmission: again,
    };
    streams.write_rtp(now, index as u32, &packet);
}
