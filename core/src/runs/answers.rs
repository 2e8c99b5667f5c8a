//! Answers that are there already: of an earlier run that asked the same, or of the run that is scored again.
//!
//! Only places are kept, never texts: the answer itself stays in the evaluation that was paid for.

use std::collections::HashMap;

use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{EvaluationKey, Logprobs, NewEvaluation, RunWork, ShardLease};
use crate::Result;

/// A hash of who asks, which model with which parameters, the messages and the repeat.
pub type AnswerKey = [u8; 16];

/// For so many days an answer is taken instead of asking again.
const KEPT_DAYS: i32 = 30;
/// How many places one round of housekeeping forgets, so that its transactions stay short.
const ROUND: i64 = 10_000;

/// What a model said, and what it took.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// What the model said.
    pub output: String,
    /// Why the model stopped, in the provider's word.
    pub finish_reason: Option<String>,
    /// Milliseconds from the request to the last byte.
    pub latency_ms: Option<i32>,
    /// Milliseconds from the request to the first piece of text.
    pub first_token_ms: Option<i32>,
    /// Tokens of the prompt.
    pub input_tokens: Option<i32>,
    /// Tokens of the prompt that the provider had in its cache.
    pub cached_input_tokens: Option<i32>,
    /// Tokens of the answer.
    pub output_tokens: Option<i32>,
    /// Tokens of the answer that were spent on reasoning.
    pub reasoning_tokens: Option<i32>,
    /// Micro-dollars, when the price is known.
    pub cost_microusd: Option<i64>,
    /// How likely its tokens were.
    pub logprobs: Option<Logprobs>,
}

/// The answer in a row; every checked query has a type of its own for its rows.
macro_rules! answer {
    ($row:ident) => {
        Answer {
            output: $row.output,
            finish_reason: $row.finish_reason,
            latency_ms: $row.latency_ms,
            first_token_ms: $row.first_token_ms,
            input_tokens: $row.input_tokens,
            cached_input_tokens: $row.cached_input_tokens,
            output_tokens: $row.output_tokens,
            reasoning_tokens: $row.reasoning_tokens,
            cost_microusd: $row.cost_microusd,
            logprobs: $row.logprobs.map(|logprobs| logprobs.0),
        }
    };
}

/// The answers that are kept under these keys.
///
/// # Errors
/// The database does not answer.
pub async fn kept_answers(
    conn: &mut PgConnection,
    keys: &[AnswerKey],
) -> Result<HashMap<AnswerKey, Answer>> {
    let keys: Vec<&[u8]> = keys.iter().map(<[u8; 16]>::as_slice).collect();
    let rows = sqlx::query!(
        r#"-- answers::kept_answers
        select key, output as "output!", finish_reason, latency_ms, first_token_ms, input_tokens, cached_input_tokens,
               output_tokens, reasoning_tokens, cost_microusd, logprobs as "logprobs: Json<Logprobs>"
        from kept_answers
        join evaluations using (run_id, item_position, repeat, prompt_position, model_position)
        where key = any($1) and kept_at > now() - make_interval(days => $2) and output is not null and error_kind is null"#,
        &keys as _,
        KEPT_DAYS
    )
    .fetch_all(conn)
    .await?;
    let answers = rows
        .into_iter()
        .filter_map(|row| Some((row.key.try_into().ok()?, answer!(row))));
    Ok(answers.collect())
}

/// The answers of another run with the same prompts and models to the items of a shard. An item is the same when its
/// own id and its variables are.
///
/// # Errors
/// The database does not answer.
pub async fn answers_of(
    conn: &mut PgConnection,
    work: &RunWork,
    lease: &ShardLease,
    source_run: Uuid,
) -> Result<HashMap<EvaluationKey, Answer>> {
    let (first, last) = work.item_range(lease);
    let rows = sqlx::query!(
        r#"-- answers::answers_of
        select asked.position as item, repeat, prompt_position, model_position, output as "output!", finish_reason,
               latency_ms, first_token_ms, evaluations.input_tokens, cached_input_tokens, evaluations.output_tokens,
               reasoning_tokens, evaluations.cost_microusd, logprobs as "logprobs: Json<Logprobs>"
        from items as asked
        join runs on runs.id = $1
        join items as answered on answered.benchmark_version_id = runs.benchmark_version_id
             and answered.key = asked.key and answered.vars = asked.vars
        join evaluations on run_id = runs.id and item_position = answered.position
        where asked.benchmark_version_id = $2 and asked.position between $3 and $4 and output is not null"#,
        source_run,
        work.benchmark_version_id,
        first,
        last
    )
    .fetch_all(conn)
    .await?;
    let answers = rows.into_iter().map(|row| {
        let key = EvaluationKey {
            item: row.item,
            repeat: row.repeat,
            prompt: row.prompt_position,
            model: row.model_position,
        };
        (key, answer!(row))
    });
    Ok(answers.collect())
}

/// Keeps the places of the answers of a batch that were called for.
pub(super) async fn keep(
    tx: &mut PgConnection,
    run_id: Uuid,
    batch: &[NewEvaluation],
) -> Result<()> {
    let mut kept: Vec<(AnswerKey, EvaluationKey)> = batch
        .iter()
        .filter(|evaluation| evaluation.error_kind.is_none())
        .filter_map(|evaluation| Some((evaluation.answer_key?, evaluation.key)))
        .collect();
    if kept.is_empty() {
        return Ok(());
    }
    // In one order everywhere, so that no two workers wait for each other; and each key once, as an upsert needs it.
    kept.sort_unstable_by_key(|(key, _)| *key);
    kept.dedup_by_key(|(key, _)| *key);
    let keys: Vec<&[u8]> = kept.iter().map(|(key, _)| key.as_slice()).collect();
    let items: Vec<i32> = kept.iter().map(|(_, place)| place.item).collect();
    let repeats: Vec<i16> = kept.iter().map(|(_, place)| place.repeat).collect();
    let prompts: Vec<i16> = kept.iter().map(|(_, place)| place.prompt).collect();
    let models: Vec<i16> = kept.iter().map(|(_, place)| place.model).collect();
    sqlx::query!(
        "-- answers::keep
        insert into kept_answers (key, run_id, item_position, repeat, prompt_position, model_position)
        select key, $1, item, repeat, prompt, model
        from unnest($2::bytea[], $3::int[], $4::smallint[], $5::smallint[], $6::smallint[])
            as answer (key, item, repeat, prompt, model)
        on conflict (key) do update
        set run_id = excluded.run_id, item_position = excluded.item_position, repeat = excluded.repeat,
            prompt_position = excluded.prompt_position, model_position = excluded.model_position, kept_at = now()",
        run_id,
        &keys as _,
        &items,
        &repeats,
        &prompts,
        &models
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Forgets places that are too old. Returns how many those were.
pub(super) async fn forget_old(conn: &mut PgConnection) -> Result<u64> {
    let done = sqlx::query!(
        "-- answers::forget_old
        delete from kept_answers
        where key in (select key from kept_answers where kept_at <= now() - make_interval(days => $1) limit $2)",
        KEPT_DAYS,
        ROUND
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}
