//! The heap of the server's process: its allocator, and the return of free memory to the system.
//!
//! Must not know: what is allocated, any other crate of ours.
//!
//! One of the few crates that may hold `unsafe`: it declares one function of the allocator.
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

/// The allocator. A media thread touches the state of every subscriber in every turn: the closer together
/// it lies, the fewer page table entries and cache lines that costs (5 to 8 % of an audio fan-out).
pub use mimalloc::MiMalloc as Allocator;

use std::io;
use std::thread::Builder;
use std::time::Duration;

/// Free memory is looked for this often. The allocator itself keeps it for a second, lest it be asked
/// for again at once.
const INTERVAL: Duration = Duration::from_millis(500);

// SAFETY: declared as in mimalloc's `mimalloc.h`; any thread may call it at any time.
unsafe extern "C" {
    #[link_name = "mi_collect"]
    safe fn collect(force: bool);
}

/// Gives back what has been free for a second.
///
/// The allocator does so only when it happens to free a whole page of its own. A server that goes on
/// with small things after a burst does not for minutes, and keeps all memory that the burst took.
pub fn give_back() {
    collect(false);
}

/// Starts a thread that gives memory back until the process ends: its own, so that nobody's media or
/// signalling waits for the system meanwhile.
///
/// # Errors
/// When the system has no thread more.
#[expect(
    clippy::disallowed_methods,
    reason = "a beat: nothing tells when free memory has become old enough"
)]
pub fn start_giving_back() -> io::Result<()> {
    let forever = || {
        loop {
            std::thread::sleep(INTERVAL);
            give_back();
        }
    };
    Builder::new().name("heap".to_owned()).spawn(forever).map(drop)
}
