//! Datagrams taken out of the sockets that wait for their turn, by class.
//!
//! A full socket drops what comes last, whoever it is from; and what stands in it is old by the time it
//! is read. An overloaded thread therefore takes out all there is, handles what matters most, and sheds
//! the rest unread. Must not know: what classes mean.

use media::Class;
use std::net::SocketAddr;
use std::time::Instant;

/// One datagram that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) class: Class,
    /// Order of arrival.
    serial: u64,
    /// When it was taken out of its socket.
    pub(crate) taken: Instant,
    pub(crate) from: SocketAddr,
    pub(crate) local: u8,
    start: u32,
    len: u16,
}

/// Bounded; made once. The memory is touched only as far as it was used.
#[derive(Debug)]
pub(crate) struct Waiting {
    bytes: Box<[u8]>,
    used: usize,
    entries: Vec<Entry>,
    entries_max: usize,
    serial: u64,
}

impl Waiting {
    pub(crate) fn new(entries_max: usize, bytes_max: usize) -> Self {
        Self {
            bytes: vec![0; bytes_max].into_boxed_slice(),
            used: 0,
            entries: Vec::with_capacity(entries_max),
            entries_max,
            serial: 0,
        }
    }

    /// Whether three quarters of the room are taken.
    pub(crate) fn is_nearly_full(&self) -> bool {
        self.used >= self.bytes.len() / 4 * 3 || self.entries.len() >= self.entries_max / 4 * 3
    }

    /// Keeps a copy of a datagram; false when there is no room.
    pub(crate) fn push(
        &mut self,
        now: Instant,
        class: Class,
        (from, local): (SocketAddr, u8),
        data: &[u8],
    ) -> bool {
        let end = self.used + data.len();
        let (Some(target), Ok(len)) = (self.bytes.get_mut(self.used..end), u16::try_from(data.len())) else {
            return false;
        };
        if self.entries.len() == self.entries_max {
            return false;
        }
        target.copy_from_slice(data);
        self.entries.push(Entry {
            class,
            serial: self.serial,
            taken: now,
            from,
            local,
            start: self.used as u32,
            len,
        });
        self.serial += 1;
        self.used = end;
        true
    }

    /// Puts what matters most first; within a class the order of arrival stays.
    pub(crate) fn sort(&mut self) {
        self.entries
            .sort_unstable_by_key(|entry| (entry.class, entry.serial));
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The datagram at a place in the order.
    pub(crate) fn get(&mut self, place: usize) -> Option<(Entry, &mut [u8])> {
        let entry = *self.entries.get(place)?;
        let start = entry.start as usize;
        let data = self.bytes.get_mut(start..start + usize::from(entry.len))?;
        Some((entry, data))
    }

    /// Forgets the first `handled`, and of the others those that `keep` does not want. What is left
    /// stands in order of arrival.
    pub(crate) fn retire(&mut self, handled: usize, mut keep: impl FnMut(&Entry) -> bool) {
        self.entries.drain(..handled.min(self.entries.len()));
        self.entries.retain(|entry| keep(entry));
        self.entries.sort_unstable_by_key(|entry| entry.start);
        self.used = 0;
        for entry in &mut self.entries {
            let start = entry.start as usize;
            self.bytes
                .copy_within(start..start + usize::from(entry.len), self.used);
            entry.start = self.used as u32;
            self.used += usize::from(entry.len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from() -> (SocketAddr, u8) {
        (SocketAddr::from(([127, 0, 0, 1], 9)), 0)
    }

    #[test]
    fn calls_come_before_pictures_and_pictures_before_who_joins() {
        let now = Instant::now();
        let mut waiting = Waiting::new(16, 1024);
        let arrivals = [
            (Class::Unknown, b"u"),
            (Class::Joining, b"j"),
            (Class::Video(1), b"v"),
            (Class::Audio(9), b"n"),
            (Class::Audio(2), b"1"),
            (Class::NewStream, b"s"),
            (Class::Control, b"c"),
            (Class::Audio(2), b"2"),
        ];
        for (class, data) in arrivals {
            assert!(waiting.push(now, class, from(), data));
        }
        waiting.sort();
        let order: Vec<u8> = (0..8).map(|place| waiting.get(place).unwrap().1[0]).collect();
        assert_eq!(order, b"c12nsvju");
        assert!(waiting.get(8).is_none());
    }

    #[test]
    fn what_finds_no_room_is_refused_and_room_comes_back() {
        let now = Instant::now();
        let mut waiting = Waiting::new(2, 10);
        assert!(!waiting.push(now, Class::Joining, from(), &[0; 11]));
        assert!(waiting.push(now, Class::Joining, from(), &[1; 5]));
        assert!(!waiting.push(now, Class::Joining, from(), &[2; 6]));
        assert!(waiting.push(now, Class::Joining, from(), &[3; 5]));
        assert!(
            !waiting.push(now, Class::Joining, from(), &[]),
            "two entries at most"
        );
        waiting.retire(1, |_| true);
        assert_eq!(
            (waiting.len(), waiting.get(0).unwrap().1.to_vec()),
            (1, vec![3; 5])
        );
        waiting.retire(1, |_| true);
        assert!(waiting.is_empty() && waiting.push(now, Class::Joining, from(), &[4; 10]));
    }

    #[test]
    fn what_is_kept_for_later_stays_whole_and_in_order() {
        let now = Instant::now();
        let mut waiting = Waiting::new(8, 64);
        for (class, data) in [
            (Class::Video(1), &b"first"[..]),
            (Class::Audio(1), b"sound"),
            (Class::Video(1), b"second"),
            (Class::Unknown, b"noise"),
        ] {
            assert!(waiting.push(now, class, from(), data));
        }
        waiting.sort();
        assert_eq!(waiting.get(0).unwrap().1, b"sound");
        waiting.retire(1, |entry| matches!(entry.class, Class::Video(_)));
        assert!(waiting.push(now, Class::Video(1), from(), b"third"));
        waiting.sort();
        let order: Vec<Vec<u8>> = (0..3)
            .map(|place| waiting.get(place).unwrap().1.to_vec())
            .collect();
        assert_eq!(order, [&b"first"[..], b"second", b"third"]);
        assert_eq!((waiting.len(), waiting.used), (3, 16));
    }
}
