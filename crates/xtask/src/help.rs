//! What each command does and takes.

use anyhow::{Result, bail};

/// A command.
pub(crate) struct Command {
    name: &'static str,
    /// What may follow; empty: nothing.
    words: &'static str,
    about: &'static str,
    /// Lines of its own help, behind `about`.
    more: &'static str,
}

const COMMANDS: [Command; 11] = [
    Command {
        name: "dev",
        words: "[flags]",
        about: "build and start a development server, print the page to open",
        more: "Flags go to the server, e.g. `cargo xtask dev --port 8000`; `plenum --help` lists them.\n",
    },
    Command {
        name: "release",
        words: "",
        about: "build the product: the pages and the binary that serves them",
        more: "Prints where the binary is. It needs nothing beside it but a configuration.\n",
    },
    Command {
        name: "test",
        words: "",
        about: "everything that CI runs (installs what is missing)",
        more: "",
    },
    Command {
        name: "check",
        words: "",
        about: "the quick loop: fmt, clippy -D warnings, tidy, unit tests",
        more: "",
    },
    Command {
        name: "tidy",
        words: "",
        about: "only the house rules that no compiler checks",
        more: "",
    },
    Command {
        name: "web",
        words: "",
        about: "build the pages that the binary serves",
        more: "",
    },
    Command {
        name: "bench",
        words: "[scenario] [flags]",
        about: "benchmarks beside this machine's own limit",
        more: "\
Scenarios:
  fanout    one room: audio from 10 speakers, video from one publisher, to more and more who receive them (default)
  churn     tracks, resumes, joins and leaves by the hundred: does everything come back to where it was?
  join      one join after the other, with loss: how long does a connection take to come up?
  overload  more than one media thread can carry: what still gets through, and how late?
  floor     only the machine's limit

`cargo xtask bench fanout --help` lists the flags of a scenario.
",
    },
    Command {
        name: "attack",
        words: "[words] [flags]",
        about: "attacks on a server of their own while others use it",
        more: "\
Runs the attacks whose names contain one of the words, or all: `cargo xtask attack list` or `cargo xtask attack join data`.

Flags:
  --list           print the names and what each does
  --port PORT      the first TCP and UDP port to use (default: 17700)
  --seed SEED      what is drawn at random follows from it (default: 1)
  --spell-ms MS    how long each attack goes on (default: 600)
  --server FILE    another binary
  --busy-machine   let the server go before everything else on a machine that has other work; needs root
",
    },
    Command {
        name: "interop",
        words: "[pattern]",
        about: "stock clients against our server",
        more: "\
Runs the tests whose names match the pattern (a regular expression), or all: `cargo xtask interop simulcast`.
It installs browsers and SDKs where they are missing.

In the environment:
  SERVER_LOG=1, CLIENT_LOG=1   show what the server and the clients say
  PLENUM_BIN=FILE              test another binary
",
    },
    Command {
        name: "fuzz",
        words: "[words] [flags]",
        about: "the parsers against the corpus and seeded mutations",
        more: "\
Runs the targets that the words name, or all; `--list` prints them.

Flags:
  --seconds N   for all targets together (default: 10)
  --count N     mutations of each target instead: the same inputs on every machine
  --seed S      of the mutations (default: 1)
  --input FILE  one input for one target, e.g. a failure
  --write-corpus
                write the corpus anew
",
    },
    Command {
        name: "install",
        words: "",
        about: "install what the other commands need, and nothing else",
        more: "",
    },
];

/// The commands, a line each.
pub(crate) fn all() -> String {
    let mut text = String::from("cargo xtask <command>\n\n");
    for command in &COMMANDS {
        let usage = format!("{} {}", command.name, command.words);
        text.push_str(&format!("  {usage:<26} {}\n", command.about));
    }
    text.push_str("\n`cargo xtask <command> --help` says more.\n");
    text
}

pub(crate) fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

/// A command that begins alike.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let alike = |other: &str| {
        other
            .chars()
            .zip(name.chars())
            .take_while(|(a, b)| a == b)
            .count()
    };
    let names = COMMANDS.iter().map(|command| command.name);
    names
        .max_by_key(|other| alike(other))
        .filter(|other| alike(other) >= 2)
}

impl Command {
    pub(crate) fn text(&self) -> String {
        let usage = format!("cargo xtask {} {}", self.name, self.words);
        let mut text = format!("{}\n\n{}.\n", usage.trim_end(), capital(self.about));
        if !self.more.is_empty() {
            text.push_str(&format!("\n{}", self.more));
        }
        text
    }

    /// Refuses words that would be passed over.
    pub(crate) fn check(&self, rest: &[String]) -> Result<()> {
        match rest.first() {
            Some(word) if self.words.is_empty() => bail!("`{}` takes nothing, not `{word}`", self.name),
            Some(word) if !self.words.contains("[flags]") && (word.starts_with('-') || rest.len() > 1) => {
                bail!("`{}` takes one {}\n\n{}", self.name, self.words, self.text())
            }
            _ => Ok(()),
        }
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
