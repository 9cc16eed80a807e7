//! A global allocator that counts: how many allocations threads other than the load's made, and
//! how many bytes of heap are live. Below it is the binary's own allocator.

use heap::Allocator;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

#[global_allocator]
static COUNTING: Counting = Counting;

static SERVER_ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

thread_local! {
    static IS_LOAD: Cell<bool> = const { Cell::new(false) };
}

/// Marks the calling thread as part of the load: its allocations are not the server's.
pub(crate) fn this_thread_is_load() {
    IS_LOAD.set(true);
}

/// Allocations and reallocations by threads that are not the load's, since the start.
pub(crate) fn server_allocations() -> u64 {
    SERVER_ALLOCATIONS.load(Ordering::Relaxed)
}

/// Heap bytes allocated and not freed, by all threads.
pub(crate) fn live_bytes() -> i64 {
    LIVE_BYTES.load(Ordering::Relaxed)
}

struct Counting;

fn count(size: usize) {
    LIVE_BYTES.fetch_add(size as i64, Ordering::Relaxed);
    if !IS_LOAD.try_with(Cell::get).unwrap_or(true) {
        SERVER_ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the allocator below unchanged; counting neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { Allocator.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { Allocator.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { Allocator.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE_BYTES.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        count(size);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { Allocator.realloc(pointer, layout, size) }
    }
}
