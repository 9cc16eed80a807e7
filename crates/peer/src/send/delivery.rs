//! What the reports about one stream say of what arrived, from one report to the next.
//!
//! Owns: the last report that made sense. Must not know: rates, what follows from loss. The remote
//! side may report anything: what contradicts what was sent is passed over.

use crate::totals::Delivery;
use wire::rtcp::ReportBlock;

/// A report may name a packet this far behind the newest one, in packets: what further back is, or
/// in front, was not sent lately. Half of the numbers, as everywhere where they are compared.
const BEHIND_MAX: u16 = 1 << 15;

/// The reports about one stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reports {
    last: Option<Heard>,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    /// Index of the highest packet that had arrived.
    highest: u64,
    lost: i32,
    packets: u32,
    octets: u32,
    skipped: u32,
}

impl Reports {
    /// Takes a report. `next` is the index of the next packet, `sent` are packets and payload bytes
    /// sent so far. `None` for the first report, and for one that cannot be true.
    pub(super) fn learn(
        &mut self,
        block: &ReportBlock,
        next: u64,
        (packets, octets): (u32, u32),
    ) -> Option<Delivery> {
        let newest = next.checked_sub(1)?;
        let behind = (newest as u16).wrapping_sub(block.highest_sequence as u16);
        let highest = newest
            .checked_sub(u64::from(behind))
            .filter(|_| behind < BEHIND_MAX)?;
        let heard = Heard {
            highest,
            lost: block.cumulative_lost,
            packets,
            octets,
            skipped: (next as u32).wrapping_sub(packets),
        };
        let before = match self.last {
            // Reports may overtake each other.
            Some(before) if before.highest > highest => return None,
            before => before,
        };
        self.last = Some(heard);
        let before = before?;
        let expected = u32::try_from(highest - before.highest).unwrap_or(u32::MAX);
        let skipped = i64::from(heard.skipped.wrapping_sub(before.skipped) as i32).max(0);
        let lost = i64::from(heard.lost) - i64::from(before.lost) - skipped;
        Some(Delivery {
            sent: packets.wrapping_sub(before.packets),
            octets: octets.wrapping_sub(before.octets),
            expected,
            lost: u32::try_from(lost.clamp(0, i64::from(expected))).expect("clamped"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(highest_sequence: u32, cumulative_lost: i32) -> ReportBlock {
        ReportBlock {
            ssrc: 1,
            fraction_lost: 255,
            cumulative_lost,
            highest_sequence,
            jitter: u32::MAX,
            last_sr: 0,
            delay_since_sr: u32::MAX,
        }
    }

    #[test]
    fn two_reports_tell_what_arrived_between_them() {
        let mut reports = Reports::default();
        assert_eq!(reports.learn(&block(99, 0), 110, (110, 110_000)), None);
        // 200 further numbers, 20 of which the source had lost.
        let told = reports.learn(&block(289, 70), 310, (290, 290_000));
        let expected = Delivery {
            sent: 180,
            octets: 180_000,
            expected: 190,
            lost: 50,
        };
        assert_eq!(told, Some(expected));
        // Nothing arrived since: the link is dead.
        let told = reports.learn(&block(289, 70), 410, (390, 390_000));
        assert_eq!(told.map(|told| (told.sent, told.expected)), Some((100, 0)));
    }

    #[test]
    fn what_cannot_be_true_is_passed_over() {
        let mut reports = Reports::default();
        assert_eq!(reports.learn(&block(5, 0), 0, (0, 0)), None, "nothing was sent");
        assert_eq!(reports.learn(&block(100, 0), 101, (101, 0)), None);
        for never_sent in [201, 5000, 33_000, u32::MAX] {
            assert_eq!(reports.learn(&block(never_sent, 0), 201, (201, 0)), None);
        }
        assert_eq!(reports.learn(&block(50, 0), 201, (201, 0)), None, "an older one");
        for lost in [i32::MIN, -1, 0, 0x7F_FFFF, i32::MAX] {
            let mut reports = reports;
            let told = reports.learn(&block(200, lost), 201, (201, 9)).expect("told");
            assert_eq!(told.expected, 100);
            assert!(told.lost <= told.expected, "{told:?}");
        }
        // What it says of cycles does not matter: the number is one of those that were sent.
        let told = reports.learn(&block(0xABCD_0000 | 200, 0), 201, (201, 9));
        assert_eq!(told.map(|told| told.expected), Some(100));
    }
}
