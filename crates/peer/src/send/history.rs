//! What a stream remembers of packets it sent: how often each was asked for, and, where there is no
//! RTX, what is needed to send the very same bytes again. Payloads are the caller's to keep.

use std::time::Duration;

/// A packet is sent again at most this often. Of three answers one packet in a thousand loses all at 10 %
/// loss, and one that never comes freezes a picture for the three seconds after which browsers ask for a
/// key frame. What all this may take of a link is bounded by the budget, not here.
const RESENDS_MAX: u8 = 10;
/// A packet is not sent again within two round trips, or within this when that is shorter: receivers in
/// near networks ask again early, and a second try in time is worth a packet.
const RESEND_INTERVAL_MAX: Duration = Duration::from_millis(100);

/// Nor within 7/8 of a round trip, when that is longer: the remote side cannot have seen the last answer
/// when it asked. The eighth allows for a round trip that became shorter. Never longer than this, in
/// which a packet's use is over anyhow.
const RESEND_ROUND_TRIP_MAX: Duration = Duration::from_secs(1);

/// Nor within this, whatever the round trip is: the remote side tells it, and could tell none. Receivers
/// ask again after 20 ms at the earliest; more would delay the second try in a local network.
const RESEND_INTERVAL_MIN: Duration = Duration::from_millis(10);

/// How often packets were asked for, by packet index. Allocated by the first request.
#[derive(Debug, Default)]
pub(super) struct Resends(Box<[Resend]>);

#[derive(Clone, Copy, Debug, Default)]
struct Resend {
    /// Time of the last one in milliseconds since the epoch; wraps after 49 days.
    last_ms: u32,
    /// Low bits of the index, to tell a packet from the one that had this place before.
    index: u16,
    count: u8,
}

impl Resends {
    /// Whether a packet may be sent again now: `None`, or for which time. `len` is a power of two.
    pub(super) fn allow(
        &mut self,
        now: Duration,
        round_trip: Option<Duration>,
        index: u64,
        len: usize,
    ) -> Option<u8> {
        if self.0.is_empty() {
            self.0 = vec![Resend::default(); len].into_boxed_slice();
        }
        let place = index as usize & (self.0.len() - 1);
        let resend = &mut self.0[place];
        let now_ms = now.as_millis() as u32;
        if resend.count == 0 || resend.index != index as u16 {
            *resend = Resend {
                last_ms: now_ms,
                index: index as u16,
                count: 1,
            };
            return Some(1);
        }
        let interval = round_trip.map_or(RESEND_INTERVAL_MAX, |round_trip| {
            let answer_seen = (round_trip / 8 * 7).min(RESEND_ROUND_TRIP_MAX);
            (round_trip * 2)
                .clamp(RESEND_INTERVAL_MIN, RESEND_INTERVAL_MAX)
                .max(answer_seen)
        });
        let passed = now_ms.wrapping_sub(resend.last_ms);
        if resend.count >= RESENDS_MAX || u128::from(passed) < interval.as_millis() {
            return None;
        }
        resend.count += 1;
        resend.last_ms = now_ms;
        Some(resend.count)
    }
}

/// What makes a sent packet repeatable to the byte, besides what the caller gives again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// The first bytes of the authentication tag. Equal tags mean equal packets: the tag covers
    /// header and payload.
    pub(super) tag: [u8; 8],
    pub(super) abs_send_time: [u8; 3],
    pub(super) with_mid: bool,
    pub(super) transport_cc: u16,
    /// Low bits of the index; set by [`History::put`].
    pub(super) index: u16,
}

const _: () = assert!(size_of::<Sent>() == 16, "an audio stream keeps 128 of these");

/// [`Sent`] by packet index. Allocated by the first packet of a stream without RTX.
#[derive(Debug, Default)]
pub(super) struct History(Box<[Sent]>);

impl History {
    /// `len` is a power of two.
    #[inline]
    pub(super) fn put(&mut self, index: u64, sent: Sent, len: usize) {
        if self.0.is_empty() {
            self.0 = vec![Sent::default(); len].into_boxed_slice();
        }
        let place = index as usize & (self.0.len() - 1);
        self.0[place] = Sent {
            index: index as u16,
            ..sent
        };
    }

    /// Reads the place of a packet; the value means nothing.
    pub(super) fn warm(&self, index: u64) -> usize {
        let place = index as usize & self.0.len().wrapping_sub(1);
        self.0.get(place).map_or(0, |sent| usize::from(sent.index))
    }

    pub(super) fn get(&self, index: u64) -> Option<Sent> {
        let place = index as usize & self.0.len().checked_sub(1)?;
        self.0
            .get(place)
            .filter(|sent| sent.index == index as u16)
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_packet_is_sent_again_ten_times_and_not_too_soon() {
        let mut resends = Resends::default();
        let early = resends.allow(ms(0), None, 70_000, 256);
        assert_eq!((early, resends.allow(ms(99), None, 70_000, 256)), (Some(1), None));
        let later = (1..13).map(|tenth| resends.allow(ms(100 * tenth), None, 70_000, 256));
        let allowed: Vec<_> = later.flatten().collect();
        assert_eq!(allowed, [2, 3, 4, 5, 6, 7, 8, 9, 10]);
        // Another packet, also one in the same place, starts anew.
        assert_eq!(resends.allow(ms(900), None, 70_001, 256), Some(1));
        assert_eq!(resends.allow(ms(900), None, 70_256, 256), Some(1));
        // A short round trip shortens the wait.
        assert_eq!(resends.allow(ms(939), Some(ms(20)), 70_001, 256), None);
        assert_eq!(resends.allow(ms(940), Some(ms(20)), 70_001, 256), Some(2));
    }

    #[test]
    fn no_round_trip_is_so_short_that_a_packet_is_sent_again_at_once() {
        let mut resends = Resends::default();
        for round_trip in [Duration::ZERO, ms(2)] {
            let times = [0, 0, 9, 10, 19, 20];
            let mut allow = |at| resends.allow(ms(at), Some(round_trip), 5, 256).is_some();
            assert_eq!(times.map(&mut allow), [true, false, false, true, false, true]);
            resends = Resends::default();
        }
    }

    #[test]
    fn a_packet_is_sent_again_once_in_a_round_trip() {
        for (round_trip, interval) in [(40, 80), (80, 100), (400, 350), (5000, 1000)] {
            let mut resends = Resends::default();
            let mut allow = |at| resends.allow(ms(at), Some(ms(round_trip)), 5, 256).is_some();
            assert_eq!([0, interval - 1, interval].map(&mut allow), [true, false, true]);
        }
    }

    #[test]
    fn history_forgets_what_was_overwritten() {
        let mut history = History::default();
        assert_eq!(history.get(5), None);
        let sent = Sent {
            tag: [7; 8],
            ..Sent::default()
        };
        history.put(5, sent, 256);
        assert_eq!(history.get(5).map(|sent| sent.tag), Some([7; 8]));
        assert_eq!(history.get(261), None);
        history.put(261, sent, 256);
        assert_eq!(history.get(5), None);
    }
}
