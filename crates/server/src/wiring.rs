//! Puts the parts together: media threads, rooms, listeners; and takes them apart again.

use crate::clock;
use crate::config::{Config, UdpPorts};
use crate::counters::Counters;
use crate::edge::{Edge, Sockets, http};
use crate::media_pool::{MediaPool, MediaPoolConfig, SocketPlan, default_threads};
use crate::metrics::Metrics;
use crate::rooms::Rooms;
use crate::shell::http_server::HttpServer;
use crate::shell::places::{PlaceLimits, Places};
use anyhow::{Context as _, Result, bail};
use axum::body::Body;
use futures_util::future::select_all;
use protocol::proto;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// The version of livekit-server whose contract this server keeps; SDKs compare it.
pub const CONTRACT_VERSION: &str = "1.13.11";

/// Signal protocol advertised.
const PROTOCOL: i32 = 18;

/// Events of all media threads that may wait for the dispatcher. Full: the threads keep theirs.
const EVENTS_MAX: usize = 8192;

/// Connections that the kernel may hold for us before we accept them.
const BACKLOG: u32 = 1024;

/// Files that places leave alone: those that are opened for a moment, and a connection per listener
/// that is accepted and waits for its place.
const FILES_KEPT: usize = 32;

/// Connections to the metrics. Scrapers need one each.
const METRICS_CONNECTIONS: usize = 64;

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
    watcher: JoinHandle<()>,
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
                rooms.deliver(event);
            }
        }
    });
    let watcher = tokio::spawn(pool.vitals().clone().watch());
    let edge = Edge::new(Arc::clone(&config), rooms.clone(), Arc::clone(&counters));
    let open_sockets = edge.sockets.clone();
    let (stop, stopped) = watch::channel(false);
    let (limits, metrics_limits) = place_limits(&config);
    let places = Places::new(limits, Arc::clone(&counters));
    let respond = move |peer, request| {
        let edge = edge.clone();
        async move { http::handle(&edge, peer, request).await }
    };
    let (addresses, mut listeners) = serve(sockets, &places, &counters, &respond, &stopped)?;
    let metrics = Metrics::new(
        rooms.clone(),
        Arc::clone(&counters),
        Arc::clone(&pool),
        node_id,
        config.prometheus.clone(),
    );
    let respond = move |_, request: hyper::Request<_>| {
        let response = metrics.respond(request.headers());
        async move { response }
    };
    let places = Places::new(metrics_limits, Arc::clone(&counters));
    let (metrics_addresses, more) = serve(metrics_sockets, &places, &counters, &respond, &stopped)?;
    listeners.extend(more);
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
        watcher,
    })
}

impl Running {
    /// The media threads.
    #[must_use]
    pub fn pool(&self) -> &MediaPool {
        &self.pool
    }

    /// Until a part has ended without which nothing works; which one it was. Nobody can be served
    /// from then on: the process should end, so that whoever supervises it starts another one.
    pub async fn failed(&mut self) -> &'static str {
        tokio::select! {
            biased;
            () = self.pool.vitals().ended() => "a media thread has ended",
            _ = &mut self.dispatcher => "the dispatcher of media events has ended",
            _ = &mut self.watcher => "the watch over the media threads has ended",
            _ = select_all(&mut self.listeners) => "a listener has ended",
        }
    }

    /// Ends everything: participants are told, queues flushed, sockets closed.
    pub async fn shutdown(self) {
        self.rooms.shutdown(SHUTDOWN_PATIENCE).await;
        // Sockets first flush what rooms queued, then their connections end.
        let _ = self.stop.send(true);
        let all = async {
            self.sockets.all_closed().await;
            for listener in self.listeners {
                // One that has ended may have been waited for already.
                if !listener.is_finished() {
                    let _ = listener.await;
                }
            }
        };
        if tokio::time::timeout(SHUTDOWN_PATIENCE, all).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
        self.dispatcher.abort();
        self.watcher.abort();
        drop(self.rooms);
        if let Ok(pool) = Arc::try_unwrap(self.pool) {
            // Waits for threads, so not on a task's thread; one that hangs is not waited for.
            let ended = tokio::task::spawn_blocking(move || pool.shutdown());
            if tokio::time::timeout(SHUTDOWN_PATIENCE, ended).await.is_err() {
                tracing::warn!("some media threads did not end in time");
            }
        }
    }
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

/// Starts to serve on sockets that share their places; where they listen.
fn serve<R, F>(
    sockets: Vec<TcpListener>,
    places: &Places,
    counters: &Arc<Counters>,
    respond: &R,
    stopped: &watch::Receiver<bool>,
) -> Result<(Vec<SocketAddr>, Vec<JoinHandle<()>>)>
where
    R: Fn(SocketAddr, hyper::Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = hyper::Response<Body>> + Send + 'static,
{
    let mut addresses = Vec::new();
    let mut tasks = Vec::new();
    for listener in sockets {
        addresses.push(listener.local_addr()?);
        let server = HttpServer {
            listener,
            places: places.clone(),
            counters: Arc::clone(counters),
        };
        tasks.push(tokio::spawn(server.serve(respond.clone(), stopped.clone())));
    }
    Ok((addresses, tasks))
}

/// As many places as files may still be opened, less those that are kept, for requests and for
/// metrics. Called when everything else is open.
fn place_limits(config: &Config) -> (PlaceLimits, PlaceLimits) {
    let free = match udp::free_files() {
        Ok(free) => free.saturating_sub(FILES_KEPT),
        Err(error) => {
            tracing::warn!(%error, "the limit of open files is unknown");
            config.connections_max
        }
    };
    let metrics = match config.prometheus.port {
        Some(_) => METRICS_CONNECTIONS.min(free / 8 + 1),
        None => 0,
    };
    let places = free.saturating_sub(metrics).max(1).min(config.connections_max);
    tracing::info!(places, "connections");
    (
        PlaceLimits::of(places, config.plenum.connections_per_address),
        PlaceLimits::of(metrics, 0),
    )
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
        load_max: (config.cpu_load_limit.clamp(0.0, 1.0) * 1000.0) as u32,
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
    use crate::shell::media_thread::Fault;
    use protocol::token::Keys;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    fn config() -> Config {
        let mut config = Config {
            port: 0,
            bind_addresses: vec![Ipv4Addr::LOCALHOST.into()],
            keys: Keys::new(vec![("key".to_owned(), "secret".to_owned())]),
            ..Config::default()
        };
        config.rtc.udp_port = UdpPorts::Single(0);
        config.plenum.media_threads = Some(1);
        config
    }

    async fn health(address: SocketAddr) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("connects");
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.expect("writes");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("reads");
        answer
    }

    #[tokio::test]
    async fn a_listener_without_a_place_left_hears_that_it_is_to_stop() {
        let running = start(Config {
            connections_max: 0,
            ..config()
        });
        let running = running.expect("the server starts");
        // Somebody waits for a place.
        let _waiting = tokio::net::TcpStream::connect(running.addresses[0]).await;
        tokio::task::yield_now().await;
        running.stop.send(true).expect("it listens");
        for listener in running.listeners {
            let ended = tokio::time::timeout(Duration::from_secs(30), listener).await;
            ended.expect("it stops").expect("and does not panic");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_media_thread_that_dies_fails_the_server_and_its_health() {
        let mut running = start(config()).expect("the server starts");
        let address = running.addresses[0];
        assert!(health(address).await.ends_with("\r\n\r\nOK"));
        running.pool.inject(0, Fault::Panic);
        let failed = tokio::time::timeout(Duration::from_secs(30), running.failed()).await;
        assert_eq!(failed, Ok("a media thread has ended"));
        let answer = health(address).await;
        assert!(answer.starts_with("HTTP/1.1 406 "), "{answer}");
        assert!(
            answer.ends_with("Not Ready\nmedia thread 0 has ended"),
            "{answer}"
        );
        running.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn tasks_that_end_fail_the_server() {
        type End = fn(&Running);
        let ends: [(End, &str); 2] = [
            (
                |running| running.dispatcher.abort(),
                "the dispatcher of media events has ended",
            ),
            (|running| running.listeners[0].abort(), "a listener has ended"),
        ];
        for (end, expected) in ends {
            let mut running = start(config()).expect("the server starts");
            end(&running);
            let failed = tokio::time::timeout(Duration::from_secs(30), running.failed()).await;
            assert_eq!(failed, Ok(expected));
            running.shutdown().await;
        }
    }
}
