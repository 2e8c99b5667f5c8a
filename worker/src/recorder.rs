//! Records the results of a shard in batches, and settles the money reserved for them.
//!
//! Temporary failures are retried. Results whose content the database rejects would be rejected forever: these
//! evaluations are recorded as errors.

use std::time::Duration;

use anyhow::Context as _;
use opb_core::{
    metrics::METRICS,
    runs::{
        Answer, EvaluationError, NewEvaluation, Recorded, add_spend, find_refused, record,
        record_last,
    },
};
use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{evaluate::Evaluated, leases::LeaseGuard, reservation::Reservation};

/// A batch is recorded when it has this many results …
const BATCH_SIZE: usize = 250;
/// … or this many bytes of outputs …
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// … or when its oldest result has waited this long.
const BATCH_WAIT: Duration = Duration::from_millis(200);
/// The delay before a retry while the database is unavailable; the lease may be lost meanwhile, the results are not.
const PAUSE: Duration = Duration::from_millis(500);
/// The error kind of an evaluation whose result the database rejects.
const REFUSED: &str = "unrecordable";

/// The result of recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Saved {
    /// All results so far are recorded.
    Kept,
    /// The lease was lost: stop working on the shard.
    Lost,
}

/// The unrecorded results of a shard.
pub(crate) struct Recorder<'a> {
    pool: &'a PgPool,
    guard: &'a LeaseGuard<'a>,
    /// Cancelled when the worker ends, even if results are not recorded.
    abort: &'a CancellationToken,
    /// Whether the run has a budget.
    budgeted: bool,
    pub(crate) reservation: Reservation,
    batch: Vec<NewEvaluation>,
    /// The size of their outputs in bytes.
    bytes: usize,
    /// The time by which the batch is recorded.
    due: Option<Instant>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(
        pool: &'a PgPool,
        guard: &'a LeaseGuard<'a>,
        abort: &'a CancellationToken,
        budgeted: bool,
    ) -> Self {
        Self {
            pool,
            guard,
            abort,
            budgeted,
            reservation: Reservation::default(),
            batch: Vec::new(),
            bytes: 0,
            due: None,
        }
    }

    /// Adds the result of an evaluation; returns whether there was one.
    pub(crate) fn take(&mut self, bound_microusd: i64, mut evaluated: Evaluated) -> bool {
        if self.budgeted {
            self.reservation.note(bound_microusd, &mut evaluated);
        }
        let Some(evaluation) = evaluated.evaluation else {
            return false;
        };
        self.bytes += evaluation.output_bytes();
        self.batch.push(evaluation);
        self.due.get_or_insert_with(|| Instant::now() + BATCH_WAIT);
        true
    }

    /// Whether there are no unrecorded results.
    pub(crate) fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Whether the batch is large enough to be recorded.
    pub(crate) fn is_full(&self) -> bool {
        self.batch.len() >= BATCH_SIZE || self.bytes >= BATCH_BYTES
    }

    /// Waits until the batch must be recorded, however small it is.
    pub(crate) async fn is_due(&self) {
        match self.due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    /// Records the batch; with `last`, also marks the shard as done. Retries while the database is unavailable.
    ///
    /// # Errors
    /// The database rejects the batch, but none of its evaluations individually.
    pub(crate) async fn save(&mut self, last: bool) -> anyhow::Result<Saved> {
        self.due = None;
        if self.batch.is_empty() {
            return Ok(Saved::Kept);
        }
        let mut is_mended = false;
        loop {
            let error = match self.try_to_save(last).await {
                Ok(Recorded::Kept(_)) => {
                    self.batch.clear();
                    self.bytes = 0;
                    self.reservation.settled();
                    return Ok(Saved::Kept);
                }
                Ok(Recorded::Fenced) => {
                    self.drop_results().await;
                    return Ok(Saved::Lost);
                }
                Err(error) => error,
            };
            if error.refuses_data() {
                if is_mended {
                    return Err(error).context(
                        "the database rejects a batch of results, but none of them individually",
                    );
                }
                match self.mend().await {
                    Ok(()) => {
                        is_mended = true;
                        continue;
                    }
                    Err(error) => self.say(&error),
                }
            } else {
                self.say(&error);
            }
            tokio::select! {
                () = self.guard.lost.cancelled() => return Ok(Saved::Lost),
                () = self.abort.cancelled() => return Ok(Saved::Lost),
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    /// Drops the results, but counts their cost, which was spent.
    pub(crate) async fn drop_results(&self) {
        METRICS.fenced_results.inc_by(self.batch.len() as u64);
        let spend: i64 = self
            .batch
            .iter()
            .filter(|evaluation| !evaluation.cached)
            .filter_map(NewEvaluation::cost_microusd)
            .sum();
        if spend == 0 {
            return;
        }
        let added = async {
            let mut conn = self.pool.acquire().await?;
            add_spend(&mut conn, self.guard.lease.run_id, spend).await
        };
        if let Err(error) = added.await {
            tracing::warn!(
                %error,
                "could not count the spend of dropped results of run {}",
                self.guard.lease.run_id
            );
        }
    }

    async fn try_to_save(&self, last: bool) -> opb_core::Result<Recorded> {
        let _timer = METRICS.record_duration.start_timer();
        let (lease, settlement) = (&self.guard.lease, self.reservation.settlement());
        let mut conn = self.pool.acquire().await?;
        if last {
            record_last(&mut conn, lease, &self.batch, settlement).await
        } else {
            record(&mut conn, lease, &self.batch, settlement).await
        }
    }

    /// Replaces the results that the database rejects by errors.
    async fn mend(&mut self) -> opb_core::Result<()> {
        let mut conn = self.pool.acquire().await?;
        let refused = find_refused(&mut conn, self.guard.lease.run_id, &self.batch).await?;
        for (index, reason) in refused {
            let evaluation = &mut self.batch[index];
            tracing::error!(
                run.id = %self.guard.lease.run_id, evaluation.key = ?evaluation.key, reason,
                "the database rejects the result of an evaluation of run {}, recording it as an error",
                self.guard.lease.run_id
            );
            let message = format!("the result cannot be stored: {reason}");
            let error = EvaluationError::new(REFUSED, message);
            *evaluation = NewEvaluation {
                // The call was paid for nevertheless.
                answer: evaluation.cost_microusd().map(|cost| Answer {
                    cost_microusd: Some(cost),
                    ..Answer::default()
                }),
                cached: evaluation.cached,
                ..NewEvaluation::failed(evaluation.key, error, evaluation.attempts)
            };
        }
        Ok(())
    }

    fn say(&self, error: &opb_core::Error) {
        let shard_id = self.guard.lease.shard_id;
        tracing::warn!(
            shard.id = %shard_id,
            error = ?error,
            "could not record results of shard {shard_id}, trying again"
        );
    }
}
