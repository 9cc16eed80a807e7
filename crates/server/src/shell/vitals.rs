//! Whether the media threads live: one that has ended or takes no turns is no secret.
//!
//! Must not know: what the threads do.

use crate::shell::media_thread::Shared;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// The threads are looked at this often. A thread that has nothing to do turns about as often.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Looks without a turn between them until a thread counts as hung. More is noticed later; fewer
/// could blame a thread for a busy machine.
const LOOKS_MAX: u32 = 5;

/// The life signs of all media threads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Vitals {
    threads: Arc<[Arc<Shared>]>,
    /// Told of every change.
    changes: Arc<watch::Sender<()>>,
}

/// Tells, when it is dropped, that the thread ended.
pub(crate) struct Ending {
    vitals: Vitals,
    index: usize,
}

impl Vitals {
    pub(crate) fn new(threads: Arc<[Arc<Shared>]>) -> Self {
        Self {
            threads,
            changes: Arc::default(),
        }
    }

    pub(crate) fn ending(&self, index: usize) -> Ending {
        Ending {
            vitals: self.clone(),
            index,
        }
    }

    /// Whether a thread can serve.
    pub(crate) fn serves(&self, index: usize) -> bool {
        let thread = self.threads.get(index);
        thread.is_some_and(|thread| {
            !thread.ended.load(Ordering::Acquire) && !thread.hung.load(Ordering::Relaxed)
        })
    }

    /// What is wrong with the first thread that cannot serve.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let index = (0..self.threads.len()).find(|index| !self.serves(*index))?;
        let ended = self.threads.get(index)?.ended.load(Ordering::Acquire);
        let what = if ended { "has ended" } else { "hangs" };
        Some(format!("media thread {index} {what}"))
    }

    /// Until a thread has ended that was not told to.
    pub async fn ended(&self) {
        let ended = |thread: &Arc<Shared>| thread.ended.load(Ordering::Acquire);
        self.wait(|vitals| vitals.threads.iter().any(ended)).await;
    }

    /// Until it is as wanted.
    pub(crate) async fn wait(&self, wanted: impl Fn(&Self) -> bool) {
        let mut changes = self.changes.subscribe();
        // The sender lives as long as `self`.
        while !wanted(self) && changes.changed().await.is_ok() {}
    }

    /// Looks after the threads, for as long as it is polled.
    pub async fn watch(self) {
        let mut looks = vec![Look::default(); self.threads.len()];
        let mut interval = interval(LOOK_INTERVAL);
        // When the whole process stood still, so did this.
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            for (index, (thread, look)) in self.threads.iter().zip(&mut looks).enumerate() {
                let hangs = look.hangs(thread.beat.load(Ordering::Relaxed));
                if thread.hung.swap(hangs, Ordering::Relaxed) == hangs {
                    continue;
                }
                if hangs {
                    tracing::error!(thread = index, "a media thread hangs");
                } else {
                    tracing::warn!(thread = index, "a media thread goes on");
                }
                self.changes.send_replace(());
            }
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let Some(thread) = self.vitals.threads.get(self.index) else {
            return;
        };
        if thread.stop.load(Ordering::Acquire) {
            return;
        }
        thread.ended.store(true, Ordering::Release);
        tracing::error!(thread = self.index, "a media thread has ended");
        self.vitals.changes.send_replace(());
    }
}

/// What was last seen of a thread.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    beat: u64,
    unchanged: u32,
}

impl Look {
    fn hangs(&mut self, beat: u64) -> bool {
        if self.beat == beat {
            self.unchanged = self.unchanged.saturating_add(1);
        } else {
            *self = Self { beat, unchanged: 0 };
        }
        self.unchanged >= LOOKS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_hangs_after_five_looks_without_a_turn_and_not_after_its_next() {
        let mut look = Look::default();
        assert!(!look.hangs(1));
        let verdicts: Vec<_> = (0..6).map(|_| look.hangs(1)).collect();
        assert_eq!(verdicts, [false, false, false, false, true, true]);
        assert!(!look.hangs(2));
    }
}
