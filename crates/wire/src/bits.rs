//! A checked reader and a bounded writer of bit fields, most significant bit first. Must not know
//! any format.

/// Reads bit fields of up to 32 bits.
#[derive(Clone, Debug)]
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bits read so far.
    pub(crate) const fn position(&self) -> usize {
        self.at
    }

    /// The next `count` bits, at most 32.
    pub(crate) fn read(&mut self, count: usize) -> Option<u32> {
        debug_assert!(count <= 32, "one field");
        let mut value = 0u64;
        let (mut at, end) = (self.at, self.at + count);
        while at < end {
            // What the current byte has of the field.
            let byte = u64::from(*self.bytes.get(at / 8)?);
            let available = 8 - at % 8;
            let taken = available.min(end - at);
            let bits = (byte >> (available - taken)) & ((1 << taken) - 1);
            value = value << taken | bits;
            at += taken;
        }
        self.at = end;
        Some(value as u32)
    }

    pub(crate) fn flag(&mut self) -> Option<bool> {
        self.read(1).map(|bit| bit != 0)
    }

    /// The non-symmetric code `ns(n)` for values below `n` (AV1 §4.10.7), `n` of at least 1.
    pub(crate) fn non_symmetric(&mut self, n: u32) -> Option<u32> {
        let (width, short) = non_symmetric_shape(n);
        let value = self.read(width - 1)?;
        if value < short {
            return Some(value);
        }
        Some((value << 1) - short + self.read(1)?)
    }
}

/// Width of the longer codes in bits, and how many values have the shorter code.
const fn non_symmetric_shape(n: u32) -> (usize, u32) {
    let width = 32 - n.leading_zeros();
    (width as usize, (1 << width) - n)
}

/// Writes bit fields to the beginning of a buffer; a field that does not fit returns `None`.
#[derive(Debug)]
pub(crate) struct BitWriter<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl<'a> BitWriter<'a> {
    pub(crate) const fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The lowest `count` bits of `value`, at most 32.
    pub(crate) fn write(&mut self, count: usize, value: u32) -> Option<()> {
        for index in (0..count).rev() {
            let byte = self.bytes.get_mut(self.at / 8)?;
            let place = 7 - self.at % 8;
            if place == 7 {
                *byte = 0;
            }
            *byte |= ((value >> index) as u8 & 1) << place;
            self.at += 1;
        }
        Some(())
    }

    pub(crate) fn flag(&mut self, value: bool) -> Option<()> {
        self.write(1, u32::from(value))
    }

    /// See [`BitReader::non_symmetric`].
    pub(crate) fn non_symmetric(&mut self, n: u32, value: u32) -> Option<()> {
        let (width, short) = non_symmetric_shape(n);
        if value < short {
            self.write(width - 1, value)
        } else {
            self.write(width, value + short)
        }
    }

    /// Copies the bits `from..to` of `source`.
    pub(crate) fn copy(&mut self, source: &[u8], from: usize, to: usize) -> Option<()> {
        let mut reader = BitReader {
            bytes: source,
            at: from,
        };
        while reader.at < to {
            let count = (to - reader.at).min(32);
            let bits = reader.read(count)?;
            self.write(count, bits)?;
        }
        Some(())
    }

    /// Whole bytes written; the last one is filled up with zeros.
    pub(crate) const fn len(&self) -> usize {
        self.at.div_ceil(8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn non_symmetric_codes_of_five() {
        // AV1 §4.10.7: 0, 1, 2 take two bits, 3 and 4 take three.
        for (value, count, bits) in [
            (0, 2, 0b00),
            (1, 2, 0b01),
            (2, 2, 0b10),
            (3, 3, 0b110),
            (4, 3, 0b111),
        ] {
            let mut buffer = [0xFF; 1];
            let mut writer = BitWriter::new(&mut buffer);
            writer.non_symmetric(5, value).expect("fits");
            assert_eq!(writer.at, count);
            assert_eq!(buffer[0] >> (8 - count), bits);
            let mut reader = BitReader::new(&buffer);
            assert_eq!(reader.non_symmetric(5), Some(value));
            assert_eq!(reader.position(), count);
        }
    }

    #[test]
    fn one_value_takes_no_bits() {
        assert_eq!(BitReader::new(&[]).non_symmetric(1), Some(0));
    }

    proptest! {
        #[test]
        fn fields_are_read_back(fields in prop::collection::vec((0usize..=32, any::<u32>()), 0..20)) {
            let mut buffer = [0xAA; 80];
            let mut writer = BitWriter::new(&mut buffer);
            for &(count, value) in &fields {
                writer.write(count, value).expect("fits");
            }
            let len = writer.len();
            let mut reader = BitReader::new(&buffer[..len]);
            for &(count, value) in &fields {
                let mask = (1u64 << count) - 1;
                prop_assert_eq!(reader.read(count), Some((u64::from(value) & mask) as u32));
            }
            let mut copied = [0x55; 80];
            let mut writer = BitWriter::new(&mut copied);
            writer.copy(&buffer, 0, reader.position()).expect("fits");
            prop_assert_eq!(writer.len(), len);
            prop_assert_eq!(&copied[..len], &buffer[..len]);
            prop_assert_eq!(reader.read(8), None);
        }

        #[test]
        fn non_symmetric_is_read_back((n, value) in (1u32..=33).prop_flat_map(|n| (Just(n), 0..n))) {
            let mut buffer = [0; 2];
            BitWriter::new(&mut buffer).non_symmetric(n, value).expect("fits");
            prop_assert_eq!(BitReader::new(&buffer).non_symmetric(n), Some(value));
        }
    }
}
