//! Running totals of single streams, for those who score quality: read now and then, never per packet.
//!
//! Owns: the plain values. Must not know: intervals, scores. A reader keeps the totals of last time
//! and looks at the difference; when a stream began anew its totals begin anew, too.

use std::time::Instant;

/// What was received on one layer of a section since its stream began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiveTotals {
    /// The stream that these totals are about.
    pub ssrc: u32,
    /// Sequence numbers from the first to the highest.
    pub expected: u64,
    /// Packets that arrived by themselves.
    pub received: u64,
    /// Packets that a retransmission brought.
    pub repaired: u64,
    /// When the last sender report arrived.
    pub reported_at: Option<Instant>,
}

/// What was sent on one stream, and what the remote side last said about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendTotals {
    /// Packets sent, without retransmissions. Wraps.
    pub packets: u32,
    /// The last receiver report.
    pub report: Option<SendReport>,
}

/// One receiver report, and what had been sent when it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendReport {
    /// When it came.
    pub at: Instant,
    /// Extended highest sequence number received. Wraps.
    pub highest: u32,
    /// Packets lost since the beginning.
    pub lost: i32,
    /// Packets that had been sent. Wraps.
    pub packets: u32,
    /// Sequence numbers that had been passed over, because the source had lost those packets. Wraps;
    /// only differences mean something.
    pub skipped: u32,
}

/// What a receiver report tells of one stream since the report before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Packets sent in between, without retransmissions.
    pub sent: u32,
    /// Their payload bytes.
    pub octets: u32,
    /// Packets that should have arrived by this report and not by the one before.
    pub expected: u32,
    /// Those that did not, without what the source had lost already.
    pub lost: u32,
}

/// What was sent of one kind of media since the peer was made, without retransmissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaSent {
    /// RTP packets.
    pub packets: u64,
    /// Their bytes, protected.
    pub bytes: u64,
    /// Those that the remote side asked for. Each counts once, however often it is asked for.
    pub missed: u64,
}
