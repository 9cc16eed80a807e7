//! One incoming SSRC.

use super::nack::Missing;
use super::report::Reception;
use super::section::Part;
use crate::srtp::IncomingIndex;
use crate::streams::StreamStats;
use crate::window::{Mark, Window};
use std::time::Instant;
use wire::seq::extend_16;

/// Every sequence number is handed on one cycle higher than its packet index, so that numbers
/// before the first one (a late packet, the original of a retransmission) stay above zero.
pub(super) const FIRST_CYCLE: u64 = 0x1_0000;

/// The extended sequence number of a packet index.
pub(super) const fn extended(index: u64) -> u64 {
    index + FIRST_CYCLE
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) ssrc: u32,
    /// Place of its section.
    pub(super) section: u16,
    pub(super) layer: u8,
    pub(super) index: IncomingIndex,
    pub(super) role: Role,
}

#[derive(Debug)]
pub(super) enum Role {
    Primary(Box<Primary>),
    /// Retransmissions for the primary stream of the same layer (RFC 4588).
    Rtx,
}

/// What only streams of media have.
#[derive(Debug)]
pub(super) struct Primary {
    /// Sequence numbers that arrived, by whichever stream. What is older than 1024 packets is taken
    /// for a duplicate.
    arrived: Window<16>,
    pub(super) missing: Missing,
    pub(super) reception: Reception,
    /// When the newest packet arrived.
    newest_at: Option<Instant>,
}

impl Stream {
    pub(super) fn part(&self) -> Part {
        match self.role {
            Role::Primary(_) => Part::Primary,
            Role::Rtx => Part::Rtx,
        }
    }

    pub(super) fn primary(&self) -> Option<&Primary> {
        match &self.role {
            Role::Primary(primary) => Some(primary),
            Role::Rtx => None,
        }
    }

    #[inline]
    pub(super) fn primary_mut(&mut self) -> Option<&mut Primary> {
        match &mut self.role {
            Role::Primary(primary) => Some(primary),
            Role::Rtx => None,
        }
    }
}

impl Primary {
    /// A stream whose first packet has this index.
    pub(super) fn new(index: u64) -> Self {
        Self {
            arrived: Window::new(extended(index)),
            missing: Missing::default(),
            reception: Reception::new(extended(index)),
            newest_at: None,
        }
    }

    /// The extended number nearest to the newest one.
    #[inline]
    pub(super) const fn extend(&self, sequence: u16) -> u64 {
        extend_16(self.arrived.next() - 1, sequence)
    }

    /// Notes a packet; false when it is a duplicate. A gap is asked for, unless something was dropped
    /// here since the packet before it: then the gap is most likely our own doing, and to have those
    /// packets sent again would bring what there was no time for.
    #[inline]
    pub(super) fn accept(
        &mut self,
        now: Instant,
        dropped_at: Option<Instant>,
        sequence: u64,
        nack: bool,
        is_rtx: bool,
        stats: &mut StreamStats,
    ) -> bool {
        match self.arrived.mark(sequence) {
            Mark::Newest(0) => self.newest_at = Some(now),
            Mark::Newest(skipped) => {
                let before = self.newest_at.replace(now);
                if dropped_at.is_some() && dropped_at >= before {
                    stats.gaps_forgiven += skipped;
                } else if nack {
                    self.missing.lost(now, sequence - skipped, sequence);
                }
            }
            Mark::Late => {
                self.missing.arrived(sequence);
                stats.rtp_recovered += u64::from(is_rtx);
            }
            Mark::Repeated | Mark::Old => {
                stats.rtp_duplicates += u64::from(!is_rtx);
                stats.rtx_useless += u64::from(is_rtx);
                return false;
            }
        }
        true
    }
}
