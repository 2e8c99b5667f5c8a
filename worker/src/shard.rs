//! One claimed shard: evaluate what is not recorded yet, record in batches, finish it or hand it back.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use opb_core::runs::{
    EvaluationKey, Reserved, ShardLease, finish_shard, note_skipped, recorded_keys, release_shard,
    reserve,
};
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    answers::{Known, look_up},
    evaluate::{Evaluated, PreparedItem, evaluate},
    leases::{LeaseGuard, Leases},
    prepared::{PreparedRun, PreparedRuns},
    purse::bound_microusd,
    recorder::{Recorder, Saved},
    traces::ShardTrace,
};

/// So many evaluations of a shard are under way at most, which bounds the memory of a worker.
const AT_ONCE: usize = 200;

/// What the work on shards needs.
pub(crate) struct ShardContext {
    pub(crate) pool: PgPool,
    pub(crate) runs: Arc<PreparedRuns>,
    pub(crate) leases: Arc<Leases>,
    /// Cancelled when no new call may begin.
    pub(crate) stop: CancellationToken,
    /// Cancelled when the grace time is over.
    pub(crate) abort: CancellationToken,
}

/// How the work on a shard ended.
enum Ended {
    /// Every evaluation that is asked is recorded.
    Complete,
    /// The same, and the shard is marked as done.
    Finished,
    /// The worker stops, the run is paused or gives way to another; some evaluations are left, and so many micro-dollars may have been paid
    /// for calls that are not recorded.
    Stopped { unaccounted_microusd: i64 },
    /// The budget has no room for the next evaluation at the moment.
    NoMoney,
    /// The lease was lost, or the run was cancelled: what is left is not ours any more.
    Lost,
}

impl Ended {
    /// The word for it in traces.
    fn word(&self) -> &'static str {
        match self {
            Self::Complete | Self::Finished => "complete",
            Self::Stopped { .. } => "stopped",
            Self::NoMoney => "no_money",
            Self::Lost => "lost",
        }
    }
}

/// Works on a claimed shard until it is done or handed back. `leaves` is cancelled when it gives its place to another; the
/// calls in flight end all the same.
///
/// # Errors
/// The database does not answer, or the shard cannot be worked on. It comes back when its lease runs out.
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
            tracing::debug!(shard.id = %lease.shard_id, "a shard was left to others");
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

/// An evaluation that is not recorded yet.
struct Open {
    key: EvaluationKey,
    item: Arc<PreparedItem>,
    known: Known,
    /// The most that its call can cost; zero in a run without a budget.
    bound_microusd: i64,
}

async fn work(
    ctx: &ShardContext,
    guard: &LeaseGuard<'_>,
    trace: &ShardTrace,
) -> anyhow::Result<Ended> {
    let run = ctx.runs.prepare(&guard.lease).await?;
    trace.of_request(run.work.request_id);
    let (mut left, mut skipped) = find_left(ctx, &run, &guard.lease).await?;
    let mut noted = 0;
    let mut recorder = Recorder::new(&ctx.pool, guard, &ctx.abort, run.work.budgeted);
    // Items may be large: those of a shard are loaded some megabytes at a time, nearly always all at once.
    loop {
        let taken = left.len();
        let mut open = load(ctx, &run, &guard.lease, &mut left).await?;
        skipped += taken - left.len() - open.len();
        if skipped > noted {
            let mut conn = ctx.pool.acquire().await?;
            note_skipped(&mut conn, &guard.lease, i32::try_from(skipped)?).await?;
            noted = skipped;
        }
        while !open.is_empty() {
            let calls = if run.work.budgeted {
                let bounds: Vec<i64> = open.iter().map(|open| open.bound_microusd).collect();
                let mut conn = ctx.pool.acquire().await?;
                match reserve(&mut conn, &guard.lease, &bounds).await? {
                    Reserved::Calls(calls) => {
                        recorder.purse.put(&bounds[..calls]);
                        calls
                    }
                    Reserved::Nothing => return Ok(Ended::NoMoney),
                    Reserved::Fenced => return Ok(Ended::Lost),
                }
            } else {
                open.len()
            };
            let are_last = calls == open.len() && left.is_empty();
            let calls = open.drain(..calls);
            let ended =
                evaluate_all(ctx, guard, trace, &run, calls, are_last, &mut recorder).await?;
            if !matches!(ended, Ended::Complete) {
                return Ok(ended);
            }
        }
        if left.is_empty() {
            return Ok(Ended::Complete);
        }
    }
}

/// Evaluates all of these side by side and records what comes; the governor decides how many of them call at a time. When
/// they are the last of the shard, the last batch marks it as done.
async fn evaluate_all(
    ctx: &ShardContext,
    guard: &LeaseGuard<'_>,
    trace: &ShardTrace,
    run: &Arc<PreparedRun>,
    mut open: impl Iterator<Item = Open>,
    are_last: bool,
    recorder: &mut Recorder<'_>,
) -> anyhow::Result<Ended> {
    let begin = |open: Open| {
        let halt = guard.halt.clone();
        let evaluation = evaluate(Arc::clone(run), open.item, open.key, open.known, halt);
        let evaluation = trace.around(evaluation);
        async move { (open.bound_microusd, evaluation.await) }
    };
    let mut running: JoinSet<(i64, Evaluated)> = JoinSet::new();
    let mut complete = true;
    loop {
        while running.len() < AT_ONCE
            && let Some(open) = open.next()
        {
            running.spawn(begin(open));
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
        unaccounted_microusd: recorder.purse.spendable(),
    }
}

/// The evaluations of a shard that are neither recorded nor left out, in order, and how many are left out. Answers that are
/// scored again need no asking, so none of those is left out before they are looked up.
async fn find_left(
    ctx: &ShardContext,
    run: &PreparedRun,
    lease: &ShardLease,
) -> anyhow::Result<(VecDeque<EvaluationKey>, usize)> {
    let recorded: HashSet<EvaluationKey> = {
        let mut conn = ctx.pool.acquire().await?;
        let recorded = recorded_keys(&mut conn, &run.work, lease).await?;
        recorded.into_iter().collect()
    };
    let scored_again = run.work.answers_of.is_some();
    let missing = run.work.keys(lease).filter(|key| !recorded.contains(key));
    let (left, left_out): (VecDeque<_>, VecDeque<_>) =
        missing.partition(|key| scored_again || !run.work.leaves_out(*key));
    Ok((left, left_out.len()))
}

/// Takes from those that are left as many as their items are read at once, and makes them ready. Fewer come back when some
/// need no asking and have no answer.
async fn load(
    ctx: &ShardContext,
    run: &PreparedRun,
    lease: &ShardLease,
    left: &mut VecDeque<EvaluationKey>,
) -> anyhow::Result<Vec<Open>> {
    let Some(first) = left.front().map(|key| key.item) else {
        return Ok(Vec::new());
    };
    let items = {
        let mut conn = ctx.pool.acquire().await?;
        run.work.items(&mut conn, lease, first).await?
    };
    let by_position = ctx.runs.prepare_items(run.work.owner_id, items).await?;
    let mut taken = Vec::new();
    while let Some(key) = left.front().copied()
        && let Some(item) = by_position.get(&key.item)
    {
        left.pop_front();
        taken.push((key, Arc::clone(item)));
    }
    if taken.is_empty() {
        anyhow::bail!("the item at position {first} is missing");
    }
    let known = look_up(&ctx.pool, run, lease, &taken).await?;
    let open = taken
        .into_iter()
        .zip(known)
        .filter(|((key, _), known)| known.answer.is_some() || !run.work.leaves_out(*key))
        .map(|((key, item), known)| Open {
            bound_microusd: if run.work.budgeted && known.answer.is_none() {
                bound_microusd(run, &item, key)
            } else {
                0
            },
            key,
            item,
            known,
        });
    Ok(open.collect())
}
