//! What threads tell each other beside packets, and how it waits for a thread that stalls.
//!
//! Owns: which item is one with an item that waits already. Must not know: what items lead to.

use crate::api::TrackKey;
use crate::down::munge::SenderReport;
use crate::down::select::STREAMS_MAX;
use peer::Codec;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

/// Control items kept while the ring is full, that is, while the other thread stalls. Of what a remote
/// side can cause as often as it likes only the latest is kept, so that they are as many as tracks have
/// layers and peers addresses.
pub(super) const BACKLOG_MAX: usize = 16 * 1024;
/// As many of them may be such as lose their worth with time.
pub(super) const NEWS_MAX: usize = BACKLOG_MAX / 2;

/// What threads tell each other beside packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Control {
    /// We have subscribers of your track.
    Want { track: TrackKey },
    /// We have none any more.
    Unwant { track: TrackKey },
    /// A subscriber of ours needs a key frame of your track's layer.
    KeyFrame { track: TrackKey, layer: u8 },
    /// Our track was muted or unmuted.
    Muted { track: TrackKey, muted: bool },
    /// A layer of our track has (another) source.
    Started {
        track: TrackKey,
        layer: u8,
        codec: Codec,
        ssrc: u32,
    },
    /// Our track is no longer published.
    Ended { track: TrackKey },
    /// A sender report of our track's layer.
    Report {
        track: TrackKey,
        layer: u8,
        report: SenderReport,
    },
    /// The worst loss of your audio track that our subscribers report, as a fraction of 256.
    Loss { track: TrackKey, fraction: u8 },
    /// Datagrams of this source, which your socket gets, are for a peer of ours.
    Learned { source: SocketAddr },
    /// They are not any more.
    Forgotten { source: SocketAddr },
    /// A socket of ours dropped datagrams that may have been for your peers.
    Dropped { at: Instant },
}

/// What of several control items only the latest says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    Wanted(TrackKey),
    KeyFrame(TrackKey, u8),
    Muted(TrackKey),
    Started(TrackKey, u8),
    Report(TrackKey, u8),
    Loss(TrackKey),
    Source(SocketAddr),
    Dropped,
}

impl Control {
    /// `None`: what says that something ended stays where it is.
    fn topic(&self) -> Option<Topic> {
        Some(match *self {
            Self::Want { track } | Self::Unwant { track } => Topic::Wanted(track),
            Self::KeyFrame { track, layer } => Topic::KeyFrame(track, layer),
            Self::Muted { track, .. } => Topic::Muted(track),
            Self::Started { track, layer, .. } => Topic::Started(track, layer),
            Self::Ended { .. } => return None,
            Self::Report { track, layer, .. } => Topic::Report(track, layer),
            Self::Loss { track, .. } => Topic::Loss(track),
            Self::Learned { source } | Self::Forgotten { source } => Topic::Source(source),
            Self::Dropped { .. } => Topic::Dropped,
        })
    }

    /// Whether another one will come anyway.
    const fn is_news(&self) -> bool {
        matches!(
            self,
            Self::KeyFrame { .. } | Self::Report { .. } | Self::Loss { .. }
        )
    }
}

/// Control items that wait for room in a ring, in their order.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    pub(super) items: VecDeque<Control>,
    /// How many left, so that positions have names that stay.
    gone: u64,
    /// Where the item of a topic waits.
    pub(super) at: BTreeMap<Topic, u64>,
}

impl Backlog {
    /// False: there are too many.
    pub(super) fn push(&mut self, control: Control) -> bool {
        let topic = control.topic();
        let waiting = topic
            .and_then(|topic| self.at.get(&topic))
            .and_then(|at| self.items.get_mut((at - self.gone) as usize));
        if let Some(waiting) = waiting {
            *waiting = control;
            return true;
        }
        let max = if control.is_news() { NEWS_MAX } else { BACKLOG_MAX };
        if self.items.len() >= max {
            return false;
        }
        if let Control::Ended { track } = control {
            // What begins after the end is told after it.
            for layer in 0..STREAMS_MAX as u8 {
                self.at.remove(&Topic::Started(track, layer));
                self.at.remove(&Topic::Report(track, layer));
            }
        }
        if let Some(topic) = topic {
            self.at.insert(topic, self.gone + self.items.len() as u64);
        }
        self.items.push_back(control);
        true
    }

    pub(super) fn pop(&mut self) {
        let Some(control) = self.items.pop_front() else {
            return;
        };
        if let Some(topic) = control.topic()
            && self.at.get(&topic) == Some(&self.gone)
        {
            self.at.remove(&topic);
        }
        self.gone += 1;
    }
}
