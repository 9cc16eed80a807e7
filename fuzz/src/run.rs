//! Runs one target: its corpus first, then mutations until the time or the count is used up.
//! A panic, or an input that takes far too long, ends the target and is kept as a file.

use crate::mutate::{Rng, mutate};
use crate::targets::Target;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant};
use udp::ThreadClock;

/// CPU time that nothing which a datagram or a description can hold should take, even unoptimised.
const SLOW: Duration = Duration::from_secs(5);

/// When to end a target.
#[derive(Clone, Copy, Debug)]
pub enum Budget {
    /// After this time; how many inputs that are depends on the machine, which ones does not.
    Time(Duration),
    /// After so many mutated inputs.
    Count(u64),
}

/// What came of a target.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Corpus inputs.
    pub corpus: usize,
    /// Mutated inputs.
    pub mutated: u64,
    /// The first failure.
    pub failure: Option<Failure>,
}

/// An input on which a target failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Where it came from: a file of the corpus, or the number of the mutation.
    pub origin: String,
    /// The input.
    pub input: Vec<u8>,
    /// What the target said.
    pub message: String,
}

/// One member of a corpus.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Name of its file.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The committed corpus of a target, in the order of the names.
///
/// # Errors
/// When the folder cannot be read.
pub fn corpus(target: &Target) -> std::io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for file in std::fs::read_dir(corpus_folder(target))? {
        let path = file?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        entries.push(Entry {
            name,
            bytes: std::fs::read(&path)?,
        });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// Where the corpus of a target is.
#[must_use]
pub fn corpus_folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target.name)
}

/// Runs a target.
#[must_use]
pub fn run(target: &Target, entries: &[Entry], seed: u64, budget: Budget) -> Outcome {
    let mut outcome = Outcome {
        corpus: 0,
        mutated: 0,
        failure: None,
    };
    for entry in entries {
        outcome.corpus += 1;
        if let Err(message) = try_one(target, &entry.bytes) {
            outcome.failure = Some(Failure {
                origin: entry.name.clone(),
                input: entry.bytes.clone(),
                message,
            });
            return outcome;
        }
    }
    let corpus: Vec<Vec<u8>> = entries.iter().map(|entry| entry.bytes.clone()).collect();
    let start = Instant::now();
    loop {
        let done = match budget {
            Budget::Time(time) => start.elapsed() >= time,
            Budget::Count(count) => outcome.mutated >= count,
        };
        if done {
            return outcome;
        }
        let mut rng = Rng::new(seed, target.name, outcome.mutated);
        let input = mutate(&corpus, &mut rng);
        if let Err(message) = try_one(target, &input) {
            outcome.failure = Some(Failure {
                origin: format!("mutation {} of seed {seed}", outcome.mutated),
                input,
                message,
            });
            return outcome;
        }
        outcome.mutated += 1;
    }
}

thread_local! {
    /// What the last panic of this thread said, while a target runs; else nothing is kept.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Gives one input to a target.
///
/// # Errors
/// What its panic said, or that it was slow.
pub fn try_one(target: &Target, input: &[u8]) -> Result<(), String> {
    keep_panics();
    SAID.set(Some(String::new()));
    // What others do on the machine is not the input's fault.
    let clock = ThreadClock::current().map_err(|error| error.to_string())?;
    let spent = || clock.read().unwrap_or_default();
    let before = spent();
    let ran = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let took = spent().saturating_sub(before);
    let said = SAID.take().unwrap_or_default();
    match ran {
        Err(_) => Err(said),
        Ok(()) if took > SLOW => Err(format!("took {took:?}")),
        Ok(()) => Ok(()),
    }
}

/// From the first call on, panics inside of targets are kept instead of printed.
fn keep_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let kept =
                SAID.with_borrow_mut(|said| said.as_mut().map(|text| *text = info.to_string()).is_some());
            if !kept {
                before(info);
            }
        }));
    });
}
