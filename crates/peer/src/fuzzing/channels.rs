//! Data channels whose remote side is hostile: it completed every handshake, or that of DTLS only, and
//! then sends any chunks that it likes.
//!
//! Owns the numbers that a forged packet needs to be taken for one of this association.

use crate::config::{ChannelSpec, DtlsRole, SctpRemote};
use crate::peer::PeerEvent;
use crate::sctp::{Sctp, sign};
use std::time::{Duration, Instant};

const COMMON_HEADER_LEN: usize = 12;
const DATA: u8 = 0;
const INIT: u8 = 1;
/// The first TSN of a remote side that is yet to begin.
const FIRST_TSN: u32 = 1000;

const REMOTE: SctpRemote = SctpRemote {
    port: SctpRemote::PORT,
    message_len_max: 0,
};

/// Channels that accept forged packets.
#[derive(Debug)]
pub struct UnlockedChannels {
    near: Sctp,
    header: [u8; COMMON_HEADER_LEN],
    first: u32,
    next: u32,
    sent: u32,
}

impl UnlockedChannels {
    /// Channels with an association, on which the remote side opened channel 0. `None` never
    /// happens: nothing is lost between the two.
    #[must_use]
    pub fn new(now: Instant) -> Option<Self> {
        let (mut far, mut near) = (Sctp::default(), Sctp::default());
        far.start(now, DtlsRole::Client, REMOTE);
        near.start(now, DtlsRole::Server, REMOTE);
        far.open(ChannelSpec {
            label: "_reliable".to_owned(),
            ordered: true,
            max_retransmits: None,
            negotiated: None,
        });
        let (mut header, mut first, mut next, mut sent) = (None, None, 0, 0);
        let mut now = now;
        for _ in 0..64 {
            let up = far.poll_packet(now);
            if let Some(packet) = &up {
                if packet.get(COMMON_HEADER_LEN) == Some(&DATA) {
                    header = packet.first_chunk().copied();
                    let tsn = number(packet, COMMON_HEADER_LEN + 4)?;
                    first.get_or_insert(tsn);
                    next = tsn.wrapping_add(1);
                }
                near.handle_packet(now, packet);
            }
            let down = near.poll_packet(now);
            if let Some(packet) = &down {
                if packet.get(COMMON_HEADER_LEN) == Some(&DATA) {
                    sent = number(packet, COMMON_HEADER_LEN + 4)?;
                }
                far.handle_packet(now, packet);
            }
            if up.is_none() && down.is_none() {
                now += Duration::from_millis(250);
                far.handle_timeout(now);
                near.handle_timeout(now);
            }
        }
        while near.poll_event().is_some() {}
        Some(Self {
            near,
            header: header?,
            first: first?,
            next,
            sent,
        })
    }

    /// Channels that wait for an association. `None` never happens: they begin by themselves.
    #[must_use]
    pub fn beginning(now: Instant) -> Option<Self> {
        let mut near = Sctp::default();
        near.start(now, DtlsRole::Server, REMOTE);
        let init = near.poll_packet(now)?;
        let port = SctpRemote::PORT.get().to_be_bytes();
        let mut header = [0; COMMON_HEADER_LEN];
        header[..2].copy_from_slice(&port);
        header[2..4].copy_from_slice(&port);
        header[4..8].copy_from_slice(init.get(COMMON_HEADER_LEN + 4..COMMON_HEADER_LEN + 8)?);
        Some(Self {
            near,
            header,
            first: FIRST_TSN,
            next: FIRST_TSN,
            sent: number(&init, COMMON_HEADER_LEN + 16)?.wrapping_sub(1),
        })
    }

    /// The TSN of the first DATA chunk of the remote side.
    #[must_use]
    pub fn first_tsn(&self) -> u32 {
        self.first
    }

    /// The TSN that its next DATA chunk would have, as of the handshake.
    #[must_use]
    pub fn next_tsn(&self) -> u32 {
        self.next
    }

    /// The last TSN that we sent.
    #[must_use]
    pub fn sent_tsn(&self) -> u32 {
        self.sent
    }

    /// The remote side sends these chunks in one packet.
    pub fn handle_chunks(&mut self, now: Instant, chunks: &[u8]) {
        let mut packet = [&self.header[..], chunks].concat();
        if chunks.first() == Some(&INIT) {
            // RFC 9260 §8.5.1: an INIT goes without a verification tag.
            packet[4..8].fill(0);
        }
        sign(&mut packet);
        self.near.handle_packet(now, &packet);
    }

    /// We send a message on a channel.
    pub fn send(&mut self, id: u16, message: &[u8]) -> bool {
        self.near.send(id, true, message)
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.near.handle_timeout(now);
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<PeerEvent> {
        self.near.poll_event()
    }

    /// The next packet to the remote side, in the clear.
    pub fn poll_packet(&mut self, now: Instant) -> Option<Vec<u8>> {
        let packet = self.near.poll_packet(now)?;
        if packet.get(COMMON_HEADER_LEN) == Some(&DATA)
            && let Some(tsn) = number(&packet, COMMON_HEADER_LEN + 4)
        {
            self.sent = tsn;
        }
        Some(packet.to_vec())
    }
}

fn number(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}
