//! Pauses and resumes runs: a paused run starts no new calls and loses no results.
//!
//! Calls in flight when a run is paused finish and are recorded. Shards of a paused run cannot be claimed.

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{
    Run, RunState,
    bells::{recall, tell, wake_workers},
    find_run,
    hidden::require_parts,
    quota::check_quota,
    rules::{RunRules, check_spender},
};
use crate::{
    Error, Result,
    auth::{CurrentUser, can_change},
    quotas::check_stored,
};

/// Why a run is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "pause_reason", rename_all = "snake_case")]
pub(crate) enum PauseReason {
    /// A user requested it.
    Request,
    /// Its budget does not allow the next call.
    Budget,
    /// Its owner exceeds the storage quota.
    Storage,
    /// Its owner may no longer see its benchmark or one of its prompts.
    HiddenParts,
}

/// Pauses a run that is queued or running.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for another user's run, [`Error::Conflict`] if the run cannot be paused.
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
    let whose = find_run(&mut tx, Some(user), run_id).await?;
    let told = format!("paused by {}", role_in(&whose, user));
    pause(&mut tx, run_id, PauseReason::Request, &told).await?;
    let run = find_run(&mut tx, Some(user), run_id).await?;
    tx.commit().await?;
    tracing::info!(
        run.id = %run_id,
        run.reason = run.state_reason,
        "run {run_id} was {}",
        run.state_reason
    );
    Ok(run)
}

/// Resumes a paused run, unless a rule forbids it.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for another user's run, [`Error::Conflict`] if the run is not paused, or
/// has a part that its owner may no longer see, [`Error::QuotaExceeded`] if the caller exceeds the storage or spending
/// quota, [`Error::EmailNotVerified`].
pub async fn resume_run(
    conn: &mut PgConnection,
    user: &CurrentUser,
    run_id: Uuid,
    rules: &RunRules,
) -> Result<Run> {
    let mut tx = conn.begin().await?;
    check_spender(&mut tx, user, rules).await?;
    if lock_run(&mut tx, user, run_id).await? != RunState::Paused {
        return Err(Error::Conflict("the run is not paused".into()));
    }
    require_parts(&mut tx, run_id).await?;
    sqlx::query!(
        "-- control::resume_run
        update runs
        set state = case when started_at is null then 'queued' else 'running' end::run_state, state_reason = '',
            awaits_money = false, active_since = now()
        where id = $1",
        run_id
    )
    .execute(&mut *tx)
    .await?;
    // Its results would exceed the quota, and the run would be paused again.
    check_stored(&mut tx, user.id).await?;
    check_quota(&mut tx, user, run_id, rules.user_daily_budget).await?;
    wake_workers(&mut tx).await?;
    tell(&mut tx, run_id).await?;
    let run = find_run(&mut tx, Some(user), run_id).await?;
    tx.commit().await?;
    tracing::info!(run.id = %run_id, "run {run_id} was resumed");
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

/// The role of a user who may change a run. Reasons contain it instead of a name, because they outlive their user.
pub(super) fn role_in(run: &Run, user: &CurrentUser) -> &'static str {
    if run.owner == user.username {
        "its owner"
    } else {
        "an administrator"
    }
}

/// Pauses a run that the caller has locked and notifies its workers. `told` is the reason shown to users.
pub(super) async fn pause(
    tx: &mut PgConnection,
    run_id: Uuid,
    reason: PauseReason,
    told: &str,
) -> Result<()> {
    sqlx::query!(
        "-- control::pause
        update runs set state = 'paused', paused_for = $2, state_reason = $3 where id = $1",
        run_id,
        reason as PauseReason,
        told
    )
    .execute(&mut *tx)
    .await?;
    recall(tx, run_id).await?;
    tell(tx, run_id).await
}
