//! Opus table of contents (RFC 6716 §3.1) and discontinuous transmission.

/// What the first bytes of a packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// How long it plays, in samples at 48 kHz, which is the RTP clock.
    pub samples: u16,
    /// Two channels.
    pub stereo: bool,
    /// Comfort noise of discontinuous transmission: no more than the table of contents and one byte.
    pub dtx: bool,
}

/// The longest packet allowed, in samples at 48 kHz: 120 ms (RFC 6716 §3.2.5).
const SAMPLES_MAX: u16 = 5760;

impl Packet {
    /// Reads one packet. `None` when it is empty, or its frames are none or too long.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let (&toc, rest) = payload.split_first()?;
        let config = toc >> 3;
        // RFC 6716 table 2, in units of 2.5 ms.
        let unit = match config {
            0..=11 => [4, 8, 16, 24][usize::from(config & 3)],
            12..=15 => [4, 8][usize::from(config & 1)],
            _ => [1, 2, 4, 8][usize::from(config & 3)],
        };
        let count = match toc & 3 {
            0 => 1,
            1 | 2 => 2,
            _ => u32::from(rest.first()? & 0x3F),
        };
        let samples = u16::try_from(count * unit * 120).ok()?;
        (1..=SAMPLES_MAX).contains(&samples).then_some(Self {
            samples,
            stereo: toc & 0x04 != 0,
            dtx: payload.len() <= 2,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(payload: &[u8]) -> Option<u16> {
        Packet::parse(payload).map(|packet| packet.samples)
    }

    #[test]
    fn durations_of_the_configurations() {
        // 20 ms full band, as browsers send it.
        assert_eq!(samples(&[31 << 3, 0, 0]), Some(960));
        assert_eq!(samples(&[28 << 3, 0, 0]), Some(120), "2.5 ms");
        assert_eq!(samples(&[3 << 3, 0, 0]), Some(2880), "60 ms SILK");
        assert_eq!(samples(&[12 << 3, 0, 0]), Some(480), "10 ms hybrid");
        assert_eq!(samples(&[15 << 3, 0, 0]), Some(960), "20 ms hybrid");
        assert_eq!(samples(&[(31 << 3) | 1, 0, 0]), Some(1920), "two frames");
        assert_eq!(
            samples(&[(31 << 3) | 3, 0x86, 0]),
            Some(5760),
            "six frames, padded"
        );
    }

    #[test]
    fn impossible_packets_are_refused() {
        assert_eq!(samples(&[]), None);
        assert_eq!(samples(&[(31 << 3) | 3]), None, "no frame count");
        assert_eq!(samples(&[(31 << 3) | 3, 0]), None, "no frames");
        assert_eq!(samples(&[(31 << 3) | 3, 7]), None, "140 ms");
        assert_eq!(samples(&[0x57, 0xFF]), None, "3.8 s");
    }

    #[test]
    fn short_packets_are_comfort_noise() {
        assert!(Packet::parse(&[31 << 3]).expect("whole").dtx);
        assert!(Packet::parse(&[31 << 3, 0]).expect("whole").dtx);
        let packet = Packet::parse(&[(31 << 3) | 4, 0xFF, 0xFE]).expect("whole");
        assert!(
            !packet.dtx && packet.stereo,
            "silence of a client without DTX has 3 bytes"
        );
    }
}
