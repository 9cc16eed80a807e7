//! Churn: tracks published and unpublished, sessions resumed, participants coming and going, in one
//! room that stays. Afterwards everything that could have grown is compared with where it was after
//! a short round of the same: bytes of SDP, tasks, live heap, open descriptors.
//!
//! Nothing is timed; it fails when something does not come back.

use anyhow::{Context, ensure};
use bench::guest::{Guest, World};
use protocol::token::Keys;
use server::config::{Config, UdpPorts};
use server::wiring::{self, Running};
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROOM: &str = "churn";
const KEY: &str = "churn";
/// Tracks that are published at a time.
const TRACKS_AT_ONCE: usize = 10;
/// Participants that come and go at a time.
const JOINS_AT_ONCE: usize = 10;
/// How long what was churned may take to be forgotten: the time that a room remembers those who
/// left, and what waits for timers.
const SETTLE: Duration = Duration::from_secs(45);
/// A resume is told again of those who left up to 3 s before the last sign of life.
const TOLD_AGAIN: Duration = Duration::from_millis(3_500);
/// Live heap may differ by this much: hash maps and queues keep the room that they once needed, and a room
/// keeps up to 128 KiB of departures for a minute. Seen: 218 KB, of which the rest is not explained yet.
const HEAP_SLACK_BYTES: i64 = 320 * 1024;

/// `bench churn`
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Tracks to publish and unpublish.
    #[arg(long, default_value_t = 300)]
    tracks: usize,
    /// Sessions to resume.
    #[arg(long, default_value_t = 200)]
    resumes: usize,
    /// Participants that join, connect and leave.
    #[arg(long, default_value_t = 1000)]
    joins: usize,
}

/// What could grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    tasks: usize,
    heap_bytes: i64,
    descriptors: usize,
    offer_bytes: usize,
    answer_bytes: usize,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let server = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let load = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let keys = Keys::new(vec![(
        KEY.to_owned(),
        "secret-of-the-churn-benchmark-0123".to_owned(),
    )]);
    let running = server.block_on(async { start(keys.clone()) })?;
    let shared = peer::Shared::new(server::clock::epoch())?;
    let fingerprint = shared.fingerprint();
    let world = World {
        address: *running.addresses.first().context("no address")?,
        keys,
        shared: Arc::new(shared),
        fingerprint,
        loss: bench::guest::Loss::default(),
    };
    let result = load.block_on(churn(options, &world, server.handle()));
    server.block_on(running.shutdown());
    result
}

/// A server with one media thread, in this process.
pub(crate) fn start(keys: Keys) -> anyhow::Result<Running> {
    let mut config = Config {
        port: 0,
        bind_addresses: vec!["127.0.0.1".parse()?],
        keys,
        ..Config::default()
    };
    config.rtc.udp_port = UdpPorts::Single(0);
    // Threads that share a port remember up to 16,384 addresses of each other's peers, and keep them
    // when those go: bounded, but not back where it was.
    config.plenum.media_threads = Some(1);
    wiring::start(config)
}

async fn churn(options: &Options, world: &World, server: &tokio::runtime::Handle) -> anyhow::Result<()> {
    let mut stage = Stage {
        world,
        server,
        ada: Guest::join(world, ROOM, "ada").await?,
        ben: Guest::join(world, ROOM, "ben").await?,
        joined: 0,
    };
    println!("a short round first: what it leaves behind is the baseline");
    stage.publish(2 * TRACKS_AT_ONCE).await?;
    stage.resume(5).await?;
    // More than the departures that a room remembers for those who resume.
    stage.come_and_go(30 * JOINS_AT_ONCE).await?;
    let baseline = stage.settle(None).await?;
    println!("baseline: {baseline:?}");

    let start = Instant::now();
    stage.publish(options.tracks).await?;
    println!(
        "{} tracks published and unpublished after {:.1?}",
        options.tracks,
        start.elapsed()
    );
    stage.resume(options.resumes).await?;
    println!(
        "{} sessions resumed after {:.1?}",
        options.resumes,
        start.elapsed()
    );
    stage.come_and_go(options.joins).await?;
    println!("{} joined and left after {:.1?}", options.joins, start.elapsed());
    let after = stage.settle(Some(baseline)).await?;
    println!("after:    {after:?}");
    let grown = after.heap_bytes - baseline.heap_bytes;
    println!("heap: {grown:+} bytes of {}", baseline.heap_bytes);
    ensure!(fits(baseline, after), "something did not come back");
    // Both still hear each other.
    stage.publish(TRACKS_AT_ONCE).await?;
    stage.ada.leave().await?;
    stage.ben.leave().await
}

fn fits(baseline: Size, now: Size) -> bool {
    now.tasks <= baseline.tasks
        && now.descriptors <= baseline.descriptors
        && now.offer_bytes <= baseline.offer_bytes
        && now.answer_bytes <= baseline.answer_bytes
        && now.heap_bytes <= baseline.heap_bytes + HEAP_SLACK_BYTES
}

/// The two who stay, and the server around them.
struct Stage<'a> {
    world: &'a World,
    server: &'a tokio::runtime::Handle,
    ada: Guest,
    ben: Guest,
    joined: usize,
}

impl Stage<'_> {
    /// Ada publishes, Ben subscribes, Ada unpublishes, Ben loses the tracks.
    async fn publish(&mut self, tracks: usize) -> anyhow::Result<()> {
        let rounds = tracks.div_ceil(TRACKS_AT_ONCE);
        for _ in 0..rounds {
            self.ada.publish(TRACKS_AT_ONCE).await?;
            self.both(|ben| ben.offered.0 == TRACKS_AT_ONCE && ben.is_connected())
                .await?;
            self.ada.unpublish().await?;
            self.both(|ben| ben.offered.0 == 0 && ben.remote_tracks.get("ada") == Some(&0))
                .await?;
        }
        Ok(())
    }

    /// Runs both until something holds for Ben.
    async fn both(&mut self, holds: impl Fn(&Guest) -> bool) -> anyhow::Result<()> {
        beside(self.ben.until("change", holds), [&mut self.ada]).await
    }

    async fn resume(&mut self, times: usize) -> anyhow::Result<()> {
        for _ in 0..times {
            beside(self.ben.resume(ROOM), [&mut self.ada]).await?;
        }
        self.both(Guest::is_connected).await
    }

    async fn come_and_go(&mut self, count: usize) -> anyhow::Result<()> {
        for _ in 0..count.div_ceil(JOINS_AT_ONCE) {
            let numbers = self.joined..self.joined + JOINS_AT_ONCE;
            self.joined = numbers.end;
            let visits = numbers.map(|number| visit(self.world, number));
            let visits = futures_util::future::try_join_all(visits);
            beside(visits, [&mut self.ada, &mut self.ben]).await?;
        }
        Ok(())
    }

    /// Goes on until everything is back at `goal`, or until nothing more can be expected.
    async fn settle(&mut self, goal: Option<Size>) -> anyhow::Result<Size> {
        // The buffers of a WebSocket keep the size of the largest update that they carried: new ones.
        // The first resume is told of everybody who left, the second of nobody.
        for _ in 0..2 {
            beside(self.ben.resume(ROOM), [&mut self.ada]).await?;
            beside(self.ada.resume(ROOM), [&mut self.ben]).await?;
            self.pass(TOLD_AGAIN).await?;
        }
        let deadline = Instant::now() + if goal.is_some() { SETTLE } else { SETTLE / 3 };
        loop {
            self.pass(Duration::from_millis(500)).await?;
            let size = self.measure()?;
            if Instant::now() > deadline || goal.is_some_and(|goal| fits(goal, size)) {
                return Ok(size);
            }
        }
    }

    /// Lets time pass for both.
    async fn pass(&mut self, time: Duration) -> anyhow::Result<()> {
        let pause = async {
            tokio::time::sleep(time).await;
            Ok(())
        };
        beside(pause, [&mut self.ada, &mut self.ben]).await
    }

    fn measure(&self) -> anyhow::Result<Size> {
        Ok(Size {
            tasks: self.server.metrics().num_alive_tasks(),
            heap_bytes: crate::alloc::live_bytes(),
            descriptors: std::fs::read_dir("/proc/self/fd")?.count(),
            offer_bytes: self.ben.offered.1,
            answer_bytes: self.ada.answer_bytes,
        })
    }
}

/// Does something while some guests go about their business. Those are never interrupted in the
/// middle of a step, in which they may be writing.
async fn beside<T, const N: usize>(
    work: impl Future<Output = anyhow::Result<T>>,
    guests: [&mut Guest; N],
) -> anyhow::Result<T> {
    let done = Cell::new(false);
    let work = async {
        let result = work.await;
        done.set(true);
        result
    };
    let others = guests.map(|guest| async {
        while !done.get() {
            guest.step().await?;
        }
        Ok(())
    });
    let (result, others) = tokio::join!(work, futures_util::future::try_join_all(others));
    others.map(|_| ()).and(result)
}

async fn visit(world: &World, number: usize) -> anyhow::Result<()> {
    let mut guest = Guest::join(world, ROOM, &format!("guest-{number}")).await?;
    guest.until("connection", Guest::is_connected).await?;
    guest.leave().await
}
