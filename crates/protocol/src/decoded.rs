//! How large a message becomes when it is decoded, known before any of it is.
//!
//! An empty text in a list takes two bytes on the wire and 24 in memory, an empty message up to some
//! hundreds: two megabytes of either decode to many times that. The walks here go over the bytes
//! once, take no memory, and refuse what is too deep, has too long a list, or would grow too large.
//! Must not know: what messages mean, sockets.

mod json;
mod shapes;

pub use shapes::{Shape, Shaped};

use shapes::Field;

/// What a message may hold beyond the bytes of its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Messages inside messages; in JSON each list is one step as well. LiveKit's go down to 7.
    pub depth_max: usize,
    /// Entries of one list or map. Clients send one entry per track, codec, layer, data channel or
    /// attribute; the longest is a subscription to every track of a room of thousands. More lets one
    /// message keep its room busy for longer.
    pub list_max: usize,
    /// Entries of all lists and maps together.
    pub entries_max: usize,
    /// Memory that structs, lists and allocations take, bytes. More lets one message cost more
    /// memory than it took on the wire.
    pub overhead_max: usize,
}

impl Bounds {
    /// Of what participants send: signal requests, join requests, data packets. 8,192 subscriptions
    /// of one track each, by participant, take half of the overhead.
    pub const CLIENT: Self = Self {
        depth_max: 16,
        list_max: 8_192,
        entries_max: 32_768,
        overhead_max: 4 << 20,
    };

    /// Of API calls. Their JSON is read by way of a tree, which takes several times as much.
    pub const API: Self = Self {
        overhead_max: 16 << 20,
        ..Self::CLIENT
    };
}

/// Why a message is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// It is no message of that kind.
    Malformed,
    /// It is beyond the [`Bounds`].
    TooLarge,
}

/// Reads a protobuf message within bounds. With it comes its size in memory, which it takes at most.
///
/// # Errors
/// When it is malformed or beyond the bounds.
pub fn decode<T: Shaped + Default>(data: &[u8], bounds: &Bounds) -> Result<(T, usize), DecodeError> {
    let size = measure::<T>(data, bounds)?;
    let message = T::decode(data).map_err(|_| DecodeError::Malformed)?;
    Ok((message, size))
}

/// The most memory that a protobuf message takes when it is decoded, bytes.
///
/// # Errors
/// When it is malformed or beyond the bounds.
pub fn measure<T: Shaped>(data: &[u8], bounds: &Bounds) -> Result<usize, DecodeError> {
    let mut tally = Tally::new(bounds);
    tally.grow(T::SHAPE.bytes)?;
    tally.message(data, T::SHAPE, 1)?;
    Ok(tally.size())
}

/// The most memory that a JSON text takes when it is decoded, bytes; with `tree`, when it is read as
/// a tree of values first. Only what bounds memory is checked, the rest is left to the parser.
///
/// # Errors
/// When it is beyond the bounds.
pub fn measure_json(text: &[u8], tree: bool, bounds: &Bounds) -> Result<usize, DecodeError> {
    json::measure(text, tree, Tally::new(bounds))
}

/// What was found so far.
#[derive(Debug)]
struct Tally<'a> {
    bounds: &'a Bounds,
    fields: usize,
    entries: usize,
    overhead: usize,
    text: usize,
}

/// Fields of a message on the wire, whatever they are: unknown ones and repeated single ones take no
/// memory but time. Four times what the entries of all lists have at most.
const FIELDS_MAX: usize = 1 << 17;

/// What an allocation takes beyond what was asked for: its rounding.
const ALLOCATION: usize = 16;

impl<'a> Tally<'a> {
    fn new(bounds: &'a Bounds) -> Self {
        Self {
            bounds,
            fields: 0,
            entries: 0,
            overhead: 0,
            text: 0,
        }
    }

    fn size(&self) -> usize {
        self.overhead + self.text
    }

    fn grow(&mut self, bytes: usize) -> Result<(), DecodeError> {
        self.overhead += bytes;
        if self.overhead > self.bounds.overhead_max {
            return Err(DecodeError::TooLarge);
        }
        Ok(())
    }

    fn text(&mut self, bytes: usize) -> Result<(), DecodeError> {
        self.text += bytes;
        self.grow(if bytes == 0 { 0 } else { ALLOCATION })
    }

    /// One more entry of a list that has `count` now. A list grows by doubling, from four.
    fn entry(&mut self, count: usize, bytes: usize) -> Result<(), DecodeError> {
        self.entries += 1;
        if count > self.bounds.list_max || self.entries > self.bounds.entries_max {
            return Err(DecodeError::TooLarge);
        }
        self.grow(bytes * if count == 1 { 4 } else { 2 })
    }

    fn message(&mut self, data: &[u8], shape: &Shape, depth: usize) -> Result<(), DecodeError> {
        if depth > self.bounds.depth_max {
            return Err(DecodeError::TooLarge);
        }
        let mut wire = Wire { rest: data };
        let mut counts = [0; shapes::FIELDS_MAX];
        while !wire.rest.is_empty() {
            let (number, kind) = wire.tag()?;
            self.fields += 1;
            if self.fields > FIELDS_MAX {
                return Err(DecodeError::TooLarge);
            }
            match shape.field(number) {
                Some((at, field)) => self.field(&mut wire, kind, field, &mut counts[at], depth)?,
                // A single scalar, or unknown: it takes no memory of its own.
                None => wire.skip(kind, self.bounds.depth_max)?,
            }
        }
        Ok(())
    }

    fn field(
        &mut self,
        wire: &mut Wire<'_>,
        kind: u8,
        field: &Field,
        count: &mut usize,
        depth: usize,
    ) -> Result<(), DecodeError> {
        if let shapes::Kind::Scalars(bytes) = field.kind {
            // Either one, or many in one piece, each with one last byte there.
            let entries = match kind {
                LENGTH => wire.piece()?.iter().filter(|byte| **byte < 0x80).count(),
                _ => {
                    wire.skip(kind, 0)?;
                    1
                }
            };
            *count += entries;
            self.entries += entries;
            if *count > self.bounds.list_max || self.entries > self.bounds.entries_max {
                return Err(DecodeError::TooLarge);
            }
            return self.grow(entries.max(2) * bytes * 2);
        }
        if kind != LENGTH {
            return Err(DecodeError::Malformed);
        }
        let piece = wire.piece()?;
        *count += 1;
        match field.kind {
            shapes::Kind::Scalars(_) => Ok(()),
            shapes::Kind::Text => self.text(piece.len()),
            shapes::Kind::Texts => {
                self.entry(*count, size_of::<String>())?;
                self.text(piece.len())
            }
            shapes::Kind::One(shape) => self.message(piece, shape(), depth + 1),
            shapes::Kind::Many(shape) => {
                self.entry(*count, shape().bytes)?;
                self.message(piece, shape(), depth + 1)
            }
            shapes::Kind::Map => {
                // Key, value and a byte of control, in a table that is between 7/16 and 7/8 full.
                self.entry(*count, (2 * size_of::<String>() + 1) * 8 / 7 + 8)?;
                self.text(piece.len())?;
                self.grow(ALLOCATION)
            }
        }
    }
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH: u8 = 2;
const GROUP: u8 = 3;
const GROUP_END: u8 = 4;
const FIXED32: u8 = 5;

/// Bytes of the protobuf wire format.
struct Wire<'a> {
    rest: &'a [u8],
}

impl<'a> Wire<'a> {
    fn tag(&mut self) -> Result<(u32, u8), DecodeError> {
        let key = u32::try_from(self.varint()?).map_err(|_| DecodeError::Malformed)?;
        match key >> 3 {
            0 => Err(DecodeError::Malformed),
            number => Ok((number, (key & 7) as u8)),
        }
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(DecodeError::Malformed)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Malformed)
    }

    /// What follows with its length before it.
    fn piece(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(self.varint()?).map_err(|_| DecodeError::Malformed)?;
        self.take(length)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (piece, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Malformed)?;
        self.rest = rest;
        Ok(piece)
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Result<(), DecodeError> {
        match kind {
            VARINT => self.varint().map(|_| ()),
            FIXED64 => self.take(8).map(|_| ()),
            LENGTH => self.piece().map(|_| ()),
            FIXED32 => self.take(4).map(|_| ()),
            GROUP => self.skip_group(depth),
            _ => Err(DecodeError::Malformed),
        }
    }

    /// Groups are long deprecated and nobody's: they are passed over, as deep as messages go.
    fn skip_group(&mut self, depth: usize) -> Result<(), DecodeError> {
        let deeper = depth.checked_sub(1).ok_or(DecodeError::TooLarge)?;
        loop {
            match self.tag()? {
                (_, GROUP_END) => return Ok(()),
                (_, kind) => self.skip(kind, deeper)?,
            }
        }
    }
}

#[cfg(test)]
mod tests;
