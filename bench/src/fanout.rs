//! One room: publishers on one side, many subscribers on the other. Each round sends a fixed list
//! of packets at its own pace and counts what arrives; the score is delivered packets per second of
//! the media thread's CPU time, and stands beside the floor measured right before and right after.

mod local;
mod remote;

use crate::client::Load;
use crate::floor::{self, Shape, Sinks};
use crate::table::{self, Spread};
use crate::traffic::{Media, Source};
use anyhow::{Context, ensure};
use std::time::{Duration, Instant};

/// Where the server's thread and the floor's sender run.
pub(crate) const SERVER_CPU: usize = 0;
/// Where the load runs.
pub(crate) const LOAD_CPU: usize = 1;

/// More loss than this below saturation means that the figure is worth nothing.
const LOSS_MAX: f64 = 0.001;
/// How long after the last arrival a round is over.
const QUIET: Duration = Duration::from_millis(300);

/// Packets of one floor: enough for a stable figure, little enough for many rounds.
const F1_PACKETS: usize = 40_000;
const F8_PACKETS: usize = 100_000;
/// How far the floors before and after a round may lie apart, as a part of their mean. Larger lets
/// rounds in that straddle a change of the machine's speed; smaller sets aside mere noise.
const FLOOR_DRIFT_MAX: f64 = 0.1;
/// More rounds set aside than this for each one wanted, and the measurement is given up.
const UNSTEADY_PER_STEADY_MAX: usize = 3;

/// `bench fanout`
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only audio.
    #[arg(long, conflicts_with = "video")]
    audio: bool,
    /// Only video.
    #[arg(long)]
    video: bool,
    /// Subscribers, instead of the usual sizes.
    #[arg(long, value_delimiter = ',')]
    subscribers: Vec<usize>,
    /// Rounds per size, each beside a round of the floor.
    #[arg(long)]
    rounds: Option<usize>,
    /// Length of a round in milliseconds.
    #[arg(long)]
    round_ms: Option<u64>,
    /// Few and short rounds.
    #[arg(long)]
    quick: bool,
    /// Drive this LiveKit-compatible server (`ws://…` or `http://…`) with the same clients instead.
    #[arg(long, value_name = "URL")]
    against: Option<String>,
    /// Its API key.
    #[arg(long, default_value = "devkey", env = "LIVEKIT_API_KEY")]
    api_key: String,
    /// Its API secret.
    #[arg(
        long,
        default_value = "secret",
        env = "LIVEKIT_API_SECRET",
        hide_env_values = true
    )]
    api_secret: String,
    /// Its process, whose CPU time is charged. It should be pinned to CPU 0.
    #[arg(long, requires = "against")]
    pid: Option<u32>,
}

/// The server under test.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
enum Target {
    Local(local::Server),
    Remote(Box<remote::Remote>),
}

impl Target {
    fn cpu(&self) -> Duration {
        match self {
            Self::Local(server) => server.cpu(),
            Self::Remote(server) => server.cpu(),
        }
    }

    fn sent(&mut self) -> local::Sent {
        match self {
            Self::Local(server) => server.sent(),
            Self::Remote(_) => local::Sent::default(),
        }
    }

    fn poll(&mut self, load: &mut Load) -> anyhow::Result<()> {
        match self {
            Self::Local(_) => Ok(()),
            Self::Remote(server) => server.poll(load),
        }
    }
}

/// What is expected of a size, as multiples of F1.
#[derive(Clone, Copy, Debug)]
struct Size {
    media: Media,
    subscribers: usize,
    goal: Option<f64>,
}

/// One round of a size.
#[derive(Clone, Copy, Debug)]
struct Round {
    f1: f64,
    f8: f64,
    /// Packets per second of CPU time.
    score: f64,
    offered_pps: f64,
    loss: f64,
    out_of_order: u64,
    allocations: u64,
    delivered: u64,
    datagrams_per_message: f64,
    datagrams_per_turn: f64,
    packet_bytes: usize,
    authentic: u64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    crate::alloc::this_thread_is_load();
    udp::pin_current_thread(LOAD_CPU).context("the load needs a CPU of its own")?;
    let rounds = options.rounds.unwrap_or(if options.quick { 5 } else { 15 });
    let length = Duration::from_millis(options.round_ms.unwrap_or(if options.quick { 500 } else { 700 }));
    println!(
        "fan-out: {rounds} rounds of {} ms per size; server on CPU {SERVER_CPU}, load on CPU {LOAD_CPU}.",
        length.as_millis()
    );
    println!("F1 = seal + sendmmsg(32), one datagram per packet; F8 = seal + UDP_SEGMENT trains of 8.");
    println!("A round counts when the floors before and after it lie within 10 %; its floor is their mean.");
    println!("Allocations are counted on the media thread in a further round without ICE keepalives.");
    println!("k/core-s = thousand packets delivered per second of CPU time; median [lowest–highest].\n");
    let mut rows = vec![header()];
    let mut heap = Vec::new();
    let mut missed = Vec::new();
    for size in sizes(options) {
        let result = measure(options, size, rounds, length)
            .with_context(|| format!("{:?} to {} subscribers", size.media, size.subscribers))?;
        rows.push(result.row());
        heap.extend(result.heap_per_peer.map(|bytes| (size, bytes)));
        missed.extend(result.missed());
        eprint!(".");
    }
    eprintln!();
    table::print(&rows);
    println!();
    for (size, bytes) in heap {
        println!(
            "heap per peer, {:?} to {}: {:.1} KiB (all of the media thread's memory for {} peers, fixed buffers taken off)",
            size.media,
            size.subscribers,
            bytes / 1024.0,
            size.subscribers + Source::publishers_of(size.media),
        );
    }
    for goal in &missed {
        println!("MISSED: {goal}");
    }
    if missed.is_empty() {
        println!("All goals met.");
    }
    Ok(())
}

fn sizes(options: &Options) -> Vec<Size> {
    let goal = |media, subscribers| match (media, subscribers) {
        (Media::Audio, 100) => Some(0.75),
        (Media::Video, 60 | 150) => Some(1.35),
        _ => None,
    };
    let mut sizes = Vec::new();
    for media in [Media::Audio, Media::Video] {
        if (media == Media::Audio && options.video) || (media == Media::Video && options.audio) {
            continue;
        }
        let usual: &[usize] = match (media, options.quick) {
            (Media::Audio, false) => &[10, 50, 100, 300],
            (Media::Audio, true) => &[100],
            (Media::Video, _) => &[60, 150],
        };
        let chosen = if options.subscribers.is_empty() {
            usual
        } else {
            &options.subscribers[..]
        };
        sizes.extend(chosen.iter().map(|&subscribers| Size {
            media,
            subscribers,
            goal: goal(media, subscribers).filter(|_| options.against.is_none()),
        }));
    }
    sizes
}

fn measure(options: &Options, size: Size, rounds: usize, length: Duration) -> anyhow::Result<Outcome> {
    let mut source = Source::new(size.media);
    let (mut server, mut load, empty) = if let Some(url) = &options.against {
        let access = remote::Access {
            url: url.clone(),
            key: options.api_key.clone(),
            secret: options.api_secret.clone(),
            pid: options.pid,
        };
        let mut server = Box::new(remote::Remote::new(access, size.media)?);
        let load = server.load(&mut source, size.subscribers)?;
        (Target::Remote(server), load, 0)
    } else {
        let empty = local::heap_of_an_empty_server()?;
        let server = local::Server::start(size.media, size.subscribers)?;
        let load = server.load()?;
        (Target::Local(server), load, empty)
    };
    warm_up(size, &mut server, &mut load, &mut source)?;
    let mut sinks = Sinks::new(size.subscribers)?;
    let (done, unsteady) = steady_rounds(rounds, || {
        let mut round = play(size, &mut server, &mut load, &mut source, length)?;
        round.f1 = floor::measure(&mut sinks, Shape::F1, round.packet_bytes, F1_PACKETS)?;
        round.f8 = floor::measure(&mut sinks, Shape::F8, round.packet_bytes, F8_PACKETS)?;
        // Answers consent checks that arrived during the floor.
        load.sweep(Instant::now());
        Ok(round)
    })?;
    // Once more without keepalives: then every allocation is a packet's.
    load.set_quiet(true);
    play(
        size,
        &mut server,
        &mut load,
        &mut source,
        Duration::from_millis(300),
    )?;
    let lone = play(size, &mut server, &mut load, &mut source, Duration::from_secs(1))?;
    load.set_quiet(false);
    let heap_per_peer = match server {
        Target::Local(server) => {
            let before = crate::alloc::live_bytes();
            server.shutdown();
            let freed = before - crate::alloc::live_bytes();
            let peers = size.subscribers + Source::publishers_of(size.media);
            Some((freed - empty) as f64 / peers as f64)
        }
        Target::Remote(_) => None,
    };
    Ok(Outcome {
        size,
        rounds: done,
        unsteady,
        allocations_per_packet: lone.allocations as f64 / lone.delivered.max(1) as f64,
        heap_per_peer,
    })
}

/// Rounds that lie between two floors of nearly one speed; the floor of each is the mean of both.
/// The second figure counts those that were set aside because the machine changed its speed within
/// them: a shared machine does, by a third, and a score beside the floor of another speed says
/// nothing. Only the floors decide, never the score.
fn steady_rounds(
    wanted: usize,
    mut round: impl FnMut() -> anyhow::Result<Round>,
) -> anyhow::Result<(Vec<Round>, usize)> {
    let mut steady = Vec::new();
    let mut unsteady = 0;
    let mut before = round()?;
    while steady.len() < wanted {
        let after = round()?;
        let bracketed = Round {
            f1: f64::midpoint(before.f1, after.f1),
            f8: f64::midpoint(before.f8, after.f8),
            ..after
        };
        if (before.f1 - after.f1).abs() <= FLOOR_DRIFT_MAX * bracketed.f1 {
            steady.push(bracketed);
        } else {
            unsteady += 1;
            ensure!(
                unsteady <= wanted * UNSTEADY_PER_STEADY_MAX,
                "the machine's speed changed in {unsteady} rounds of {}: measure on a quieter one",
                unsteady + steady.len()
            );
        }
        before = after;
    }
    Ok((steady, unsteady))
}

/// Plays until every subscriber receives every stream and all memory has found its place.
fn warm_up(size: Size, server: &mut Target, load: &mut Load, source: &mut Source) -> anyhow::Result<()> {
    let wanted = size.subscribers * Source::publishers_of(size.media);
    for _ in 0..10 {
        play(size, server, load, source, Duration::from_millis(500))?;
        if load.streams() == wanted {
            // Rings and tables reach their final size once everybody has been sent to for a while.
            play(size, server, load, source, Duration::from_secs(2))?;
            return Ok(());
        }
    }
    anyhow::bail!("subscribers receive {} of {wanted} streams", load.streams())
}

/// Publishes for `length`, waits for the last arrival, and counts.
fn play(
    size: Size,
    server: &mut Target,
    load: &mut Load,
    source: &mut Source,
    length: Duration,
) -> anyhow::Result<Round> {
    let bursts = source.round(length, true);
    let published: usize = bursts.iter().map(|burst| burst.packets.len()).sum();
    let expected = (published * size.subscribers) as u64;
    let before = load.tally();
    let allocations = crate::alloc::server_allocations();
    let cpu = server.cpu();
    let sent = server.sent();
    let start = Instant::now();
    let mut next = 0;
    let mut last_arrival = start;
    let mut arrived = before.packets;
    loop {
        let now = Instant::now();
        while let Some(burst) = bursts.get(next).filter(|burst| burst.due <= now - start) {
            load.publish(burst.publisher, 0, remote::codec(size.media), &burst.packets)?;
            last_arrival = now;
            next += 1;
        }
        load.sweep(now);
        server.poll(load)?;
        if load.tally().packets != arrived {
            arrived = load.tally().packets;
            last_arrival = now;
        }
        let complete = arrived - before.packets >= expected;
        if next == bursts.len() && (complete || now - last_arrival > QUIET) {
            break;
        }
    }
    let cpu = server.cpu() - cpu;
    let allocations = crate::alloc::server_allocations() - allocations;
    let after = load.tally();
    let delivered = after.packets - before.packets;
    ensure!(
        after.forged == 0,
        "{} sampled packets were not authentic",
        after.forged
    );
    let sent = server.sent().since(sent);
    Ok(Round {
        f1: 0.0,
        f8: 0.0,
        score: delivered as f64 / cpu.as_secs_f64(),
        offered_pps: expected as f64 / length.as_secs_f64(),
        loss: 1.0 - delivered as f64 / expected as f64,
        out_of_order: after.out_of_order - before.out_of_order,
        allocations,
        delivered,
        datagrams_per_message: sent.datagrams as f64 / sent.messages.max(1) as f64,
        datagrams_per_turn: sent.datagrams as f64 / sent.turns.max(1) as f64,
        packet_bytes: ((after.bytes - before.bytes) / delivered.max(1)) as usize,
        authentic: after.authentic - before.authentic,
    })
}

/// All rounds of a size.
struct Outcome {
    size: Size,
    rounds: Vec<Round>,
    /// Set aside because the machine changed its speed.
    unsteady: usize,
    /// Of a round without keepalives.
    allocations_per_packet: f64,
    heap_per_peer: Option<f64>,
}

fn header() -> Vec<String> {
    [
        "scenario",
        "offered pps",
        "bytes",
        "loss",
        "disorder",
        "k/core-s",
        "F1",
        "F8",
        "÷ F1",
        "÷ F8",
        "goal",
        "set aside",
        "datagrams/message",
        "datagrams/turn",
        "allocations/packet",
        "authenticated",
    ]
    .map(String::from)
    .to_vec()
}

impl Outcome {
    fn spread(&self, of: impl Fn(&Round) -> f64) -> Spread {
        Spread::of(self.rounds.iter().map(of))
    }

    fn row(&self) -> Vec<String> {
        let Size {
            media, subscribers, ..
        } = self.size;
        let authentic: u64 = self.rounds.iter().map(|round| round.authentic).sum();
        // What only a server within this process tells.
        let local = self.heap_per_peer.is_some();
        let inside = |text: String| if local { text } else { "-".into() };
        let disorder: u64 = self.rounds.iter().map(|round| round.out_of_order).sum();
        vec![
            format!("{media:?} {} → {subscribers}", Source::publishers_of(media)),
            format!("{:.0}", self.spread(|round| round.offered_pps).median),
            format!("{:.0}", self.spread(|round| round.packet_bytes as f64).median),
            format!("{:.3} %", self.spread(|round| round.loss).high * 100.0),
            disorder.to_string(),
            self.spread(|round| round.score).thousands(),
            self.spread(|round| round.f1).thousands(),
            self.spread(|round| round.f8).thousands(),
            self.spread(|round| round.score / round.f1).ratio(),
            self.spread(|round| round.score / round.f8).ratio(),
            self.size.goal.map_or("-".into(), |goal| format!("≥ {goal} F1")),
            self.unsteady.to_string(),
            inside(format!(
                "{:.1}",
                self.spread(|round| round.datagrams_per_message).median
            )),
            inside(format!(
                "{:.0}",
                self.spread(|round| round.datagrams_per_turn).median
            )),
            inside(self.allocations_per_packet.to_string()),
            authentic.to_string(),
        ]
    }

    fn missed(&self) -> Vec<String> {
        let name = format!("{:?} to {}", self.size.media, self.size.subscribers);
        let mut missed = Vec::new();
        let ratio = self.spread(|round| round.score / round.f1).median;
        if let Some(goal) = self.size.goal.filter(|goal| ratio < *goal) {
            missed.push(format!("{name}: {ratio:.2} of F1, wanted {goal}"));
        }
        let loss = self.spread(|round| round.loss).high;
        if loss > LOSS_MAX {
            missed.push(format!("{name}: {:.2} % lost in a round", loss * 100.0));
        }
        let allocations = self.allocations_per_packet;
        if allocations > 0.0 {
            missed.push(format!("{name}: {allocations} allocations per packet, wanted 0"));
        }
        let heap = self.heap_per_peer.unwrap_or(0.0) / 1024.0;
        if self.size.media == Media::Audio && heap > 64.0 {
            missed.push(format!("{name}: {heap:.1} KiB heap per peer, wanted at most 64"));
        }
        missed
    }
}
