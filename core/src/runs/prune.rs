//! Pruning: what models said, how sure they were and why scorers said so is forgotten, long after a run's end. Scores, costs and standings
//! stay.

use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    Result,
    queue::{self, Job},
};

/// How many items one statement prunes, so that its transaction stays short.
const ITEMS: i32 = 1_000;

/// What there is to forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Prunable {
    /// Runs that ended so long ago and still have their texts.
    pub runs: i64,
    /// Their evaluations.
    pub evaluations: i64,
    /// Bytes that their texts take, compressed as they are.
    pub bytes: i64,
}

/// Says what [`prune_run`] would forget, all calls of it together.
///
/// # Errors
/// The database does not answer.
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

/// The run that ended first of those that ended more than so many days ago and still have their texts.
///
/// # Errors
/// The database does not answer.
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

/// Enqueues the pruning of the [`next_prunable`] run, unless that is enqueued already: one run after the other.
///
/// # Errors
/// The database does not answer.
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

/// Forgets the texts of a run that has ended. Interrupted, it goes on the next time.
///
/// # Errors
/// The database does not answer.
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
    // A run that was opened again meanwhile has new texts, and is not pruned as a whole.
    sqlx::query!(
        "-- prune::prune_run
        update runs set pruned_at = now(), output_bytes = 0 where id = $1 and state in ('completed', 'cancelled', 'failed')",
        run_id
    )
    .execute(conn)
    .await?;
    tracing::info!(run.id = %run_id, "the texts of a run were forgotten");
    Ok(())
}
