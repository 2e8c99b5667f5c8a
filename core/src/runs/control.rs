//! Pausing and resuming: a paused run starts no new call and loses nothing.
//!
//! Calls that run when a run is paused are let finish and are recorded. Shards of a paused run cannot be claimed and
//! have no queue rows; resuming enqueues them all.

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{DOORBELL, Run, RunState, find_run};
use crate::{
    Error, Result,
    auth::{CurrentUser, can_change},
    queue,
};

/// Pauses a run that is queued or running.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for somebody else's run, [`Error::Conflict`] when there is nothing to pause.
pub async fn pause_run(conn: &mut PgConnection, user: &CurrentUser, run_id: Uuid) -> Result<Run> {
    let mut tx = conn.begin().await?;
    let state = lock_run(&mut tx, user, run_id).await?;
    match state {
        RunState::Queued | RunState::Running => {}
        RunState::Paused => return Err(Error::Conflict("the run is paused already".into())),
        RunState::Finishing => {
            return Err(Error::Conflict(
                "every evaluation is recorded already, the run is about to end".into(),
            ));
        }
        _ => return Err(Error::Conflict("the run has ended already".into())),
    }
    pause(&mut tx, run_id, &format!("paused by {}", user.username)).await?;
    let run = find_run(&mut tx, Some(user), run_id).await?;
    tx.commit().await?;
    tracing::info!(run.id = %run_id, run.reason = run.state_reason, "run paused");
    Ok(run)
}

/// Lets a paused run go on.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for somebody else's run, [`Error::Conflict`] when the run is not paused.
pub async fn resume_run(conn: &mut PgConnection, user: &CurrentUser, run_id: Uuid) -> Result<Run> {
    let mut tx = conn.begin().await?;
    find_run(&mut tx, Some(user), run_id).await?;
    // Shards before runs, as everywhere. A shard that somebody else holds or hands back at this very moment is not
    // among them: housekeeping finds that it waits without a queue row.
    enqueue_available(&mut tx, run_id).await?;
    if lock_run(&mut tx, user, run_id).await? != RunState::Paused {
        return Err(Error::Conflict("the run is not paused".into()));
    }
    sqlx::query!(
        "-- control::resume_run
        update runs
        set state = case when started_at is null then 'queued' else 'running' end::run_state, state_reason = '',
            active_since = now()
        where id = $1",
        run_id
    )
    .execute(&mut *tx)
    .await?;
    tell(&mut tx, run_id).await?;
    let run = find_run(&mut tx, Some(user), run_id).await?;
    tx.commit().await?;
    tracing::info!(run.id = %run_id, "run resumed");
    Ok(run)
}

/// Locks a run for its owner and returns its state.
pub(super) async fn lock_run(
    tx: &mut PgConnection,
    user: &CurrentUser,
    run_id: Uuid,
) -> Result<RunState> {
    find_run(tx, Some(user), run_id).await?;
    let row = sqlx::query!(
        r#"-- control::lock_run
        select owner_id, state as "state: RunState" from runs where id = $1 for update"#,
        run_id
    )
    .fetch_one(tx)
    .await?;
    if !can_change(user, row.owner_id) {
        return Err(Error::Forbidden("only the owner of a run can change it"));
    }
    Ok(row.state)
}

/// Pauses a run that the caller has locked, takes its shards out of the queue and tells its workers.
pub(super) async fn pause(tx: &mut PgConnection, run_id: Uuid, reason: &str) -> Result<()> {
    sqlx::query!(
        "-- control::pause
        update runs set state = 'paused', state_reason = $2 where id = $1",
        run_id,
        reason
    )
    .execute(&mut *tx)
    .await?;
    queue::withdraw_shards(tx, run_id).await?;
    queue::recall(tx, run_id).await?;
    tell(tx, run_id).await
}

/// Tells whoever follows a run that it moved.
pub(super) async fn tell(tx: &mut PgConnection, run_id: Uuid) -> Result<()> {
    sqlx::query!(
        r#"select pg_notify($1, $2)::text as "rung""#,
        DOORBELL,
        run_id.to_string()
    )
    .fetch_one(tx)
    .await?;
    Ok(())
}

/// Enqueues every shard of a run that waits to be claimed.
async fn enqueue_available(tx: &mut PgConnection, run_id: Uuid) -> Result<()> {
    let ids = sqlx::query_scalar!(
        "-- control::enqueue_available
        select id from shards where run_id = $1 and state = 'available' order by first_ordinal
        for update skip locked",
        run_id
    )
    .fetch_all(&mut *tx)
    .await?;
    let tasks: Vec<(Uuid, String)> = ids.iter().map(|id| (*id, queue::new_task_id())).collect();
    let task_ids: Vec<String> = tasks.iter().map(|(_, task_id)| task_id.clone()).collect();
    sqlx::query!(
        "-- control::enqueue_available
        update shards
        set task_id = task.id, enqueued_at = now(), available_at = least(available_at, now())
        from unnest($1::uuid[], $2::text[]) as task (shard_id, id)
        where shards.id = task.shard_id",
        &ids,
        &task_ids
    )
    .execute(&mut *tx)
    .await?;
    queue::enqueue_shards(tx, &tasks, 0).await
}
