//! How fast a signal connection is read.
//!
//! 2 KiB on the wire may be a message of 2 MiB, and a few sessions that send such messages as fast as
//! they can would keep all workers busy. So what a connection has said, expanded, is paced: a burst is
//! read at once, whatever comes after it waits on the wire. Clients that mean well never notice: a
//! resume in a room of a thousand is some 100 KiB.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// Read at once, in bytes: a message of the largest size.
const BURST: i64 = 2 << 20;

/// Bytes that come back in a second.
const RATE: i64 = 4 << 20;

/// So much is waited for at least, in bytes: 16 ms.
const STEP: i64 = 64 << 10;

/// Who has been ahead of its pace for so long is no client: 14 MiB of signalling. It would not be seen
/// to leave either, as its end waits behind all that it sent.
const PATIENCE: Duration = Duration::from_secs(3);

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Pace {
    /// What may be read, in bytes; below zero after a message that was longer.
    credit: i64,
    at: Instant,
    /// When it ran out, until it is full again.
    ahead_since: Option<Instant>,
    wait: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            credit: BURST,
            at: now,
            ahead_since: None,
            wait: None,
        }
    }

    /// So much has been read.
    pub(super) fn charge(&mut self, bytes: usize) {
        self.credit = self.credit.saturating_sub_unsigned(bytes as u64);
    }

    /// Ready when more may be read.
    ///
    /// # Errors
    /// [`io::ErrorKind::QuotaExceeded`]: it has gone on for too long.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Some(wait) = &mut self.wait {
                ready!(wait.as_mut().poll(cx));
                self.wait = None;
            }
            let now = Instant::now();
            self.refill(now);
            if self.credit > 0 {
                return Poll::Ready(Ok(()));
            }
            let since = *self.ahead_since.get_or_insert(now);
            if now.duration_since(since) > PATIENCE {
                return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
            }
            let missing = STEP.saturating_sub(self.credit).unsigned_abs();
            self.wait = Some(Box::pin(sleep(Duration::from_micros(
                missing.saturating_mul(1_000_000) / RATE.unsigned_abs(),
            ))));
        }
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.duration_since(self.at).min(Duration::from_secs(60));
        let back = elapsed.as_micros() as i64 * RATE / 1_000_000;
        if back == 0 {
            return;
        }
        self.at = now;
        self.credit = self.credit.saturating_add(back).min(BURST);
        if self.credit == BURST {
            self.ahead_since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    async fn ready(pace: &mut Pace) -> io::Result<()> {
        poll_fn(|cx| pace.poll_ready(cx)).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_read_at_once_and_the_rest_at_the_rate() {
        let begun = Instant::now();
        let mut pace = Pace::new(begun);
        for _ in 0..2 {
            ready(&mut pace).await.expect("in time");
            pace.charge(1 << 20);
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        for _ in 0..8 {
            ready(&mut pace).await.expect("in time");
            pace.charge(1 << 20);
        }
        let took = begun.elapsed();
        assert!(
            took > Duration::from_millis(1700) && took < Duration::from_millis(2100),
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_stops_is_cut_and_who_rests_is_not() {
        let begun = Instant::now();
        let mut pace = Pace::new(begun);
        for _ in 0..60 {
            for _ in 0..10 {
                ready(&mut pace).await.expect("in time");
                pace.charge(1 << 20);
            }
            sleep(Duration::from_secs(3)).await;
        }
        let begun = Instant::now();
        let error = loop {
            if let Err(error) = ready(&mut pace).await {
                break error;
            }
            pace.charge(1 << 20);
        };
        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
        let took = begun.elapsed();
        assert!(
            took > PATIENCE && took < PATIENCE + Duration::from_secs(2),
            "{took:?}"
        );
    }
}
