//! A global allocator that counts the heap bytes of each thread, so that a target can say how much
//! an input makes its reader hold.
//!
//! Owns: the count, and the only `unsafe` of this crate. Must not know: targets.
#![expect(unsafe_code, reason = "an allocator cannot be had without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static LIVE_BYTES: Cell<i64> = const { Cell::new(0) };
    static PEAK_BYTES: Cell<i64> = const { Cell::new(0) };
}

/// Heap bytes that this thread took and did not give back.
#[must_use]
pub fn live_bytes() -> i64 {
    LIVE_BYTES.get()
}

/// From now on [`peak_bytes`] is the most that this thread has at once.
pub fn begin_peak() {
    PEAK_BYTES.set(LIVE_BYTES.get());
}

/// The most of [`live_bytes`] since [`begin_peak`].
#[must_use]
pub fn peak_bytes() -> i64 {
    PEAK_BYTES.get()
}

struct Counting;

fn count(bytes: i64) {
    // A thread that ends has nothing to count any more.
    let _ = LIVE_BYTES.try_with(|live| {
        live.set(live.get() + bytes);
        let _ = PEAK_BYTES.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

const fn size(layout: Layout) -> i64 {
    layout.size() as i64
}

// SAFETY: every call goes to the allocator below unchanged; counting neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(size(layout));
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(size(layout));
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-size(layout));
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size_new: usize) -> *mut u8 {
        // What grows may have to move: then the old and the new place are there at once.
        count(size_new as i64);
        count(-size(layout));
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.realloc(pointer, layout, size_new) }
    }
}

#[cfg(test)]
mod tests {
    use super::{begin_peak, live_bytes, peak_bytes};

    #[test]
    fn what_is_held_is_counted_until_it_is_dropped() {
        let before = live_bytes();
        let held = vec![0u8; 10_000];
        assert!(live_bytes() - before >= 10_000);
        drop(held);
        assert_eq!(live_bytes(), before);
    }
    #[test]
    fn the_peak_is_what_was_held_at_once() {
        drop(vec![0u8; 50_000]);
        begin_peak();
        let before = live_bytes();
        drop((vec![0u8; 10_000], vec![0u8; 10_000]));
        drop(vec![0u8; 10_000]);
        assert!((20_000..30_000).contains(&(peak_bytes() - before)));
    }
}
