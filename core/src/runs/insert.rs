//! How results get into the table: all of a batch at once, and the counters of the run with them.

use std::borrow::Cow;

use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{NewEvaluation, bells::tell};
use crate::{Result, copy::CopyRows};

/// Every column but the time, in the order of [`rows`].
const COPY: &str = "-- insert::insert
    copy evaluations (run_id, item_position, repeat, prompt_position, model_position, state, score, passed, scores,
        output, finish_reason, error_kind, error, attempts, latency_ms, first_token_ms, input_tokens,
        cached_input_tokens, output_tokens, reasoning_tokens, cost_microusd, cached, answer_key, logprobs)
    from stdin (format binary)";
const COLUMNS: i16 = 24;

/// Inserts results and moves the run's counters by them. The caller holds the shard, and none of them is recorded: to
/// let Postgres pass over those that are would cost a third of an insert, and `COPY` cannot.
pub(super) async fn insert(
    tx: &mut PgConnection,
    run_id: Uuid,
    batch: &[NewEvaluation],
) -> Result<()> {
    if !batch.is_empty() {
        rows(run_id, batch)?.send(tx, COPY).await?;
    }
    let total = Total::of(batch);
    // Last: whoever moves the counters of a run makes others wait until it commits.
    sqlx::query!(
        "-- insert::count
        update runs
        set recorded = recorded + $2, passed = passed + $3, errors = errors + $4, retries = retries + $5,
            input_tokens = input_tokens + $6, output_tokens = output_tokens + $7,
            cost_microusd = cost_microusd + $8, spend_microusd = spend_microusd + $9, unpriced = unpriced + $10,
            output_bytes = output_bytes + $11,
            state = case when state = 'queued' then 'running' else state end,
            started_at = coalesce(started_at, now())
        where id = $1",
        run_id,
        total.recorded,
        total.passed,
        total.errors,
        total.retries,
        total.input_tokens,
        total.output_tokens,
        total.cost_microusd,
        total.spend_microusd,
        total.unpriced,
        total.output_bytes
    )
    .execute(&mut *tx)
    .await?;
    tell(tx, run_id).await
}

fn rows(run_id: Uuid, batch: &[NewEvaluation]) -> Result<CopyRows> {
    let mut rows = CopyRows::new(COLUMNS);
    for evaluation in batch {
        let failed = evaluation.error_kind.is_some();
        rows.begin();
        rows.put(run_id)?;
        rows.put(evaluation.key.item)?;
        rows.put(evaluation.key.repeat)?;
        rows.put(evaluation.key.prompt)?;
        rows.put(evaluation.key.model)?;
        rows.put(if failed { "error" } else { "scored" })?;
        rows.put(evaluation.score)?;
        rows.put(evaluation.passed)?;
        rows.put((!evaluation.scores.is_empty()).then_some(Json(&evaluation.scores)))?;
        rows.put(evaluation.output.as_deref().map(storable))?;
        rows.put(evaluation.finish_reason.as_deref())?;
        rows.put(evaluation.error_kind.as_deref())?;
        rows.put(evaluation.error.as_deref().map(storable))?;
        rows.put(evaluation.attempts)?;
        rows.put(evaluation.latency_ms)?;
        rows.put(evaluation.first_token_ms)?;
        rows.put(evaluation.input_tokens)?;
        rows.put(evaluation.cached_input_tokens)?;
        rows.put(evaluation.output_tokens)?;
        rows.put(evaluation.reasoning_tokens)?;
        rows.put(evaluation.cost_microusd)?;
        rows.put(evaluation.cached)?;
        rows.put(evaluation.answer_key.filter(|_| !failed))?;
        rows.put(evaluation.logprobs.as_ref().map(Json))?;
    }
    Ok(rows)
}

/// Postgres stores no NUL characters; a model may say them.
fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}").into()
    } else {
        text.into()
    }
}

/// By how much a batch moves the counters of its run.
#[derive(Default)]
struct Total {
    recorded: i64,
    passed: i64,
    errors: i64,
    retries: i64,
    input_tokens: i64,
    output_tokens: i64,
    cost_microusd: i64,
    spend_microusd: i64,
    unpriced: i64,
    output_bytes: i64,
}

impl Total {
    fn of(batch: &[NewEvaluation]) -> Self {
        let mut total = Self::default();
        for evaluation in batch {
            let cost_microusd = evaluation.cost_microusd.unwrap_or(0);
            total.recorded += 1;
            total.passed += i64::from(evaluation.passed == Some(true));
            total.errors += i64::from(evaluation.error_kind.is_some());
            total.retries += i64::from(evaluation.attempts - 1).max(0);
            total.input_tokens += evaluation.input_tokens.map_or(0, i64::from);
            total.output_tokens += evaluation.output_tokens.map_or(0, i64::from);
            let is_unpriced = evaluation.cost_microusd.is_none() && evaluation.error_kind.is_none();
            total.unpriced += i64::from(is_unpriced);
            let output_bytes = evaluation.output.as_ref().map_or(0, String::len);
            total.output_bytes += i64::try_from(output_bytes).unwrap_or(i64::MAX);
            total.cost_microusd = total.cost_microusd.saturating_add(cost_microusd);
            if !evaluation.cached {
                total.spend_microusd = total.spend_microusd.saturating_add(cost_microusd);
            }
        }
        total
    }
}
