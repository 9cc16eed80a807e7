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
mod install;
mod run;
mod steps;
mod tidy;

use anyhow::{Result, bail};

const HELP: &str = "\
cargo xtask <command>

  dev                 build and start a development server, print the page to open
  test                everything that CI runs (installs what is missing)
  check               the quick loop: fmt, clippy -D warnings, tidy, unit tests
  tidy                only the house rules that no compiler checks
  web                 build the pages that the binary serves
  bench [scenario]    benchmarks, e.g. `bench fanout`; further words go to the benchmark
  attack [words]      attacks on a server of their own; words select by name, --list shows them
  interop [client]    stock clients against our server; a word selects tests by name
  fuzz [words]        the parsers against the corpus and seeded mutations
  install             install what the other commands need, and nothing else
";

fn main() {
    if let Err(error) = command() {
        eprintln!("\x1b[31merror\x1b[0m: {error:#}");
        std::process::exit(1);
    }
}

fn command() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match words.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    let root = run::workspace_root()?;
    std::env::set_current_dir(&root)?;
    match command {
        "dev" => dev::dev(rest),
        "test" => steps::test(),
        "check" => steps::check(),
        "tidy" => tidy::tidy(&root),
        "web" => steps::web(),
        "bench" => steps::bench(rest),
        "attack" => steps::attack(rest),
        "interop" => steps::interop(rest),
        "fuzz" => steps::fuzz(rest),
        "install" => install::everything(),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => bail!("there is no command `{other}`\n\n{HELP}"),
    }
}
