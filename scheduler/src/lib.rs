//! The scheduler: periodic work. Any number of schedulers may run against one database.
//!
//! Every second it fires the due ticks of schedules and checks ended runs against their alerts. Every few seconds it
//! does housekeeping: expired leases, lost jobs, texts past their retention time. It also reads the backlog for the
//! metrics. Beside that, it keeps the standings of open runs up to date.
//! Every step is safe to run twice and concurrently, so no scheduler has to be the leader; the database's clock
//! decides.

mod standings;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use opb_core::{
    alerts, housekeeping,
    metrics::METRICS,
    processes::{ProcessKind, Pulse},
    runs::{self, RunRules},
    schedules,
};
use opb_monitor::traces;
use sqlx::PgPool;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How often schedules are checked.
const SCHEDULE_POLL: Duration = Duration::from_secs(1);

/// Settings of a scheduler.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Scheduler")]
pub struct SchedulerSettings {
    /// Seconds between two rounds of housekeeping
    #[arg(long, env = "OPB_HOUSEKEEPING", value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub housekeeping: u64,
    /// Number of days after the end of a run until the texts of its answers are deleted; without it, they are kept
    #[arg(long, env = "OPB_KEEP_TEXTS_DAYS", value_name = "DAYS", value_parser = clap::value_parser!(i32).range(1..=36500))]
    pub keep_texts_days: Option<i32>,
    /// Who may start runs; must be the same as for the API server.
    #[arg(skip)]
    pub rules: RunRules,
}

/// Runs a scheduler until `stop` is cancelled. After a database error it tries again.
///
/// # Errors
/// The task that refreshes standings panicked.
pub async fn run(
    pool: PgPool,
    settings: SchedulerSettings,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    tracing::info!("scheduler started");
    let pause = Duration::from_secs(settings.housekeeping);
    let pulse = Pulse::new(
        ProcessKind::Scheduler,
        env!("CARGO_PKG_VERSION"),
        Vec::new(),
    );
    let beating = tokio::spawn(pulse.beat_for_ever(pool.clone(), stop.clone()));
    let refreshing = tokio::spawn(standings::refresh(pool.clone(), pause, stop.clone()));
    tokio::join!(
        keep_house_again_and_again(&pool, &settings, &stop),
        fire_again_and_again(&pool, &settings.rules, &stop)
    );
    // The task has the same token, and ends after the run that it is working on.
    refreshing.await?;
    beating.await?;
    tracing::info!("scheduler stopped");
    Ok(())
}

async fn keep_house_again_and_again(
    pool: &PgPool,
    settings: &SchedulerSettings,
    stop: &CancellationToken,
) {
    let mut ticks = every(Duration::from_secs(settings.housekeeping));
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let timer = METRICS.housekeeping.duration.start_timer();
        let kept = keep_house(pool, settings).await;
        timer.observe_duration();
        if let Err(error) = kept {
            METRICS.housekeeping.failures.inc();
            tracing::warn!(error = ?error, "housekeeping could not finish; trying again");
        } else {
            METRICS.housekeeping.last_success.set(now_seconds());
        }
    }
}

async fn fire_again_and_again(pool: &PgPool, rules: &RunRules, stop: &CancellationToken) {
    let mut ticks = every(SCHEDULE_POLL);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = fire_all(pool, rules, stop).await {
            tracing::warn!(error = ?error, "could not fire due schedules; trying again");
        }
        if let Err(error) = check_all(pool, stop).await {
            tracing::warn!(error = ?error, "could not check alerts; trying again");
        }
    }
}

/// An interval on the monotonic clock, which changes of the system time do not affect.
fn every(pause: Duration) -> Interval {
    let mut ticks = tokio::time::interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Fires ticks until none is due.
async fn fire_all(
    pool: &PgPool,
    rules: &RunRules,
    stop: &CancellationToken,
) -> opb_core::Result<()> {
    let mut conn = pool.acquire().await?;
    while !stop.is_cancelled() {
        let Some(firing) = schedules::fire_due(&mut conn, rules).await? else {
            return Ok(());
        };
        let state = firing.state.word();
        METRICS.time.firings.with_label_values(&[state]).inc();
        if let Some(run_id) = firing.run_id {
            traces::run_submitted(run_id);
        }
        let late = (firing.fired_at - firing.due_at).as_seconds_f64();
        METRICS.time.firing_delay.observe(late.max(0.0));
    }
    Ok(())
}

/// Checks ended runs of schedules against their alerts until none is left.
async fn check_all(pool: &PgPool, stop: &CancellationToken) -> opb_core::Result<()> {
    let mut conn = pool.acquire().await?;
    while !stop.is_cancelled() && alerts::check_next_run(&mut conn).await? {}
    Ok(())
}

async fn keep_house(pool: &PgPool, settings: &SchedulerSettings) -> opb_core::Result<()> {
    let mut conn = pool.acquire().await?;
    let mended = housekeeping::mend(&mut conn).await?;
    for (kind, count) in [
        ("expired_lease", mended.expired_leases),
        ("split_shard", mended.split_shards),
        ("poisoned_evaluation", mended.poisoned_evaluations),
        ("requeued", mended.requeued),
    ] {
        METRICS.mended.with_label_values(&[kind]).inc_by(count);
        if count > 0 {
            tracing::warn!(kind, count, "housekeeping repaired {kind} ({count})");
        }
    }
    if let Some(days) = settings.keep_texts_days {
        runs::enqueue_pruning(&mut conn, days).await?;
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
