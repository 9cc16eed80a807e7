//! Everybody else: a pair in a room of its own with data and sound, joins into another room,
//! `GET /`, and a look at the server's memory. They run all the time, at a higher priority than
//! the attack.

mod pair;
mod series;

use crate::server::Server;
use crate::token;
use crate::ws::Ws;
use crate::{http, stage};
use bench::guest::World;
use livekit_protocol::LeaveRequest;
use livekit_protocol::signal_request::Message as Request;
pub(crate) use pair::packet;
use series::Ids;
pub(crate) use series::Series;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two joins.
const JOIN_INTERVAL: Duration = Duration::from_millis(100);
/// Between two `GET /`.
const GET_INTERVAL: Duration = Duration::from_millis(50);
/// Between two looks at the memory.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// A probe that takes longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Beyond it the server is ended for the machine's sake, in MiB.
const RSS_END_MIB: u64 = 2048;

/// What all probes write and the report reads.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) data: Series,
    pub(crate) joins: Series,
    pub(crate) gets: Series,
    /// How late a thread wakes up that wants nothing else: what the machine adds to all of them.
    pub(crate) stall: Series,
    /// Packets of sound, sent and arrived.
    pub(crate) sound: [AtomicU64; 2],
    /// Resident memory in MiB: now, and at most since the last reset.
    pub(crate) rss: AtomicU64,
    pub(crate) rss_peak: AtomicU64,
    /// The server took so much memory that it was ended.
    pub(crate) ended: AtomicBool,
    /// STUN user names of the pair, with where they go: anybody on the way sees them.
    pub(crate) seen: Mutex<Vec<(String, SocketAddr)>>,
    looks: Mutex<()>,
    looked: Condvar,
    stop: AtomicBool,
    /// The pair is connected.
    ready: AtomicBool,
}

#[derive(Debug)]
pub(crate) struct Probes {
    pub(crate) shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Probes {
    /// Starts all and waits until the pair is connected.
    pub(crate) fn start(server: &Server, world: &World) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (address, pid) = (server.address, server.pid());
        let pair = {
            let (shared, world) = (Arc::clone(&shared), world.clone());
            std::thread::spawn(move || {
                stage::prefer_this_thread();
                pair::run(&world, &shared);
            })
        };
        let threads = vec![
            pair,
            spawn(&shared, move |shared| joins(address, shared)),
            spawn(&shared, move |shared| gets(address, shared)),
            spawn(&shared, move |shared| look(pid, shared)),
        ];
        let probes = Self { shared, threads };
        let deadline = Instant::now() + Duration::from_secs(10);
        while !probes.shared.ready.load(Ordering::Acquire) {
            anyhow::ensure!(
                Instant::now() < deadline && probes.shared.data.failure(Instant::now() - PATIENCE).is_none(),
                "the probes do not connect: {:?}",
                probes
                    .shared
                    .data
                    .failure(Instant::now() - Duration::from_secs(10))
            );
            probes.shared.wait_for_look();
        }
        Ok(probes)
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            // A probe that panicked has told so.
            let _ = thread.join();
        }
    }
}

fn spawn(shared: &Arc<Shared>, work: impl FnOnce(&Shared) + Send + 'static) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        stage::prefer_this_thread();
        work(&shared);
    })
}

impl Shared {
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    pub(crate) fn user_names(&self) -> Vec<(String, SocketAddr)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the memory was looked at again, a moment at which everything can be judged.
    pub(crate) fn wait_for_look(&self) {
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        // Woken late or for nothing, the caller judges a little more often.
        drop(self.looked.wait_timeout(looks, PATIENCE));
    }

    /// Runs something again and again until the end.
    fn repeat(&self, interval: Duration, mut work: impl FnMut()) {
        let mut due = Instant::now();
        while !self.is_stopped() {
            work();
            due = (due + interval).max(Instant::now());
            stage::pause(due.saturating_duration_since(Instant::now()));
        }
    }
}

/// Joins into another room, up to the join response.
fn joins(address: SocketAddr, shared: &Shared) {
    let ids = Ids::default();
    shared.repeat(JOIN_INTERVAL, || {
        let id = ids.next();
        let token = token::join(&format!("newcomer-{}", id % 8), "elsewhere");
        let path = format!("/rtc?access_token={token}&auto_subscribe=1&sdk=go&protocol=16");
        shared.joins.begin(id);
        let joined = Ws::open(address, &path, "", None, PATIENCE).and_then(|mut ws| {
            ws.join()?;
            Ok(ws)
        });
        match joined {
            Ok(mut ws) => {
                shared.joins.end(id);
                // Leaving properly keeps the room small; what fails here shows in the next join.
                let _ = ws.request(Request::Leave(LeaveRequest::default()));
            }
            Err(error) => shared.joins.fail(id, &error),
        }
    });
}

fn gets(address: SocketAddr, shared: &Shared) {
    let ids = Ids::default();
    shared.repeat(GET_INTERVAL, || {
        let id = ids.next();
        shared.gets.begin(id);
        match http::get(address, "/", PATIENCE) {
            Ok(answer) if answer.status == 200 => shared.gets.end(id),
            Ok(answer) => shared
                .gets
                .fail(id, &anyhow::anyhow!("GET / says {}", answer.status)),
            Err(error) => shared.gets.fail(id, &error),
        }
    });
}

fn look(pid: u32, shared: &Shared) {
    let pages_per_mib = (1 << 20) / rustix::param::page_size() as u64;
    let ids = Ids::default();
    let mut woken = Instant::now();
    shared.repeat(LOOK_INTERVAL, || {
        let late = woken.elapsed().saturating_sub(LOOK_INTERVAL);
        shared.stall.add(ids.next(), late);
        woken = Instant::now();
        let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
        let pages = statm
            .split(' ')
            .nth(1)
            .and_then(|pages| pages.parse::<u64>().ok());
        let mib = pages.unwrap_or(0) / pages_per_mib;
        shared.rss.store(mib, Ordering::Relaxed);
        shared.rss_peak.fetch_max(mib, Ordering::Relaxed);
        shared.looked.notify_all();
        if mib > RSS_END_MIB
            && let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw)
        {
            shared.ended.store(true, Ordering::Relaxed);
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    });
}
