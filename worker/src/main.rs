//! `opb-worker`: one worker process. Any number of them may share one database.

use std::{process::ExitCode, sync::Arc};

use anyhow::Context as _;
use clap::Parser;
use opb_core::{database, outbound::OutboundSettings};
use opb_monitor::{MonitorSettings, traces::TraceSettings};
use opb_settings::{DatabaseSettings, FileSettings, LogSettings, SecretSettings};
use opb_worker::WorkerSettings;
use tokio_util::sync::CancellationToken;

/// Responses arrive in many small pieces, allocated from many threads: the system's allocator took a fifth of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Claims shards of runs, calls models, scores and records.
#[derive(Debug, Parser)]
#[command(name = "opb-worker", version, about)]
struct Program {
    #[command(flatten)]
    file: FileSettings,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    secrets: SecretSettings,
    #[command(flatten)]
    worker: WorkerSettings,
    #[command(flatten)]
    outbound: OutboundSettings,
    #[command(flatten)]
    monitor: MonitorSettings,
    #[command(flatten)]
    log: LogSettings,
    #[command(flatten)]
    traces: TraceSettings,
}

#[tokio::main]
async fn main() -> ExitCode {
    let program: Program = opb_settings::parse();
    let format = program.log.log_format;
    opb_settings::exit_code(&run(program).await, format)
}

async fn run(program: Program) -> anyhow::Result<()> {
    let traces = program.traces.start(&program.log, "opb-worker")?;
    let ended = serve(program).await;
    traces.end().await;
    ended
}

async fn serve(program: Program) -> anyhow::Result<()> {
    let master_key = program.secrets.load(None)?;
    let queue_connections = 3;
    let connections = program
        .database
        .database_connections
        .saturating_sub(queue_connections)
        .max(2);
    let address = program.database.address()?;
    let pooled = program.database.pooled_address()?;
    let pool = database::connect(&pooled, connections, "opb-worker").await?;
    let queue = database::connect(&address, queue_connections, "opb-worker queue").await?;
    database::require_migrated(&pool).await?;
    let master_key = Arc::new(master_key.or_new(&pool).await?);
    let stop = CancellationToken::new();
    opb_settings::stop_on_signals(stop.clone()).context("signals cannot be awaited")?;
    let outbound = Arc::new(program.outbound.policy());
    let settings = WorkerSettings {
        outbound: Arc::clone(&outbound),
        ..program.worker
    };
    let work = opb_worker::run(pool.clone(), queue, master_key, settings, stop);
    let bound = |address| outbound.own().listens(address);
    opb_monitor::beside(work, &program.monitor, pool, bound).await
}
