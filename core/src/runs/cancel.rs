//! Cancels runs: a run ends at once, and the fence rejects what its workers still record.

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{
    Run, RunState,
    announce::announce_run,
    bells::{recall, tell},
    control::role_in,
    counts::end_shards,
    find_run,
};
use crate::{
    Error, Result,
    auth::{CurrentUser, can_change},
    queue::{self, Job},
    webhooks::WebhookEvent,
};

/// Cancels a run that has not ended. Recorded evaluations remain.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for another user's run, [`Error::Conflict`] if the run has ended.
pub async fn cancel_run(conn: &mut PgConnection, user: &CurrentUser, run_id: Uuid) -> Result<Run> {
    let mut tx = conn.begin().await?;
    let found = find_run(&mut tx, Some(user), run_id).await?;
    // Locks shards before runs, and shards ordered by id, like workers do, so that the two cannot deadlock.
    let open = sqlx::query_scalar!(
        "-- cancel::cancel_run
        select id from shards where run_id = $1 and state in ('available', 'running') order by id for update",
        run_id
    )
    .fetch_all(&mut *tx)
    .await?;
    let row = sqlx::query!(
        r#"-- cancel::cancel_run
        select owner_id, state as "state: RunState" from runs where id = $1 for update"#,
        run_id
    )
    .fetch_one(&mut *tx)
    .await?;
    if !can_change(user, row.owner_id) {
        return Err(Error::Forbidden("only the owner of a run can cancel it"));
    }
    if !matches!(
        row.state,
        RunState::Queued | RunState::Running | RunState::Paused
    ) {
        return Err(Error::Conflict("the run has ended already".into()));
    }
    end_shards(&mut tx, &open, true).await?;
    // Calls in flight may be charged: their reservation is unaccounted until their cost is known.
    sqlx::query!(
        "-- cancel::cancel_run
        update runs
        set state = 'cancelled', state_reason = 'cancelled by ' || $2::text, shards_open = 0, finished_at = now(),
            reserved_microusd = 0, unaccounted_microusd = unaccounted_microusd + reserved_microusd, awaits_money = false
        where id = $1",
        run_id,
        role_in(&found, user)
    )
    .execute(&mut *tx)
    .await?;
    recall(&mut tx, run_id).await?;
    tell(&mut tx, run_id).await?;
    announce_run(&mut tx, run_id, WebhookEvent::RunFinished).await?;
    // Computes the run's summary once, not on every read.
    queue::enqueue(&mut tx, Job::Finish { run_id }).await?;
    let run = find_run(&mut tx, Some(user), run_id).await?;
    tx.commit().await?;
    Ok(run)
}
