//! The attacks.

mod api;
mod broadcast;
mod datagrams;
mod frames;
mod lists;
mod media;
mod negotiation;
mod sessions;
mod strangers;

use crate::server::Kind;
use crate::stage::Stage;

/// One attack.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) kind: Kind,
    pub(crate) run: fn(&mut Stage<'_>) -> anyhow::Result<()>,
}

/// A case against a server with a UDP port for each thread.
const fn case(
    name: &'static str,
    about: &'static str,
    run: fn(&mut Stage<'_>) -> anyhow::Result<()>,
) -> Case {
    Case {
        name,
        about,
        kind: Kind::Range,
        run,
    }
}

/// All of them, in the order in which they run.
pub(crate) fn all() -> Vec<Case> {
    [
        lists::CASES,
        frames::CASES,
        broadcast::CASES,
        sessions::CASES,
        negotiation::CASES,
        media::CASES,
        api::CASES,
        strangers::CASES,
        datagrams::CASES,
    ]
    .concat()
}
