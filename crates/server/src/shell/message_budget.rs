//! How many data messages may wait for a media thread. They share its command queue with all that
//! controls; what a client sends must never be why a control command finds it full.
//!
//! Must not know: what messages say, whom they are for.

use media::api::ChannelLabel;
use media::stats::LostMessages;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Places for messages in a queue, and what found none.
#[derive(Debug)]
pub(crate) struct MessageBudget {
    /// Half of the queue: a stream of several megabytes sent at once fits.
    reliable: Places,
    /// A quarter: what comes too late is worth little. The last quarter is left to control.
    unreliable: Places,
    lost: [AtomicU64; 4],
}

impl MessageBudget {
    /// For a queue of so many commands.
    pub(crate) fn new(commands_max: usize) -> Self {
        Self {
            reliable: Places::new(commands_max / 2),
            unreliable: Places::new(commands_max / 4),
            lost: Default::default(),
        }
    }

    /// Takes a place; false when there is none.
    pub(crate) fn take(&self, label: ChannelLabel) -> bool {
        let Places { taken, max } = self.places(label);
        let next = |taken| (taken < *max).then_some(taken + 1);
        taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .is_ok()
    }

    /// The message left the queue, or did not come into it.
    pub(crate) fn give_back(&self, label: ChannelLabel) {
        self.places(label).taken.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a message that so many peers do not get.
    pub(crate) fn lose(&self, label: ChannelLabel, receivers: usize) {
        self.lost[index(label)].fetch_add(receivers as u64, Ordering::Relaxed);
    }

    /// Adds what was lost to what a thread counted.
    pub(crate) fn add_lost(&self, to: &mut LostMessages) {
        let lost = |label| self.lost[index(label)].load(Ordering::Relaxed);
        to.reliable += lost(ChannelLabel::Reliable);
        to.lossy += lost(ChannelLabel::Lossy);
        to.data_track += lost(ChannelLabel::DataTrack);
        to.unlabelled += lost(ChannelLabel::Unlabelled);
    }

    const fn places(&self, label: ChannelLabel) -> &Places {
        match label {
            ChannelLabel::Reliable => &self.reliable,
            ChannelLabel::Lossy | ChannelLabel::DataTrack | ChannelLabel::Unlabelled => &self.unreliable,
        }
    }
}

const fn index(label: ChannelLabel) -> usize {
    match label {
        ChannelLabel::Reliable => 0,
        ChannelLabel::Lossy => 1,
        ChannelLabel::DataTrack => 2,
        ChannelLabel::Unlabelled => 3,
    }
}

#[derive(Debug)]
struct Places {
    taken: AtomicUsize,
    max: usize,
}

impl Places {
    fn new(max: usize) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            max: max.max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_leave_a_quarter_of_the_queue_and_unreliable_ones_take_no_reliable_place() {
        let budget = MessageBudget::new(16);
        let mut taken = [0; 4];
        for (count, label) in taken.iter_mut().zip([
            ChannelLabel::Lossy,
            ChannelLabel::DataTrack,
            ChannelLabel::Unlabelled,
            ChannelLabel::Reliable,
        ]) {
            while budget.take(label) {
                *count += 1;
            }
        }
        assert_eq!(taken, [4, 0, 0, 8]);
        budget.give_back(ChannelLabel::Lossy);
        assert!(!budget.take(ChannelLabel::Reliable));
        assert!(budget.take(ChannelLabel::DataTrack) && !budget.take(ChannelLabel::Lossy));
    }

    #[test]
    fn what_is_lost_is_counted_by_channel() {
        let budget = MessageBudget::new(16);
        budget.lose(ChannelLabel::DataTrack, 64);
        budget.lose(ChannelLabel::Reliable, 1);
        let mut counted = LostMessages {
            data_track: 6,
            lossy: 5,
            ..LostMessages::default()
        };
        budget.add_lost(&mut counted);
        assert_eq!(
            (
                counted.reliable,
                counted.lossy,
                counted.data_track,
                counted.unlabelled
            ),
            (1, 5, 70, 0)
        );
    }
}
