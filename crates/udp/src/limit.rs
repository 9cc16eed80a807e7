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

/// How many more files this process may open, after raising the limit as far as it goes.
///
/// # Errors
/// When the limit cannot be read, or it is unknown how many are open.
pub fn free_files() -> io::Result<usize> {
    let limit = usize::try_from(raise_open_files()?).unwrap_or(usize::MAX);
    // Listing the directory opens one more, which is closed again.
    let open = std::fs::read_dir("/proc/self/fd")?.count();
    Ok(limit.saturating_sub(open))
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

    #[test]
    fn an_open_file_is_one_less() {
        let before = free_files().expect("counts");
        let kept: Vec<_> = (0..50)
            .map(|_| std::fs::File::open("/").expect("opens"))
            .collect();
        let after = free_files().expect("counts");
        // Other tests open and close some at the same time.
        assert!(after + kept.len() <= before + 10 && before <= after + kept.len() + 10);
    }
}
