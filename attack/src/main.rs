//! Attacks on a running server. A hostile participant, a stranger or a crowd does its worst for a
//! moment each, while probes ask what everybody else would ask: does data in another room arrive,
//! does a join elsewhere succeed, does `GET /` answer, how much memory does the server hold?
//!
//! The server is the real binary as a child process. Must not know: the server's insides.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the report is the product"
)]

mod cases;
mod crowd;
mod http;
mod packets;
mod probes;
mod proto_bytes;
mod report;
mod rng;
mod run;
mod server;
mod stage;
mod token;
mod udp_raw;
mod ws;

use clap::Parser;
use std::path::PathBuf;

#[derive(Debug, Parser)]
#[command(
    name = "attack",
    about = "Attacks a server of its own, and measures how others fare"
)]
struct Options {
    /// Only attacks whose names contain one of these words.
    words: Vec<String>,
    /// The server.
    #[arg(long, default_value = "target/fast/plenum")]
    server: PathBuf,
    /// The first TCP and UDP port to use.
    #[arg(long, default_value_t = 17700)]
    port: u16,
    /// What is drawn at random follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long each attack goes on.
    #[arg(long, default_value_t = 600)]
    spell_ms: u64,
    /// Let the server go before everything else on a machine that has other work; needs root.
    #[arg(long)]
    busy_machine: bool,
    /// Print the names and leave.
    #[arg(long)]
    list: bool,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let cases: Vec<_> = cases::all()
        .into_iter()
        .filter(|case| {
            options.words.is_empty() || options.words.iter().any(|word| case.name.contains(word.as_str()))
        })
        .collect();
    anyhow::ensure!(!cases.is_empty(), "no attack has such a name");
    if options.list {
        for case in &cases {
            println!("{:<28} {}", case.name, case.about);
        }
        return Ok(());
    }
    stage::set_spell(options.spell_ms);
    let plan = run::Plan {
        binary: options.server,
        port: options.port,
        seed: options.seed,
        busy_machine: options.busy_machine,
    };
    if run::run(&cases, &plan)? > 0 {
        // The table has said everything.
        std::process::exit(1);
    }
    Ok(())
}
