//! Frames, broken frames, sizes, close codes and pings of signal connections, as recorded.
#![allow(missing_docs, reason = "tests")]

mod common;
mod replay;

use replay::{Recording, Script};

const SKIPPED: &[(&str, &str)] = &[(
    "permessage_deflate",
    "the replay does not speak compression; `signal_deflate.rs` does",
)];

#[tokio::test(flavor = "multi_thread")]
async fn recorded_frames_and_close_codes() {
    let recording = Recording::new(include_str!("vectors/signal/framing.json"));
    recording
        .replay(SKIPPED, |_| common::config(), |_| Script::default())
        .await;
}
