//! Bodies of requests: read only for callers whose token allows the call, within a budget over all
//! connections and a deadline.

use axum::body::Body;
use bytes::Bytes;
use hyper::body::Body as _;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Bodies up to this size have a budget of their own, so that a few large ones keep no call waiting.
const SMALL_BYTES: usize = 64 * 1024;

/// All small bodies together: 512 of the largest.
const SMALL_BUDGET: usize = 32 << 20;

/// All others together: six of the largest that are allowed by default. More is memory that callers
/// with tokens can take, less refuses calls sooner.
const LARGE_BUDGET: usize = 64 << 20;

/// What is read of a body whose call no token allows: some calls are told what is wrong with them all
/// the same.
pub(super) const STRANGERS_BYTES: usize = 4 * 1024;

/// A body has this long at first, and more as it comes.
const PATIENCE: Duration = Duration::from_secs(10);

/// The least rate of a body: each further second of patience takes so many bytes.
const BYTES_PER_S: u64 = 64 * 1024;

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// Larger than it may be, cut off, or not framed as HTTP frames.
    Broken,
    /// It comes too slowly.
    Late,
    /// There is no memory for it at the moment.
    Full,
}

/// Memory for bodies that are coming or being worked on. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Bodies {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// A body, and its part of the budget.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
    _part: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    /// `largest`: a body that must fit.
    pub(super) fn new(largest: usize) -> Self {
        let large = LARGE_BUDGET.max(largest).min(Semaphore::MAX_PERMITS);
        Self {
            small: Arc::new(Semaphore::new(SMALL_BUDGET)),
            large: Arc::new(Semaphore::new(large)),
        }
    }

    /// Reads a body of at most `limit` bytes.
    pub(super) async fn read(&self, mut body: Body, limit: usize) -> Result<Held, BodyError> {
        let start = Instant::now();
        let mut held = Held {
            bytes: Vec::new(),
            _part: None,
        };
        if body.size_hint().lower() > limit as u64 {
            return Err(BodyError::Broken);
        }
        loop {
            let more = Duration::from_secs(held.bytes.len() as u64 / BYTES_PER_S);
            let next = timeout_at(start + PATIENCE + more, next(&mut body)).await;
            let Some(data) = next.map_err(|_| BodyError::Late)?? else {
                return Ok(held);
            };
            if held.bytes.len() + data.len() > limit {
                return Err(BodyError::Broken);
            }
            self.charge(&mut held, data.len())?;
            held.bytes.extend_from_slice(&data);
        }
    }

    fn charge(&self, held: &mut Held, more: usize) -> Result<(), BodyError> {
        let before = held.bytes.len();
        let after = before + more;
        let (budget, needed) = match (before <= SMALL_BYTES, after <= SMALL_BYTES) {
            (_, true) => (&self.small, more),
            // From now on it is a large one.
            (true, false) => (&self.large, after),
            (false, false) => (&self.large, more),
        };
        let needed = u32::try_from(needed).map_err(|_| BodyError::Full)?;
        let part = Arc::clone(budget).try_acquire_many_owned(needed);
        let part = part.map_err(|_| BodyError::Full)?;
        match &mut held._part {
            Some(held) if Arc::ptr_eq(held.semaphore(), budget) => held.merge(part),
            other => *other = Some(part),
        }
        Ok(())
    }
}

/// The next piece of data; `None` at the end.
async fn next(body: &mut Body) -> Result<Option<Bytes>, BodyError> {
    loop {
        let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
        let Some(frame) = frame.transpose().map_err(|_| BodyError::Broken)? else {
            return Ok(None);
        };
        // Trailers say nothing to us.
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bodies_share_a_budget_and_give_their_part_back() {
        let bodies = Bodies::new(1);
        let large = || Body::from(vec![0; LARGE_BUDGET / 2]);
        let read = |body| bodies.read(body, usize::MAX);
        let (first, second) = (read(large()).await, read(large()).await);
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(read(large()).await.map(drop), Err(BodyError::Full));
        // Small ones have their own.
        assert!(read(Body::from("{}")).await.is_ok());
        drop(second);
        assert!(read(large()).await.is_ok());
        assert_eq!(bodies.small.available_permits(), SMALL_BUDGET);
    }

    #[tokio::test]
    async fn small_bodies_that_wait_have_a_bound() {
        let bodies = Bodies::new(1);
        let mut held = Vec::new();
        for _ in 0..SMALL_BUDGET / SMALL_BYTES {
            held.push(bodies.read(Body::from(vec![0; SMALL_BYTES]), SMALL_BYTES).await);
        }
        assert!(held.iter().all(Result::is_ok));
        let one_more = bodies.read(Body::from("{}"), SMALL_BYTES).await;
        assert_eq!(one_more.map(drop), Err(BodyError::Full));
    }

    #[tokio::test]
    async fn a_body_beyond_its_limit_is_not_kept() {
        let bodies = Bodies::new(1);
        let body = Body::from(vec![0; 11]);
        assert_eq!(bodies.read(body, 10).await.map(drop), Err(BodyError::Broken));
    }
}
