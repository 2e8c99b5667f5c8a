//! Recording: results are kept exactly once.
//!
//! The fencing number is checked, the rows are inserted and the run's counters are moved in one transaction,
//! and the counters move by what was really inserted.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    AnswerKey, EvaluationKey, Logprobs, Settlement, ShardLease, budget::settle, early,
    insert::insert, lease::finish,
};
use crate::Result;

/// A result to record.
#[derive(Debug, Clone, Default)]
pub struct NewEvaluation {
    /// Which evaluation of the run.
    pub key: EvaluationKey,
    /// Weighted mean of the scorers, 0 to 1; none when no scorer applied or the call failed.
    pub score: Option<f32>,
    /// Did every scorer pass?
    pub passed: Option<bool>,
    /// One entry per scorer.
    pub scores: Vec<ScoredLine>,
    /// What the model said.
    pub output: Option<String>,
    /// Why the model stopped, in the provider's word.
    pub finish_reason: Option<String>,
    /// The kind of failure, if the evaluation failed: `rate_limit`, `timeout`, `scorer` and so on.
    pub error_kind: Option<String>,
    /// What failed, in a sentence.
    pub error: Option<String>,
    /// How many calls it took.
    pub attempts: i16,
    /// Milliseconds from the request to the last byte of the call that counted.
    pub latency_ms: Option<i32>,
    /// Milliseconds from the request to the first piece of text.
    pub first_token_ms: Option<i32>,
    /// Tokens of the prompt.
    pub input_tokens: Option<i32>,
    /// Tokens of the prompt that the provider had in its cache, as far as it says.
    pub cached_input_tokens: Option<i32>,
    /// Tokens of the answer.
    pub output_tokens: Option<i32>,
    /// Tokens of the answer that were spent on reasoning, as far as it says.
    pub reasoning_tokens: Option<i32>,
    /// Micro-dollars, when the price is known.
    pub cost_microusd: Option<i64>,
    /// How likely the answer's tokens were.
    pub logprobs: Option<Logprobs>,
    /// True when the answer was there already: its cost is told, and not spent again.
    pub cached: bool,
    /// Under which key the answer may be taken again; none when it may not.
    pub answer_key: Option<AnswerKey>,
}

/// What one scorer said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScoredLine {
    /// The scorer's type.
    pub scorer: String,
    /// The metric that it counts for, if it is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// `scored`, `not_applicable` or `error`.
    pub outcome: String,
    /// 0 to 1, when scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// When scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<bool>,
    /// Why.
    pub reason: String,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// So many were new and are kept; the others were there already.
    Kept(usize),
    /// The lease was lost: nothing was kept.
    Fenced,
}

/// Records a batch of results of one shard, and settles what the shard had reserved for it.
///
/// # Errors
/// The database does not answer; nothing is kept then, and the batch may be recorded again.
pub async fn record(
    conn: &mut PgConnection,
    lease: &ShardLease,
    batch: &[NewEvaluation],
    settlement: Settlement,
) -> Result<Recorded> {
    keep_new(conn, lease, batch, settlement, None).await
}

/// Records the last batch of a shard and marks the shard as done: one commit instead of two. So many of the shard's
/// evaluations are not asked, since their columns are settled.
///
/// # Errors
/// The database does not answer; nothing is kept then, and the batch may be recorded again.
pub async fn record_last(
    conn: &mut PgConnection,
    lease: &ShardLease,
    batch: &[NewEvaluation],
    settlement: Settlement,
    skipped: i64,
) -> Result<Recorded> {
    keep_new(conn, lease, batch, settlement, Some(skipped)).await
}

/// Keeps those of a batch that are not recorded yet: nearly always all of them.
async fn keep_new(
    conn: &mut PgConnection,
    lease: &ShardLease,
    batch: &[NewEvaluation],
    settlement: Settlement,
    skipped: Option<i64>,
) -> Result<Recorded> {
    match keep(conn, lease, batch, settlement, skipped).await {
        Err(error) if error.violates("evaluations_pkey") => {
            // The answer to an earlier try was lost. Nobody else records for the shard while we hold its lease.
            let recorded: HashSet<EvaluationKey> = recorded_of(conn, lease.run_id, batch)
                .await?
                .into_iter()
                .collect();
            let is_new = |evaluation: &&NewEvaluation| !recorded.contains(&evaluation.key);
            let rest: Vec<NewEvaluation> = batch.iter().filter(is_new).cloned().collect();
            keep(conn, lease, &rest, settlement, skipped).await
        }
        kept => kept,
    }
}

async fn keep(
    conn: &mut PgConnection,
    lease: &ShardLease,
    batch: &[NewEvaluation],
    settlement: Settlement,
    skipped: Option<i64>,
) -> Result<Recorded> {
    let mut tx = conn.begin().await?;
    let shard = sqlx::query!(
        r#"-- record::record
        select reserved_microusd, state = 'done' as "done!"
        from shards
        where id = $1 and fence = $2 and state in ('running', 'done')
        for update"#,
        lease.shard_id,
        lease.fence
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(shard) = shard else {
        return Ok(Recorded::Fenced);
    };
    if shard.done {
        // Its last batch was kept, and only the answer to that was lost.
        return Ok(if skipped.is_some() {
            Recorded::Kept(0)
        } else {
            Recorded::Fenced
        });
    }
    let reserved = shard.reserved_microusd;
    // Before the cost is counted as spent: at no moment are both counted.
    settle(&mut tx, lease.run_id, lease.shard_id, reserved, settlement).await?;
    insert(&mut tx, lease.run_id, batch).await?;
    let look_is_due = match skipped {
        Some(skipped) => finish(&mut tx, lease, skipped).await?,
        None => None,
    };
    tx.commit().await?;
    if look_is_due == Some(true) {
        early::look(conn, lease.run_id).await?;
    }
    Ok(Recorded::Kept(batch.len()))
}

/// Which of a batch are recorded.
async fn recorded_of(
    conn: &mut PgConnection,
    run_id: Uuid,
    batch: &[NewEvaluation],
) -> Result<Vec<EvaluationKey>> {
    let items: Vec<i32> = batch.iter().map(|evaluation| evaluation.key.item).collect();
    let keys = sqlx::query_as!(
        EvaluationKey,
        r#"-- record::recorded_of
        select item_position as item, repeat, prompt_position as prompt, model_position as model
        from evaluations
        where run_id = $1 and item_position = any($2)"#,
        run_id,
        &items
    )
    .fetch_all(conn)
    .await?;
    Ok(keys)
}

/// Counts money that was spent on calls whose results are not kept. Under a budget it is unaccounted until then.
///
/// # Errors
/// The database does not answer.
pub async fn add_spend(conn: &mut PgConnection, run_id: Uuid, spend_microusd: i64) -> Result<()> {
    sqlx::query!(
        "-- record::add_spend
        update runs
        set spend_microusd = spend_microusd + $2,
            unaccounted_microusd = unaccounted_microusd - least(unaccounted_microusd, $2)
        where id = $1",
        run_id,
        spend_microusd
    )
    .execute(conn)
    .await?;
    Ok(())
}
