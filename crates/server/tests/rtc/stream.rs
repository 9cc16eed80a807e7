//! A stream of a test client whose packets are given one by one, and the record of what comes.

use super::{Connection, Event, Order};
use peer::{Codec, Outbox, Peer, ReceivedRtp, RtpWrite, SendSpec};
use std::time::Instant;
use tokio::sync::mpsc;

/// Packets of a recording that may wait.
const RECORDED_MAX: usize = 4096;

/// What an encoder says in one RTP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Extended, and the sender's own.
    pub sequence: u64,
    pub timestamp: u32,
    pub marker: bool,
    pub payload: Vec<u8>,
}

impl Packet {
    pub fn received(rtp: &ReceivedRtp, datagram: &[u8]) -> Self {
        Self {
            sequence: rtp.sequence,
            timestamp: rtp.timestamp,
            marker: rtp.marker,
            payload: datagram[rtp.payload.clone()].to_vec(),
        }
    }
}

/// The packets of one picture, sent at once.
pub struct Frame {
    tag: u64,
    codec: Codec,
    packets: Vec<Packet>,
}

impl Frame {
    /// Sends the packets with numbers of their own: `number` is the last one that was used.
    pub fn write(&self, peer: &mut Peer, number: &mut u64, outbox: &mut Outbox) {
        let index = peer.send_index(self.tag).expect("a stream that was begun");
        for packet in &self.packets {
            *number += 1;
            let write = RtpWrite {
                codec: self.codec,
                sequence: *number,
                timestamp: packet.timestamp,
                marker: packet.marker,
                dependency_descriptor: &[],
                abs_capture_time: &[],
                prefix: &[],
                payload: &packet.payload,
                padding: 0,
                retransmission: false,
            };
            assert!(
                peer.write_rtp(Instant::now(), index, &write, outbox),
                "the outbox has room for the packets of a picture"
            );
        }
    }
}

impl Connection {
    /// Begins a stream that sends nothing of itself.
    pub async fn begin(&self, spec: SendSpec) {
        self.order(Order::Stream(Box::new(spec))).await;
    }

    /// Sends a picture on a stream.
    pub async fn write(&self, tag: u64, codec: Codec, packets: &[Packet]) {
        let packets = packets.to_vec();
        self.order(Order::Write(Frame { tag, codec, packets })).await;
    }

    /// All packets that come from now on.
    pub async fn record(&self) -> mpsc::Receiver<Packet> {
        let (sender, receiver) = mpsc::channel(RECORDED_MAX);
        self.order(Order::Record(sender)).await;
        receiver
    }

    /// Waits until the server asks for a key frame.
    pub async fn key_frame_wanted(&mut self) -> Result<(), String> {
        self.wait("a request for a key frame", |event| {
            (*event == Event::KeyFrameWanted).then_some(())
        })
        .await
    }
}
