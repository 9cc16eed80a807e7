//! The handles under which one subscriber receives data tracks: 16 bits, unique,
//! never 0, none given again before all others were.
//!
//! Must not know: who publishes, who is permitted.

use std::collections::{BTreeMap, BTreeSet};

/// More could not be told apart, and one must be free for a search to end.
const HANDLES_MAX: usize = u16::MAX as usize - 1;

/// One subscriber's handles, by track SID.
#[derive(Debug, Default)]
pub(crate) struct Handles {
    by_sid: BTreeMap<String, u16>,
    taken: BTreeSet<u16>,
    last: u16,
    max: usize,
}

impl Handles {
    /// `random` starts them, below 256; there are at most `max`.
    pub(crate) fn new(random: u64, max: usize) -> Self {
        Self {
            last: u16::from(random.to_le_bytes()[0]),
            max: max.min(HANDLES_MAX),
            ..Self::default()
        }
    }

    pub(crate) fn get(&self, sid: &str) -> Option<u16> {
        self.by_sid.get(sid).copied()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.by_sid.len() >= self.max
    }

    /// Gives a track its handle, unless there are too many.
    pub(crate) fn insert(&mut self, sid: &str) -> bool {
        if self.is_full() || self.by_sid.contains_key(sid) {
            return false;
        }
        let next = (1..=u16::MAX)
            .map(|step| self.last.wrapping_add(step))
            .find(|handle| *handle != 0 && !self.taken.contains(handle));
        let Some(handle) = next else {
            return false;
        };
        self.last = handle;
        self.taken.insert(handle);
        self.by_sid.insert(sid.to_owned(), handle);
        true
    }

    /// False when the track had none.
    pub(crate) fn remove(&mut self, sid: &str) -> bool {
        let handle = self.by_sid.remove(sid);
        handle.is_some_and(|handle| self.taken.remove(&handle))
    }

    /// In the order of the SIDs.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, u16)> {
        self.by_sid.iter().map(|(sid, handle)| (sid.as_str(), *handle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_start_below_256_and_are_not_given_twice() {
        let mut handles = Handles::new(u64::MAX, 8);
        assert!(handles.insert("a") && handles.insert("b") && !handles.insert("a"));
        assert_eq!((handles.get("a"), handles.get("b")), (Some(256), Some(257)));
        assert!(handles.remove("a") && !handles.remove("a"));
        assert!(handles.insert("a"));
        assert_eq!(handles.get("a"), Some(258));
    }

    #[test]
    fn a_search_goes_round_past_zero_and_what_is_taken() {
        let mut handles = Handles::new(0, 8);
        assert!(handles.insert("kept"));
        for _ in 1..u16::MAX {
            assert!(handles.insert("passing") && handles.remove("passing"));
        }
        assert!(handles.insert("next"));
        assert_eq!((handles.get("kept"), handles.get("next")), (Some(1), Some(2)));
    }

    #[test]
    fn the_number_of_handles_is_bounded_and_freed_ones_are_found() {
        let mut handles = Handles::new(7, usize::MAX);
        for number in 0..HANDLES_MAX {
            assert!(handles.insert(&format!("{number}")));
        }
        assert!(handles.is_full() && !handles.insert("more"));
        assert!(handles.remove("17") && handles.insert("more"));
        let distinct: BTreeSet<_> = handles.iter().map(|(_, handle)| handle).collect();
        assert_eq!(distinct.len(), HANDLES_MAX);
    }
}
