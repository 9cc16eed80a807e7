//! Lost packets of redundant audio, taken from packets behind them (RFC 2198 §3).
//!
//! Owns: which packets of one layer were replaced. Must not know: subscribers, the ring.
//!
//! A packet repeats the ones right before it, so that for a subscriber who cannot read RED the
//! repetitions can take the places of packets that did not arrive. Nothing is stored: the block is
//! read again from its carrier, for each such subscriber and for retransmissions.

use super::ring::{Packet, PacketInfo};
use peer::Codec;
use wire::codec::red::{Block, Red};
use wire::seq::newer_32;

/// How far back lost packets are looked for. Browsers repeat one or two packets.
pub(crate) const DISTANCE_MAX: u8 = 2;

/// What was recovered of one layer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Redundancy {
    /// Sequence number and timestamp of the newest packet.
    newest: Option<(u64, u32)>,
    /// Bit per packet, counted back from the newest one: it was recovered.
    recovered: u128,
}

impl Redundancy {
    /// A packet newer than all before it arrived. Returns the distances of those in front of it that
    /// are missing and repeated by it, farthest first; 0 stands for none.
    pub(crate) fn advance(
        &mut self,
        sequence: u64,
        timestamp: u32,
        payload: &[u8],
    ) -> [u8; DISTANCE_MAX as usize] {
        let mut found = [0; DISTANCE_MAX as usize];
        let Some((newest, before)) = self.newest.replace((sequence, timestamp)) else {
            return found;
        };
        let step = sequence.saturating_sub(newest);
        let shift = u32::try_from(step).unwrap_or(u32::MAX);
        self.recovered = self.recovered.checked_shl(shift).unwrap_or(0);
        let missing = step.saturating_sub(1).min(u64::from(DISTANCE_MAX)) as u8;
        if missing == 0 {
            return found;
        }
        let Some(red) = Red::parse(payload) else {
            return found;
        };
        let mut after = timestamp;
        for distance in 1..=missing {
            // A block that lies outside of the hole repeats something else.
            let Some(at) = block_at(&red, distance)
                .map(|block| timestamp.wrapping_sub(u32::from(block.timestamp_offset)))
                .filter(|at| newer_32(after, *at) && newer_32(*at, before))
            else {
                break;
            };
            after = at;
            self.recovered |= 1 << distance;
            found[usize::from(DISTANCE_MAX - distance)] = distance;
        }
        found
    }

    /// Whether a packet of this sequence number was replaced: it must not follow when it comes late.
    pub(crate) fn was_recovered(&self, sequence: u64) -> bool {
        let behind = self
            .newest
            .and_then(|(newest, _)| u32::try_from(newest.checked_sub(sequence)?).ok());
        behind
            .and_then(|behind| self.recovered.checked_shr(behind))
            .is_some_and(|bits| bits & 1 != 0)
    }

    /// What comes next has nothing to do with what came: the track was muted, or its source is another.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

/// A lost packet, as plain Opus.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recovered<'a> {
    info: PacketInfo,
    payload: &'a [u8],
}

impl<'a> Recovered<'a> {
    /// The packet `distance` places in front of its carrier. Every carrier gives the same bytes.
    pub(crate) fn read(carrier: &Packet<'a>, distance: u8) -> Option<Self> {
        let block = block_at(&Red::parse(carrier.payload)?, distance)?;
        Some(Self {
            info: PacketInfo {
                sequence: carrier.info.sequence.checked_sub(u64::from(distance))?,
                timestamp: carrier
                    .info
                    .timestamp
                    .wrapping_sub(u32::from(block.timestamp_offset)),
                marker: false,
                codec: Codec::Opus,
                late: false,
                ..*carrier.info
            },
            payload: carrier.payload.get(block.range)?,
        })
    }

    /// The packet as if it had arrived.
    pub(crate) fn packet(&self) -> Packet<'_> {
        Packet {
            info: &self.info,
            payload: self.payload,
            dependency_descriptor: &[],
            abs_capture_time: &[],
        }
    }
}

/// The block that repeats the packet `distance` places before, of the primary's format.
fn block_at(red: &Red<'_>, distance: u8) -> Option<Block> {
    let mut blocks = red.redundant();
    let index = blocks.clone().count().checked_sub(usize::from(distance))?;
    let block = blocks.nth(index)?;
    (block.payload_type == red.primary().payload_type && !block.range.is_empty()).then_some(block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::codec::red;

    /// The packet `number` of a stream of 20 ms packets that repeats so many before it.
    fn packet(number: u32, repeats: u32) -> (u64, u32, Vec<u8>) {
        let blocks: Vec<(u16, Vec<u8>)> = (1..=repeats)
            .rev()
            .map(|distance| (distance as u16 * 960, vec![(number - distance) as u8; 5]))
            .collect();
        let blocks: Vec<(u16, &[u8])> = blocks.iter().map(|(at, data)| (*at, &data[..])).collect();
        let mut payload = vec![0; 100];
        let len = red::write(&mut payload, 111, &blocks, &[number as u8; 5]).expect("fits");
        payload.truncate(len);
        (u64::from(number), number * 960, payload)
    }

    fn advance(redundancy: &mut Redundancy, number: u32, repeats: u32) -> [u8; 2] {
        let (sequence, timestamp, payload) = packet(number, repeats);
        redundancy.advance(sequence, timestamp, &payload)
    }

    #[test]
    fn the_two_packets_in_front_are_recovered_and_no_more() {
        let mut redundancy = Redundancy::default();
        assert_eq!(
            advance(&mut redundancy, 10, 2),
            [0, 0],
            "nothing is known to be lost"
        );
        assert_eq!(advance(&mut redundancy, 11, 2), [0, 0]);
        assert_eq!(advance(&mut redundancy, 13, 2), [0, 1]);
        assert_eq!(advance(&mut redundancy, 16, 2), [2, 1]);
        assert_eq!(advance(&mut redundancy, 20, 2), [2, 1], "17 stays lost");
        assert_eq!(advance(&mut redundancy, 22, 0), [0, 0], "nothing is repeated");
        let recovered: Vec<u64> = (5..30).filter(|s| redundancy.was_recovered(*s)).collect();
        assert_eq!(recovered, [12, 14, 15, 18, 19]);
        redundancy.reset();
        assert!(!redundancy.was_recovered(19));
    }

    #[test]
    fn a_block_that_repeats_something_else_is_left_alone() {
        let mut redundancy = Redundancy::default();
        advance(&mut redundancy, 10, 0);
        // The block is as old as packet 10 itself.
        let mut payload = [0; 50];
        let len = red::write(&mut payload, 111, &[(1920, b"10")], b"12").expect("fits");
        assert_eq!(redundancy.advance(12, 12 * 960, &payload[..len]), [0, 0]);
        assert!(!redundancy.was_recovered(11));
    }

    #[test]
    fn a_long_hole_forgets_what_was_recovered() {
        let mut redundancy = Redundancy::default();
        advance(&mut redundancy, 10, 2);
        advance(&mut redundancy, 12, 2);
        assert!(redundancy.was_recovered(11));
        redundancy.advance(1_000_000_000_000, 5, &[0x6F, 1]);
        assert!(!redundancy.was_recovered(11));
        assert!(!redundancy.was_recovered(2_000_000_000_000));
    }
}
