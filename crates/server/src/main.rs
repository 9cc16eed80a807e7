//! The binary `plenum`: reads the configuration, starts the server, waits for the signal to stop.
#![expect(
    clippy::print_stdout,
    reason = "errors and the page's address are what people read here"
)]

use anyhow::Result;
use server::config::{Config, UdpPorts};
use server::wiring;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut config = Config::default();
    if std::env::args().any(|argument| argument == "--dev") {
        config.development = true;
        config.rtc.udp_port = UdpPorts::Single(7882);
        let key = ("devkey".to_owned(), "secret".to_owned());
        config.keys = protocol::token::Keys::new(vec![key]);
        config.bind_addresses = vec!["127.0.0.1".parse()?, "::1".parse()?];
    }
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> Result<()> {
    let page = config.page_enabled();
    let running = wiring::start(config)?;
    for address in &running.addresses {
        tracing::info!(%address, "listening");
        if page {
            println!("\n  Open http://{address}/ in two tabs\n");
        }
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    running.shutdown().await;
    Ok(())
}
