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
}

/// Heap bytes that this thread took and did not give back.
#[must_use]
pub fn live_bytes() -> i64 {
    LIVE_BYTES.get()
}

struct Counting;

fn count(bytes: i64) {
    // A thread that ends has nothing to count any more.
    let _ = LIVE_BYTES.try_with(|live| live.set(live.get() + bytes));
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
        count(size_new as i64 - size(layout));
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.realloc(pointer, layout, size_new) }
    }
}

#[cfg(test)]
mod tests {
    use super::live_bytes;

    #[test]
    fn what_is_held_is_counted_until_it_is_dropped() {
        let before = live_bytes();
        let held = vec![0u8; 10_000];
        assert!(live_bytes() - before >= 10_000);
        drop(held);
        assert_eq!(live_bytes(), before);
    }
}
