//! Inserts results into the table, a batch at a time.

use std::borrow::Cow;

use sqlx::{Connection as _, PgConnection, types::Json};
use uuid::Uuid;

use super::NewEvaluation;
use crate::{Error, Result, copy::CopyRows};

/// All columns except the time, in the order of [`rows`].
const COPY: &str = "-- insert::insert
    copy evaluations (run_id, item_position, repeat, prompt_position, model_position, state, score, passed, scores,
        output, finish_reason, error_kind, error, attempts, latency_ms, first_token_ms, input_tokens,
        cached_input_tokens, output_tokens, reasoning_tokens, cost_microusd, cached, answer_key, logprobs)
    from stdin (format binary)";
const COLUMNS: i16 = 24;

/// Inserts results. The caller holds the shard, and none of them is recorded yet: skipping recorded ones in Postgres
/// would cost a third of an insert, and `COPY` cannot do it.
pub(super) async fn insert(
    tx: &mut PgConnection,
    run_id: Uuid,
    batch: &[NewEvaluation],
) -> Result<()> {
    if !batch.is_empty() {
        rows(run_id, batch)?.send(tx, COPY).await?;
    }
    Ok(())
}

/// Returns the results whose content the database rejects, with reasons. Nothing is recorded.
///
/// # Errors
/// The database does not respond.
pub async fn find_refused(
    conn: &mut PgConnection,
    run_id: Uuid,
    batch: &[NewEvaluation],
) -> Result<Vec<(usize, String)>> {
    let mut tx = conn.begin().await?;
    let mut refused = Vec::new();
    for (index, evaluation) in batch.iter().enumerate() {
        let mut attempt = tx.begin().await?;
        match insert(&mut attempt, run_id, std::slice::from_ref(evaluation)).await {
            // Already recorded.
            Err(error) if error.violates("evaluations_pkey") => {}
            Err(error) if error.refuses_data() => refused.push((index, reason(error))),
            other => other?,
        }
        attempt.rollback().await?;
    }
    tx.rollback().await?;
    Ok(refused)
}

fn reason(error: Error) -> String {
    match error {
        Error::Database(sqlx::Error::Database(error)) => error.message().to_owned(),
        other => other.to_string(),
    }
}

fn rows(run_id: Uuid, batch: &[NewEvaluation]) -> Result<CopyRows> {
    let mut rows = CopyRows::new(COLUMNS);
    for evaluation in batch {
        let outcome = &evaluation.outcome;
        let error = outcome.error.as_ref();
        let answer = evaluation.answer.as_ref();
        rows.begin();
        rows.put(run_id)?;
        rows.put(evaluation.key.item)?;
        rows.put(evaluation.key.repeat)?;
        rows.put(evaluation.key.prompt)?;
        rows.put(evaluation.key.model)?;
        rows.put(if error.is_some() { "error" } else { "scored" })?;
        rows.put(outcome.score)?;
        rows.put(outcome.passed)?;
        rows.put((!outcome.scores.is_empty()).then_some(Json(&outcome.scores)))?;
        let output = answer.and_then(|answer| answer.output.as_deref());
        rows.put(output.map(storable))?;
        rows.put(answer.and_then(|answer| answer.finish_reason.as_deref()))?;
        rows.put(error.map(|error| error.kind.as_str()))?;
        rows.put(error.map(|error| storable(&error.message)))?;
        rows.put(evaluation.attempts)?;
        rows.put(answer.and_then(|answer| answer.latency_ms))?;
        rows.put(answer.and_then(|answer| answer.first_token_ms))?;
        rows.put(answer.and_then(|answer| answer.input_tokens))?;
        rows.put(answer.and_then(|answer| answer.cached_input_tokens))?;
        rows.put(answer.and_then(|answer| answer.output_tokens))?;
        rows.put(answer.and_then(|answer| answer.reasoning_tokens))?;
        rows.put(answer.and_then(|answer| answer.cost_microusd))?;
        rows.put(evaluation.cached)?;
        rows.put(evaluation.answer_key.filter(|_| error.is_none()))?;
        rows.put(answer.and_then(|answer| answer.logprobs.as_ref()).map(Json))?;
    }
    Ok(rows)
}

/// Replaces NUL characters, which models may produce but Postgres cannot store.
fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}").into()
    } else {
        text.into()
    }
}
