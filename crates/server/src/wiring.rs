//! Puts the parts together: media threads, rooms, listeners; and takes them apart again.

use crate::clock;
use crate::config::{Config, UdpPorts};
use crate::counters::Counters;
use crate::edge::{Edge, Permit, Sockets, http};
use crate::media_pool::{MediaPool, MediaPoolConfig, SocketPlan, default_threads};
use crate::metrics::Metrics;
use crate::rooms::Rooms;
use anyhow::{Context as _, Result, bail};
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use protocol::proto;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

/// The version of livekit-server whose contract this server keeps; SDKs compare it.
pub const CONTRACT_VERSION: &str = "1.13.11";

/// Signal protocol advertised.
const PROTOCOL: i32 = 18;

/// Events of all media threads that may wait for the dispatcher. Full: the threads keep theirs.
const EVENTS_MAX: usize = 8192;

/// Connections that the kernel may hold for us before we accept them.
const BACKLOG: u32 = 1024;

/// A request's head must be here by then, or the connection is closed. Idle connections count, too,
/// and API clients keep theirs for later: shorter would break calls that come just then.
const HEADER_PATIENCE: Duration = Duration::from_secs(75);

/// Bound of a request's head: the reference's 1 MiB and its slack. Tokens with metadata are large.
const HEADER_BYTES_MAX: usize = (1 << 20) + 4096;

/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Rooms get this long to say goodbye, and then as much again for sockets to flush.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

/// A running server.
#[derive(Debug)]
pub struct Running {
    /// Where it listens, one per bind address.
    pub addresses: Vec<SocketAddr>,
    /// Where it answers scrapes.
    pub metrics_addresses: Vec<SocketAddr>,
    /// Its rooms.
    pub rooms: Rooms,
    /// Its counters.
    pub counters: Arc<Counters>,
    /// Its open signal sockets.
    pub sockets: Sockets,
    pool: Arc<MediaPool>,
    stop: watch::Sender<bool>,
    listeners: Vec<JoinHandle<()>>,
    dispatcher: JoinHandle<()>,
}

/// Starts a server on the current tokio runtime.
///
/// # Errors
/// When a port is taken, an address is not ours, or a thread cannot be started.
pub fn start(config: Config) -> Result<Running> {
    if config.keys.is_empty() {
        bail!("one of key-file or keys must be provided");
    }
    let config = Arc::new(config);
    let sockets = listen(&config, config.port)?;
    let metrics_sockets = match config.prometheus.port {
        Some(port) => listen(&config, port)?,
        None => Vec::new(),
    };
    let (events, mut arrived) = mpsc::channel(EVENTS_MAX);
    let pool = Arc::new(MediaPool::start(pool_config(&config), events).context("media threads")?);
    let counters = Arc::new(Counters::default());
    let server_info = server_info(&config);
    let node_id = server_info.node_id.clone();
    let rooms = Rooms::new(
        Arc::clone(&config),
        Arc::clone(&pool),
        Arc::clone(&counters),
        server_info,
    );
    let dispatcher = tokio::spawn({
        let rooms = rooms.clone();
        async move {
            while let Some(event) = arrived.recv().await {
                rooms.deliver(event).await;
            }
        }
    });
    let edge = Edge::new(Arc::clone(&config), rooms.clone(), Arc::clone(&counters));
    let open_sockets = edge.sockets.clone();
    let (stop, stopped) = watch::channel(false);
    let mut addresses = Vec::new();
    let mut listeners = Vec::new();
    for socket in sockets {
        addresses.push(socket.local_addr()?);
        let front = Front::Edge(edge.clone());
        let permits = Semaphore::new(config.connections_max);
        listeners.push(tokio::spawn(serve(socket, front, permits, stopped.clone())));
    }
    let metrics = Metrics::new(
        rooms.clone(),
        Arc::clone(&counters),
        Arc::clone(&pool),
        node_id,
        config.prometheus.clone(),
    );
    let mut metrics_addresses = Vec::new();
    for socket in metrics_sockets {
        metrics_addresses.push(socket.local_addr()?);
        let front = Front::Metrics(metrics.clone());
        let permits = Semaphore::new(config.connections_max);
        listeners.push(tokio::spawn(serve(socket, front, permits, stopped.clone())));
    }
    Ok(Running {
        addresses,
        metrics_addresses,
        rooms,
        counters,
        sockets: open_sockets,
        pool,
        stop,
        listeners,
        dispatcher,
    })
}

impl Running {
    /// The media threads.
    #[must_use]
    pub fn pool(&self) -> &MediaPool {
        &self.pool
    }

    /// Ends everything: participants are told, queues flushed, sockets closed.
    pub async fn shutdown(self) {
        self.rooms.shutdown(SHUTDOWN_PATIENCE).await;
        // Sockets first flush what rooms queued, then their connections end.
        let _ = self.stop.send(true);
        let all = async {
            self.sockets.all_closed().await;
            for listener in self.listeners {
                let _ = listener.await;
            }
        };
        if tokio::time::timeout(SHUTDOWN_PATIENCE, all).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
        self.dispatcher.abort();
        drop(self.rooms);
        if let Ok(pool) = Arc::try_unwrap(self.pool) {
            // Waits for threads, so not on a task's thread.
            let _ = tokio::task::spawn_blocking(move || pool.shutdown()).await;
        }
    }
}

/// Who answers the requests of a listener.
#[derive(Clone)]
enum Front {
    Edge(Edge),
    Metrics(Metrics),
}

impl Front {
    async fn respond(&self, peer: SocketAddr, request: hyper::Request<Body>) -> hyper::Response<Body> {
        match self {
            Self::Edge(edge) => http::handle(edge, peer, request).await,
            Self::Metrics(metrics) => metrics.respond(request.headers()),
        }
    }
}

/// Accepts connections until told to stop, then waits for the open ones to end.
async fn serve(listener: TcpListener, front: Front, permits: Semaphore, mut stopped: watch::Receiver<bool>) {
    let permits = Arc::new(permits);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &permits) => accepted,
        };
        match accepted {
            Ok((permit, stream, peer)) => {
                connections.spawn(connection(stream, peer, front.clone(), permit, stopped.clone()));
            }
            Err(error) => {
                // Out of file descriptors, usually: waiting lets some close.
                tracing::warn!(%error, "accepting failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

/// Waits for a place, then for a connection to take it.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> std::io::Result<(Permit, TcpStream, SocketAddr)> {
    let permit = Arc::clone(permits).acquire_owned().await;
    let permit = permit.expect("the semaphore is never closed");
    let (stream, peer) = listener.accept().await?;
    Ok((Arc::new(permit), stream, peer))
}

/// Serves the requests of one TCP connection. What takes it over finds the permit in its request.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    front: Front,
    permit: Permit,
    mut stopped: watch::Receiver<bool>,
) {
    // Signalling is small messages that somebody waits for.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let front = front.clone();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Arc::clone(&permit));
        async move { Ok::<_, Infallible>(front.respond(peer, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_PATIENCE)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    // What a client does to its connection is its own business: errors are not ours.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopped.wait_for(|stopped| *stopped) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

fn listen(config: &Config, port: u16) -> Result<Vec<TcpListener>> {
    let given = &config.bind_addresses;
    if given.is_empty() || given.iter().any(IpAddr::is_unspecified) {
        return Ok(vec![listen_everywhere(port)?]);
    }
    let mut sockets: Vec<TcpListener> = Vec::new();
    for ip in given {
        // All addresses share the port that the kernel picked for the first one.
        let port = match (port, sockets.first()) {
            (0, Some(first)) => first.local_addr()?.port(),
            (port, _) => port,
        };
        let address = SocketAddr::new(*ip, port);
        match bind(address) {
            Ok(socket) => sockets.push(socket),
            // `--dev` asks for both loopback addresses; a machine may have one only.
            Err(_) if ip.is_ipv6() && config.development && !sockets.is_empty() => {}
            Err(error) => return Err(error).with_context(|| format!("listen tcp {address}")),
        }
    }
    Ok(sockets)
}

/// An unspecified IPv6 socket serves IPv4 as well; machines without IPv6 get an IPv4 one.
fn listen_everywhere(port: u16) -> Result<TcpListener> {
    let dual = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
    let ipv4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
    bind(dual)
        .or_else(|_| bind(ipv4))
        .with_context(|| format!("listen tcp :{port}"))
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn pool_config(config: &Config) -> MediaPoolConfig {
    let loopback = |addresses: &[IpAddr]| !addresses.is_empty() && addresses.iter().all(IpAddr::is_loopback);
    MediaPoolConfig {
        threads: config.plenum.media_threads.unwrap_or_else(default_threads).max(1),
        sockets: match &config.rtc.udp_port {
            UdpPorts::Single(port) => SocketPlan::Single(*port),
            UdpPorts::Range(range) => SocketPlan::Range(range.clone()),
        },
        bind: if loopback(&config.rtc.node_ip) {
            config.rtc.node_ip.clone()
        } else {
            Vec::new()
        },
        // A server for this machine only is reached by any of the machine's addresses: browsers
        // differ in whether they send to loopback.
        loopback: config.rtc.enable_loopback_candidate || loopback(&config.bind_addresses),
        advertise: config.rtc.node_ip.clone(),
        tuning: config.tuning,
        spread: config.plenum.spread_rooms,
        ..MediaPoolConfig::default()
    }
}

fn server_info(config: &Config) -> proto::ServerInfo {
    proto::ServerInfo {
        edition: proto::server_info::Edition::Standard.into(),
        version: CONTRACT_VERSION.to_owned(),
        protocol: PROTOCOL,
        region: config.region.clone(),
        node_id: protocol::ids::sid("ND_", clock::random_u128()),
        debug_info: String::new(),
        agent_protocol: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::token::Keys;

    #[tokio::test]
    async fn a_listener_without_a_place_left_hears_that_it_is_to_stop() {
        let mut config = Config {
            port: 0,
            bind_addresses: vec![Ipv4Addr::LOCALHOST.into()],
            connections_max: 0,
            keys: Keys::new(vec![("key".to_owned(), "secret".to_owned())]),
            ..Config::default()
        };
        config.rtc.udp_port = UdpPorts::Single(0);
        config.plenum.media_threads = Some(1);
        let running = start(config).expect("the server starts");
        // Now it waits for a place.
        tokio::task::yield_now().await;
        running.stop.send(true).expect("it listens");
        for listener in running.listeners {
            let ended = tokio::time::timeout(Duration::from_secs(30), listener).await;
            ended.expect("it stops").expect("and does not panic");
        }
    }
}
