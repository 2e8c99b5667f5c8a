//! The queue: apalis on Postgres. Payloads are ids, the tables are the truth, and delivery is at least once.
//!
//! This file must never decide what a task means: a shard is claimed by a lease in our own tables,
//! so a task that comes twice, late or never changes no result.

use anyhow::Context as _;
use apalis_core::task::{builder::TaskBuilder, task_id::TaskId};
use apalis_postgres::{PgTask, PostgresStorage, queries};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// The queue of shards to execute.
pub const SHARDS: &str = "opb-shards";
/// The queue of runs whose last shard is done.
pub const FINISHED_RUNS: &str = "opb-finished-runs";
/// The channel on which Postgres tells that something was enqueued, or, with a run's id, that the run was recalled.
pub const DOORBELL: &str = "opb_queue";

/// The payload of the queue of shards.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct ShardTask {
    /// Which shard to claim.
    pub shard_id: Uuid,
}

/// The payload of the queue of runs to finish.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct FinishTask {
    /// Which run to finish.
    pub run_id: Uuid,
}

/// Enqueues shards in the caller's transaction. Each task's id is the text that `shards.task_id` holds.
///
/// # Errors
/// The queue's tables refuse the rows.
pub async fn enqueue_shards(
    conn: &mut PgConnection,
    shards: &[(Uuid, String)],
    delay_seconds: u64,
) -> crate::Result<()> {
    let tasks = shards.iter().map(|(shard_id, task_id)| {
        let payload = ShardTask {
            shard_id: *shard_id,
        };
        task(&payload, Some(task_id), delay_seconds)
    });
    push(conn, SHARDS, tasks.collect::<crate::Result<Vec<_>>>()?).await
}

/// Takes the waiting shards of a run out of the queue, so that no worker is woken for what it may not claim.
///
/// # Errors
/// The database does not answer.
pub async fn withdraw_shards(conn: &mut PgConnection, run_id: Uuid) -> crate::Result<()> {
    sqlx::query!(
        "-- queue::withdraw_shards
        delete from apalis.jobs
        using shards
        where jobs.id = shards.task_id and jobs.status = 'Pending'
          and shards.run_id = $1 and shards.state = 'available'",
        run_id
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Tells the workers that a run was paused or has ended, so that they look after their leases at once.
///
/// # Errors
/// The database does not answer.
pub async fn recall(conn: &mut PgConnection, run_id: Uuid) -> crate::Result<()> {
    sqlx::query!(
        r#"-- queue::recall
        select pg_notify($1, $2)::text as "rung""#,
        DOORBELL,
        run_id.to_string()
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}

/// Enqueues the finishing of a run in the caller's transaction.
///
/// # Errors
/// The queue's tables refuse the row.
pub async fn enqueue_finish(conn: &mut PgConnection, run_id: Uuid) -> crate::Result<()> {
    push(
        conn,
        FINISHED_RUNS,
        vec![task(&FinishTask { run_id }, None, 0)?],
    )
    .await
}

/// A new id for a queue row.
#[must_use]
pub fn new_task_id() -> String {
    TaskId::from_string(ulid::Ulid::generate()).to_string()
}

/// Creates the queue's tables and adapts them: see the comments on each statement.
///
/// # Errors
/// The server lacks the extensions `pgcrypto` and `hstore`, or refuses a statement.
pub async fn migrate(pool: &PgPool) -> anyhow::Result<()> {
    PostgresStorage::setup(pool).await.context(
        "the queue's tables could not be created; Postgres needs the extensions pgcrypto and hstore (Debian ships them with the server)",
    )?;
    // One notification a row left listeners behind and held back vacuum; we ring our own bell once a transaction.
    sqlx::raw_sql("drop trigger if exists notify_workers on apalis.jobs")
        .execute(pool)
        .await?;
    // Without it the sweep for dead workers' tasks reads every finished row.
    sqlx::raw_sql(
        "create index if not exists opb_jobs_held_idx on apalis.jobs (lock_by) where status in ('Queued', 'Running')",
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Deletes the rows of tasks that are over, and forgets lanes that have been silent for a day.
/// Returns how many tasks were deleted.
///
/// # Errors
/// The database does not answer.
pub async fn delete_finished(conn: &mut PgConnection) -> crate::Result<u64> {
    let deleted = sqlx::query!(
        "-- queue::delete_finished
        delete from apalis.jobs
        where job_type in ($1, $2)
          and (status in ('Done', 'Killed') or (status = 'Failed' and attempts >= max_attempts))",
        SHARDS,
        FINISHED_RUNS
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

/// Gives back what a worker that ended still holds, and forgets the worker. Returns how many tasks were held.
///
/// # Errors
/// The database does not answer.
pub async fn give_back(conn: &mut PgConnection, worker_name: &str) -> crate::Result<u64> {
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
        ring(conn).await?;
    }
    Ok(given)
}

/// Says that a worker lives. apalis does so between polls only, which a busy worker may not reach.
///
/// # Errors
/// The database does not answer.
pub async fn beat(conn: &mut PgConnection, worker_names: &[String]) -> crate::Result<()> {
    sqlx::query!(
        "-- queue::beat
        update apalis.workers set last_seen = now() where id = any($1)",
        worker_names
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn push(conn: &mut PgConnection, queue: &str, tasks: Vec<PgTask>) -> crate::Result<()> {
    queries::push_tasks(conn, queue, tasks).await?;
    ring(conn).await
}

async fn ring(conn: &mut PgConnection) -> crate::Result<()> {
    sqlx::query!(r#"select pg_notify($1, '')::text as "rung""#, DOORBELL)
        .fetch_one(conn)
        .await?;
    Ok(())
}

fn task(
    payload: &impl Serialize,
    task_id: Option<&str>,
    delay_seconds: u64,
) -> crate::Result<PgTask> {
    let payload = serde_json::to_vec(payload)
        .map_err(|error| crate::Error::Internal(format!("a task does not serialise: {error}")))?;
    let mut builder = TaskBuilder::new(payload).run_in_seconds(delay_seconds);
    if let Some(task_id) = task_id {
        builder = builder.task_id(TaskId::from_string(task_id));
    }
    Ok(builder.build())
}
