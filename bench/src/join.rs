//! How long a connection takes to come up, one join after the other, with datagrams lost on the way.
//! The client loses them itself, in both directions, so that no rights are needed and no kernel settings.
//!
//! Two kinds of connection: the one that the server offers (the subscriber's of two), and the one that the
//! client offers (the publisher's of two; a single one comes up in the same way). The time runs from
//! the join response, or from the client's offer, until the keys are there.

use crate::{churn, table};
use anyhow::{Context, ensure};
use bench::guest::{Guest, Loss, World};
use protocol::token::Keys;
use std::sync::Arc;
use std::time::{Duration, Instant};

const KEY: &str = "join";
/// Without loss 95 of 100 joins on the loopback interface take no longer.
const GOAL: Duration = Duration::from_millis(20);

/// `bench join`
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Joins of each kind and loss.
    #[arg(long, default_value_t = 50)]
    joins: usize,
    /// Losses, in per cent of datagrams.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 5, 20])]
    loss: Vec<u64>,
}

/// Times of one kind of connection.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    /// The time that so many of a hundred do not exceed.
    fn percentile(&mut self, percent: usize) -> Duration {
        self.0.sort();
        let at = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        self.0.get(at).copied().unwrap_or_default()
    }

    fn row(&mut self, what: &str, loss: u64) -> Vec<String> {
        let shown = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1000.0);
        let mut row = vec![what.to_owned(), format!("{loss} %"), self.0.len().to_string()];
        row.extend([50, 95, 100].map(|percent| shown(self.percentile(percent))));
        row
    }
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
        "secret-of-the-join-benchmark-01234".to_owned(),
    )]);
    let running = server.block_on(async { churn::start(keys.clone()) })?;
    let shared = peer::Shared::new(server::clock::epoch())?;
    let mut world = World {
        address: *running.addresses.first().context("no address")?,
        keys,
        fingerprint: shared.fingerprint(),
        shared: Arc::new(shared),
        loss: Loss::default(),
    };
    let result = load.block_on(joins(options, &mut world));
    server.block_on(running.shutdown());
    result
}

async fn joins(options: &Options, world: &mut World) -> anyhow::Result<()> {
    let mut rows = vec![
        ["connection", "loss", "joins", "p50 ms", "p95 ms", "most ms"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut slow = Vec::new();
    // The first join warms caches up, and tells nothing.
    join(world, "warm", &mut Times::default(), &mut Times::default()).await?;
    for &loss in &options.loss {
        let (mut offered, mut offering) = (Times::default(), Times::default());
        for number in 0..options.joins {
            world.loss = Loss::new(loss, number as u64 + 1);
            join(world, &format!("{loss}-{number}"), &mut offered, &mut offering).await?;
        }
        rows.push(offered.row("the server offers (dual)", loss));
        rows.push(offering.row("the client offers (single, dual)", loss));
        for (times, who) in [(&mut offered, "the server"), (&mut offering, "the client")] {
            let p95 = times.percentile(95);
            if loss == 0 && p95 > GOAL {
                slow.push(format!("when {who} offers: p95 {p95:.1?}"));
            }
        }
    }
    table::print(&rows);
    ensure!(slow.is_empty(), "more than {GOAL:?} {}", slow.join(", "));
    Ok(())
}

/// One guest comes, publishes a track, and leaves.
async fn join(world: &World, room: &str, offered: &mut Times, offering: &mut Times) -> anyhow::Result<()> {
    let mut guest = Guest::join(world, room, "guest").await?;
    let from = Instant::now();
    guest.until("connection", Guest::is_connected).await?;
    offered.0.push(from.elapsed());
    let from = Instant::now();
    guest.publish(1).await?;
    guest.until("second connection", Guest::is_connected).await?;
    offering.0.push(from.elapsed());
    guest.leave().await
}
