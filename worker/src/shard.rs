//! Works on a claimed shard: evaluates what is not recorded, records in batches, finishes the shard or returns it.

use std::sync::Arc;

use opb_core::runs::{Reserved, ShardLease, finish_shard, note_skipped, release_shard, reserve};
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    evaluate::{Evaluated, evaluate},
    leases::{LeaseGuard, Leases},
    pending::PendingEvaluation,
    prepared::{PreparedRun, PreparedRuns},
    recorder::{Recorder, Saved},
    traces::ShardTrace,
    unseen::Unseen,
};

/// Maximum number of evaluations of a shard in flight, which bounds the memory of a worker.
const AT_ONCE: usize = 200;

/// The dependencies of working on shards.
pub(crate) struct ShardContext {
    pub(crate) pool: PgPool,
    pub(crate) runs: Arc<PreparedRuns>,
    pub(crate) leases: Arc<Leases>,
    /// Cancelled when no new calls may start.
    pub(crate) stop: CancellationToken,
    /// Cancelled when the grace period is over.
    pub(crate) abort: CancellationToken,
}

/// How the work on a shard ended.
enum Ended {
    /// Every evaluation is recorded or skipped.
    Complete,
    /// The same, and the shard is marked as done.
    Finished,
    /// The worker stops, or the run is paused or gives way to another; some evaluations remain, and calls may have been
    /// paid for that are not recorded.
    Stopped { unaccounted_microusd: i64 },
    /// The budget currently does not allow the next evaluation.
    NoMoney,
    /// The lease was lost, or the run was cancelled: the remaining evaluations are no longer ours.
    Lost,
}

impl Ended {
    /// The outcome in traces.
    fn word(&self) -> &'static str {
        match self {
            Self::Complete | Self::Finished => "complete",
            Self::Stopped { .. } => "stopped",
            Self::NoMoney => "no_money",
            Self::Lost => "lost",
        }
    }
}

/// Works on a claimed shard until it is done or returned. `leaves` is cancelled when it gives up its slot; calls in
/// flight finish nevertheless.
///
/// # Errors
/// The database does not respond, or the shard cannot be worked on. It becomes claimable when its lease expires.
pub(crate) async fn carry_out(
    ctx: &ShardContext,
    lease: ShardLease,
    leaves: CancellationToken,
) -> anyhow::Result<()> {
    let guard = ctx.leases.hold(lease, &ctx.stop, leaves);
    let trace = ShardTrace::begin(&lease);
    let ended = trace.around(work(ctx, &guard, &trace)).await;
    trace.end(ended.as_ref().ok().map(Ended::word));
    let unaccounted_microusd = match ended? {
        Ended::Complete => {
            let mut conn = ctx.pool.acquire().await?;
            finish_shard(&mut conn, &lease).await?;
            return Ok(());
        }
        Ended::Finished => return Ok(()),
        Ended::Lost => {
            tracing::debug!(
                shard.id = %lease.shard_id,
                "shard {} was left to other workers",
                lease.shard_id
            );
            return Ok(());
        }
        Ended::Stopped {
            unaccounted_microusd,
        } => unaccounted_microusd,
        Ended::NoMoney => 0,
    };
    let mut conn = ctx.pool.acquire().await?;
    release_shard(&mut conn, &lease, unaccounted_microusd).await?;
    Ok(())
}

async fn work(
    ctx: &ShardContext,
    guard: &LeaseGuard<'_>,
    trace: &ShardTrace,
) -> anyhow::Result<Ended> {
    let run = ctx.runs.prepare(&guard.lease).await?;
    trace.of_request(run.work.request_id);
    let mut unseen = Unseen::of(&ctx.pool, &run, &guard.lease).await?;
    let mut noted = 0;
    let mut recorder = Recorder::new(&ctx.pool, guard, &ctx.abort, run.work.budgeted);
    loop {
        let mut pending = unseen.next(&ctx.runs, &run, &guard.lease).await?;
        if unseen.skipped > noted {
            let mut conn = ctx.pool.acquire().await?;
            note_skipped(&mut conn, &guard.lease, i32::try_from(unseen.skipped)?).await?;
            noted = unseen.skipped;
        }
        while !pending.is_empty() {
            let calls = if run.work.budgeted {
                let bounds: Vec<i64> = pending.iter().map(|call| call.bound_microusd).collect();
                let mut conn = ctx.pool.acquire().await?;
                match reserve(&mut conn, &guard.lease, &bounds).await? {
                    Reserved::Calls(calls) => {
                        recorder.reservation.put(&bounds[..calls]);
                        calls
                    }
                    Reserved::Nothing => return Ok(Ended::NoMoney),
                    Reserved::Fenced => return Ok(Ended::Lost),
                }
            } else {
                pending.len()
            };
            let are_last = calls == pending.len() && unseen.is_empty();
            let calls = pending.drain(..calls);
            let ended =
                evaluate_all(ctx, guard, trace, &run, calls, are_last, &mut recorder).await?;
            if !matches!(ended, Ended::Complete) {
                return Ok(ended);
            }
        }
        if unseen.is_empty() {
            return Ok(Ended::Complete);
        }
    }
}

/// Evaluates these concurrently and records their results; the governor limits the concurrent calls. If they are the
/// last of the shard, the last batch marks it as done.
async fn evaluate_all(
    ctx: &ShardContext,
    guard: &LeaseGuard<'_>,
    trace: &ShardTrace,
    run: &Arc<PreparedRun>,
    mut pending: impl Iterator<Item = PendingEvaluation>,
    are_last: bool,
    recorder: &mut Recorder<'_>,
) -> anyhow::Result<Ended> {
    let begin = |pending: PendingEvaluation| {
        let bound_microusd = pending.bound_microusd;
        let evaluation = evaluate(Arc::clone(run), pending, guard.halt.clone());
        let evaluation = trace.around(evaluation);
        async move { (bound_microusd, evaluation.await) }
    };
    let mut running: JoinSet<(i64, Evaluated)> = JoinSet::new();
    let mut complete = true;
    loop {
        while running.len() < AT_ONCE
            && let Some(pending) = pending.next()
        {
            running.spawn(begin(pending));
        }
        let flush = tokio::select! {
            biased;
            () = guard.lost.cancelled() => {
                recorder.drop_results().await;
                return Ok(Ended::Lost);
            }
            () = ctx.abort.cancelled() => {
                return Ok(match recorder.save(false).await? {
                    Saved::Kept => stopped(recorder),
                    Saved::Lost => Ended::Lost,
                });
            }
            ended = running.join_next() => match ended {
                None if recorder.is_empty() => {
                    return Ok(if complete { Ended::Complete } else { stopped(recorder) });
                }
                None => true,
                Some(Ok((bound_microusd, evaluated))) => {
                    complete &= recorder.take(bound_microusd, evaluated);
                    recorder.is_full()
                }
                Some(Err(error)) => anyhow::bail!("an evaluation panicked: {error}"),
            },
            () = recorder.is_due() => true,
        };
        if flush {
            let finishes = are_last && complete && running.is_empty();
            if recorder.save(finishes).await? == Saved::Lost {
                return Ok(Ended::Lost);
            }
            if finishes {
                return Ok(Ended::Finished);
            }
        }
    }
}

fn stopped(recorder: &Recorder<'_>) -> Ended {
    Ended::Stopped {
        unaccounted_microusd: recorder.reservation.spendable(),
    }
}
