//! `cargo xtask release`: the whole product in one file.

use crate::run::{heading, run, target_folder};
use crate::steps;
use anyhow::{Context as _, Result};

/// Builds the pages, then the server that embeds them, and says where it is.
pub(crate) fn release() -> Result<()> {
    steps::web()?;
    heading("server");
    run("cargo", &["build", "--release", "--package", "server"])?;
    let binary = target_folder().join("release/plenum");
    let size = std::fs::metadata(&binary)
        .with_context(|| format!("{} is not there", binary.display()))?
        .len();
    println!(
        "{}  {:.1} MiB",
        binary.display(),
        size as f64 / f64::from(1 << 20)
    );
    Ok(())
}
