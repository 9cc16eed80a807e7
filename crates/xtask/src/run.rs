//! Running other programs: echoed, timed, and with an error that says which one failed.

use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

/// The workspace's root folder, from where cargo built this program.
pub(crate) fn workspace_root() -> Result<PathBuf> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask …`")?;
    let root = PathBuf::from(manifest).join("../..").canonicalize()?;
    Ok(root)
}

/// Where Cargo puts what it builds.
pub(crate) fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from)
}

/// Runs a program with the terminal's own streams; an error when it fails.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<()> {
    run_in(".", program, args)
}

/// [`run`] in another folder.
pub(crate) fn run_in(folder: &str, program: &str, args: &[&str]) -> Result<()> {
    eprintln!(
        "\x1b[2m$ {}{program} {}\x1b[0m",
        if folder == "." {
            String::new()
        } else {
            format!("({folder}) ")
        },
        args.join(" ")
    );
    let started = Instant::now();
    let status = Command::new(program)
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("`{program}` cannot be started"))?;
    if !status.success() {
        bail!("`{program} {}` failed: {status}", args.join(" "));
    }
    eprintln!("\x1b[2m  {:.1} s\x1b[0m", started.elapsed().as_secs_f32());
    Ok(())
}

/// Whether a program can be found on the PATH.
pub(crate) fn has(program: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else {
        return false;
    };
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Prints a heading for a step.
pub(crate) fn heading(text: &str) {
    eprintln!("\n\x1b[1m── {text}\x1b[0m");
}
