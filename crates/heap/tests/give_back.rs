//! What a burst took goes back to the system although only small things happen afterwards.

use std::fs::File;
use std::io::Read as _;
use std::thread;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: heap::Allocator = heap::Allocator;

/// Resident memory of this process in MiB (`/proc/self/status`). Allocates nothing: that could make the
/// allocator look for free memory on its own.
fn resident_mib() -> usize {
    let mut text = [0; 4096];
    let read = File::open("/proc/self/status").and_then(|mut file| file.read(&mut text));
    let text = str::from_utf8(&text[..read.expect("this is Linux")]).expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kib.expect("VmRSS in KiB") / 1024
}

#[test]
fn a_burst_of_other_threads_goes_back() {
    // Buffers that grow, as those of half-read messages do, and go on another thread.
    let burst: Vec<Vec<u8>> = (0..60)
        .map(|_| {
            let grow = || {
                let mut buffer = Vec::new();
                while buffer.len() < 2 << 20 {
                    buffer.extend_from_slice(&[1; 4096]);
                }
                buffer
            };
            thread::spawn(grow).join().expect("it grows")
        })
        .collect();
    let peak = resident_mib();
    assert!(peak > 120, "{peak} MiB");
    drop(burst);
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut now = peak;
    while now > peak / 4 {
        assert!(Instant::now() < deadline, "still {now} of {peak} MiB");
        heap::give_back();
        thread::yield_now();
        now = resident_mib();
    }
}
