//! Counters: each shard counts its recorded evaluations; they are added to the run when the shard ends.
//!
//! Sums of money are capped at [`MAX_MICROUSD`].
//!
//! So batches of different shards do not contend for a row. The view `run_counts` returns the counters of an open run.
//! Under a budget, the run counts its spend at once ([`settle`](super::budget::settle)).

use sqlx::PgConnection;
use uuid::Uuid;

use super::NewEvaluation;
use crate::{Result, bounds::MAX_MICROUSD};

/// The changes of a shard's counters by a batch.
#[derive(Debug, Default)]
pub(super) struct Counts {
    recorded: i32,
    passed: i32,
    errors: i32,
    retries: i32,
    unpriced: i32,
    input_tokens: i64,
    output_tokens: i64,
    cost_microusd: i64,
    /// The cost without that of cached responses.
    pub(super) spend_microusd: i64,
    output_bytes: i64,
}

impl Counts {
    pub(super) fn of(batch: &[NewEvaluation]) -> Self {
        let mut counts = Self::default();
        for evaluation in batch {
            // The sums of a batch, and the counters that they are added to, stay far below the range of a bigint.
            let cost = evaluation.cost_microusd();
            let cost_microusd = cost.unwrap_or(0).min(MAX_MICROUSD);
            let has_failed = evaluation.outcome.error.is_some();
            counts.recorded += 1;
            counts.passed += i32::from(evaluation.outcome.passed == Some(true));
            counts.errors += i32::from(has_failed);
            counts.retries += i32::from(evaluation.attempts - 1).max(0);
            counts.unpriced += i32::from(cost.is_none() && !has_failed);
            if let Some(answer) = &evaluation.answer {
                counts.input_tokens += answer.input_tokens.map_or(0, i64::from);
                counts.output_tokens += answer.output_tokens.map_or(0, i64::from);
            }
            counts.output_bytes += i64::try_from(evaluation.output_bytes()).unwrap_or(i64::MAX);
            counts.cost_microusd += cost_microusd;
            if !evaluation.cached {
                counts.spend_microusd += cost_microusd;
            }
        }
        counts
    }
}

/// Adds to the counters of a shard, which the caller has locked. Under a budget, the run counts the spend.
pub(super) async fn count(
    tx: &mut PgConnection,
    shard_id: Uuid,
    counts: &Counts,
    budgeted: bool,
) -> Result<()> {
    sqlx::query!(
        "-- counts::count
        update shards
        set recorded = recorded + $2, passed = passed + $3, errors = errors + $4, retries = retries + $5,
            unpriced = unpriced + $6, input_tokens = input_tokens + $7, output_tokens = output_tokens + $8,
            cost_microusd = least(cost_microusd + $9, $12), spend_microusd = least(spend_microusd + $10, $12), output_bytes = output_bytes + $11
        where id = $1",
        shard_id,
        counts.recorded,
        counts.passed,
        counts.errors,
        counts.retries,
        counts.unpriced,
        counts.input_tokens,
        counts.output_tokens,
        counts.cost_microusd,
        if budgeted { 0 } else { counts.spend_microusd },
        counts.output_bytes,
        MAX_MICROUSD
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A run, some of whose shards have ended.
pub(super) struct Counted {
    pub(super) run_id: Uuid,
    /// Number of its shards that have not ended.
    pub(super) shards_open: i32,
    /// Whether it is time to compare the columns of a run that stops early.
    pub(super) look_is_due: bool,
}

/// Ends shards that the caller has locked and adds their counters to their runs. Locks the runs; shards are always
/// locked before runs.
pub(super) async fn end_shards(
    tx: &mut PgConnection,
    ids: &[Uuid],
    dead: bool,
) -> Result<Vec<Counted>> {
    let runs = sqlx::query_as!(
        Counted,
        r#"-- counts::end_shards
        with ended as (
            update shards
            set state = case when $2 then 'dead' else 'done' end::shard_state, lease_until = null, reserved_microusd = 0
            where id = any($1)
            returning run_id, recorded, skipped, passed, errors, retries, unpriced,
                      input_tokens, output_tokens, cost_microusd, spend_microusd, output_bytes
        ), total as (
            select run_id, count(*)::int as shards,
                   sum(recorded)::bigint as recorded,
                   sum(skipped)::bigint as skipped,
                   sum(passed)::bigint as passed,
                   sum(errors)::bigint as errors,
                   sum(retries)::bigint as retries,
                   sum(unpriced)::bigint as unpriced,
                   sum(input_tokens)::bigint as input_tokens,
                   sum(output_tokens)::bigint as output_tokens,
                   least(sum(cost_microusd), $3::bigint)::bigint as cost_microusd,
                   least(sum(spend_microusd), $3::bigint)::bigint as spend_microusd,
                   sum(output_bytes)::bigint as output_bytes
            from ended
            group by run_id
        )
        update runs
        set recorded = runs.recorded + total.recorded,
            skipped = runs.skipped + total.skipped,
            passed = runs.passed + total.passed,
            errors = runs.errors + total.errors,
            retries = runs.retries + total.retries,
            unpriced = runs.unpriced + total.unpriced,
            input_tokens = runs.input_tokens + total.input_tokens,
            output_tokens = runs.output_tokens + total.output_tokens,
            cost_microusd = least(runs.cost_microusd + total.cost_microusd, $3::bigint),
            spend_microusd = least(runs.spend_microusd + total.spend_microusd, $3::bigint),
            output_bytes = runs.output_bytes + total.output_bytes,
            shards_open = shards_open - shards
        from total
        where runs.id = run_id and state in ('queued', 'running', 'paused')
        returning run_id, shards_open as "shards_open!", stop_early and runs.recorded >= next_look as "look_is_due!""#,
        ids,
        dead,
        MAX_MICROUSD
    )
    .fetch_all(tx)
    .await?;
    Ok(runs)
}

/// Stores how many evaluations of a shard are skipped. Idempotent.
///
/// # Errors
/// The database does not respond.
pub async fn note_skipped(
    conn: &mut PgConnection,
    lease: &super::ShardLease,
    skipped: i32,
) -> Result<()> {
    sqlx::query!(
        "-- counts::note_skipped
        update shards set skipped = $3 where id = $1 and fence = $2 and state = 'running'",
        lease.shard_id,
        lease.fence,
        skipped
    )
    .execute(conn)
    .await?;
    Ok(())
}
