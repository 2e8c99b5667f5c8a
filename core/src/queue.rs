//! The queue: apalis on Postgres, for jobs that concern a whole run. Shards are claimed from their own table.
//!
//! A job has only its kind and its run; the work to do is determined from our own tables. Delivery is at least once, so
//! each job is safe to run twice, and housekeeping enqueues lost jobs again.

use anyhow::Context as _;
use apalis_core::task::builder::TaskBuilder;
use apalis_postgres::{PostgresStorage, queries};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{Result, doorbell};

/// The queue of jobs.
pub const JOBS: &str = "opb-jobs";
/// The Postgres channel that is notified when a job was enqueued.
pub const DOORBELL: &str = "opb_jobs";

/// A job, as stored in its row of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub enum Job {
    /// Cut the rest of a large run into shards: [`plan_run`](crate::runs::plan_run).
    Plan {
        /// The run.
        run_id: Uuid,
    },
    /// End a run whose shards are all done, or store the table of a cancelled run:
    /// [`finish_run`](crate::finishing::finish_run).
    Finish {
        /// The run.
        run_id: Uuid,
    },
    /// Delete the texts of a run that ended long ago: [`prune_run`](crate::runs::prune_run).
    Prune {
        /// The run.
        run_id: Uuid,
    },
}

/// Enqueues a job in the caller's transaction.
///
/// # Errors
/// The queue's tables refuse the row.
pub async fn enqueue(conn: &mut PgConnection, job: Job) -> Result<()> {
    let payload = serde_json::to_vec(&job)
        .map_err(|error| crate::Error::Internal(format!("a job does not serialise: {error}")))?;
    queries::push_tasks(&mut *conn, JOBS, vec![TaskBuilder::new(payload).build()]).await?;
    doorbell::ring(conn, DOORBELL, "").await
}

/// True while the job is waiting or running.
///
/// # Errors
/// The database does not respond.
pub async fn is_enqueued(conn: &mut PgConnection, job: Job) -> Result<bool> {
    let payload = serde_json::to_value(job)
        .map_err(|error| crate::Error::Internal(format!("a job does not serialise: {error}")))?;
    let is_enqueued = sqlx::query_scalar!(
        r#"-- queue::is_enqueued
        select exists (select 1 from apalis.jobs
                       where job_type = $1 and status in ('Pending', 'Queued', 'Running')
                         and convert_from(job, 'UTF8')::jsonb = $2) as "is_enqueued!""#,
        JOBS,
        payload
    )
    .fetch_one(conn)
    .await?;
    Ok(is_enqueued)
}

/// Creates the queue's tables and adapts them; see the comments on each statement.
///
/// # Errors
/// The server lacks the extensions `pgcrypto` and `hstore`, or refuses a statement.
pub async fn migrate(pool: &PgPool) -> anyhow::Result<()> {
    PostgresStorage::setup(pool).await.context(
        "the queue's tables could not be created; Postgres needs the extensions pgcrypto and hstore (Debian ships them with the server)",
    )?;
    // One notification per row overloads listeners and delays vacuum; we send our own, one per transaction.
    sqlx::raw_sql("drop trigger if exists notify_workers on apalis.jobs")
        .execute(pool)
        .await?;
    // Without it, the search for tasks of dead workers reads every finished row.
    sqlx::raw_sql(
        "create index if not exists opb_jobs_held_idx on apalis.jobs (lock_by) where status in ('Queued', 'Running')",
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Deletes the rows of finished jobs, and workers that have been silent for a day.
/// Returns the number of deleted jobs.
///
/// # Errors
/// The database does not respond.
pub async fn delete_finished(conn: &mut PgConnection) -> Result<u64> {
    let deleted = sqlx::query!(
        "-- queue::delete_finished
        delete from apalis.jobs
        where job_type = $1
          and (status in ('Done', 'Killed') or (status = 'Failed' and attempts >= max_attempts))",
        JOBS
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "-- queue::delete_finished
        delete from apalis.workers
        where last_seen < now() - interval '1 day'
          and not exists (select 1 from apalis.jobs where lock_by = workers.id)"
    )
    .execute(conn)
    .await?;
    Ok(deleted.rows_affected())
}

/// Releases the jobs that a stopped worker still holds. Returns their number.
///
/// # Errors
/// The database does not respond.
pub async fn give_back(conn: &mut PgConnection, worker_name: &str) -> Result<u64> {
    let given = sqlx::query!(
        "-- queue::give_back
        update apalis.jobs
        set status = 'Pending', lock_by = null, lock_at = null, done_at = null
        where lock_by = $1 and status in ('Queued', 'Running')",
        worker_name
    )
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if given > 0 {
        doorbell::ring(conn, DOORBELL, "").await?;
    }
    Ok(given)
}

/// Sends a worker's heartbeat. apalis only does so between polls, which a busy worker may not reach.
///
/// # Errors
/// The database does not respond.
pub async fn beat(conn: &mut PgConnection, worker_name: &str) -> Result<()> {
    sqlx::query!(
        "-- queue::beat
        update apalis.workers set last_seen = now() where id = $1",
        worker_name
    )
    .execute(conn)
    .await?;
    Ok(())
}
