//! The worker: claims shards, calls models, scores their responses and records the results; and runs the jobs of runs.
//!
//! The path of an evaluation: `claims` claims a shard, `shard` works on it, `unseen` renders the messages and looks up
//! cached responses in `answers`, `evaluate` calls and scores, `call` retries (nothing else does), `governor` limits
//! the concurrent calls and chooses the next one, `limits` enforces what administrators declare, `providers` implement
//! the APIs of models, and `recorder` records results in batches. No connection to Postgres is held while a model is
//! called.

mod answer_keys;
mod answers;
mod call;
mod claims;
mod evaluate;
mod governor;
mod jobs;
mod leases;
mod limits;
mod pending;
mod prepared;
mod providers;
mod recorder;
mod reservation;
mod settings;
mod shard;
pub mod simulation;
mod traces;
mod unseen;
mod waiting_reasons;

use std::{sync::Arc, time::Duration};

use opb_core::{
    doorbell::Doorbell,
    models::{Price, ProviderKind, ensure_provider, find_preset, load_shipped_prices, set_price},
    processes::{ProcessKind, Pulse},
    queue,
    runs::{RECALL_DOORBELL, WORKERS_DOORBELL},
    sealing::MasterKey,
};
pub use settings::WorkerSettings;
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    claims::Claims,
    governor::{GovernorSettings, Governors, refresh_limits_until},
    jobs::Jobs,
    leases::Leases,
    prepared::PreparedRuns,
    providers::HttpClient,
    shard::ShardContext,
    waiting_reasons::WaitingReasons,
};

/// Runs a worker until `stop` is cancelled. Calls in flight then have the grace period to finish; unfinished shards are
/// returned.
///
/// `pool` is for the worker's own statements, `queue_pool` for notifications and the delivery of jobs, which need three
/// connections.
///
/// # Errors
/// The database is unusable. Temporary failures are retried.
pub async fn run(
    pool: PgPool,
    queue_pool: PgPool,
    master_key: Arc<MasterKey>,
    settings: WorkerSettings,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let abort = CancellationToken::new();
    let lease = settings.lease_duration();
    let places = usize::try_from(settings.shards).unwrap_or(usize::MAX);
    let governors = Arc::new(Governors::new(GovernorSettings {
        max: settings.concurrency,
        patience: Duration::from_mins(settings.patience),
        first_patience: Duration::from_mins(settings.first_patience.min(settings.patience)),
        worker_id: Uuid::new_v4(),
        pool: pool.clone(),
    }));
    let grace = Duration::from_secs(settings.grace);
    let variables = settings.operator_keys.variables();
    let concurrency = settings.concurrency;
    let http = HttpClient::new(&settings)?;
    let leases = Arc::new(Leases::default());
    let runs = Arc::new(PreparedRuns::new(
        pool.clone(),
        Arc::clone(&governors),
        http,
        master_key,
        settings,
    ));
    tracing::info!(worker.concurrency = concurrency, "worker started");
    let tasks = TaskTracker::new();
    let beats = CancellationToken::new();
    let bells = &[WORKERS_DOORBELL, RECALL_DOORBELL, queue::DOORBELL];
    let doorbell = Doorbell::listen(queue_pool.clone(), bells, beats.clone());
    tasks.spawn(leases::renew_for_ever(
        Arc::clone(&leases),
        pool.clone(),
        lease,
        doorbell.clone(),
        beats.clone(),
    ));
    let waiting_reasons = WaitingReasons {
        pool: pool.clone(),
        governors: Arc::clone(&governors),
        leases: Arc::clone(&leases),
        runs: Arc::clone(&runs),
        places,
    };
    tasks.spawn(waiting_reasons::report_until(
        waiting_reasons,
        beats.clone(),
    ));
    let pulse = Pulse::new(ProcessKind::Worker, env!("CARGO_PKG_VERSION"), variables);
    tasks.spawn(pulse.beat_for_ever(pool.clone(), beats.clone()));
    tasks.spawn(refresh_limits_until(pool.clone(), governors, beats.clone()));
    let takers = TaskTracker::new();
    takers.spawn(jobs::serve_for_ever(Jobs {
        queue: queue_pool,
        pool: pool.clone(),
        doorbell: doorbell.clone(),
        stop: stop.clone(),
    }));
    let under_way = TaskTracker::new();
    takers.spawn(claims::claim_for_ever(Claims {
        ctx: Arc::new(ShardContext {
            pool,
            runs,
            leases,
            stop: stop.clone(),
            abort: abort.clone(),
        }),
        doorbell,
        places,
        lease,
        under_way: under_way.clone(),
    }));
    takers.close();
    stop.cancelled().await;
    let idle = async || {
        takers.wait().await;
        under_way.close();
        under_way.wait().await;
    };
    if tokio::time::timeout(grace, idle()).await.is_err() {
        tracing::warn!("the grace period is over, returning unfinished shards");
        abort.cancel();
        // Returning takes a few statements; an unavailable database must not block the process.
        let _ = tokio::time::timeout(Duration::from_secs(10), idle()).await;
    }
    beats.cancel();
    tasks.close();
    tasks.wait().await;
    tracing::info!("worker stopped");
    Ok(())
}

/// Inserts the built-in providers (the simulation with its models and prices, and `OpenAI`) and the shipped price list.
///
/// # Errors
/// The database does not respond.
pub async fn seed_providers(conn: &mut PgConnection) -> opb_core::Result<()> {
    let simulated: Uuid = ensure_provider(conn, "simulated", ProviderKind::Simulated, None).await?;
    for model in simulation::MODELS
        .iter()
        .filter(|model| model.purpose == simulation::Purpose::Text)
    {
        let price = Price::new(model.input_price_microusd, model.output_price_microusd);
        set_price(conn, simulated, model.name, price).await?;
    }
    if let Some(openai) = find_preset("openai") {
        ensure_provider(conn, &openai.name, openai.kind, Some(&openai.base_url)).await?;
    }
    let mut tx = conn.begin().await?;
    load_shipped_prices(&mut tx).await?;
    tx.commit().await?;
    Ok(())
}
