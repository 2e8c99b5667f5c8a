//! The scheduler: what happens because time passes. Any number of schedulers may run against one database.
//!
//! A tick does housekeeping: leases that ran out, queue rows that got lost, runs that nobody finished.
//! It also reads the backlog, for the metrics. Beside it, the standings of open runs are kept up to date. Every step is safe to run twice and at once, so no scheduler has to be the leader.

mod standings;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use opb_core::{metrics::METRICS, runs};
use sqlx::PgPool;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Settings of a scheduler.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Scheduler")]
pub struct SchedulerSettings {
    /// Seconds between two rounds of housekeeping
    #[arg(long, env = "OPB_HOUSEKEEPING", value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub housekeeping: u64,
}

/// Runs a scheduler until `stop` is cancelled. Passing trouble with the database is waited out.
///
/// # Errors
/// The refreshing of standings panicked.
pub async fn run(
    pool: PgPool,
    settings: SchedulerSettings,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    tracing::info!("scheduler started");
    let interval = Duration::from_secs(settings.housekeeping);
    let refreshing = tokio::spawn(standings::refresh(pool.clone(), interval, stop.clone()));
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let timer = METRICS.housekeeping.duration.start_timer();
        let kept = keep_house(&pool).await;
        timer.observe_duration();
        if let Err(error) = kept {
            METRICS.housekeeping.failures.inc();
            tracing::warn!(error = ?error, "housekeeping could not finish, trying again");
        } else {
            METRICS.housekeeping.last_success.set(now_seconds());
        }
    }
    // It has heard the token, too, and ends after the run that it is busy with.
    refreshing.await?;
    tracing::info!("scheduler stopped");
    Ok(())
}

async fn keep_house(pool: &PgPool) -> opb_core::Result<()> {
    let mut conn = pool.acquire().await?;
    let mended = runs::mend(&mut conn).await?;
    for (kind, count) in [
        ("expired_lease", mended.expired_leases),
        ("split_shard", mended.split_shards),
        ("poisoned_evaluation", mended.poisoned_evaluations),
        ("requeued", mended.requeued),
    ] {
        METRICS.mended.with_label_values(&[kind]).inc_by(count);
        if count > 0 {
            tracing::warn!(kind, count, "housekeeping mended something");
        }
    }
    runs::read_backlog(&mut conn).await?.publish();
    Ok(())
}

fn now_seconds() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}
