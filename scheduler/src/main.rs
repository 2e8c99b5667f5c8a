//! `opb-scheduler`: one scheduler process. Any number of them may run against one database.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use opb_core::{database, runs::RunRules};
use opb_monitor::{MonitorSettings, traces::TraceSettings};
use opb_scheduler::SchedulerSettings;
use opb_settings::{DatabaseSettings, FileSettings, LogSettings};
use tokio_util::sync::CancellationToken;

/// Runs schedules and housekeeping.
#[derive(Debug, Parser)]
#[command(name = "opb-scheduler", version, about)]
struct Program {
    #[command(flatten)]
    file: FileSettings,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    scheduler: SchedulerSettings,
    #[command(flatten)]
    rules: RunRules,
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
    let traces = program.traces.start(&program.log, "opb-scheduler")?;
    let ended = serve(program).await;
    traces.end().await;
    ended
}

async fn serve(program: Program) -> anyhow::Result<()> {
    let connections = program.database.database_connections.min(3);
    let address = program.database.pooled_address()?;
    let pool = database::connect(&address, connections, "opb-scheduler").await?;
    database::require_migrated(&pool).await?;
    let stop = CancellationToken::new();
    opb_settings::stop_on_signals(stop.clone()).context("signals cannot be awaited")?;
    let settings = SchedulerSettings {
        rules: program.rules,
        ..program.scheduler
    };
    let work = Box::pin(opb_scheduler::run(pool.clone(), settings, stop));
    opb_monitor::beside(work, &program.monitor, pool, |_| {}).await
}
