//! The steps that the commands are made of.

use crate::run::{heading, run, run_in, target_folder};
use crate::{install, tidy};
use anyhow::{Context as _, Result};
use std::path::Path;

/// The quick loop, under two minutes when warm.
pub(crate) fn check() -> Result<()> {
    lint()?;
    heading("unit tests");
    run("cargo", &["test", "--quiet", "--workspace", "--lib", "--bins"])
}

/// What is seen without running anything.
fn lint() -> Result<()> {
    heading("format");
    run("cargo", &["fmt", "--all", "--check"])?;
    heading("house rules");
    tidy::tidy(Path::new("."))?;
    heading("clippy");
    run(
        "cargo",
        &[
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    )
}

/// Everything that CI runs.
pub(crate) fn test() -> Result<()> {
    install::for_server()?;
    web()?;
    // Downloads wait, compilers do not.
    std::thread::scope(|scope| {
        let installing = scope.spawn(install::for_interop);
        let linted = lint();
        let installed = installing.join();
        linted?;
        installed.map_err(|_| anyhow::anyhow!("installing panicked"))?
    })?;
    heading("unit, pair, simulation and server tests");
    run("cargo", &["test", "--quiet", "--workspace"])?;
    fuzz(&["--seconds".into(), "20".into()])?;
    heading("churn");
    bench(&["churn".into()])?;
    attack(&[])?;
    interop(&[])
}

/// Builds the pages that the binary embeds.
pub(crate) fn web() -> Result<()> {
    install::for_web()?;
    heading("pages");
    run_in("web", "npm", &["run", "--silent", "build"])
}

/// Benchmarks run optimised. Of them only churn, which measures sizes and not speed, is a test.
pub(crate) fn bench(rest: &[String]) -> Result<()> {
    build_fast()?;
    let mut args: Vec<&str> = rest.iter().map(String::as_str).collect();
    if rest.is_empty() {
        args.push("fanout");
    }
    run(&built("bench")?, &args)
}

/// A hostile client, a stranger and a crowd against our server, while others use it.
pub(crate) fn attack(rest: &[String]) -> Result<()> {
    heading("attacks");
    build_fast()?;
    let (attack, server) = (built("attack")?, built("plenum")?);
    let mut args = Vec::new();
    if !rest.iter().any(|word| word.starts_with("--server")) {
        args.extend(["--server", &server]);
    }
    args.extend(rest.iter().map(String::as_str));
    run(&attack, &args)
}

/// Builds the server and what measures it, optimised. In one go: by itself each would have their
/// dependencies built with other features, once more.
fn build_fast() -> Result<()> {
    let packages = ["server", "attack", "bench"];
    let mut args = vec!["build", "--quiet", "--profile", "fast"];
    for package in packages {
        args.extend(["--package", package]);
    }
    run("cargo", &args)
}

/// The path of a program that was built in the profile `fast`.
fn built(name: &str) -> Result<String> {
    let path = target_folder().join("fast").join(name);
    let path = std::path::absolute(path)?.into_os_string().into_string();
    path.ok()
        .with_context(|| format!("the path of `{name}` is no UTF-8"))
}

/// Stock clients against our server.
pub(crate) fn interop(rest: &[String]) -> Result<()> {
    install::for_interop()?;
    web()?;
    heading("building the server");
    build_fast()?;
    let binary = match std::env::var("PLENUM_BIN") {
        Ok(other) => other,
        Err(_) => built("plenum")?,
    };
    let binary = format!("PLENUM_BIN={binary}");
    let word = rest.first().map(String::as_str);
    if word == Some("stacks") {
        install::pion()?;
    }
    if matches!(word, None | Some("descriptions")) {
        heading("descriptions of random calls");
        let test = "descriptions::random_histories_of_subscriptions_show_every_track_once";
        let args = [
            "test",
            "--quiet",
            // All of it, or dependencies are built once more with other features.
            "--workspace",
            "--test",
            "room",
            "--",
            "--exact",
            test,
        ];
        run("cargo", &args)?;
    }
    // These two words ask for more than a usual run has time for.
    let thorough = match word {
        Some("stacks" | "descriptions") => "THOROUGH=1",
        _ => "THOROUGH=",
    };
    // What the SDKs ship waits more than it works, so that both run side by side.
    for (title, script) in [("stock clients", "test"), ("the SDKs' own tests", "suites")] {
        heading(title);
        let mut args = vec![binary.as_str(), thorough, "npm", "run", "--silent", script];
        if let Some(word) = word {
            args.extend(["--", "--test-name-pattern", word]);
        }
        run_in("interop", "env", &args)?;
    }
    Ok(())
}

/// The fuzz targets on a stable toolchain: corpus and seeded mutations. Unoptimised, for that is the
/// profile whose arithmetic is checked for overflow.
pub(crate) fn fuzz(rest: &[String]) -> Result<()> {
    heading("fuzz targets");
    // All of it, or dependencies are built once more with other features.
    run("cargo", &["build", "--quiet", "--workspace"])?;
    let program = target_folder().join("debug/fuzz");
    let program = program.to_str().context("the path of `fuzz` is no UTF-8")?;
    run(program, &rest.iter().map(String::as_str).collect::<Vec<_>>())
}
