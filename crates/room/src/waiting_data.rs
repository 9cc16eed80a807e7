//! Reliable data for a client whose channel is not open yet: bounded in bytes, and
//! what clients numbered in age as well. Must not know who sent it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most data kept for one client. More would let silent joiners hold memory; less would lose more
/// of what is said while they join.
const BYTES_MAX: usize = 100_000;

/// Numbered packets are kept this long, as in the reference: a join that takes longer has missed
/// them. More would surprise with old news, less would lose what a slow join may still get.
pub(crate) const NUMBERED_KEPT: Duration = Duration::from_secs(10);

/// What waits, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct WaitingData {
    packets: VecDeque<Packet>,
    bytes: usize,
}

#[derive(Debug)]
struct Packet {
    /// `None`: as long as there is room.
    until: Option<Instant>,
    data: Arc<[u8]>,
}

impl WaitingData {
    /// Keeps a packet at the cost of the oldest. How many were lost for it.
    pub(crate) fn keep(&mut self, now: Instant, until: Option<Instant>, data: &Arc<[u8]>) -> u64 {
        let mut lost = 0;
        while let Some(oldest) = self.packets.front()
            && (oldest.is_over(now) || self.bytes + data.len() > BYTES_MAX)
        {
            self.bytes -= oldest.data.len();
            self.packets.pop_front();
            lost += 1;
        }
        if data.len() > BYTES_MAX {
            return lost + 1;
        }
        self.bytes += data.len();
        self.packets.push_back(Packet {
            until,
            data: Arc::clone(data),
        });
        lost
    }

    /// What is not too old, in order, and how many packets are.
    pub(crate) fn into_fresh(self, now: Instant) -> (Vec<Arc<[u8]>>, u64) {
        let all = self.packets.len();
        let fresh: Vec<_> = self
            .packets
            .into_iter()
            .filter(|packet| !packet.is_over(now))
            .map(|packet| packet.data)
            .collect();
        let lost = u64::try_from(all - fresh.len()).unwrap_or(u64::MAX);
        (fresh, lost)
    }
}

impl Packet {
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until < now)
    }
}
