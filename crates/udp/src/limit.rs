//! How many files (sockets, above all) this process may have open. Here because system calls that
//! need `unsafe` live in this crate only.

use std::io;

/// Raises the limit of open files as far as the system allows without privileges, and returns it.
///
/// Many systems start processes with 1,024, for the sake of programs that use `select`; a server of
/// thousands of WebSockets needs more.
///
/// # Errors
/// When the limit cannot be read or set; it is unchanged then.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid place for one rlimit, which the call only writes to.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: `limit` is a valid rlimit, which the call only reads.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_once_and_stays() {
        let limit = raise_open_files().expect("raises");
        assert!(limit > 0);
        assert_eq!(raise_open_files().expect("nothing to do"), limit);
    }
}
