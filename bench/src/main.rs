//! Benchmarks. Every figure stands beside the floor of the same machine in the same run: what
//! encrypting and handing the same datagrams to the kernel costs alone.
//!
//! Must not know: anything of the server but its façades and the wire.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the report is the product"
)]

mod alloc;
mod churn;
mod client;
mod fanout;
mod floor;
mod join;
mod overload;
mod table;
mod traffic;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "bench",
    about = "Benchmarks of Plenum beside the floor of this machine"
)]
struct Arguments {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// One room: audio from 10 speakers to N listeners, video from 1 publisher to N viewers.
    Fanout(fanout::Options),
    /// Tracks, resumes, joins and leaves by the hundred: does everything come back to where it was?
    Churn(churn::Options),
    /// One join after the other, with loss: how long does a connection take to come up?
    Join(join::Options),
    /// More than one media thread can carry: what still gets through, and how late?
    Overload(overload::Options),
    /// Only the floor, at the sizes of audio and video packets.
    Floor,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().scenario {
        Scenario::Fanout(options) => fanout::run(&options),
        Scenario::Churn(options) => churn::run(&options),
        Scenario::Join(options) => join::run(&options),
        Scenario::Overload(options) => overload::run(&options),
        Scenario::Floor => floor::run(),
    }
}
