//! Loads existing responses: cached ones of earlier runs with the same request, or those of the run that is rescored.
//!
//! Nothing is copied: a response stays in the evaluation that paid for it, under a key that identifies the request.

use std::collections::HashMap;

use sqlx::{Connection as _, PgConnection, types::Json};
use uuid::Uuid;

use super::{EvaluationKey, Logprobs, RunWork, ShardLease};
use crate::Result;

/// A hash of the requesting user, the model with its parameters, the messages and the repeat: 16 bytes, stored as a
/// UUID because that is the smallest Postgres type that holds them.
pub type AnswerKey = Uuid;

/// Days for which a cached response is used instead of a new call.
const KEPT_DAYS: i32 = 30;

/// The response of a model, with its usage and latency.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// The text of the response; `None` if it cannot be stored.
    pub output: Option<String>,
    /// Why the model stopped, in the provider's own term.
    pub finish_reason: Option<String>,
    /// Milliseconds from the request to the last byte.
    pub latency_ms: Option<i32>,
    /// Milliseconds from the request to the first piece of text.
    pub first_token_ms: Option<i32>,
    /// Number of input tokens.
    pub input_tokens: Option<i32>,
    /// Number of input tokens that the provider read from its cache.
    pub cached_input_tokens: Option<i32>,
    /// Number of output tokens.
    pub output_tokens: Option<i32>,
    /// Number of output tokens spent on reasoning.
    pub reasoning_tokens: Option<i32>,
    /// Cost in micro-dollars, if the price is known.
    pub cost_microusd: Option<i64>,
    /// Log probabilities of its tokens.
    pub logprobs: Option<Logprobs>,
}

/// Builds an [`Answer`] from a row; each checked query has its own row type.
macro_rules! answer {
    ($row:ident) => {
        Answer {
            output: Some($row.output),
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

/// Loads the newest cached responses for these keys.
///
/// # Errors
/// The database does not respond.
pub async fn kept_answers(
    conn: &mut PgConnection,
    keys: &[AnswerKey],
) -> Result<HashMap<AnswerKey, Answer>> {
    // Postgres caches the query plan: one made while the table was small would use a sequential scan forever.
    let mut tx = conn
        .begin_with("begin; set local enable_seqscan = off")
        .await?;
    let rows = sqlx::query!(
        r#"-- answers::kept_answers
        select answer_key as "key!", output as "output!", finish_reason, latency_ms, first_token_ms, input_tokens,
               cached_input_tokens, output_tokens, reasoning_tokens, cost_microusd, logprobs as "logprobs: Json<Logprobs>"
        from evaluations
        where answer_key = any($1) and recorded_at > now() - make_interval(days => $2) and output is not null
        order by recorded_at"#,
        keys,
        KEPT_DAYS
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.key, answer!(row)))
        .collect())
}

/// Loads the responses of another run with the same prompts and models to the items of a shard. Items match if their
/// own ids and their variables are equal. Empty if the other run was deleted or is no longer visible to the owner of
/// this run.
///
/// # Errors
/// The database does not respond.
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
        join runs on runs.id = $1 and runs.deleted_at is null
        join runs as asking on asking.id = $5
        join users as asker on asker.id = asking.owner_id
        join items as answered on answered.benchmark_version_id = runs.benchmark_version_id
             and answered.key = asked.key and answered.vars = asked.vars
        join evaluations on run_id = runs.id and item_position = answered.position
        where asked.benchmark_version_id = $2 and asked.position between $3 and $4 and output is not null
          and (runs.owner_id = asker.id or can_see_run(runs.id, asker.id, asker.role = 'admin'))"#,
        source_run,
        work.benchmark_version_id,
        first,
        last,
        lease.run_id
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
