//! How an association begins. Both sides do it (RFC 8841 §9.3), and it does not matter whose INIT gets
//! through: one is enough, and two that cross meet well (RFC 9260 §5.2.1, §5.2.4).
//!
//! ```text
//! INIT         tag, window, streams, first TSN →
//!              ← the same and a cookie         INIT ACK
//! COOKIE ECHO  the cookie                    →
//!              ←                               COOKIE ACK
//! ```
//!
//! Owns the four messages, what they say, and their timer. There is one remote side, which DTLS vouches
//! for: the state that a cookie stands for is kept, and a cookie only tells which INIT it answers. Our
//! tag stays the same, so that of the tie-tags' cases two are left: the remote side's tag is the one
//! that we know, or it is another.
//!
//! Must not know: streams, messages, `sctp-proto`, which would answer no INIT that crosses its own.

use super::packet::{
    ABORT, COMMON_HEADER_LEN, COOKIE_ACK, COOKIE_ECHO, ERROR, FORWARD_TSN, INIT, INIT_ACK, RE_CONFIG, chunks,
    is_signed, number, short, sign,
};
use bytes::Bytes;
use std::borrow::Cow;
use std::time::{Duration, Instant};

/// `a=sctp-port` of ours.
pub(super) const LOCAL_PORT: u16 = 5000;
/// When an INIT or a COOKIE ECHO is sent again, doubled each time. Less than a round trip costs a small
/// packet in vain; more is added to every join that loses one.
const RETRANSMIT_MIN: Duration = Duration::from_millis(100);
/// The longest wait. Who listens late waits as long at most, and who never does gets one packet in it.
const RETRANSMIT_MAX: Duration = Duration::from_secs(3);
/// COOKIE ECHOs without an answer, after which the remote side is taken to have forgotten its cookie. RFC
/// 9260 leaves such an association to die; here its connection lives on, and so we begin anew.
const COOKIE_ECHOES_MAX: u32 = 5;
/// Longest packet taken. That of an INIT ACK with its cookie fits a datagram.
const PACKET_LEN_MAX: usize = 1500;
/// RFC 9260 §3.3.2: who has less is no SCTP receiver.
const WINDOW_MIN: u32 = 1500;

const INIT_LEN: usize = 20;
// RFC 9260 §3.3.3.1, RFC 3758 §3.1, RFC 5061 §4.2.7
const STATE_COOKIE: u16 = 7;
const FORWARD_TSN_SUPPORTED: u16 = 0xC000;
const SUPPORTED_EXTENSIONS: u16 = 0x8008;

/// What a side says of itself when it begins (RFC 9260 §3.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Init {
    /// Stands in every packet to it. Not 0.
    pub(super) tag: u32,
    /// Bytes that it has room for.
    pub(super) window: u32,
    /// Streams on which it would send.
    pub(super) outbound: u16,
    /// Streams on which it receives.
    pub(super) inbound: u16,
    /// The TSN of its first DATA chunk.
    pub(super) tsn: u32,
    /// It knows what a FORWARD TSN is (RFC 3758).
    pub(super) forward_tsn: bool,
}

impl Init {
    /// Reads an INIT or an INIT ACK chunk, and the cookie of the latter. Parameters that nobody here knows
    /// are passed over: all of them are offers.
    pub(super) fn parse(chunk: &[u8]) -> Option<(Self, Option<&[u8]>)> {
        let chunk = chunk.get(..usize::from(short(chunk, 2)?))?;
        let mut init = Self {
            tag: number(chunk, 4)?,
            window: number(chunk, 8)?,
            outbound: short(chunk, 12)?,
            inbound: short(chunk, 14)?,
            tsn: number(chunk, 16)?,
            forward_tsn: false,
        };
        let mut cookie = None;
        let mut rest = &chunk[INIT_LEN..];
        while let (Some(kind), Some(len)) = (short(rest, 0), short(rest, 2)) {
            let len = usize::from(len);
            let value = rest.get(4..len)?;
            match kind {
                STATE_COOKIE => cookie = Some(value).filter(|cookie| !cookie.is_empty()),
                FORWARD_TSN_SUPPORTED => init.forward_tsn = true,
                SUPPORTED_EXTENSIONS => init.forward_tsn |= value.contains(&FORWARD_TSN),
                _ => {}
            }
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        let valid = init.tag != 0 && init.window >= WINDOW_MIN && init.outbound != 0 && init.inbound != 0;
        valid.then_some((init, cookie))
    }

    /// An INIT, or the INIT ACK with a cookie.
    fn chunk(&self, cookie: Option<&[u8]>) -> Vec<u8> {
        let kind = if cookie.is_some() { INIT_ACK } else { INIT };
        let mut chunk = vec![kind, 0, 0, 0];
        chunk.extend(self.tag.to_be_bytes());
        chunk.extend(self.window.to_be_bytes());
        chunk.extend(self.outbound.to_be_bytes());
        chunk.extend(self.inbound.to_be_bytes());
        chunk.extend(self.tsn.to_be_bytes());
        if let Some(cookie) = cookie {
            parameter(&mut chunk, STATE_COOKIE, cookie);
        }
        if self.forward_tsn {
            parameter(&mut chunk, FORWARD_TSN_SUPPORTED, &[]);
            parameter(&mut chunk, SUPPORTED_EXTENSIONS, &[RE_CONFIG, FORWARD_TSN]);
        } else {
            parameter(&mut chunk, SUPPORTED_EXTENSIONS, &[RE_CONFIG]);
        }
        let len = chunk.len() as u16;
        chunk[2..4].copy_from_slice(&len.to_be_bytes());
        pad(&mut chunk);
        chunk
    }

    /// Whether another INIT is of the same beginning.
    fn is_again(&self, other: &Self) -> bool {
        (self.tag, self.tsn) == (other.tag, other.tsn)
    }
}

/// What came of a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken<'a> {
    /// Nothing more is to be done.
    Done,
    /// What is for the association. It may be up only since this packet.
    Rest(Cow<'a, [u8]>),
    /// The remote side ended the association.
    Aborted,
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Handshake {
    ours: Init,
    remote_port: u16,
    state: State,
    /// What the last INIT that we answered says.
    answered: Option<Init>,
    /// One answer is enough: who gets none asks again.
    answer: Option<Bytes>,
    /// An INIT or a COOKIE ECHO is to be sent.
    asks: bool,
    due: Option<Instant>,
    delay: Duration,
    refused: u64,
}

#[derive(Debug)]
enum State {
    /// COOKIE-WAIT
    Begun,
    /// COOKIE-ECHOED: what the remote side says, its cookie, and how often we sent it.
    Echoed(Init, Vec<u8>, u32),
    /// ESTABLISHED
    Up(Init),
}

impl Handshake {
    /// Begins at once.
    pub(super) fn new(ours: Init, remote_port: u16) -> Self {
        Self {
            ours,
            remote_port,
            state: State::Begun,
            answered: None,
            answer: None,
            asks: true,
            due: None,
            delay: RETRANSMIT_MIN,
            refused: 0,
        }
    }

    /// Takes a packet, before and after the association is up.
    pub(super) fn handle_packet<'a>(&mut self, now: Instant, data: &'a [u8]) -> Taken<'a> {
        let (Some(chunk), Some(tag)) = (chunks(data).next(), number(data, 4)) else {
            return Taken::Done;
        };
        let ours = tag == self.ours.tag;
        match chunk[0] {
            INIT | INIT_ACK | COOKIE_ECHO | COOKIE_ACK if data.len() > PACKET_LEN_MAX || !is_signed(data) => {
                self.refused += 1;
            }
            INIT if tag == 0 => self.handle_init(data, chunk),
            INIT_ACK if ours => self.handle_init_ack(data, chunk),
            COOKIE_ECHO if ours => {
                let taken = self.handle_cookie_echo(chunk);
                return if taken { rest(data, chunk) } else { Taken::Done };
            }
            COOKIE_ACK if ours => {
                if let State::Echoed(remote, ..) = self.state {
                    self.state = State::Up(remote);
                }
                if self.remote().is_some() {
                    return rest(data, chunk);
                }
            }
            INIT | INIT_ACK | COOKIE_ECHO | COOKIE_ACK => self.refused += 1,
            _ if chunks(data).any(|chunk| self.is_end(tag, chunk)) && is_signed(data) => {
                return self.end(now);
            }
            _ if self.remote().is_some() => return Taken::Rest(data.into()),
            // RFC 9260 §6: what overtakes the handshake comes again.
            _ => {}
        }
        Taken::Done
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|due| due > now) {
            return;
        }
        if matches!(self.state, State::Echoed(_, _, COOKIE_ECHOES_MAX)) {
            self.state = State::Begun;
            self.delay = RETRANSMIT_MIN;
        }
        self.due = None;
        self.asks = true;
    }

    // ---- outputs -------------------------------------------------------------------------

    pub(super) fn poll_packet(&mut self, now: Instant) -> Option<Bytes> {
        if let Some(answer) = self.answer.take() {
            return Some(answer);
        }
        if !std::mem::take(&mut self.asks) {
            return None;
        }
        let (tag, chunk) = match &mut self.state {
            State::Begun => (0, self.ours.chunk(None)),
            State::Echoed(remote, cookie, times) => {
                *times += 1;
                (remote.tag, cookie_echo(cookie))
            }
            State::Up(_) => return None,
        };
        self.due = Some(now + self.delay);
        self.delay = (2 * self.delay).min(RETRANSMIT_MAX);
        Some(packet(self.ports(), tag, &chunk))
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due.filter(|_| self.remote().is_none())
    }

    // ---- getters -------------------------------------------------------------------------

    /// The two packets that would come if the remote side had only ever answered us.
    pub(super) fn answers_of(&self, remote: &Init) -> [Bytes; 2] {
        let init_ack = remote.chunk(Some(b"ours"));
        let (local, remote) = self.ports();
        [&init_ack[..], &COOKIE_ACK_CHUNK].map(|chunk| packet((remote, local), self.ours.tag, chunk))
    }

    /// What the remote side says of itself, once the association is up.
    pub(super) fn remote(&self) -> Option<&Init> {
        match &self.state {
            State::Up(remote) => Some(remote),
            State::Begun | State::Echoed(..) => None,
        }
    }

    /// Packets of a beginning that were malformed, not for us, or of another than there is.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    // ---- inside --------------------------------------------------------------------------

    /// Answers with the same numbers that our own INIT has (RFC 9260 §5.2.1), whatever else is under way.
    /// Once the association is up, only the INIT that it began with is answered: with others the remote
    /// side would end what it has, for which WebRTC has no use.
    fn handle_init(&mut self, data: &[u8], chunk: &[u8]) {
        let alone = COMMON_HEADER_LEN + chunk.len() == data.len();
        let parsed = Init::parse(chunk).filter(|_| alone && self.is_between_our_ports(data));
        let again = |init: &Init| self.remote().is_none_or(|remote| remote.is_again(init));
        let Some((remote, _)) = parsed.filter(|(init, _)| again(init)) else {
            self.refused += 1;
            return;
        };
        self.answered = Some(remote);
        let ours = Init {
            outbound: self.ours.outbound.min(remote.inbound),
            ..self.ours
        };
        let chunk = ours.chunk(Some(&self.cookie(&remote)));
        self.answer = Some(packet(self.ports(), remote.tag, &chunk));
    }

    fn handle_init_ack(&mut self, data: &[u8], chunk: &[u8]) {
        // RFC 9260 §5.2.3: nothing but our INIT twice asked for it.
        if !matches!(self.state, State::Begun) {
            return;
        }
        match Init::parse(chunk).filter(|_| self.is_between_our_ports(data)) {
            Some((remote, Some(cookie))) => {
                self.state = State::Echoed(remote, cookie.to_vec(), 0);
                self.delay = RETRANSMIT_MIN;
                self.asks = true;
            }
            _ => self.refused += 1,
        }
    }

    /// Whether the cookie is that of the last INIT that we answered, and is for this association. A remote
    /// side that took another tag meanwhile is known by its last one (RFC 9260 §5.2.4, action B).
    fn handle_cookie_echo(&mut self, chunk: &[u8]) -> bool {
        let echoed = short(chunk, 2).and_then(|len| chunk.get(4..usize::from(len)));
        let fresh = |remote: &Init| echoed == Some(&self.cookie(remote)[..]);
        let other = |remote: &Init| self.remote().is_some_and(|known| !known.is_again(remote));
        let Some(remote) = self.answered.filter(|remote| fresh(remote) && !other(remote)) else {
            self.refused += 1;
            return false;
        };
        self.state = State::Up(remote);
        self.answer = Some(packet(self.ports(), remote.tag, &COOKIE_ACK_CHUNK));
        true
    }

    /// Whether a chunk ends what there is: an ABORT, or before the association is up an ERROR, such as
    /// that a cookie is stale.
    fn is_end(&self, tag: u32, chunk: &[u8]) -> bool {
        let remote = match &self.state {
            State::Begun => None,
            State::Echoed(remote, ..) | State::Up(remote) => Some(remote.tag),
        };
        match *chunk {
            // RFC 9260 §8.5.1: with the T bit, the tag is the one that we send.
            [ABORT, flags, ..] if flags & 1 == 1 => Some(tag) == remote,
            [ABORT, ..] => tag == self.ours.tag,
            [ERROR, ..] => tag == self.ours.tag && self.remote().is_none(),
            _ => false,
        }
    }

    /// An end before the beginning means "not now": a stack that refuses our INIT because it does not
    /// listen yet, or only ever begins itself, is asked again, and its own INIT is answered.
    fn end(&mut self, now: Instant) -> Taken<'static> {
        if self.remote().is_some() {
            return Taken::Aborted;
        }
        if matches!(self.state, State::Echoed(..)) {
            self.state = State::Begun;
            self.asks = false;
            self.due = Some(now + self.delay);
        }
        Taken::Done
    }

    fn is_between_our_ports(&self, data: &[u8]) -> bool {
        (short(data, 0), short(data, 2)) == (Some(self.remote_port), Some(LOCAL_PORT))
    }

    fn ports(&self) -> (u16, u16) {
        (LOCAL_PORT, self.remote_port)
    }

    fn cookie(&self, remote: &Init) -> [u8; 16] {
        let numbers = [self.ours.tag, self.ours.tsn, remote.tag, remote.tsn];
        let mut cookie = [0; 16];
        for (place, number) in cookie.chunks_exact_mut(4).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        cookie
    }
}

const COOKIE_ACK_CHUNK: [u8; 4] = [COOKIE_ACK, 0, 0, 4];

fn packet((source, destination): (u16, u16), tag: u32, chunk: &[u8]) -> Bytes {
    let mut packet = Vec::with_capacity(COMMON_HEADER_LEN + chunk.len());
    packet.extend(source.to_be_bytes());
    packet.extend(destination.to_be_bytes());
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(chunk);
    sign(&mut packet);
    packet.into()
}

fn cookie_echo(cookie: &[u8]) -> Vec<u8> {
    let mut chunk = vec![COOKIE_ECHO, 0];
    chunk.extend((4 + cookie.len() as u16).to_be_bytes());
    chunk.extend(cookie);
    pad(&mut chunk);
    chunk
}

/// RFC 9260 §3.2: the length of a chunk counts the padding of every parameter but the last.
fn parameter(chunk: &mut Vec<u8>, kind: u16, value: &[u8]) {
    pad(chunk);
    chunk.extend(kind.to_be_bytes());
    chunk.extend((4 + value.len() as u16).to_be_bytes());
    chunk.extend(value);
}

fn pad(chunk: &mut Vec<u8>) {
    chunk.resize(chunk.len().next_multiple_of(4), 0);
}

/// What stands behind the first chunk of a packet: data may share one with a cookie.
fn rest<'a>(data: &'a [u8], first: &[u8]) -> Taken<'a> {
    let behind = &data[COMMON_HEADER_LEN + first.len()..];
    let mut packet = [&data[..COMMON_HEADER_LEN], behind].concat();
    sign(&mut packet);
    Taken::Rest(packet.into())
}
