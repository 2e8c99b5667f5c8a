//! `opb-api`: the HTTP server as a process of its own.

use std::{process::ExitCode, sync::Arc};

use anyhow::Context as _;
use clap::Parser;
use opb_api::{ApiSettings, Replica};
use opb_core::{database, doorbell::Doorbell, outbound::OutboundSettings};
use opb_monitor::{MonitorSettings, traces::TraceSettings};
use opb_settings::{DatabaseSettings, FileSettings, LogSettings, ReplicaSettings, SecretSettings};
use tokio_util::sync::CancellationToken;

/// Requests allocate many small pieces from many threads: the system's allocator took a fifth of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// HTTP server of OpenPromptBank: the REST API and its documentation
#[derive(Debug, Parser)]
#[command(name = "opb-api", version)]
struct Program {
    #[command(flatten)]
    file: FileSettings,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    replica: ReplicaSettings,
    #[command(flatten)]
    secrets: SecretSettings,
    #[command(flatten)]
    log: LogSettings,
    #[command(flatten)]
    traces: TraceSettings,
    #[command(flatten)]
    api: ApiSettings,
    #[command(flatten)]
    monitor: MonitorSettings,
    #[command(flatten)]
    outbound: OutboundSettings,
}

#[tokio::main]
async fn main() -> ExitCode {
    let program: Program = opb_settings::parse();
    let format = program.log.log_format;
    opb_settings::exit_code(&run(program).await, format)
}

async fn run(program: Program) -> anyhow::Result<()> {
    let traces = program.traces.start(&program.log, "opb-api")?;
    let ended = serve(program).await;
    traces.end().await;
    ended
}

async fn serve(program: Program) -> anyhow::Result<()> {
    let master_key = program.secrets.load(None)?;
    let database = &program.database;
    let replica_url = program.replica.address(database)?;
    // A third goes to the replica, plus one connection that watches it; one connection is the doorbell's.
    let replica_connections = (database.database_connections / 3).max(1);
    let others = replica_url.as_ref().map_or(1, |_| replica_connections + 2);
    let connections = database.database_connections.saturating_sub(others).max(1);
    let pool = database::connect(&database.pooled_address()?, connections, "opb-api").await?;
    database::require_migrated(&pool).await?;
    let master_key = Arc::new(master_key.or_new(&pool).await?);
    let stop = CancellationToken::new();
    let direct = database::connect_lazily(&database.address()?, "opb-api doorbell")?;
    let doorbell = Doorbell::listen(direct, opb_api::BELLS, stop.clone());
    opb_settings::stop_on_signals(stop.clone()).context("signals cannot be awaited")?;
    let replica = match replica_url {
        Some(url) => Some(Replica::open(&url, replica_connections, stop.clone()).await?),
        None => None,
    };
    let outbound = Arc::new(program.outbound.policy());
    let settings = ApiSettings {
        outbound: Arc::clone(&outbound),
        replica,
        hides_metrics: program.monitor.monitor_listen.is_some(),
        ..program.api
    };
    let work = opb_api::serve(pool.clone(), doorbell, master_key, settings, stop, |_| {});
    let bound = |address| outbound.own().listens(address);
    opb_monitor::beside(work, &program.monitor, pool, bound).await
}
