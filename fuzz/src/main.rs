//! The runner's command line.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks to its user"
)]

use fuzz::run::{Budget, Failure, Outcome, corpus, corpus_folder, run, try_one};
use fuzz::{TARGETS, Target, seeds};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const HELP: &str = "\
fuzz [--seconds N | --count N] [--seed S] [target ...]   corpus, then mutations
fuzz --input FILE target                                  one input, e.g. a failure
fuzz --list                                               the targets
fuzz --write-corpus                                       the corpus, anew

--seconds   for all targets together (10)
--count     mutations of each target instead: the same inputs on every machine
--seed      of the mutations (1)
";

/// Longest message that is shown, in characters.
const MESSAGE_MAX: usize = 600;

struct Options {
    seconds: u64,
    count: Option<u64>,
    seed: u64,
    input: Option<PathBuf>,
    targets: Vec<&'static Target>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--help" | "-h"] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        ["--list"] => {
            TARGETS.iter().for_each(|target| println!("{}", target.name));
            return ExitCode::SUCCESS;
        }
        ["--write-corpus"] => return finish(seeds::write_corpus().map_err(|error| error.to_string())),
        _ => {}
    }
    let options = match parse(&words) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}\n{HELP}");
            return ExitCode::from(2);
        }
    };
    if let Some(path) = &options.input {
        let read = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        let all = |input: Vec<u8>| {
            options
                .targets
                .iter()
                .try_for_each(|target| try_one(target, &input))
        };
        return finish(read.and_then(all));
    }
    let (mut passed, mut failed) = (0, 0);
    for target in &options.targets {
        if report(target, &options) {
            passed += 1;
        } else {
            failed += 1;
        }
    }
    println!("{passed} passed, {failed} failed");
    ExitCode::from(u8::from(failed > 0))
}

fn finish(result: Result<(), String>) -> ExitCode {
    if let Err(message) = result {
        eprintln!("{message}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn parse(words: &[String]) -> Result<Options, String> {
    let mut options = Options {
        seconds: 10,
        count: None,
        seed: 1,
        input: None,
        targets: Vec::new(),
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} lacks its value"));
        let number = |text: &String| text.parse().map_err(|_| format!("{text} is no number"));
        match word.as_str() {
            "--seconds" => options.seconds = number(value()?)?,
            "--count" => options.count = Some(number(value()?)?),
            "--seed" => options.seed = number(value()?)?,
            "--input" => options.input = Some(value()?.into()),
            name => {
                let found = TARGETS.iter().find(|target| target.name == name);
                options.targets.push(found.ok_or(format!("no target {name}"))?);
            }
        }
    }
    if options.targets.is_empty() {
        if options.input.is_some() {
            return Err("--input needs a target".to_owned());
        }
        options.targets.extend(TARGETS);
    }
    Ok(options)
}

/// Runs one target and says how it went.
fn report(target: &Target, options: &Options) -> bool {
    let budget = options.count.map_or_else(
        || Budget::Time(Duration::from_secs(options.seconds) / options.targets.len() as u32),
        Budget::Count,
    );
    let entries = match corpus(target) {
        Ok(entries) if !entries.is_empty() => entries,
        Ok(_) => {
            println!("{}: no corpus", target.name);
            return false;
        }
        Err(error) => {
            println!("{}: {}: {error}", target.name, corpus_folder(target).display());
            return false;
        }
    };
    let Outcome {
        corpus,
        mutated,
        failure,
    } = run(target, &entries, options.seed, budget);
    println!("{}: {corpus} of the corpus, {mutated} mutated", target.name);
    if let Some(failure) = &failure {
        tell(target, failure);
    }
    failure.is_none()
}

fn tell(target: &Target, failure: &Failure) {
    // An assertion about texts repeats both of them, which the input tells better.
    let message: String = failure.message.chars().take(MESSAGE_MAX).collect();
    println!("  failed on {}: {message}", failure.origin);
    let hex: String = failure.input.iter().map(|byte| format!("{byte:02x}")).collect();
    println!("  input ({} bytes): {hex}", failure.input.len());
    let folder = PathBuf::from("target/fuzz");
    let path = folder.join(format!("{}-{}.bin", target.name, failure.input.len()));
    let kept = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, &failure.input));
    match kept {
        Ok(()) => println!("  again: fuzz --input {} {}", path.display(), target.name),
        Err(error) => println!("  not kept: {error}"),
    }
}
