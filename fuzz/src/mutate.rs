//! Seeded mutations of byte strings. The same seed makes the same bytes, everywhere.

/// SplitMix64: small, seedable from any number, good enough to choose edits.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator for one input, from the run's seed, the target's name and the input's number.
    #[must_use]
    pub fn new(seed: u64, name: &str, number: u64) -> Self {
        let mut rng = Self(seed);
        for byte in name.bytes() {
            rng.0 = rng.next() ^ u64::from(byte);
        }
        rng.0 = rng.next() ^ number;
        rng
    }

    /// The next 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, 0 when there is none.
    pub const fn below(&mut self, bound: usize) -> usize {
        if bound == 0 {
            return 0;
        }
        (self.next() % bound as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }
}

/// Inputs are not grown beyond this: longer than any datagram, shorter than any patience.
pub const LEN_MAX: usize = 66_000;

/// Values at which lengths and counters tip over.
const EDGES: [u32; 12] = [
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x100,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFF_FFFF,
    0xFFFF_FFFF,
];

/// One input: a member of the corpus, edited one to eight times.
#[must_use]
pub fn mutate(corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut data = pick(corpus, rng).to_vec();
    for _ in 0..=rng.below(8) {
        edit(&mut data, corpus, rng);
    }
    data.truncate(LEN_MAX);
    data
}

fn pick<'a>(corpus: &'a [Vec<u8>], rng: &mut Rng) -> &'a [u8] {
    corpus.get(rng.below(corpus.len())).map_or(&[], Vec::as_slice)
}

fn edit(data: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut Rng) {
    let at = rng.below(data.len());
    match rng.below(11) {
        0 | 1 => {
            let bit = rng.below(8);
            if let Some(byte) = data.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        2 => {
            let value = rng.byte();
            if let Some(byte) = data.get_mut(at) {
                *byte = value;
            }
        }
        3 => data.truncate(at),
        4 => nudge(data, at, rng),
        5 => edge(data, at, rng),
        6 => {
            let end = (at + 1 + rng.below(16)).min(data.len());
            data.drain(at..end);
        }
        7 => {
            let fresh: Vec<u8> = (0..=rng.below(16)).map(|_| rng.byte()).collect();
            data.splice(at..at, fresh);
        }
        // The head of this one and the tail of another.
        8 => {
            let other = pick(corpus, rng);
            let from = rng.below(other.len());
            data.truncate(at);
            data.extend_from_slice(other.get(from..).unwrap_or_default());
        }
        // A part twice.
        9 => {
            let end = (at + 1 + rng.below(64)).min(data.len());
            let part = data.get(at..end).unwrap_or_default().to_vec();
            data.splice(at..at, part);
        }
        _ => {
            let end = (at + 1 + rng.below(8)).min(data.len());
            let value = if rng.below(2) == 0 { 0 } else { 0xFF };
            data.get_mut(at..end).unwrap_or_default().fill(value);
        }
    }
}

/// A length field a little longer or shorter: one or two bytes, either end first.
fn nudge(data: &mut [u8], at: usize, rng: &mut Rng) {
    let change = rng.below(9) as u16;
    match data.get_mut(at..) {
        Some([high, low, ..]) if rng.below(2) == 0 => {
            let value = u16::from_be_bytes([*high, *low])
                .wrapping_add(change)
                .wrapping_sub(4);
            [*high, *low] = value.to_be_bytes();
        }
        Some([byte, ..]) => *byte = byte.wrapping_add(change as u8).wrapping_sub(4),
        _ => {}
    }
}

/// An edge value in one, two or four bytes.
fn edge(data: &mut [u8], at: usize, rng: &mut Rng) {
    let value = EDGES[rng.below(EDGES.len())].to_be_bytes();
    let width = [1, 2, 4][rng.below(3)];
    if let Some(target) = data.get_mut(at..at + width) {
        target.copy_from_slice(&value[4 - width..]);
    }
}
