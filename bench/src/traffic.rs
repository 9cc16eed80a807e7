//! What publishers send: Opus-sized packets every 20 ms, or VP8 frames as libwebrtc cuts them.

use std::time::Duration;

/// Speakers of the audio scenarios.
pub(crate) const SPEAKERS: usize = 10;
const AUDIO_INTERVAL: Duration = Duration::from_millis(20);
const AUDIO_CLOCK_STEP: u32 = 960;
const FRAME_INTERVAL: Duration = Duration::from_nanos(1_000_000_000 / 30);
const FRAME_CLOCK_STEP: u32 = 3000;
/// A frame is cut into the fewest packets of at most this many payload bytes, evenly. With header,
/// extensions and tag a packet has about 1,086 bytes.
const VIDEO_PAYLOAD_MAX: usize = 1050;
/// Frames between key frames: a key frame every 2 seconds.
const KEY_FRAME_INTERVAL: u64 = 60;
const KEY_FRAME_PACKETS: usize = 41;

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    /// Ten speakers, 50 packets per second each.
    Audio,
    /// One camera, 30 frames per second of 5 to 41 packets.
    Video,
}

/// One packet to publish.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) sequence: u64,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) payload: Vec<u8>,
}

/// What one publisher sends at one moment: one audio packet, or one whole frame.
#[derive(Clone, Debug)]
pub(crate) struct Burst {
    /// Moment, counted from the start of a round.
    pub(crate) due: Duration,
    pub(crate) publisher: usize,
    pub(crate) packets: Vec<Packet>,
}

/// Makes bursts; remembers sequence numbers and timestamps between rounds.
#[derive(Debug)]
pub(crate) struct Source {
    media: Media,
    sequence: Vec<u64>,
    timestamp: Vec<u32>,
    frames: u64,
    random: u64,
}

impl Source {
    pub(crate) fn new(media: Media) -> Self {
        let publishers = Self::publishers_of(media);
        Self {
            media,
            sequence: vec![1000; publishers],
            timestamp: vec![50_000; publishers],
            frames: 0,
            random: 0x9E37_79B9_7F4A_7C15,
        }
    }

    pub(crate) const fn publishers_of(media: Media) -> usize {
        match media {
            Media::Audio => SPEAKERS,
            Media::Video => 1,
        }
    }

    /// All bursts of a round, by time. The next frame is a key frame when `key` says so.
    pub(crate) fn round(&mut self, length: Duration, key: bool) -> Vec<Burst> {
        if key {
            self.frames = self.frames.next_multiple_of(KEY_FRAME_INTERVAL);
        }
        let interval = match self.media {
            Media::Audio => AUDIO_INTERVAL,
            Media::Video => FRAME_INTERVAL,
        };
        let publishers = self.sequence.len();
        let ticks = u32::try_from(length.as_nanos() / interval.as_nanos()).unwrap_or(u32::MAX);
        let mut bursts = Vec::new();
        for tick in 0..ticks {
            for publisher in 0..publishers {
                // Speakers do not speak in step: their phases are spread over the interval.
                let phase = interval * publisher as u32 / publishers as u32;
                let packets = match self.media {
                    Media::Audio => vec![self.audio(publisher)],
                    Media::Video => self.frame(publisher),
                };
                bursts.push(Burst {
                    due: interval * tick + phase,
                    publisher,
                    packets,
                });
            }
        }
        bursts
    }

    fn audio(&mut self, publisher: usize) -> Packet {
        // 32 kbit/s with some variation, as Opus has: 72 to 88 bytes.
        let len = 72 + (self.draw() % 17) as usize;
        self.timestamp[publisher] = self.timestamp[publisher].wrapping_add(AUDIO_CLOCK_STEP);
        self.sequence[publisher] += 1;
        Packet {
            sequence: self.sequence[publisher],
            timestamp: self.timestamp[publisher],
            marker: false,
            payload: vec![0xC3; len],
        }
    }

    fn frame(&mut self, publisher: usize) -> Vec<Packet> {
        let key = self.frames.is_multiple_of(KEY_FRAME_INTERVAL);
        // Delta frames have 5 to 8 packets: about 1.7 Mbit/s at 720p. Key frames have 41.
        let bytes = if key {
            KEY_FRAME_PACKETS * VIDEO_PAYLOAD_MAX - (self.draw() % 900) as usize
        } else {
            4 * VIDEO_PAYLOAD_MAX + 1 + (self.draw() as usize) % (4 * VIDEO_PAYLOAD_MAX)
        };
        self.timestamp[publisher] = self.timestamp[publisher].wrapping_add(FRAME_CLOCK_STEP);
        let count = bytes.div_ceil(VIDEO_PAYLOAD_MAX);
        let picture_id = (self.frames % 0x8000) as u16;
        self.frames += 1;
        (0..count)
            .map(|index| {
                self.sequence[publisher] += 1;
                // Even split: the first packets are one byte shorter when it does not divide.
                let long = index >= count - bytes % count;
                let len = bytes / count + usize::from(long && bytes % count != 0);
                Packet {
                    sequence: self.sequence[publisher],
                    timestamp: self.timestamp[publisher],
                    marker: index + 1 == count,
                    payload: vp8_payload(key, index == 0, picture_id, len),
                }
            })
            .collect()
    }

    /// xorshift64*: repeatable, and good enough for sizes.
    fn draw(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33
    }
}

/// A VP8 payload (RFC 7741 §4.2) with a 15-bit picture id, TL0PICIDX and TID, whose frame header
/// (RFC 6386 §9.1) says whether it is a key frame.
fn vp8_payload(key: bool, first: bool, picture_id: u16, len: usize) -> Vec<u8> {
    let [high, low] = (picture_id | 0x8000).to_be_bytes();
    let start = if first { 0x10 } else { 0 };
    let mut payload = vec![0x80 | start, 0xE0, high, low, low, 0x00];
    if first {
        // Frame tag: show_frame, and the inverse key-frame bit; then start code and 1280 × 720.
        payload.push(if key { 0x10 } else { 0x11 });
        payload.extend([0x02, 0x00]);
        if key {
            payload.extend([0x9D, 0x01, 0x2A, 0x00, 0x05, 0xD0, 0x02]);
        }
    }
    payload.resize(len.max(payload.len()), 0x6B);
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audio_is_fifty_packets_per_speaker_and_second() {
        let bursts = Source::new(Media::Audio).round(Duration::from_secs(1), false);
        assert_eq!(bursts.len(), SPEAKERS * 50);
        assert!(bursts.is_sorted_by_key(|burst| burst.due));
    }

    #[test]
    fn frames_are_cut_evenly_into_5_to_41_packets() {
        let bursts = Source::new(Media::Video).round(Duration::from_secs(4), true);
        let counts: Vec<usize> = bursts.iter().map(|burst| burst.packets.len()).collect();
        assert_eq!((counts[0], counts.len()), (41, 120));
        assert!(counts.iter().all(|count| (5..=41).contains(count)));
        for burst in &bursts {
            let sizes = burst.packets.iter().map(|packet| packet.payload.len());
            let (low, high) = (sizes.clone().min().unwrap(), sizes.max().unwrap());
            assert!(high - low <= 1 && high <= VIDEO_PAYLOAD_MAX);
        }
    }
}
