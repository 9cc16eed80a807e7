//! Embeds the page anew when it was built anew, and builds no release without it.

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs, io};

fn main() -> ExitCode {
    match prepare() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // `cargo::error` lines stand at the end of what Cargo prints.
            for line in error.to_string().lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn prepare() -> io::Result<()> {
    let manifest = variable("CARGO_MANIFEST_DIR")?;
    let dist = Path::new(&manifest).join("../../web/dist");
    // Cargo would run this each time if what it watches did not exist.
    fs::create_dir_all(&dist)?;
    println!("cargo::rerun-if-changed={}", dist.display());
    println!("cargo::rerun-if-changed=build.rs");
    if is_for_users()? && !dist.join("index.html").is_file() {
        return Err(io::Error::other(
            "the pages that the server shows are not built (web/dist is empty)\n\
             run `cargo xtask release`: it builds them, then the server",
        ));
    }
    Ok(())
}

/// Whether the binary may be given to users: every optimised profile but `fast`, which is for benchmarks and
/// tests. Cargo calls that one `release`, too; only the folder it builds in (`target/fast/build/…`) has its name.
fn is_for_users() -> io::Result<bool> {
    let out = variable("OUT_DIR")?;
    let mut folders = Path::new(&out).ancestors().skip(1);
    let profile = folders
        .find(|folder| folder.ends_with("build"))
        .and_then(Path::parent);
    Ok(variable("PROFILE")? == "release" && !profile.is_some_and(|folder| folder.ends_with("fast")))
}

fn variable(name: &str) -> io::Result<String> {
    env::var(name).map_err(|error| io::Error::other(format!("{name}: {error}")))
}
