//! The binary `plenum`: reads the command line and the configuration, starts the server, waits for
//! the signal to stop.
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    reason = "errors, generated keys and the page's address are for people at a terminal"
)]

use anyhow::{Result, bail};
use server::cli::{self, Command};
use server::config::{self, Config, UdpPorts};
use server::{clock, wiring};
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{Level, Metadata};
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

#[global_allocator]
static ALLOCATOR: heap::Allocator = heap::Allocator;

fn main() -> ExitCode {
    let arguments = match cli::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors; clap knows where each goes.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: cli::Arguments) -> Result<()> {
    let command = arguments.command.clone();
    match command {
        Some(Command::GenerateKeys) => {
            generate_keys();
            return Ok(());
        }
        Some(Command::HelpVerbose) => {
            print!("{}", cli::verbose());
            return Ok(());
        }
        Some(Command::Ports) | None => {}
    }
    let sources = arguments.sources(|name| std::env::var(name).ok());
    let config = config::from_sources(&sources)?;
    if matches!(command, Some(Command::Ports)) {
        ports(&config);
        return Ok(());
    }
    start_logging(&config);
    report(&config);
    heap::start_giving_back()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(control_threads())
        .enable_all()
        .build()?;
    let ended = runtime.block_on(serve(config));
    // Nothing is left to wait for; a thread that hangs would keep the process.
    runtime.shutdown_background();
    ended
}

/// Threads of the control plane. A message of 2 MiB takes some ten milliseconds to inflate and to check,
/// and several connections may send such messages at once: with as many threads as cores all others would
/// wait for them, with more the kernel gives everybody a turn. Idle threads cost some KiB each.
fn control_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (2 * cores).max(8)
}

async fn serve(config: Config) -> Result<()> {
    let page = config.page_enabled();
    let mut running = wiring::start(config)?;
    for address in &running.addresses {
        tracing::info!(%address, "listening");
    }
    if page && let Some(address) = running.addresses.first() {
        println!(
            "\n  Plenum is running. Open  {}  in two tabs.\n",
            page_url(*address)
        );
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let failed = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        failed = running.failed() => Some(failed),
    };
    match failed {
        None => tracing::info!("stopping"),
        Some(failed) => tracing::error!("{failed}: stopping, for nobody can be served"),
    }
    running.shutdown().await;
    match failed {
        None => Ok(()),
        Some(failed) => bail!(failed),
    }
}

/// Browsers give microphone and camera to `localhost` even without TLS.
fn page_url(address: SocketAddr) -> String {
    let ip = address.ip();
    if ip.is_loopback() || ip.is_unspecified() {
        format!("http://localhost:{}/", address.port())
    } else {
        format!("http://{address}/")
    }
}

fn start_logging(config: &Config) {
    let level = match config.logging.level.as_str() {
        "debug" => "debug",
        "warn" | "warning" => "warn",
        "error" => "error",
        // The reference does not check the level either.
        _ => "info",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| usual_filter(level));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if config.logging.json {
        lines.json().boxed()
    } else {
        lines.boxed()
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter).with_filter(FilterFn::new(no_secrets)))
        .init();
}

/// What is written unless `RUST_LOG` says otherwise.
fn usual_filter(level: &str) -> EnvFilter {
    // What dependencies say is of use only when they complain; and what this one complains of is what
    // remote sides send, which is counted.
    const DEPENDENCIES: &str = "warn,sctp_proto=off";
    EnvFilter::new(format!(
        "{DEPENDENCIES},plenum={level},server={level},media={level},room={level},peer={level}"
    ))
}

/// Below WARN, dependencies write what they are sent: URLs with tokens, session descriptions with
/// passwords. Whatever RUST_LOG says, that reaches no log.
fn no_secrets(metadata: &Metadata<'_>) -> bool {
    const OURS: [&str; 8] = [
        "plenum", "server", "media", "room", "peer", "protocol", "wire", "udp",
    ];
    let root = metadata.target().split("::").next().unwrap_or_default();
    *metadata.level() <= Level::WARN || OURS.contains(&root)
}

/// Tells what is in force, and what is not.
fn report(config: &Config) {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting plenum");
    for line in &config.shown {
        tracing::info!("configured: {line}");
    }
    if !config.not_built.is_empty() {
        let keys = config.not_built.join(", ");
        tracing::warn!("these keys are accepted but do nothing yet: {keys}");
    }
    for key in &config.keys_without_text {
        tracing::warn!(
            api_key = key,
            "passed over in --keys: the secret is no text, put it into quotes"
        );
    }
    if !config.development {
        for key in config.weak_keys() {
            tracing::error!(
                api_key = key,
                "secret is too short, should be at least 32 characters for security"
            );
        }
    }
    let open = config.bind_addresses.iter().any(|ip| !IpAddr::is_loopback(ip));
    if config.page_enabled() && (open || config.bind_addresses.is_empty()) {
        tracing::warn!("the page is on: whoever reaches this server can join any room");
    }
}

fn generate_keys() {
    let base62 = |count: usize| -> String {
        const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        (0..count)
            .map(|_| {
                let index = usize::try_from(clock::random_u64() % 62).expect("below 62");
                char::from(DIGITS[index])
            })
            .collect()
    };
    println!("API Key:  API{}", base62(12));
    println!("API Secret:  {}", base62(44));
}

fn ports(config: &Config) {
    println!("TCP Ports\n{} - HTTP service\nUDP Ports", config.port);
    match &config.rtc.udp_port {
        UdpPorts::Single(port) => println!("{port} - ICE/UDP"),
        UdpPorts::Range(range) => println!("{}-{} - ICE/UDP range", range.start(), range.end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Lines(Arc<AtomicUsize>);

    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Lines {
        fn on_event(&self, _: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_clients_do_to_sctp_is_not_written_and_other_complaints_are() {
        let count = Arc::new(AtomicUsize::new(0));
        let written = |what: fn()| {
            let layer = Lines(count.clone()).with_filter(usual_filter("info"));
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), what);
            count.swap(0, Ordering::Relaxed)
        };
        assert_eq!(
            written(|| tracing::error!(target: "sctp_proto::association", "abort")),
            0
        );
        assert_eq!(written(|| tracing::warn!(target: "hyper::server", "trouble")), 1);
        assert_eq!(written(|| tracing::info!(target: "hyper::server", "news")), 0);
        assert_eq!(written(|| tracing::info!(target: "server::wiring", "news")), 1);
    }
}
