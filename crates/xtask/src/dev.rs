//! `cargo xtask dev`: build, start, and let the server print its page.

use crate::run::{heading, run};
use crate::steps;
use anyhow::{Context as _, Result};
use std::process::Command;

/// Builds the pages and the server, then runs it with `--dev` until it is stopped. Further words
/// go to the server.
pub(crate) fn dev(rest: &[String]) -> Result<()> {
    steps::web()?;
    heading("server");
    run("cargo", &["build", "--package", "server"])?;
    // Cargo knows where it built it, and becomes the server.
    let mut server = Command::new("cargo");
    server.args([
        "run",
        "--quiet",
        "--package",
        "server",
        "--bin",
        "plenum",
        "--",
        "--dev",
    ]);
    let status = server
        .args(rest)
        .status()
        .context("the server cannot be started")?;
    std::process::exit(status.code().unwrap_or(1));
}
