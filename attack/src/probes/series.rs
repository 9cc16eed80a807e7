//! What one kind of probe saw: how long each took, and which are still under way.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Numbers in a row.
#[derive(Debug, Default)]
pub(crate) struct Ids(AtomicU64);

impl Ids {
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Series(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    done: Vec<(Instant, Duration)>,
    open: BTreeMap<u64, Instant>,
    failed: Vec<(Instant, String)>,
}

impl Series {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self, id: u64) {
        self.lock().open.insert(id, Instant::now());
    }

    pub(crate) fn end(&self, id: u64) {
        let mut state = self.lock();
        if let Some(began) = state.open.remove(&id) {
            state.done.push((began, began.elapsed()));
        }
    }

    /// One that took so long until now.
    pub(crate) fn add(&self, _id: u64, took: Duration) {
        let began = Instant::now();
        self.lock()
            .done
            .push((began.checked_sub(took).unwrap_or(began), took));
    }

    pub(crate) fn fail(&self, id: u64, why: &anyhow::Error) {
        let mut state = self.lock();
        let began = state.open.remove(&id).unwrap_or_else(Instant::now);
        // Reading was given up: the system's words for it are of no use.
        let late = why
            .chain()
            .filter_map(|cause| cause.downcast_ref::<std::io::Error>());
        let late = late
            .map(std::io::Error::kind)
            .any(|kind| kind == ErrorKind::WouldBlock);
        let why = if late {
            "no answer in time".to_owned()
        } else {
            format!("{why:#}")
        };
        state.failed.push((began, why));
    }

    /// Those under way that began before `limit` ago will not come any more.
    pub(crate) fn expire(&self, limit: Duration) {
        let mut state = self.lock();
        let old = state.open.iter().filter(|(_, began)| began.elapsed() > limit);
        let old: Vec<u64> = old.map(|(id, _)| *id).collect();
        for id in old {
            let began = state.open.remove(&id).unwrap_or_else(Instant::now);
            state
                .failed
                .push((began, format!("nothing came back within {limit:?}")));
        }
    }

    /// The longest that was under way since, and how many there were.
    pub(crate) fn worst_since(&self, since: Instant) -> (Duration, usize) {
        let state = self.lock();
        let done = state.done.iter().filter(|(began, took)| *began + *took >= since);
        let open = state.open.values().map(Instant::elapsed);
        let (mut worst, mut count) = (Duration::ZERO, 0);
        for took in done.map(|(_, took)| *took).chain(open) {
            worst = worst.max(took);
            count += 1;
        }
        (worst, count)
    }

    /// The first failure of one that ended since.
    pub(crate) fn failure(&self, since: Instant) -> Option<String> {
        let state = self.lock();
        let mut failed = state.failed.iter().filter(|(began, _)| *began >= since);
        failed.next().map(|(_, why)| why.clone())
    }

    /// Whether the last `count`, all begun since `since`, took less than `limit`, and none is late.
    pub(crate) fn is_calm(&self, since: Instant, count: usize, limit: Duration) -> bool {
        let state = self.lock();
        let recent = state.done.iter().rev().take(count);
        recent.clone().count() == count
            && recent
                .clone()
                .all(|(began, took)| *began >= since && *took < limit)
            && state.open.values().all(|began| began.elapsed() < limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_counts() {
        let series = Series::default();
        let since = Instant::now();
        series.begin(1);
        assert!(!series.is_calm(since, 1, PATIENCE));
        assert_eq!(series.worst_since(since).1, 1);
        series.end(1);
        assert!(series.is_calm(since, 1, PATIENCE) && series.failure(since).is_none());
    }

    #[test]
    fn what_never_came_back_has_failed() {
        let series = Series::default();
        let since = Instant::now();
        series.begin(1);
        series.expire(Duration::ZERO);
        assert!(series.failure(since).is_some());
    }

    const PATIENCE: Duration = Duration::from_secs(5);
}
