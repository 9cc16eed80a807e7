//! Counters of a peer's streams.

/// What happened on the RTP and RTCP side of one peer since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamStats {
    /// RTP packets that arrived and were authentic.
    pub rtp_received: u64,
    /// Their bytes, with headers, without tags.
    pub rtp_received_bytes: u64,
    /// RTP packets that were broken, not authentic, or came before the keys.
    pub rtp_refused: u64,
    /// Authentic RTP packets that belong to no known section, or whose payload type is unknown.
    pub rtp_unknown: u64,
    /// Packets that had arrived before, or are too old to tell.
    pub rtp_duplicates: u64,
    /// Retransmissions that filled a gap.
    pub rtp_recovered: u64,
    /// Retransmissions with no use: the packet had arrived, or there is nothing inside (probes).
    pub rtx_useless: u64,
    /// Sequence numbers that we asked for, repetitions counted.
    pub nacks_sent: u64,
    /// Packets missing that were not asked for, because datagrams were dropped here meanwhile.
    pub gaps_forgiven: u64,
    /// RTCP datagrams that arrived and were authentic.
    pub rtcp_received: u64,
    /// RTCP datagrams that were not.
    pub rtcp_refused: u64,
    /// Transport-wide feedback about what we sent; nothing reads it yet.
    pub transport_cc_ignored: u64,
    /// RTP packets written.
    pub rtp_sent: u64,
    /// Their bytes, with headers and tags.
    pub rtp_sent_bytes: u64,
    /// Those that were retransmissions.
    pub retransmissions_sent: u64,
    /// Packets not written: no keys yet, no such stream, or its payload type was not negotiated.
    pub rtp_unsent: u64,
    /// Packets not written because their index was used for other bytes, or may have been.
    pub indices_refused: u64,
    /// Packets not written because they would be larger than a datagram.
    pub oversized: u64,
    /// Sequence numbers that the remote side asked for.
    pub nacks_received: u64,
    /// Those not passed on: unknown, too old, or asked for too often.
    pub nacks_ignored: u64,
    /// RTCP datagrams written.
    pub rtcp_sent: u64,
    /// Sections, streams or SSRCs refused because of a limit or a clash.
    pub streams_refused: u64,
    /// Events dropped because nobody took them.
    pub events_dropped: u64,
    /// Arrivals forgotten before feedback could tell about them.
    pub arrivals_dropped: u64,
}
