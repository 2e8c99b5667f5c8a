//! The backlog: waiting and running work of the whole installation, for operators. Read-only.

use sqlx::PgConnection;

use crate::{Result, metrics::METRICS};

/// Waiting and running work.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Backlog {
    /// Shards that a worker could claim. Shards of paused runs, and of runs that wait for budget, are not counted.
    pub shards_available: i64,
    /// Shards that a worker has claimed.
    pub shards_running: i64,
    /// Seconds for which the oldest claimable shard has waited; 0 if there is none.
    pub oldest_shard_seconds: f64,
    /// Runs that have not started.
    pub runs_queued: i64,
    /// Runs that have started.
    pub runs_running: i64,
    /// Runs whose standings are being computed.
    pub runs_finishing: i64,
    /// Evaluations of open runs that are not recorded or skipped yet.
    pub evaluations: i64,
    /// Size of the database, in bytes.
    pub database_bytes: i64,
    /// Age of the oldest open transaction in seconds, our own excluded; 0 if there is none.
    pub oldest_transaction_seconds: f64,
}

/// Reads the backlog. Each part has its own partial index, so finished work costs nothing.
///
/// # Errors
/// The database does not respond.
pub async fn read_backlog(conn: &mut PgConnection) -> Result<Backlog> {
    Ok(sqlx::query_as!(
        Backlog,
        r#"-- backlog::read_backlog
        select shards_available as "shards_available!", shards_running as "shards_running!",
               coalesce(oldest_shard_seconds, 0) as "oldest_shard_seconds!",
               runs_queued as "runs_queued!", runs_running as "runs_running!",
               runs_finishing as "runs_finishing!", evaluations as "evaluations!",
               pg_database_size(current_database()) as "database_bytes!",
               coalesce(oldest_transaction_seconds, 0) as "oldest_transaction_seconds!"
        from (select count(*) as shards_available,
                     extract(epoch from now() - min(greatest(available_at, active_since)) filter (where available_at <= now()))::float8
                         as oldest_shard_seconds
              from shards join runs on runs.id = run_id
              where shards.state = 'available' and runs.state in ('queued', 'running') and not awaits_money) as waiting,
             (select count(*) as shards_running from shards where state = 'running') as working,
             (select count(*) filter (where state = 'queued') as runs_queued,
                     count(*) filter (where state = 'running') as runs_running,
                     count(*) filter (where state = 'finishing') as runs_finishing,
                     coalesce(sum(planned - run_counts.recorded - run_counts.skipped), 0)::bigint as evaluations
              from runs join run_counts on run_id = id where state in ('queued', 'running', 'finishing')) as open,
             (select extract(epoch from now() - min(xact_start))::float8 as oldest_transaction_seconds
              from pg_stat_activity
              where datname = current_database() and pid <> pg_backend_pid()) as transactions"#
    )
    .fetch_one(conn)
    .await?)
}

impl Backlog {
    /// Sets this process's metrics.
    pub fn publish(&self) {
        let metrics = &METRICS.backlog;
        for (state, count) in [
            ("available", self.shards_available),
            ("running", self.shards_running),
        ] {
            metrics.shards.with_label_values(&[state]).set(count);
        }
        for (state, count) in [
            ("queued", self.runs_queued),
            ("running", self.runs_running),
            ("finishing", self.runs_finishing),
        ] {
            metrics.runs.with_label_values(&[state]).set(count);
        }
        metrics.oldest_shard.set(self.oldest_shard_seconds);
        metrics.evaluations.set(self.evaluations);
        metrics.database_bytes.set(self.database_bytes);
        metrics
            .oldest_transaction
            .set(self.oldest_transaction_seconds);
    }
}
