//! The one entry point for developing Plenum: `cargo xtask <command>`.
//!
//! Owns: which tools run in which order, and installing what they need on a fresh machine.
//! Must not know: how the server works.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool speaks to its terminal"
)]

mod dev;
mod help;
mod install;
mod release;
mod run;
mod steps;
mod tidy;

use anyhow::{Result, bail};

fn main() {
    if let Err(error) = command() {
        eprintln!("\x1b[31merror\x1b[0m: {error:#}");
        std::process::exit(1);
    }
}

fn command() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (name, rest) = match words.split_first() {
        Some((name, rest)) => (name.as_str(), rest),
        None => ("help", &[][..]),
    };
    if matches!(name, "help" | "--help" | "-h") {
        print!("{}", help::all());
        return Ok(());
    }
    let Some(command) = help::find(name) else {
        let near = help::nearest(name).map_or_else(String::new, |near| format!(", did you mean `{near}`?"));
        bail!("there is no command `{name}`{near}\n\n{}", help::all());
    };
    if matches!(rest.first().map(String::as_str), Some("--help" | "-h" | "help")) {
        print!("{}", command.text());
        return Ok(());
    }
    command.check(rest)?;
    let root = run::workspace_root()?;
    std::env::set_current_dir(&root)?;
    match name {
        "dev" => dev::dev(rest),
        "release" => release::release(),
        "test" => steps::test(),
        "check" => steps::check(),
        "tidy" => tidy::tidy(&root),
        "web" => steps::web(),
        "bench" => steps::bench(rest),
        "attack" => steps::attack(rest),
        "interop" => steps::interop(rest),
        "fuzz" => steps::fuzz(rest),
        "install" => install::everything(),
        other => unreachable!("the help lists a command `{other}` that is not there"),
    }
}
