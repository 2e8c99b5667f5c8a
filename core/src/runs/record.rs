//! Records results exactly once.
//!
//! In one transaction, the fencing number is checked, the rows are inserted and the shard's counters are increased by
//! what was actually inserted.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Answer, AnswerKey, EvaluationKey, Settlement, ShardLease,
    bells::tell,
    budget::settle,
    counts::{Counts, count},
    early,
    insert::insert,
    lease::finish,
};
use crate::{Result, bounds::MAX_MICROUSD, paging::json_bytes};

/// A result to record.
#[derive(Debug, Clone, Default)]
pub struct NewEvaluation {
    /// The key of the evaluation in the run.
    pub key: EvaluationKey,
    /// The result of scoring, or the error.
    pub outcome: EvaluationOutcome,
    /// The model's response, with usage and latency; `None` if there was none.
    pub answer: Option<Answer>,
    /// Number of calls, including retries.
    pub attempts: i16,
    /// Whether the response was cached: its cost is recorded, but not spent again.
    pub cached: bool,
    /// The key under which the response is cached; `None` if it must not be reused.
    pub answer_key: Option<AnswerKey>,
}

impl NewEvaluation {
    /// Creates an evaluation without a response.
    #[must_use]
    pub fn failed(key: EvaluationKey, error: EvaluationError, attempts: i16) -> Self {
        Self {
            key,
            outcome: EvaluationOutcome {
                error: Some(error),
                ..EvaluationOutcome::default()
            },
            attempts,
            ..Self::default()
        }
    }

    /// The cost of the response in micro-dollars, if known.
    #[must_use]
    pub fn cost_microusd(&self) -> Option<i64> {
        self.answer.as_ref()?.cost_microusd
    }

    /// The size of all its stored texts in bytes: response, scorers' results and error message.
    #[must_use]
    pub fn output_bytes(&self) -> usize {
        let of_answer = self.answer.as_ref().map_or(0, |answer| {
            let output = answer.output.as_ref().map_or(0, String::len);
            let logprobs = answer.logprobs.as_ref().map_or(0, json_bytes);
            output + logprobs
        });
        let outcome = &self.outcome;
        let of_scorers: usize = outcome.scores.iter().map(ScoredLine::bytes).sum();
        let of_error = outcome
            .error
            .as_ref()
            .map_or(0, |error| error.message.len());
        of_answer + of_scorers + of_error
    }
}

/// The scorers' results for a response, or why there is no score.
#[derive(Debug, Clone, Default)]
pub struct EvaluationOutcome {
    /// Weighted mean of the scorers, 0 to 1; `None` if no scorer applied or the evaluation failed.
    pub score: Option<f32>,
    /// Whether every scorer passed.
    pub passed: Option<bool>,
    /// One entry per scorer.
    pub scores: Vec<ScoredLine>,
    /// The error, if the evaluation failed.
    pub error: Option<EvaluationError>,
}

/// The error of a failed evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluationError {
    /// The kind of failure: `rate_limit`, `timeout`, `scorer` and so on.
    pub kind: String,
    /// The error message.
    pub message: String,
}

impl EvaluationError {
    /// Creates an error of this kind.
    pub fn new(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            message: message.into(),
        }
    }
}

/// The result of one scorer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScoredLine {
    /// The scorer's type.
    pub scorer: String,
    /// The metric that it contributes to, if named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// `scored`, `not_applicable` or `error`.
    pub outcome: String,
    /// The score, 0 to 1, if scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Whether it passed, if scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<bool>,
    /// The reason.
    pub reason: String,
}

impl ScoredLine {
    /// The size of its texts in bytes.
    fn bytes(&self) -> usize {
        let metric = self.metric.as_ref().map_or(0, String::len);
        self.scorer.len() + metric + self.outcome.len() + self.reason.len()
    }
}

/// The result of recording a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// Number of newly recorded results; the others were already recorded.
    Kept(usize),
    /// The lease was lost: nothing was recorded.
    Fenced,
}

/// Records a batch of results of one shard and settles the shard's reservation for them.
///
/// # Errors
/// The database does not respond; nothing is recorded then, and the batch may be recorded again.
pub async fn record(
    conn: &mut PgConnection,
    lease: &ShardLease,
    batch: &[NewEvaluation],
    settlement: Settlement,
) -> Result<Recorded> {
    keep_new(conn, lease, batch, settlement, false).await
}

/// Records the last batch of a shard and marks the shard as done, in one commit instead of two.
///
/// # Errors
/// The database does not respond; nothing is recorded then, and the batch may be recorded again.
pub async fn record_last(
    conn: &mut PgConnection,
    lease: &ShardLease,
    batch: &[NewEvaluation],
    settlement: Settlement,
) -> Result<Recorded> {
    keep_new(conn, lease, batch, settlement, true).await
}

/// Records the results of a batch that are not recorded yet: nearly always all of them.
async fn keep_new(
    conn: &mut PgConnection,
    lease: &ShardLease,
    batch: &[NewEvaluation],
    settlement: Settlement,
    is_last: bool,
) -> Result<Recorded> {
    match keep(conn, lease, batch, settlement, is_last).await {
        Err(error) if error.violates("evaluations_pkey") => {
            // The reply to an earlier attempt was lost. No other worker records for the shard while we hold its lease.
            let recorded: HashSet<EvaluationKey> = recorded_of(conn, lease.run_id, batch)
                .await?
                .into_iter()
                .collect();
            let is_new = |evaluation: &&NewEvaluation| !recorded.contains(&evaluation.key);
            let rest: Vec<NewEvaluation> = batch.iter().filter(is_new).cloned().collect();
            keep(conn, lease, &rest, settlement, is_last).await
        }
        kept => kept,
    }
}

async fn keep(
    conn: &mut PgConnection,
    lease: &ShardLease,
    batch: &[NewEvaluation],
    settlement: Settlement,
    is_last: bool,
) -> Result<Recorded> {
    let mut tx = conn.begin().await?;
    let shard = sqlx::query!(
        r#"-- record::record
        select reserved_microusd, state = 'done' as "done!",
               (select budget_microusd is not null from runs where runs.id = run_id) as "budgeted!"
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
        // Its last batch was recorded, and only the reply was lost.
        return Ok(if is_last {
            Recorded::Kept(0)
        } else {
            Recorded::Fenced
        });
    }
    insert(&mut tx, lease.run_id, batch).await?;
    let counts = Counts::of(batch);
    count(&mut tx, lease.shard_id, &counts, shard.budgeted).await?;
    if shard.budgeted {
        let held = shard.reserved_microusd;
        settle(&mut tx, lease, held, settlement, counts.spend_microusd).await?;
    }
    let look_is_due = is_last && finish(&mut tx, lease).await? == Some(true);
    tx.commit().await?;
    // After the commit, since transactions that notify wait for each other. Polling makes up for a lost notification.
    if let Err(error) = tell(conn, lease.run_id).await {
        tracing::debug!(
            run.id = %lease.run_id,
            %error,
            "could not notify clients of a change of run {}",
            lease.run_id
        );
    }
    if look_is_due {
        early::look(conn, lease.run_id).await?;
    }
    Ok(Recorded::Kept(batch.len()))
}

/// Returns the keys of a batch's recorded evaluations.
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

/// Adds the cost of calls whose results are not recorded. Under a budget, it was unaccounted until now.
///
/// # Errors
/// The database does not respond.
pub async fn add_spend(conn: &mut PgConnection, run_id: Uuid, spend_microusd: i64) -> Result<()> {
    sqlx::query!(
        "-- record::add_spend
        update runs
        set spend_microusd = least(spend_microusd + $2, $3),
            unaccounted_microusd = unaccounted_microusd - least(unaccounted_microusd, $2)
        where id = $1",
        run_id,
        spend_microusd,
        MAX_MICROUSD
    )
    .execute(conn)
    .await?;
    Ok(())
}
