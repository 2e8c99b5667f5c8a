//! Deletes runs: a run disappears at once, and housekeeping erases its data in bounded batches.

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{bells::tell, control};
use crate::{
    Error, Result,
    auth::{AuditEvent, CurrentUser, note_deed},
};

/// Evaluations erased per statement, so that its transaction stays short.
const EVALUATIONS: i64 = 10_000;
/// Statements per round.
const BATCHES: usize = 20;

/// Deletes a run that has ended, with its evaluations and its standings. Its spend remains counted in its owner's
/// quota.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for another user's run, [`Error::Conflict`] if it has not ended, or while
/// another run of its owner rescores its responses. Runs of other users lose access to them.
pub async fn delete_run(conn: &mut PgConnection, user: &CurrentUser, run_id: Uuid) -> Result<()> {
    let mut tx = conn.begin().await?;
    if !control::lock_run(&mut tx, user, run_id).await?.has_ended() {
        return Err(Error::Conflict(
            "the run has not ended; cancel it first".into(),
        ));
    }
    let is_scored = sqlx::query_scalar!(
        r#"-- delete::delete_run
        select exists (select from runs
                       where answers_of = $1 and finished_at is null and not foreign_answers) as "is_scored!""#,
        run_id
    )
    .fetch_one(&mut *tx)
    .await?;
    if is_scored {
        return Err(Error::Conflict(
            "another run scores the answers of this one; delete it when that one has ended".into(),
        ));
    }
    sqlx::query!(
        "-- delete::delete_run
        update runs set deleted_at = now(), name = '', state_reason = '' where id = $1",
        run_id
    )
    .execute(&mut *tx)
    .await?;
    note_deed(&mut tx, AuditEvent::RunDeleted, user, &run_id.to_string()).await?;
    tell(&mut tx, run_id).await?;
    tx.commit().await?;
    tracing::info!(run.id = %run_id, "run {run_id} was deleted");
    Ok(())
}

/// Erases a bounded part of the data of deleted runs; returns whether there may be more. Can be stopped anywhere and
/// called concurrently. Rows are kept for a day, since their spend counts in their owners' quotas until then.
///
/// # Errors
/// The database does not respond; data erased so far stays erased.
pub(crate) async fn erase_deleted_runs(conn: &mut PgConnection) -> Result<bool> {
    for _ in 0..BATCHES {
        let run_id = sqlx::query_scalar!(
            "-- delete::erase_deleted_runs
            select id from runs where deleted_at is not null and erased_at is null order by deleted_at limit 1"
        )
        .fetch_optional(&mut *conn)
        .await?;
        let Some(run_id) = run_id else {
            delete_rows(conn).await?;
            return Ok(false);
        };
        let erased = sqlx::query!(
            "-- delete::erase_deleted_runs
            delete from evaluations
            where ctid = any(array(select ctid from evaluations where run_id = $1 limit $2))",
            run_id,
            EVALUATIONS
        )
        .execute(&mut *conn)
        .await?;
        if i64::try_from(erased.rows_affected()).unwrap_or(i64::MAX) < EVALUATIONS {
            erase_rest(conn, run_id).await?;
        }
    }
    Ok(true)
}

/// Erases all data of a run except its row; few or no evaluations are left by now.
async fn erase_rest(conn: &mut PgConnection, run_id: Uuid) -> Result<()> {
    sqlx::query!(
        "-- delete::erase_rest
        with summaries as (delete from run_summaries where run_id = $1),
             provisional as (delete from provisional_standings where run_id = $1),
             points as (delete from standing_points where run_id = $1),
             lines as (delete from standings where run_id = $1),
             pairs as (delete from preferences where run_id = $1),
             ranges as (delete from shards where run_id = $1),
             columns as (delete from settled_columns where run_id = $1),
             tables as (delete from run_columns where run_id = $1)
        update runs set erased_at = now()
        where id = $1 and not exists (select from evaluations where run_id = $1)",
        run_id
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Deletes the rows of erased runs that no longer count in any quota.
async fn delete_rows(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!(
        "-- delete::delete_rows
        delete from runs
        where id in (select id from runs
                     where deleted_at is not null and erased_at is not null
                       and finished_at < now() - interval '24 hours'
                     limit 1000)"
    )
    .execute(conn)
    .await?;
    Ok(())
}
