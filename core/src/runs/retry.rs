//! Retries the failed evaluations of an ended run, and only those.

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{
    Run, RunShape, RunState,
    bells::tell,
    control,
    cut::cut,
    extend::load_shape,
    find_readable_run, find_run,
    hidden::require_parts,
    quota::check_quota,
    rules::{RunRules, check_spender},
};
use crate::{Error, Result, auth::CurrentUser, quotas::count_run};

/// Deletes the failed evaluations of a run and queues them again, unless a rule forbids it. Their cost remains in the
/// spend.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for another user's run, [`Error::Conflict`] if the run has not ended, was
/// cancelled, or has no errors, [`Error::QuotaExceeded`], [`Error::EmailNotVerified`].
pub async fn retry_run(
    conn: &mut PgConnection,
    user: &CurrentUser,
    run_id: Uuid,
    rules: &RunRules,
) -> Result<Run> {
    let mut tx = conn.begin().await?;
    check_spender(&mut tx, user, rules).await?;
    require_ended(control::lock_run(&mut tx, user, run_id).await?)?;
    find_readable_run(&mut tx, Some(user), run_id).await?;
    require_parts(&mut tx, run_id).await?;
    // The counters decrease by what is actually deleted, as they increased by what was actually inserted.
    let skipped = sqlx::query_scalar!(
        "-- retry::retry_run
        with gone as (
            delete from evaluations
            where run_id = $1 and state = 'error'
            returning passed, attempts, input_tokens, output_tokens, cost_microusd
        ), total as (
            select count(*) as evaluations,
                count(*) filter (where passed) as passed,
                coalesce(sum(attempts - 1) filter (where attempts > 1), 0) as retries,
                coalesce(sum(input_tokens), 0) as input_tokens,
                coalesce(sum(output_tokens), 0) as output_tokens,
                least(coalesce(sum(cost_microusd), 0), 1000000000000000)::bigint as cost
            from gone
        )
        update runs
        set recorded = recorded - total.evaluations, errors = errors - total.evaluations,
            passed = runs.passed - total.passed, retries = runs.retries - total.retries,
            input_tokens = runs.input_tokens - total.input_tokens,
            output_tokens = runs.output_tokens - total.output_tokens,
            cost_microusd = greatest(cost_microusd - total.cost, 0)
        from total
        where runs.id = $1
        returning skipped",
        run_id
    )
    .fetch_one(&mut *tx)
    .await?;
    let shape = load_shape(&mut tx, run_id).await?;
    // Evaluations of settled columns are missing too; they will be counted as skipped again.
    let missing = reopen(&mut tx, run_id, shape).await?;
    if missing <= skipped {
        return Err(Error::Conflict(
            "no evaluation of the run ended in an error".into(),
        ));
    }
    count_run(&mut tx, user, run_id, missing - skipped).await?;
    check_quota(&mut tx, user, run_id, rules.user_daily_budget).await?;
    let run = find_run(&mut tx, Some(user), run_id).await?;
    tx.commit().await?;
    tracing::info!(
        run.id = %run_id,
        run.missing = run.planned - run.recorded,
        "run {run_id} is retried; {} evaluations are open",
        run.planned - run.recorded
    );
    Ok(run)
}

/// Refuses a run that is open or was cancelled.
pub(super) fn require_ended(state: RunState) -> Result<()> {
    match state {
        RunState::Completed | RunState::Failed => Ok(()),
        RunState::Cancelled => Err(Error::Conflict(
            "the run was cancelled; submit a new one".into(),
        )),
        _ => Err(Error::Conflict("the run has not ended yet".into())),
    }
}

/// Queues a run again for the unrecorded evaluations of its shape. Returns their number.
pub(super) async fn reopen(tx: &mut PgConnection, run_id: Uuid, shape: RunShape) -> Result<i64> {
    let recorded = sqlx::query_scalar!(
        "-- retry::reopen
        update runs
        set state = 'queued', state_reason = '', finished_at = null, pruned_at = null, planned = $2, shards_open = null,
            skipped = 0, next_look = 0, active_since = now()
        where id = $1
        returning recorded",
        run_id,
        shape.evaluations()
    )
    .fetch_one(&mut *tx)
    .await?;
    forget_columns(tx, run_id).await?;
    cut(tx, run_id, shape).await?;
    tell(tx, run_id).await?;
    Ok(shape.evaluations() - recorded)
}

/// Deletes the stored columns of the run, since it continues.
async fn forget_columns(tx: &mut PgConnection, run_id: Uuid) -> Result<()> {
    sqlx::query!(
        "-- retry::forget_columns
        delete from run_columns where run_id = $1",
        run_id
    )
    .execute(tx)
    .await?;
    Ok(())
}
