//! Prunes runs long after their end: deletes outputs, log probabilities and the scorers' reasons. Scores, costs and
//! standings remain.

use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    Result,
    queue::{self, Job},
};

/// Items pruned per statement, so that its transaction stays short.
const ITEMS: i32 = 1_000;

/// The data that could be pruned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Prunable {
    /// Number of runs that are old enough and still have their texts.
    pub runs: i64,
    /// Number of their evaluations.
    pub evaluations: i64,
    /// Size of their texts in bytes, compressed.
    pub bytes: i64,
}

/// Returns the amount of data that [`prune_run`] would delete for all old runs together.
///
/// # Errors
/// The database does not respond.
pub async fn prunable(conn: &mut PgConnection, older_than_days: i32) -> Result<Prunable> {
    let found = sqlx::query_as!(
        Prunable,
        r#"-- prune::prunable
        select count(distinct runs.id) as "runs!", count(run_id) as "evaluations!",
               coalesce(sum(coalesce(pg_column_size(output), 0) + coalesce(pg_column_size(scores), 0)
                             + coalesce(pg_column_size(logprobs), 0)), 0)::bigint as "bytes!"
        from runs
        left join evaluations on run_id = runs.id
        where finished_at < now() - make_interval(days => $1) and pruned_at is null
          and runs.state in ('completed', 'cancelled', 'failed')"#,
        older_than_days
    )
    .fetch_one(conn)
    .await?;
    Ok(found)
}

/// Returns the oldest run that ended more than this many days ago and still has its texts.
///
/// # Errors
/// The database does not respond.
pub async fn next_prunable(conn: &mut PgConnection, older_than_days: i32) -> Result<Option<Uuid>> {
    let run_id = sqlx::query_scalar!(
        "-- prune::next_prunable
        select id from runs
        where finished_at < now() - make_interval(days => $1) and pruned_at is null
          and state in ('completed', 'cancelled', 'failed')
        order by finished_at limit 1",
        older_than_days
    )
    .fetch_optional(conn)
    .await?;
    Ok(run_id)
}

/// Enqueues a job that prunes the [`next_prunable`] run, unless one is already enqueued: one run at a time.
///
/// # Errors
/// The database does not respond.
pub async fn enqueue_pruning(conn: &mut PgConnection, older_than_days: i32) -> Result<()> {
    let Some(run_id) = next_prunable(conn, older_than_days).await? else {
        return Ok(());
    };
    let job = Job::Prune { run_id };
    if !queue::is_enqueued(conn, job).await? {
        queue::enqueue(conn, job).await?;
    }
    Ok(())
}

/// Deletes the texts of a run that has ended. Continues where it was interrupted.
///
/// # Errors
/// The database does not respond.
pub async fn prune_run(conn: &mut PgConnection, run_id: Uuid) -> Result<()> {
    let item_count = sqlx::query_scalar!(
        "-- prune::prune_run
        select item_count from runs
        where id = $1 and pruned_at is null and state in ('completed', 'cancelled', 'failed')",
        run_id
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(item_count) = item_count else {
        return Ok(());
    };
    for first in (0..item_count).step_by(usize::try_from(ITEMS).unwrap_or(1)) {
        sqlx::query!(
            "-- prune::prune_run
            update evaluations set output = null, scores = null, logprobs = null, answer_key = null
            where run_id = $1 and item_position >= $2 and item_position < $3
              and (output is not null or scores is not null or logprobs is not null)",
            run_id,
            first,
            first.saturating_add(ITEMS)
        )
        .execute(&mut *conn)
        .await?;
    }
    // A run that was reopened meanwhile has new texts and is not marked as pruned.
    sqlx::query!(
        "-- prune::prune_run
        update runs set pruned_at = now(), output_bytes = 0 where id = $1 and state in ('completed', 'cancelled', 'failed')",
        run_id
    )
    .execute(conn)
    .await?;
    tracing::info!(run.id = %run_id, "the texts of run {run_id} were pruned");
    Ok(())
}
