//! The thread calls that a media thread needs: its CPU and its clock.

use crate::socket::check;
use std::io;
use std::time::Duration;

/// Lets the calling thread run on one CPU only.
///
/// # Errors
/// When there is no such CPU, or this process may not use it.
pub fn pin_current_thread(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: `cpu_set_t` is a plain bit set for which all-zero is the empty set; `cpu` is within
    // it (checked above); the pointer is to a set of the length given, and 0 means this thread.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    check(result).map(|_| ())
}

/// The CPU clock of one thread; other threads may read it while that thread lives.
#[derive(Clone, Copy, Debug)]
pub struct ThreadClock {
    id: libc::clockid_t,
}

impl ThreadClock {
    /// The calling thread's.
    ///
    /// # Errors
    /// When the system has no such clock.
    pub fn current() -> io::Result<Self> {
        let mut id: libc::clockid_t = 0;
        // SAFETY: the calling thread exists, and `id` is exclusively borrowed for the call.
        let result = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut id) };
        match result {
            0 => Ok(Self { id }),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }

    /// CPU time used so far; `None` when the thread has ended.
    #[must_use]
    pub fn read(&self) -> Option<Duration> {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `time` is exclusively borrowed; an unknown clock is reported as an error.
        check(unsafe { libc::clock_gettime(self.id, &mut time) }).ok()?;
        let seconds = u64::try_from(time.tv_sec).ok()?;
        let nanoseconds = u32::try_from(time.tv_nsec).ok()?;
        Some(Duration::new(seconds, nanoseconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_counts_this_thread() {
        let clock = ThreadClock::current().unwrap();
        let before = clock.read().unwrap();
        let mut sum = 0_u64;
        while clock.read().unwrap() < before + Duration::from_millis(2) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(sum > 0);
    }

    #[test]
    fn a_thread_can_be_pinned_to_a_cpu_that_exists_only() {
        let result = std::thread::spawn(|| (pin_current_thread(0), pin_current_thread(1_000_000)));
        let (first, absurd) = result.join().unwrap();
        first.unwrap();
        absurd.unwrap_err();
    }
}
