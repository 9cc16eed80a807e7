//! What an attack has at hand, and what it leaves for the verdict.

use crate::crowd::{Crowd, Flooded, flood};
use crate::probes::Shared;
use crate::rng::Rng;
use crate::server::Server;
use crate::ws::Ws;
use crate::{http, token};
use anyhow::Context;
use bench::guest::World;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Neither setting up nor an answer takes an attack longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(4);
/// How long an attack goes on, in milliseconds. Long enough for the worst that was seen to show,
/// short enough for all of them in three minutes.
static SPELL_MS: AtomicU64 = AtomicU64::new(600);

/// How long an attack goes on.
pub(crate) fn spell() -> Duration {
    Duration::from_millis(SPELL_MS.load(Ordering::Relaxed))
}

pub(crate) fn set_spell(ms: u64) {
    SPELL_MS.store(ms, Ordering::Relaxed);
}

#[derive(Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) server: &'a Server,
    pub(crate) world: &'a World,
    pub(crate) shared: &'a Shared,
    pub(crate) room: String,
    pub(crate) rng: Rng,
    /// Figures worth a look.
    pub(crate) notes: Vec<String>,
    /// What went wrong beyond the probes.
    pub(crate) faults: Vec<String>,
    /// Those of the same room, who must not be cut.
    pub(crate) victims: Vec<Crowd>,
}

/// What a session asks for beyond the usual.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ask<'a> {
    /// More of the query, beginning with `&`.
    pub(crate) query: &'a str,
    /// More headers, each with its line end.
    pub(crate) headers: &'a str,
    /// Bytes of the socket's receive buffer.
    pub(crate) receive_buffer: Option<usize>,
}

impl Stage<'_> {
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Something is wrong unless this holds.
    pub(crate) fn must(&mut self, holds: bool, text: impl Into<String>) {
        if !holds {
            self.faults.push(text.into());
        }
    }

    /// Memory of the server now.
    pub(crate) fn rss_mib(&self) -> u64 {
        self.shared.rss.load(Ordering::Relaxed)
    }

    /// Joins the room of the attack.
    pub(crate) fn join(&self, identity: &str) -> anyhow::Result<Ws> {
        self.join_with(identity, Ask::default())
    }

    pub(crate) fn join_with(&self, identity: &str, ask: Ask<'_>) -> anyhow::Result<Ws> {
        self.enter(&token::join(identity, &self.room), ask)
    }

    /// Joins by a token; answers after the upgrade, with the join response still unread.
    pub(crate) fn enter(&self, token: &str, ask: Ask<'_>) -> anyhow::Result<Ws> {
        let path = path(token, ask.query);
        Ws::open(
            self.server.address,
            &path,
            ask.headers,
            ask.receive_buffer,
            PATIENCE,
        )
    }

    /// Some others in the room, who read everything, at `rate` bytes a second at most.
    pub(crate) fn victims(&mut self, count: usize, query: &str, rate: Option<usize>) -> anyhow::Result<()> {
        let mut sockets = Vec::with_capacity(count);
        for index in 0..count {
            let ask = Ask {
                query,
                receive_buffer: rate.map(|_| 64 * 1024),
                ..Ask::default()
            };
            let mut ws = self.join_with(&format!("victim-{index}"), ask)?;
            ws.join()?;
            sockets.push(ws);
        }
        self.victims.push(Crowd::read(sockets, rate));
        Ok(())
    }

    /// Floods from sessions of the room.
    pub(crate) fn flood(
        &mut self,
        sessions: Vec<Ws>,
        frames: &[Vec<u8>],
        frames_max: u64,
        deaf: bool,
    ) -> Flooded {
        let mut sockets: Vec<TcpStream> = sessions.into_iter().map(|ws| ws.stream).collect();
        self.flood_sockets(&mut sockets, frames, frames_max, deaf)
    }

    pub(crate) fn flood_sockets(
        &mut self,
        sockets: &mut [TcpStream],
        frames: &[Vec<u8>],
        frames_max: u64,
        deaf: bool,
    ) -> Flooded {
        let flooded = flood(sockets, frames, spell(), frames_max, deaf);
        let cut = if flooded.cut > 0 {
            format!(", {} cut", flooded.cut)
        } else {
            String::new()
        };
        self.note(format!(
            "{} frames, {} KiB{cut}",
            flooded.frames,
            flooded.bytes >> 10
        ));
        flooded
    }

    /// A connection for HTTP.
    pub(crate) fn connect(&self) -> anyhow::Result<TcpStream> {
        http::connect(self.server.address, PATIENCE)
    }

    /// Runs something of a participant with media.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("a runtime")?
            .block_on(work)
    }
}

/// Keeps a pace, of an attack or of probes. Nobody waits by it for something to happen.
#[expect(clippy::disallowed_methods, reason = "see above")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// The path of a session.
pub(crate) fn path(token: &str, query: &str) -> String {
    format!("/rtc?access_token={token}&auto_subscribe=1&sdk=go&protocol=16{query}")
}

/// Lets the calling thread measure in spite of what others do, where the system permits it.
pub(crate) fn prefer_this_thread() {
    renice(-15);
}

/// Leaves the processor to the server: a real attacker has a machine of its own.
pub(crate) fn hold_back_this_thread() {
    renice(5);
}

fn renice(by: i32) {
    // Refused to who is not root, and then probes compete like everybody.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), by);
}
