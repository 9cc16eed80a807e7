//! Which of the newest numbers of a sequence were seen: a bit each, behind a moving edge.

/// The last `WORDS * 64` numbers below `next`.
#[derive(Clone, Debug)]
pub(crate) struct Window<const WORDS: usize> {
    next: u64,
    /// Bit `number % LEN`: seen.
    seen: [u64; WORDS],
}

/// What [`Window::mark`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Newer than all before it; so many numbers between were not seen.
    Newest(u64),
    /// Behind the newest, and not seen before.
    Late,
    /// Seen before.
    Repeated,
    /// Too far behind to tell.
    Old,
}

impl<const WORDS: usize> Window<WORDS> {
    pub(crate) const LEN: u64 = WORDS as u64 * 64;

    /// A window in which nothing was seen; `next` is the first number that counts as newest.
    pub(crate) const fn new(next: u64) -> Self {
        Self {
            next,
            seen: [0; WORDS],
        }
    }

    /// One above the newest number.
    #[inline]
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// Reads what the next mark needs; the value means nothing.
    pub(crate) fn warm(&self) -> usize {
        self.next as usize ^ self.seen[(self.next / 64) as usize % WORDS] as usize
    }

    /// Notes that a number was seen.
    #[inline]
    pub(crate) fn mark(&mut self, number: u64) -> Mark {
        let mark = if number >= self.next {
            let skipped = number - self.next;
            self.advance(number);
            Mark::Newest(skipped)
        } else if self.next - number > Self::LEN {
            return Mark::Old;
        } else if *self.word(number) & bit(number) != 0 {
            return Mark::Repeated;
        } else {
            Mark::Late
        };
        *self.word(number) |= bit(number);
        mark
    }

    /// Whether a number was seen and is still within the window.
    pub(crate) fn contains(&self, number: u64) -> bool {
        number < self.next
            && self.next - number <= Self::LEN
            && self.seen[(number / 64) as usize % WORDS] & bit(number) != 0
    }

    #[inline]
    fn advance(&mut self, number: u64) {
        if number - self.next >= Self::LEN {
            self.seen = [0; WORDS];
        } else {
            for skipped in self.next..=number {
                *self.word(skipped) &= !bit(skipped);
            }
        }
        self.next = number + 1;
    }

    #[inline]
    fn word(&mut self, number: u64) -> &mut u64 {
        &mut self.seen[(number / 64) as usize % WORDS]
    }
}

#[inline]
const fn bit(number: u64) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_new_late_repeated_and_old() {
        let mut window = Window::<2>::new(100);
        assert_eq!(window.mark(100), Mark::Newest(0));
        assert_eq!(window.mark(103), Mark::Newest(2));
        assert_eq!(window.mark(101), Mark::Late);
        assert_eq!(window.mark(101), Mark::Repeated);
        assert_eq!(window.mark(99), Mark::Late);
        assert_eq!(window.mark(230), Mark::Newest(126));
        assert_eq!(window.mark(102), Mark::Old);
        assert_eq!(window.mark(103), Mark::Repeated);
        assert_eq!(window.mark(104), Mark::Late);
        assert!(window.contains(230) && !window.contains(229) && !window.contains(231));
    }

    #[test]
    fn a_long_jump_forgets_everything() {
        let mut window = Window::<1>::new(0);
        for number in 0..64 {
            assert_eq!(window.mark(number), Mark::Newest(0));
        }
        assert_eq!(window.mark(1000), Mark::Newest(936));
        for number in 937..1000 {
            assert_eq!(window.mark(number), Mark::Late);
        }
        assert_eq!(window.mark(936), Mark::Old);
    }
}
