//! Cancelling: a run ends at once, and whatever its workers still do is refused by the fence.

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

/// Cancels a run that has not ended. What is recorded stays.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for somebody else's run, [`Error::Conflict`] when the run has ended.
pub async fn cancel_run(conn: &mut PgConnection, user: &CurrentUser, run_id: Uuid) -> Result<Run> {
    let mut tx = conn.begin().await?;
    let found = find_run(&mut tx, Some(user), run_id).await?;
    // Shards before runs, and shards by their ids: the order in which workers lock them too, so that the two cannot wait
    // for each other.
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
    // Calls that run may be paid for: what was reserved for them is unaccounted until they are told of.
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
    // What it has measured is summed up once, not at every look at it.
    queue::enqueue(&mut tx, Job::Finish { run_id }).await?;
    let run = find_run(&mut tx, Some(user), run_id).await?;
    tx.commit().await?;
    Ok(run)
}
