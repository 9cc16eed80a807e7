//! SSRCs without a section: their rollover counters, and what they were named before.
//!
//! Owns: the memory of which section an SSRC belonged to when that section ended. A sender names a
//! stream only until it is acknowledged (RFC 8852 §3.1 and libwebrtc's practice), so what goes on without
//! a name still is what it was: neither the next track of the same payload type nor the next one with the
//! same RID. Must not know: which sections there are.

use super::section::Part;
use crate::srtp::IncomingIndex;
use std::collections::VecDeque;

/// SSRCs that are remembered; the oldest is forgotten. More would let a sender hold more memory; fewer
/// and a sender that starts over often loses rollover counters.
const STRANGERS_MAX: usize = 64;
/// A longer MID is not kept: no section of ours has one.
const MID_BYTES_MAX: usize = 32;

/// What an SSRC was when its section ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Former {
    /// MID of the section.
    pub(super) mid: Box<[u8]>,
    /// Layer and part of it; `None` when only the MID is known.
    pub(super) place: Option<(u8, Part)>,
}

impl Former {
    pub(super) fn new(mid: &[u8], place: Option<(u8, Part)>) -> Option<Self> {
        (mid.len() <= MID_BYTES_MAX).then(|| Self {
            mid: mid.into(),
            place,
        })
    }
}

#[derive(Debug)]
struct Stranger {
    ssrc: u32,
    index: IncomingIndex,
    former: Option<Former>,
}

/// The SSRCs, oldest first.
#[derive(Debug, Default)]
pub(super) struct Strangers(VecDeque<Stranger>);

impl Strangers {
    /// The rollover counter of an SSRC, a new one when it is not known.
    pub(super) fn index(&self, ssrc: u32) -> IncomingIndex {
        self.find(ssrc)
            .map_or_else(IncomingIndex::default, |known| known.index)
    }

    /// What an SSRC was named before.
    pub(super) fn former(&self, ssrc: u32) -> Option<&Former> {
        self.find(ssrc)?.former.as_ref()
    }

    /// The SSRC has a section now.
    pub(super) fn take(&mut self, ssrc: u32) -> IncomingIndex {
        let index = self.index(ssrc);
        self.0.retain(|known| known.ssrc != ssrc);
        index
    }

    /// A packet of an SSRC without a section came.
    pub(super) fn note(&mut self, ssrc: u32, packet: u64) {
        if let Some(known) = self.0.iter_mut().find(|known| known.ssrc == ssrc) {
            known.index.update(packet);
            return;
        }
        let mut index = IncomingIndex::default();
        index.update(packet);
        self.remember(ssrc, index, None);
    }

    /// A stream ended or lost its section.
    pub(super) fn remember(&mut self, ssrc: u32, index: IncomingIndex, former: Option<Former>) {
        self.0.retain(|known| known.ssrc != ssrc);
        if self.0.len() == STRANGERS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Stranger { ssrc, index, former });
    }

    fn find(&self, ssrc: u32) -> Option<&Stranger> {
        self.0.iter().find(|known| known.ssrc == ssrc)
    }
}
