//! Many WebSockets on one thread: victims that read and count, and attackers that write.

use crate::ws::Ws;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest wait for a socket.
const TICK: Duration = Duration::from_millis(50);

/// Sessions that only read. Dropping it closes them.
#[derive(Debug)]
pub(crate) struct Crowd {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
    pub(crate) count: u64,
}

#[derive(Debug, Default)]
struct State {
    closed: AtomicU64,
    bytes: AtomicU64,
    stop: AtomicBool,
}

impl Crowd {
    /// Reads all of them; `rate`: so many bytes a second each at most.
    pub(crate) fn read(sockets: Vec<Ws>, rate: Option<usize>) -> Self {
        let state = Arc::new(State::default());
        let count = sockets.len() as u64;
        let thread = std::thread::spawn({
            let state = Arc::clone(&state);
            move || {
                let sockets = sockets.into_iter().map(|ws| ws.stream).collect();
                drain(sockets, rate, &state);
            }
        });
        Self {
            state,
            thread: Some(thread),
            count,
        }
    }

    /// How many the server has closed.
    pub(crate) fn closed(&self) -> u64 {
        self.state.closed.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.state.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic was printed.
            let _ = thread.join();
        }
    }
}

fn wait(sockets: &[&TcpStream], flags: PollFlags, time: Duration) -> Vec<PollFlags> {
    let mut fds: Vec<_> = sockets.iter().map(|socket| PollFd::new(*socket, flags)).collect();
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: time.subsec_nanos().into(),
    };
    // Interrupted: nothing is ready.
    let _ = poll(&mut fds, Some(&timeout));
    fds.iter().map(PollFd::revents).collect()
}

fn drain(mut sockets: Vec<TcpStream>, rate: Option<usize>, state: &State) {
    crate::stage::hold_back_this_thread();
    let mut chunk = vec![0; 256 * 1024];
    let limit = rate.map_or(chunk.len(), |rate| (rate / 20).clamp(1, chunk.len()));
    sockets.retain(|socket| socket.set_nonblocking(true).is_ok());
    while !state.stop.load(Ordering::Relaxed) {
        let borrowed: Vec<_> = sockets.iter().collect();
        let ready = wait(&borrowed, PollFlags::IN, TICK);
        let mut index = 0;
        sockets.retain_mut(|socket| {
            let is_ready = ready.get(index).is_some_and(|flags| !flags.is_empty());
            index += 1;
            if !is_ready {
                return true;
            }
            match socket.read(&mut chunk[..limit]) {
                Ok(0) => {
                    state.closed.fetch_add(1, Ordering::Relaxed);
                    false
                }
                Ok(read) => {
                    state.bytes.fetch_add(read as u64, Ordering::Relaxed);
                    true
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => true,
                Err(_) => {
                    state.closed.fetch_add(1, Ordering::Relaxed);
                    false
                }
            }
        });
        if rate.is_some() || sockets.is_empty() {
            crate::stage::pause(TICK);
        }
    }
}

/// What came of a flood.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flooded {
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
    /// Attackers that the server closed.
    pub(crate) cut: u64,
}

/// Writes frames on many sockets, in turn and each from the beginning again, as fast as the server
/// takes them, and reads what comes unless `deaf`.
pub(crate) fn flood(
    sockets: &mut [TcpStream],
    frames: &[Vec<u8>],
    time: Duration,
    frames_max: u64,
    deaf: bool,
) -> Flooded {
    struct Writer {
        frame: usize,
        at: usize,
        gone: bool,
    }
    let deadline = Instant::now() + time;
    let mut flooded = Flooded::default();
    let mut chunk = vec![0; 64 * 1024];
    let mut writers: Vec<Writer> = (0..sockets.len())
        .map(|_| Writer {
            frame: 0,
            at: 0,
            gone: false,
        })
        .collect();
    for socket in &mut *sockets {
        // Failing, it blocks: for as long as its write may take.
        let _ = socket.set_nonblocking(true);
    }
    let flags = if deaf {
        PollFlags::OUT
    } else {
        PollFlags::OUT | PollFlags::IN
    };
    while Instant::now() < deadline
        && flooded.frames < frames_max
        && writers.iter().any(|writer| !writer.gone)
    {
        let borrowed: Vec<_> = sockets.iter().collect();
        let ready = wait(&borrowed, flags, TICK);
        for ((socket, writer), ready) in sockets.iter_mut().zip(&mut writers).zip(ready) {
            if writer.gone || ready.is_empty() {
                continue;
            }
            if ready.contains(PollFlags::IN) {
                match socket.read(&mut chunk) {
                    Ok(0) => writer.gone = true,
                    Err(error) if error.kind() != ErrorKind::WouldBlock => writer.gone = true,
                    Ok(_) | Err(_) => {}
                }
            }
            let frame = &frames[writer.frame % frames.len()];
            match socket.write(&frame[writer.at..]) {
                Ok(written) => {
                    flooded.bytes += written as u64;
                    writer.at += written;
                    if writer.at == frame.len() {
                        writer.at = 0;
                        writer.frame += 1;
                        flooded.frames += 1;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => writer.gone = true,
            }
            flooded.cut += u64::from(writer.gone);
        }
    }
    flooded
}
