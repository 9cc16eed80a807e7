//! One attack after the other, and the verdicts.

use crate::cases::Case;
use crate::probes::{Probes, Shared};
use crate::report::{ms, row};
use crate::rng::Rng;
use crate::server::{Kind, Server};
use crate::stage::{self, Stage};
use crate::token::{KEY, SECRET};
use anyhow::Context;
use bench::guest::World;
use protocol::token::Keys;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What nobody may make the server exceed, in MiB.
const RSS_MAX_MIB: u64 = 512;
/// Data to another room and back.
const DATA_MAX: Duration = Duration::from_millis(100);
/// A join into another room.
const JOIN_MAX: Duration = Duration::from_millis(500);
/// `GET /`.
const GET_MAX: Duration = Duration::from_millis(200);
/// What the machine itself may add: a thread that wants nothing, and goes before the server's, woke
/// up so much late meanwhile. More of it is no excuse.
const STALL_MAX: Duration = Duration::from_millis(100);
/// Packets of sound in another room that may be missing, in percent.
const LOSS_MAX_PERCENT: u64 = 5;
/// What may stay of an attack when it is over: allocators and maps keep room that they once needed.
const KEPT_MAX_MIB: u64 = 128;
/// How long the server may take to be calm again.
const CALM_PATIENCE: Duration = Duration::from_secs(6);

const HEADINGS: [&str; 11] = [
    "attack", "verdict", "RSS max", "after", "data", "join", "GET /", "stall", "lost", "CPU s", "notes",
];
const WIDTHS: [usize; 11] = [30, 7, 7, 5, 5, 5, 5, 5, 4, 5, 0];

/// A server with its probes.
struct Scene {
    // Probes end before the server does.
    probes: Probes,
    server: Server,
    world: World,
}

/// How an attack went.
struct Outcome {
    cells: Vec<String>,
    faults: Vec<String>,
    /// The server is no use for the next one.
    spoilt: bool,
}

/// How to run them.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The server.
    pub(crate) binary: PathBuf,
    /// The first of the ports.
    pub(crate) port: u16,
    pub(crate) seed: u64,
    /// The server goes before other work of the machine.
    pub(crate) busy_machine: bool,
}

/// Runs them and prints the table. How many did harm.
pub(crate) fn run(cases: &[Case], plan: &Plan) -> anyhow::Result<usize> {
    let began = Instant::now();
    stage::hold_back_this_thread();
    let logs = PathBuf::from("target/attack");
    std::fs::create_dir_all(&logs)?;
    let identity = peer::Shared::new((Instant::now(), 0xE000_0000 << 32)).context("a certificate")?;
    let identity = Arc::new(identity);
    let heading: Vec<String> = HEADINGS.iter().map(|&heading| heading.to_owned()).collect();
    println!(
        "limits: RSS {RSS_MAX_MIB} MiB, data {DATA_MAX:?}, join {JOIN_MAX:?}, GET / {GET_MAX:?}, lost {LOSS_MAX_PERCENT} %"
    );
    row(&heading, &WIDTHS);
    let (mut harm, mut port) = (Vec::new(), plan.port);
    let mut kinds: Vec<Kind> = cases.iter().map(|case| case.kind).collect();
    kinds.sort();
    kinds.dedup();
    for kind in kinds {
        let mut scene: Option<Scene> = None;
        for (index, case) in cases.iter().enumerate().filter(|(_, case)| case.kind == kind) {
            let mut ready = match scene.take() {
                Some(scene) => scene,
                None => {
                    let log = logs.join(format!("server-{port}.log"));
                    let scene = set(kind, plan, port, log, &identity)?;
                    port += 4;
                    scene
                }
            };
            let outcome = attack(&mut ready, case, index, plan.seed);
            let mut cells = outcome.cells;
            if !outcome.faults.is_empty() {
                let faults = outcome.faults.join("; ");
                harm.push(format!("{}: {faults}", case.name));
                let notes = cells.pop().unwrap_or_default();
                cells.push(format!("{faults} ({notes})"));
            }
            row(&cells, &WIDTHS);
            if !outcome.spoilt {
                scene = Some(ready);
            }
        }
    }
    println!(
        "\n{} passed, {} failed, in {:.0} s",
        cases.len() - harm.len(),
        harm.len(),
        began.elapsed().as_secs_f32()
    );
    // Again at the end: of a long table, often only the last lines are kept.
    for fault in &harm {
        println!("HARM {fault}");
    }
    Ok(harm.len())
}

fn set(
    kind: Kind,
    plan: &Plan,
    port: u16,
    log: PathBuf,
    identity: &Arc<peer::Shared>,
) -> anyhow::Result<Scene> {
    let server = Server::start(kind, &plan.binary, port, log)?;
    if plan.busy_machine {
        server.prefer();
    }
    let world = World {
        address: server.address,
        keys: Keys::new(vec![(KEY.to_owned(), SECRET.to_owned())]),
        fingerprint: identity.fingerprint(),
        shared: Arc::clone(identity),
        loss: bench::guest::Loss::default(),
    };
    let probes = Probes::start(&server, &world)?;
    let since = Instant::now();
    anyhow::ensure!(
        calm(&probes.shared, since, u64::MAX).is_some(),
        "the probes are not calm before the first attack"
    );
    Ok(Scene {
        probes,
        server,
        world,
    })
}

/// Waits until all probes are well again. How long that took.
fn calm(shared: &Shared, since: Instant, rss_max: u64) -> Option<Duration> {
    let deadline = since + CALM_PATIENCE;
    while Instant::now() < deadline {
        if shared.data.is_calm(since, 5, DATA_MAX)
            && shared.joins.is_calm(since, 2, JOIN_MAX)
            && shared.gets.is_calm(since, 2, GET_MAX)
            && shared.rss.load(Ordering::Relaxed) <= rss_max
        {
            return Some(since.elapsed());
        }
        shared.wait_for_look();
    }
    None
}

fn attack(scene: &mut Scene, case: &Case, index: usize, seed: u64) -> Outcome {
    let shared = Arc::clone(&scene.probes.shared);
    let sound = |side: usize| shared.sound[side].load(Ordering::Relaxed);
    let begun = Instant::now();
    let before = (sound(0), sound(1), scene.server.cpu_s());
    let rss_before = shared.rss.load(Ordering::Relaxed);
    shared.rss_peak.store(rss_before, Ordering::Relaxed);
    let faults_before = scene.server.faults().unwrap_or(0);
    let mut stage = Stage {
        server: &scene.server,
        world: &scene.world,
        shared: &shared,
        room: format!("room-{index}"),
        rng: Rng::new(seed + index as u64),
        notes: Vec::new(),
        faults: Vec::new(),
        victims: Vec::new(),
    };
    let result = (case.run)(&mut stage);
    let over = Instant::now();
    let calm_after = calm(&shared, over, u64::MAX);
    let (mut faults, mut notes) = (stage.faults, stage.notes);
    if let Err(error) = result {
        faults.push(format!("{error:#}"));
    }
    for crowd in &stage.victims {
        let (closed, count) = (crowd.closed(), crowd.count);
        notes.push(format!("{count} victims read {} KiB", crowd.bytes() >> 10));
        if closed > 0 {
            faults.push(format!("{closed} of {count} victims were cut"));
        }
    }
    // What waits for slow readers may wait as long as they are there.
    drop(stage.victims);
    let calm_after = calm_after.and_then(|_| calm(&shared, over, rss_before + KEPT_MAX_MIB));
    let after = (sound(0), sound(1), scene.server.cpu_s());
    faults.extend(judge(&shared, begun, (before.0, before.1), (after.0, after.1)));
    let spoilt = spoilt(scene, calm_after, faults_before, &mut faults);
    let number = |value: &std::sync::atomic::AtomicU64| value.load(Ordering::Relaxed).to_string();
    let lost = lost_percent((before.0, before.1), (after.0, after.1));
    let verdict = if faults.is_empty() { "ok" } else { "HARM" };
    Outcome {
        cells: vec![
            case.name.to_owned(),
            verdict.to_owned(),
            number(&shared.rss_peak),
            number(&shared.rss),
            ms(shared.data.worst_since(begun).0),
            ms(shared.joins.worst_since(begun).0),
            ms(shared.gets.worst_since(begun).0),
            ms(shared.stall.worst_since(begun).0),
            lost.to_string(),
            format!("{:.1}", after.2 - before.2),
            notes.join("; "),
        ],
        faults,
        spoilt,
    }
}

fn lost_percent(before: (u64, u64), after: (u64, u64)) -> u64 {
    let sent = after.0.saturating_sub(before.0);
    // One packet is on its way.
    let heard = (after.1.saturating_sub(before.1) + 1).min(sent);
    (sent - heard) * 100 / sent.max(1)
}

/// What the probes found wrong since the attack began.
fn judge(shared: &Shared, begun: Instant, before: (u64, u64), after: (u64, u64)) -> Vec<String> {
    let mut faults = Vec::new();
    let stall = shared.stall.worst_since(begun).0.min(STALL_MAX);
    let series = [
        ("data", &shared.data, DATA_MAX),
        ("a join elsewhere", &shared.joins, JOIN_MAX),
        ("GET /", &shared.gets, GET_MAX),
    ];
    for (what, series, limit) in series {
        let (worst, count) = series.worst_since(begun);
        if worst > limit + stall {
            faults.push(format!("{what} took {} ms", worst.as_millis()));
        }
        if let Some(why) = series.failure(begun) {
            faults.push(format!("{what} failed: {why}"));
        } else if count == 0 {
            faults.push(format!("{what} was not measured"));
        }
    }
    let lost = lost_percent(before, after);
    if lost > LOSS_MAX_PERCENT {
        faults.push(format!("{lost} % of the sound elsewhere was lost"));
    }
    let peak = shared.rss_peak.load(Ordering::Relaxed);
    if peak > RSS_MAX_MIB {
        faults.push(format!("RSS {peak} MiB"));
    }
    faults
}

/// Whether the server has suffered for good, which is a fault as well.
fn spoilt(
    scene: &mut Scene,
    calm_after: Option<Duration>,
    faults_before: u64,
    faults: &mut Vec<String>,
) -> bool {
    let shared = &scene.probes.shared;
    if shared.ended.load(Ordering::Relaxed) {
        faults.push("it was ended for taking all memory".to_owned());
        return true;
    }
    if !scene.server.is_running() {
        faults.push("the server has died".to_owned());
        return true;
    }
    let mut spoilt = false;
    if calm_after.is_none() {
        let rss = shared.rss.load(Ordering::Relaxed);
        faults.push(format!("not calm after {CALM_PATIENCE:?}, RSS {rss} MiB"));
        spoilt = true;
    }
    match scene.server.faults() {
        Ok(now) if now > faults_before => {
            faults.push(format!("{} panics", now - faults_before));
            spoilt = true;
        }
        Ok(_) => {}
        Err(error) => {
            faults.push(format!("no metrics: {error:#}"));
            spoilt = true;
        }
    }
    spoilt
}
