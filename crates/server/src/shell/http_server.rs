//! A listener for HTTP: accepts connections, gives each a place, serves their requests.
//!
//! Must not know: who answers, and what.

use crate::counters::Counters;
use crate::shell::guarded::{Busy, Guarded, Line};
use crate::shell::places::{Crowded, Places};
use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Bound of a request's head: the reference's 1 MiB and its slack. Tokens with metadata are large.
const HEADER_BYTES_MAX: usize = (1 << 20) + 4096;

/// Pause after an accept that failed for want of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What goes wrong again and again is logged this often.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// A connection's place among those that may be open; free when the last clone is dropped. Every
/// request carries one, for HTTP does not see the end of a connection that is switched to WebSocket.
#[derive(Clone, Debug)]
pub(crate) struct Permit(Arc<Line>);

impl Permit {
    /// Takes the place for a WebSocket. False: there are as many as may be.
    pub(crate) fn switch(&self) -> bool {
        self.0.place.switch()
    }

    /// The rest of the request must come: until then the connection counts as idle.
    pub(crate) fn wait(&self) {
        self.0.place.wait();
    }

    /// It has come.
    pub(crate) fn work(&self) {
        self.0.place.work();
    }
}

/// A listener and where its connections go.
#[derive(Debug)]
pub(crate) struct HttpServer {
    pub(crate) listener: TcpListener,
    pub(crate) places: Places,
    pub(crate) counters: Arc<Counters>,
}

impl HttpServer {
    /// Accepts connections until told to stop, then waits for the open ones to end.
    pub(crate) async fn serve<R, F>(self, respond: R, mut stopped: watch::Receiver<bool>)
    where
        R: Fn(SocketAddr, Request<Body>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let mut connections = JoinSet::new();
        // One that waits for a place goes on waiting while others end.
        let mut accepting = pin!(self.accept());
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => break,
                Some(_) = connections.join_next() => continue,
                accepted = accepting.as_mut() => accepted,
            };
            accepting.set(self.accept());
            if let Some((stream, peer, line)) = accepted {
                let counters = Arc::clone(&self.counters);
                let connection = connection(stream, peer, line, counters, respond.clone(), stopped.clone());
                connections.spawn(connection);
            }
        }
        while connections.join_next().await.is_some() {}
    }

    /// Waits for a connection, then for a place for it.
    async fn accept(&self) -> Option<(TcpStream, SocketAddr, Arc<Line>)> {
        let (stream, peer) = match self.listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                self.failed(&error).await;
                return None;
            }
        };
        match self.places.take(peer.ip()).await {
            Ok(place) => Some((stream, peer, Arc::new(Line::new(place)))),
            Err(Crowded) => {
                self.counters.connections_refused.add();
                seldom(|| tracing::warn!("an address has all the connections that it may have"));
                None
            }
        }
    }

    /// Out of file descriptors or of memory, usually; or the connection was gone already.
    async fn failed(&self, error: &io::Error) {
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
        ) {
            return;
        }
        self.counters.accepts_failed.add();
        seldom(|| tracing::warn!(%error, "accepting a connection failed"));
        // Somebody else uses the files that the places count on.
        self.places.evict_oldest();
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// At most one line per interval, of all that strangers can cause.
fn seldom(log: impl FnOnce()) {
    static LAST: AtomicU64 = AtomicU64::new(0);
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let now = START.elapsed().as_secs() + LOG_INTERVAL.as_secs();
    let last = LAST.load(Ordering::Relaxed);
    let due = now >= last + LOG_INTERVAL.as_secs();
    if due
        && LAST
            .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    {
        log();
    }
}

/// Serves the requests of one TCP connection. What takes it over finds the permit in its request.
async fn connection<R, F>(
    stream: TcpStream,
    peer: SocketAddr,
    line: Arc<Line>,
    counters: Arc<Counters>,
    respond: R,
    mut stopped: watch::Receiver<bool>,
) where
    R: Fn(SocketAddr, Request<Body>) -> F + Clone,
    F: Future<Output = Response<Body>>,
{
    // Signalling is small messages that somebody waits for.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request: Request<Incoming>| {
        let busy = line.begin(!request.body().is_end_stream());
        let mut request = request.map(|body| Body::new(Told::new(body, Arc::clone(&line))));
        request.extensions_mut().insert(Permit(Arc::clone(&line)));
        let (line, answer) = (Arc::clone(&line), respond(peer, request));
        async move {
            // A buffer full of requests would be answered in one go, and rooms share this worker.
            tokio::task::yield_now().await;
            let response = answer.await;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                line.switched();
            }
            Ok::<_, Infallible>(response.map(|body| Answer { body, _busy: busy }))
        }
    });
    let io = TokioIo::new(Guarded::new(stream, Arc::clone(&line), counters));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // The guard has deadlines of its own, one for each phase.
        .header_read_timeout(None)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(io, service)
        .with_upgrades();
    let mut connection = pin!(connection);
    // What a client does to its connection is its own business: errors are not ours.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = line.place.evicted() => return,
        _ = stopped.wait_for(|stopped| *stopped) => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        () = line.place.evicted() => {}
    }
}

/// A request's body that tells when it was read to its end.
struct Told {
    body: Incoming,
    line: Arc<Line>,
}

impl Told {
    const fn new(body: Incoming, line: Arc<Line>) -> Self {
        Self { body, line }
    }
}

impl hyper::body::Body for Told {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.line.body_read();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response's body: when it is dropped, the request is over.
struct Answer {
    body: Body,
    _busy: Busy,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
