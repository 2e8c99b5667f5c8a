//! Recording: results are kept exactly once.
//!
//! The fencing number is checked, the rows are inserted and the shard's counters are moved in one transaction,
//! and the counters move by what was really inserted.

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
    /// Which evaluation of the run.
    pub key: EvaluationKey,
    /// What became of it.
    pub outcome: EvaluationOutcome,
    /// What the model said, and what it took; none when no answer came.
    pub answer: Option<Answer>,
    /// How many calls it took.
    pub attempts: i16,
    /// True when the answer was there already: its cost is told, and not spent again.
    pub cached: bool,
    /// Under which key the answer may be taken again; none when it may not.
    pub answer_key: Option<AnswerKey>,
}

impl NewEvaluation {
    /// An evaluation without an answer.
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

    /// What the answer cost, in micro-dollars, if that is known.
    #[must_use]
    pub fn cost_microusd(&self) -> Option<i64> {
        self.answer.as_ref()?.cost_microusd
    }

    /// The length of all texts that it stores, in bytes: the answer's, what the scorers said, and what failed.
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

/// What the scorers said of an answer, or why there is no score.
#[derive(Debug, Clone, Default)]
pub struct EvaluationOutcome {
    /// Weighted mean of the scorers, 0 to 1; none when no scorer applied or the evaluation failed.
    pub score: Option<f32>,
    /// Did every scorer pass?
    pub passed: Option<bool>,
    /// One entry per scorer.
    pub scores: Vec<ScoredLine>,
    /// What failed, if something did.
    pub error: Option<EvaluationError>,
}

/// Why an evaluation failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluationError {
    /// The kind of failure: `rate_limit`, `timeout`, `scorer` and so on.
    pub kind: String,
    /// What failed, in a sentence.
    pub message: String,
}

impl EvaluationError {
    /// An error of this kind.
    pub fn new(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            message: message.into(),
        }
    }
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

impl ScoredLine {
    /// The length of its texts, in bytes.
    fn bytes(&self) -> usize {
        let metric = self.metric.as_ref().map_or(0, String::len);
        self.scorer.len() + metric + self.outcome.len() + self.reason.len()
    }
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
    keep_new(conn, lease, batch, settlement, false).await
}

/// Records the last batch of a shard and marks the shard as done: one commit instead of two.
///
/// # Errors
/// The database does not answer; nothing is kept then, and the batch may be recorded again.
pub async fn record_last(
    conn: &mut PgConnection,
    lease: &ShardLease,
    batch: &[NewEvaluation],
    settlement: Settlement,
) -> Result<Recorded> {
    keep_new(conn, lease, batch, settlement, true).await
}

/// Keeps those of a batch that are not recorded yet: nearly always all of them.
async fn keep_new(
    conn: &mut PgConnection,
    lease: &ShardLease,
    batch: &[NewEvaluation],
    settlement: Settlement,
    is_last: bool,
) -> Result<Recorded> {
    match keep(conn, lease, batch, settlement, is_last).await {
        Err(error) if error.violates("evaluations_pkey") => {
            // The answer to an earlier try was lost. Nobody else records for the shard while we hold its lease.
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
        // Its last batch was kept, and only the answer to that was lost.
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
    // After the commit, since transactions that ring wait for each other. A ring that is lost is made up for by polling.
    if let Err(error) = tell(conn, lease.run_id).await {
        tracing::debug!(run.id = %lease.run_id, %error, "nobody was told that the run {} moved", lease.run_id);
    }
    if look_is_due {
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
