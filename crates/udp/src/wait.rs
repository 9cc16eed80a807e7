//! Waiting for datagrams, a wake-up from another thread, or a moment.

use crate::socket::{Socket, check};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Wakes a thread that waits in [`PollSet::wait`].
#[derive(Debug)]
pub struct EventFd {
    inner: File,
}

impl EventFd {
    /// A new one, not signalled.
    ///
    /// # Errors
    /// As `eventfd(2)`.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers are passed; the result is checked before it is owned.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: `fd` was just created and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            inner: File::from(fd),
        })
    }

    /// Makes it readable until [`Self::drain`].
    pub fn wake(&self) {
        // The only failure is a counter at its limit, and then it is readable already.
        let _full = (&self.inner).write(&1_u64.to_ne_bytes());
    }

    /// Takes all wake-ups so far.
    pub fn drain(&self) {
        // The only failure is that there was none.
        let _none = (&self.inner).read(&mut [0; 8]);
    }
}

/// The sockets and the [`EventFd`] of one thread.
#[derive(Debug)]
pub struct PollSet {
    entries: Vec<libc::pollfd>,
}

impl PollSet {
    /// Watches `wake` and `sockets`. They must live at least as long as this set is used: a closed
    /// one is reported as ready.
    #[must_use]
    pub fn new(wake: &EventFd, sockets: &[Socket]) -> Self {
        let entry = |fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        let sockets = sockets.iter().map(|socket| entry(socket.fd()));
        Self {
            entries: std::iter::once(entry(wake.inner.as_raw_fd()))
                .chain(sockets)
                .collect(),
        }
    }

    /// Waits until something is ready, at most `timeout` (`None`: for ever). Returns whether
    /// anything is.
    ///
    /// # Errors
    /// As `ppoll(2)`; a signal is not an error.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let time = timeout.map(|timeout| libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(timeout.subsec_nanos()),
        });
        let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let count = self.entries.len() as libc::nfds_t;
        // SAFETY: `entries` holds `count` entries, exclusively borrowed; `time` is null or points
        // at a `timespec` that outlives the call; a null signal mask is allowed.
        let result = unsafe { libc::ppoll(self.entries.as_mut_ptr(), count, time, std::ptr::null()) };
        match check(result) {
            Ok(ready) => Ok(ready > 0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the [`EventFd`] was signalled at the last wait.
    #[must_use]
    pub fn is_woken(&self) -> bool {
        self.entries.first().is_some_and(|entry| entry.revents != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::Options;

    #[test]
    fn a_wake_ends_the_wait_until_it_is_drained() {
        let wake = EventFd::new().unwrap();
        let mut set = PollSet::new(&wake, &[]);
        assert!(!set.wait(Some(Duration::ZERO)).unwrap());
        wake.wake();
        wake.wake();
        assert!(set.wait(None).unwrap() && set.is_woken());
        wake.drain();
        assert!(!set.wait(Some(Duration::from_micros(1))).unwrap());
    }

    #[test]
    fn a_datagram_ends_the_wait() {
        let any = "127.0.0.1:0".parse().unwrap();
        let socket = Socket::bind(any, Options::default()).unwrap();
        let other = Socket::bind(any, Options::default()).unwrap();
        let wake = EventFd::new().unwrap();
        let sockets = [socket];
        let mut set = PollSet::new(&wake, &sockets);
        other.send_to(b"x", sockets[0].local_address()).unwrap();
        assert!(set.wait(Some(Duration::from_secs(5))).unwrap() && !set.is_woken());
    }
}
