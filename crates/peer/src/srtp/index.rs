//! Packet indices (RFC 3711 §3.3.1): 32 bits of rollover counter and 16 of sequence number.
//!
//! Outgoing indices have one owner per SSRC, the [`OutgoingIndex`]; the only way to get one is
//! [`OutgoingSsrcs::take`], which never hands out the same SSRC twice at a time and remembers how
//! far a returned one had come.

use crate::window::{Mark, Window};
use std::collections::BTreeMap;
use wire::seq::extend_16;

/// How many returned SSRCs are remembered. Each costs some 30 bytes. When it is reached no further
/// SSRC is taken: forgetting one could repeat a nonce.
const RETURNED_MAX: usize = 1 << 16;
/// Late packets up to this many behind the newest can still be sent for the first time; also the
/// history that a retransmission is found in. 512 is half a second of heavy video.
type Sent = Window<8>;

/// All SSRCs that we ever sent on with the keys of this peer.
#[derive(Debug, Default)]
pub(crate) struct OutgoingSsrcs {
    /// The next free index of each; `None` while its [`OutgoingIndex`] is out.
    next: BTreeMap<u32, Option<u64>>,
}

impl OutgoingSsrcs {
    /// The index counter of an SSRC; `None` when it is in use, or when too many were used.
    pub(crate) fn take(&mut self, ssrc: u32) -> Option<OutgoingIndex> {
        let floor = match self.next.get(&ssrc) {
            Some(&floor) => floor?,
            None if self.next.len() >= RETURNED_MAX => return None,
            None => 0,
        };
        self.next.insert(ssrc, None);
        Some(OutgoingIndex {
            ssrc,
            floor,
            offset: None,
            sent: Sent::new(floor),
        })
    }

    /// Takes the counter back when its stream ends.
    pub(crate) fn put_back(&mut self, index: OutgoingIndex) {
        if index.sent.next() == 0 {
            self.next.remove(&index.ssrc);
        } else {
            self.next.insert(index.ssrc, Some(index.sent.next()));
        }
    }
}

/// What may be done with an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// It was never used and now is: seal one packet with it.
    First(u64),
    /// It was used: only the very same bytes may leave under it again.
    Again(u64),
    /// It is too old to tell, or outside of the range: it must not be used.
    Never,
}

/// The outgoing packet index of one SSRC.
#[derive(Debug)]
pub(crate) struct OutgoingIndex {
    ssrc: u32,
    /// No index below this one is used: an earlier stream with this SSRC may have had it.
    floor: u64,
    /// Added (wrapping) to the caller's extended sequence number; known from the first packet on.
    offset: Option<u64>,
    sent: Sent,
}

impl OutgoingIndex {
    pub(crate) const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Claims the index for a caller's extended sequence number.
    ///
    /// The first one of a new SSRC maps into rollover 0, which is where receivers start. The first
    /// one of an SSRC that was used before continues behind it, so that its receivers' rollover
    /// counter stays right.
    #[inline]
    pub(crate) fn claim(&mut self, sequence: u64) -> Use {
        let offset = *self.offset.get_or_insert_with(|| {
            let start = if self.floor == 0 {
                sequence & 0xFFFF
            } else {
                self.floor
            };
            start.wrapping_sub(sequence)
        });
        let index = sequence.wrapping_add(offset);
        if index < self.floor || index >> 48 != 0 {
            return Use::Never;
        }
        match self.sent.mark(index) {
            Mark::Newest(_) | Mark::Late => Use::First(index),
            Mark::Repeated => Use::Again(index),
            Mark::Old => Use::Never,
        }
    }

    /// Reads what the next claim needs; the value means nothing.
    pub(crate) fn warm(&self) -> usize {
        self.ssrc as usize ^ self.offset.unwrap_or(0) as usize ^ self.sent.warm()
    }

    /// How far the newest index has come; only differences mean something.
    pub(crate) fn span(&self) -> u64 {
        self.sent.next()
    }

    /// The 16-bit number that a caller's sequence number has on the wire, once anything was sent.
    #[inline]
    pub(crate) fn on_wire(&self, sequence: u64) -> Option<u16> {
        Some(sequence.wrapping_add(self.offset?) as u16)
    }

    /// Whether a 16-bit sequence number, as the remote side saw it, was sent among the last
    /// `history` ones; if so the index, and the caller's sequence number.
    pub(crate) fn find(&self, sequence: u16, history: u64) -> Option<(u64, u64)> {
        let newest = self.sent.next().checked_sub(1)?;
        let behind = u64::from((newest as u16).wrapping_sub(sequence));
        let index = newest.checked_sub(behind)?;
        if behind >= history || !self.sent.contains(index) {
            return None;
        }
        Some((index, index.wrapping_sub(self.offset?)))
    }
}

/// The estimated index of incoming packets of one SSRC.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IncomingIndex {
    highest: Option<u64>,
}

impl IncomingIndex {
    /// The index that a sequence number most probably belongs to. `None` when that lies before the
    /// start of the stream.
    #[inline]
    pub(crate) fn estimate(&self, sequence: u16) -> Option<u64> {
        let Some(highest) = self.highest else {
            return Some(u64::from(sequence));
        };
        let index = extend_16(highest, sequence);
        (index >> 48 == 0).then_some(index)
    }

    /// Learns from a packet that was authentic.
    #[inline]
    pub(crate) fn update(&mut self, index: u64) {
        if self.highest.is_none_or(|highest| index > highest) {
            self.highest = Some(index);
        }
    }
}
