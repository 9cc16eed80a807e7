//! A TCP connection as HTTP reads it, with bounds on what a stranger can make it hold and for how long.
//!
//! Owns: the deadlines of heads and of answers, the memory of heads, the gentle end of a connection
//! whose client still sends. Once switched to WebSocket all bytes just pass. Must not know: what a
//! request means.

use crate::counters::Counters;
use crate::shell::places::Place;
use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf, Take};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// A head must be complete so long after the connection or after its first byte. More would let
/// strangers hold what they sent for longer; less would cut clients on very bad links.
pub(crate) const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// A connection may be idle for so long between two requests. API clients keep theirs for later:
/// shorter would break calls that come just then.
pub(crate) const IDLE_PATIENCE: Duration = Duration::from_secs(75);

/// A client that takes nothing of its answer for this long is cut.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// After a refusal the client gets this long to notice, while what it still sends is thrown away. If
/// the connection were closed at once, the client's system would throw the answer away instead.
const LINGER: Duration = Duration::from_secs(5);

/// What is thrown away at most, in bytes: a little more than the largest body by default.
const LINGER_BYTES: usize = 16 << 20;

/// Read at once: HTTP's buffer grows by as much as a read brings, so this keeps it in step.
const READ_BYTES: u64 = 16 * 1024;

/// Bytes of a head that count for nothing: plain requests are shorter.
const HEAD_FREE: usize = 8 * 1024;

/// Said to a head for which there is no memory.
const UNAVAILABLE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Nothing has come yet, or a part of the first head.
    First,
    /// Between two requests.
    Idle,
    /// A part of a further head has come.
    Head,
    /// A request is being answered.
    Busy,
    /// Not HTTP any more.
    Switched,
}

impl Phase {
    const ALL: [Self; 5] = [Self::First, Self::Idle, Self::Head, Self::Busy, Self::Switched];
}

/// What the requests of a connection tell its guard.
#[derive(Debug)]
pub(crate) struct Line {
    phase: AtomicU8,
    /// A part of a request's body was not read.
    unread: AtomicBool,
    pub(crate) place: Arc<Place>,
}

impl Line {
    pub(crate) fn new(place: Arc<Place>) -> Self {
        Self {
            phase: AtomicU8::new(Phase::First as u8),
            unread: AtomicBool::new(false),
            place,
        }
    }

    /// A request has come; `body` says whether more belongs to it.
    pub(crate) fn begin(self: &Arc<Self>, body: bool) -> Busy {
        self.set(Phase::Busy);
        self.unread.store(body, Ordering::Release);
        self.place.work();
        Busy(Arc::clone(self))
    }

    /// The body was read to its end.
    pub(crate) fn body_read(&self) {
        self.unread.store(false, Ordering::Release);
    }

    /// From now on all bytes just pass.
    pub(crate) fn switched(&self) {
        self.set(Phase::Switched);
    }

    fn phase(&self) -> Phase {
        let phase = usize::from(self.phase.load(Ordering::Acquire));
        Phase::ALL.get(phase).copied().unwrap_or(Phase::Switched)
    }

    fn set(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }
}

/// A request that is being answered; dropped with the end of its answer.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Line>);

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.phase() == Phase::Busy {
            self.0.set(Phase::Idle);
            self.0.place.rest();
        }
    }
}

/// The connection.
pub(crate) struct Guarded {
    io: Take<TcpStream>,
    line: Arc<Line>,
    counters: Arc<Counters>,
    /// The phase that the deadline belongs to.
    armed: Phase,
    deadline: Pin<Box<Sleep>>,
    head_bytes: usize,
    /// The next read has to wait for a turn: others have theirs first.
    rests: bool,
    /// The client takes nothing at the moment.
    stalled: bool,
    /// Reading waits until the client takes something.
    reader: Option<Waker>,
    /// Bytes thrown away at the end, once that has begun.
    lingering: Option<usize>,
}

impl Guarded {
    pub(crate) fn new(io: TcpStream, line: Arc<Line>, counters: Arc<Counters>) -> Self {
        Self {
            io: io.take(0),
            line,
            counters,
            armed: Phase::First,
            deadline: Box::pin(sleep_until(Instant::now() + HEAD_PATIENCE)),
            head_bytes: 0,
            rests: false,
            stalled: false,
            reader: None,
            lingering: None,
        }
    }

    fn arm(&mut self, patience: Duration) {
        self.deadline.as_mut().reset(Instant::now() + patience);
    }

    /// Reads a bounded piece; how much it was.
    fn read_some(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let before = buf.filled().len();
        self.io.set_limit(READ_BYTES);
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        Poll::Ready(Ok(buf.filled().len() - before))
    }

    /// Reads a part of a head, within its deadline and its memory.
    fn read_head(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let phase = self.line.phase();
        if self.armed != phase {
            self.armed = phase;
            self.head_bytes = 0;
            self.arm(IDLE_PATIENCE);
        }
        // Who does not take the answers to what it asked is asked for no more.
        if self.stalled {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        // A long head is parsed from its beginning with each piece of it: others have a turn in between.
        if std::mem::take(&mut self.rests) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Poll::Ready(read) = self.read_some(cx, buf)? else {
            ready!(self.deadline.as_mut().poll(cx));
            self.counters.http_late.add();
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        };
        if phase == Phase::Idle && read > 0 {
            self.line.set(Phase::Head);
            self.armed = Phase::Head;
            self.arm(HEAD_PATIENCE);
        }
        self.head_bytes += read;
        self.rests = self.head_bytes > HEAD_FREE;
        // HTTP's buffer doubles as it grows.
        let counts = 2 * self.head_bytes.saturating_sub(HEAD_FREE);
        if counts > 0 && !self.line.place.charge(counts) {
            self.counters.http_refused.add();
            // A socket that is not read from either may be full; then nothing can be said.
            let _ = self.io.get_ref().try_write(UNAVAILABLE);
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        Poll::Ready(Ok(()))
    }

    /// Notes whether the client takes what is sent, and gives it up in the end.
    fn written(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if self.line.phase() == Phase::Switched {
            return result;
        }
        if result.is_ready() {
            if std::mem::take(&mut self.stalled) {
                // The deadline was the answer's: the next read sets its own.
                self.armed = Phase::Switched;
                if let Some(reader) = self.reader.take() {
                    reader.wake();
                }
            }
            return result;
        }
        if !std::mem::replace(&mut self.stalled, true) {
            self.arm(WRITE_PATIENCE);
        }
        ready!(self.deadline.as_mut().poll(cx));
        self.counters.http_late.add();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Throws away what the client still sends, until it has seen the end or patience ends.
    fn linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0; READ_BYTES as usize];
        // A turn, then others have theirs.
        for _ in 0..16 {
            let mut buf = ReadBuf::new(&mut scratch);
            match self.read_some(cx, &mut buf) {
                Poll::Ready(Ok(read)) if read > 0 => {
                    let thrown = self.lingering.unwrap_or_default() + read;
                    self.lingering = Some(thrown);
                    if thrown > LINGER_BYTES {
                        return Poll::Ready(Ok(()));
                    }
                }
                // The end, however it came.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return self.deadline.as_mut().poll(cx).map(Ok),
            }
        }
        cx.waker().wake_by_ref();
        self.deadline.as_mut().poll(cx).map(Ok)
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.line.phase() {
            Phase::Switched => Pin::new(self.io.get_mut()).poll_read(cx, buf),
            // Whoever wants the body watches the time.
            Phase::Busy => self.read_some(cx, buf).map_ok(drop),
            Phase::First | Phase::Idle | Phase::Head => self.read_head(cx, buf),
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(self.io.get_mut()).poll_write(cx, buf);
        self.written(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(self.io.get_mut()).poll_write_vectored(cx, bufs);
        self.written(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.io.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(self.io.get_mut()).poll_shutdown(cx))?;
            let part_of_head = matches!(self.line.phase(), Phase::First | Phase::Head) && self.head_bytes > 0;
            let sends = part_of_head || self.line.unread.load(Ordering::Acquire);
            if !sends || self.line.phase() == Phase::Switched {
                return Poll::Ready(Ok(()));
            }
            self.lingering = Some(0);
            self.arm(LINGER);
        }
        self.linger(cx)
    }
}
