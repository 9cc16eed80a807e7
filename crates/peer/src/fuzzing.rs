//! The streams and the data channels of a peer without its locks, so that fuzz targets reach what
//! lies behind decryption: whoever completes a handshake can send any plain RTP and RTCP.
//!
//! Owns the remote side's keys and nothing else. Nothing of the server calls this.

mod channels;

pub use channels::UnlockedChannels;

use crate::config::{ReceiveSpec, SendSpec};
use crate::outbox::Outbox;
use crate::peer::{Peer, PeerEvent, ReceivedRtp, RtpWrite};
use crate::srtp::{RTCP_OVERHEAD_MAX, RTP_OVERHEAD_MAX, Srtp};
use crate::streams::Streams;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;
use wire::rtp::Header;

/// Protects plain RTCP as a peer's own, so that a simulated client can say anything. `None` before the
/// handshake is done.
pub fn seal_rtcp(peer: &mut Peer, plain: &[u8]) -> Option<Vec<u8>> {
    let mut data = plain.to_vec();
    data.resize(plain.len() + RTCP_OVERHEAD_MAX, 0);
    let len = peer.seal_rtcp(&mut data, plain.len())?;
    data.truncate(len);
    Some(data)
}

/// Streams that accept plain packets, by way of the remote side's keys.
#[derive(Debug)]
pub struct UnlockedStreams {
    streams: Streams,
    remote: Srtp,
    outbox: Outbox,
}

impl UnlockedStreams {
    /// Streams with these sections and send streams. `None` never happens: the key material is
    /// as long as the profile asks for.
    #[must_use]
    pub fn new(now: Instant, receive: Vec<ReceiveSpec>, send: Vec<SendSpec>) -> Option<Self> {
        const PROFILE: ::dtls::SrtpProfile = ::dtls::SrtpProfile::AEAD_AES_128_GCM;
        const MATERIAL: [u8; 56] = [7; 56];
        let mut streams = Streams::new(1, (now, 0xE000_0000_0000_0000));
        streams.install_keys(PROFILE, &MATERIAL, false);
        receive.into_iter().for_each(|spec| streams.add_receive(spec));
        send.into_iter().for_each(|spec| streams.add_send(spec));
        Some(Self {
            streams,
            remote: Srtp::new(PROFILE, &MATERIAL, true)?,
            outbox: Outbox::new(64, 64 * Outbox::DATAGRAM_MAX),
        })
    }

    /// The remote side sends a plain RTP packet. What came out of it, with its decrypted bytes.
    pub fn rtp(&mut self, now: Instant, plain: &[u8]) -> Option<(ReceivedRtp, Vec<u8>)> {
        let header = Header::parse(plain)?;
        let index = self.streams.index_of(&header)?;
        let mut data = plain.to_vec();
        data.resize(plain.len() + RTP_OVERHEAD_MAX, 0);
        let header_len = usize::from(header.payload_start);
        let len = self
            .remote
            .seal_rtp(header.ssrc, index, &mut data, header_len, plain.len())?;
        data.truncate(len);
        let received = self.streams.handle_rtp(now, &mut data)?;
        Some((received, data))
    }

    /// The remote side sends a plain RTCP packet.
    pub fn rtcp(&mut self, now: Instant, plain: &[u8]) {
        let mut data = plain.to_vec();
        data.resize(plain.len() + RTCP_OVERHEAD_MAX, 0);
        if let Some(len) = self.remote.seal_rtcp(&mut data, plain.len()) {
            data.truncate(len);
            self.streams.handle_rtcp(now, &mut data);
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.streams.handle_timeout(now);
    }

    /// Sends a packet; its sealed bytes are thrown away.
    pub fn write_rtp(&mut self, now: Instant, index: u32, packet: &RtpWrite<'_>) {
        self.streams
            .write_rtp(now, index, packet, NOWHERE, 0, &mut self.outbox);
        self.outbox.clear();
    }

    /// Takes all events, then all RTCP, decrypted.
    pub fn drain(&mut self, now: Instant) -> (Vec<PeerEvent>, Vec<Vec<u8>>) {
        let events = std::iter::from_fn(|| self.streams.poll_event()).collect();
        let mut rtcp = Vec::new();
        loop {
            let done = self.streams.poll_transmit(now, NOWHERE, 0, &mut self.outbox);
            for datagram in self.outbox.datagrams() {
                let mut data = self.outbox.datagram_bytes(datagram).to_vec();
                let len = self.remote.open_rtcp(&mut data).expect("sealed with our keys");
                data.truncate(len);
                rtcp.push(data);
            }
            self.outbox.clear();
            if done {
                return (events, rtcp);
            }
        }
    }
}

const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
