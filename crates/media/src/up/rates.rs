//! How many bytes a second a layer takes, by spatial and temporal layer.
//!
//! Owns: the running count and the last full measurement. Must not know: who gets the layer.

use std::time::{Duration, Instant};

/// Spatial layers within one stream that are told apart.
const SPATIALS: usize = 3;
/// Temporal layers that are told apart.
const TEMPORALS: usize = 4;

/// One measurement takes this long: shorter is moved by a single key frame, longer is late when a
/// publisher's rate changes.
const PERIOD: Duration = Duration::from_secs(1);
/// A period that lasts longer than this had a pause in it, and says nothing.
const PERIOD_MAX: Duration = Duration::from_secs(3);

type Table = [[u32; TEMPORALS]; SPATIALS];

/// The rates of one layer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    since: Option<Instant>,
    bytes: Table,
    /// Bytes per second in the last period, smoothed.
    rates: Table,
    measured: bool,
}

impl Rates {
    /// A packet of so many bytes arrived.
    #[inline]
    pub(crate) fn packet(&mut self, now: Instant, spatial: u8, temporal: u8, len: usize) {
        let since = *self.since.get_or_insert(now);
        let passed = now.saturating_duration_since(since);
        if passed >= PERIOD {
            self.close(now, passed);
        }
        let spatial = usize::from(spatial).min(SPATIALS - 1);
        let temporal = usize::from(temporal).min(TEMPORALS - 1);
        let bytes = &mut self.bytes[spatial][temporal];
        *bytes = bytes.saturating_add(len as u32);
    }

    #[cold]
    fn close(&mut self, now: Instant, passed: Duration) {
        let bytes = std::mem::take(&mut self.bytes);
        self.since = Some(now);
        if passed > PERIOD_MAX {
            return;
        }
        for (rates, bytes) in self.rates.iter_mut().zip(bytes) {
            for (rate, bytes) in rates.iter_mut().zip(bytes) {
                let new = (f64::from(bytes) / passed.as_secs_f64()) as u32;
                // Half of the new value: a key frame in one period does not count for two.
                *rate = if self.measured { rate.midpoint(new) } else { new };
            }
        }
        self.measured = true;
    }

    /// Bytes per second up to a spatial and a temporal layer.
    pub(crate) fn up_to(&self, spatial: u8, temporal: u8) -> u64 {
        let rows = self.rates.iter().take(usize::from(spatial) + 1);
        rows.flat_map(|row| row.iter().take(usize::from(temporal) + 1))
            .map(|rate| u64::from(*rate))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_told_by_layer_and_a_pause_tells_nothing() {
        let start = crate::testing::epoch();
        let mut rates = Rates::default();
        let at = |ms| start + Duration::from_millis(ms);
        for n in 0..=100 {
            rates.packet(at(n * 20), 0, (n % 2) as u8, 1000);
        }
        assert_eq!((rates.up_to(0, 0), rates.up_to(2, 3)), (25_000, 50_000));
        rates.packet(at(60_000), 7, 9, 1000);
        assert_eq!(rates.up_to(2, 3), 50_000);
        rates.packet(at(61_000), 0, 0, 1);
        assert_eq!(rates.up_to(2, 2), 25_000, "smoothed");
        assert_eq!(
            rates.up_to(2, 3),
            25_500,
            "layers beyond the last count as the last"
        );
    }
}
