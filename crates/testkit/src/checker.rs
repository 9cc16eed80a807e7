//! Looks at every packet that leaves a worker: numbering (I11) and permission (I12, as far as the
//! media plane goes).
//!
//! Owns: what left per stream. Must not know: how it came to be. It reads the RTP header, which
//! SRTP leaves in the clear.

use std::collections::{BTreeMap, BTreeSet};
use wire::rtp::Header;
use wire::seq::{extend_16, newer_32};

/// One outgoing stream.
#[derive(Debug, Default)]
struct Stream {
    allowed: bool,
    /// Packets that may still leave although it is not allowed: those that the server itself makes.
    tolerated: usize,
    newest: Option<u64>,
    sent: BTreeSet<u64>,
    timestamps: BTreeMap<u64, u32>,
}

/// Checks all streams of all subscribers.
#[derive(Debug, Default)]
pub struct Checker {
    streams: BTreeMap<u32, Stream>,
    ignored: BTreeSet<u32>,
}

impl Checker {
    /// From now on packets of this SSRC may leave, or may not (not subscribed, muted, disabled).
    pub fn allow(&mut self, ssrc: u32, allowed: bool) {
        self.streams.entry(ssrc).or_default().allowed = allowed;
    }

    /// So many packets may leave after the stream is forbidden: what the server adds of its own.
    pub fn tolerate(&mut self, ssrc: u32, packets: usize) {
        self.streams.entry(ssrc).or_default().tolerated = packets;
    }

    /// An SSRC of retransmissions: packets of the past may leave at any time.
    pub fn ignore(&mut self, ssrc: u32) {
        self.ignored.insert(ssrc);
    }

    /// A datagram leaves a worker.
    ///
    /// # Panics
    /// When it breaks an invariant.
    pub fn sent(&mut self, data: &[u8]) {
        if !matches!(data, [128..=191, 0..=191 | 224..=255, ..]) {
            return;
        }
        let header = Header::parse(data).expect("a worker writes whole headers");
        if self.ignored.contains(&header.ssrc) {
            return;
        }
        let stream = self.streams.get_mut(&header.ssrc);
        let stream = stream.unwrap_or_else(|| panic!("packet of unknown stream {}", header.ssrc));
        if !stream.allowed {
            let left = stream.tolerated.checked_sub(1);
            stream.tolerated =
                left.unwrap_or_else(|| panic!("packet of a stream that is not wanted: {header:?}"));
        }
        let first = u64::from(header.sequence) + 0x1_0000;
        let extended = stream
            .newest
            .map_or(first, |newest| extend_16(newest, header.sequence));
        stream.newest = Some(stream.newest.map_or(extended, |newest| newest.max(extended)));
        stream.sent.insert(extended);
        if let Some((_, before)) = stream.timestamps.range(..extended).next_back() {
            assert!(
                !newer_32(*before, header.timestamp),
                "timestamp goes back: {header:?}"
            );
        }
        if let Some((_, after)) = stream.timestamps.range(extended + 1..).next() {
            assert!(
                !newer_32(header.timestamp, *after),
                "timestamp goes back: {header:?}"
            );
        }
        stream.timestamps.insert(extended, header.timestamp);
    }

    /// Sequence numbers between the first and the last that never left.
    #[must_use]
    pub fn holes(&self, ssrc: u32) -> usize {
        let Some(stream) = self.streams.get(&ssrc) else {
            return 0;
        };
        match (stream.sent.first(), stream.sent.last()) {
            (Some(first), Some(last)) => (last - first + 1) as usize - stream.sent.len(),
            _ => 0,
        }
    }

    /// How many packets of a stream left.
    #[must_use]
    pub fn count(&self, ssrc: u32) -> usize {
        self.streams.get(&ssrc).map_or(0, |stream| stream.sent.len())
    }
}
