//! How results get into the table: all of a batch at once.

use std::borrow::Cow;

use sqlx::{Connection as _, PgConnection, types::Json};
use uuid::Uuid;

use super::NewEvaluation;
use crate::{Error, Result, copy::CopyRows};

/// Every column but the time, in the order of [`rows`].
const COPY: &str = "-- insert::insert
    copy evaluations (run_id, item_position, repeat, prompt_position, model_position, state, score, passed, scores,
        output, finish_reason, error_kind, error, attempts, latency_ms, first_token_ms, input_tokens,
        cached_input_tokens, output_tokens, reasoning_tokens, cost_microusd, cached, answer_key, logprobs)
    from stdin (format binary)";
const COLUMNS: i16 = 24;

/// Inserts results. The caller holds the shard, and none of them is recorded: to let Postgres pass over those that are
/// would cost a third of an insert, and `COPY` cannot.
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

/// Which of these results the database refuses for what they hold, each with the reason. Nothing is recorded.
///
/// # Errors
/// The database does not answer.
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
            // It is recorded already.
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
