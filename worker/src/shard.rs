//! One claimed shard: evaluate what is not recorded yet, record in batches, finish it or hand it back.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use opb_core::{
    metrics::METRICS,
    runs::{
        EvaluationKey, NewEvaluation, Recorded, Reserved, ShardLease, add_spend, finish_shard,
        record, record_last, recorded_keys, release_shard, reserve,
    },
};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    Worker,
    answers::{Known, look_up},
    evaluate::{Evaluated, PreparedItem, evaluate},
    leases::LeaseGuard,
    prepared::{PreparedRun, prepare},
    purse::{Purse, bound_microusd},
    traces::ShardTrace,
};

/// So many evaluations of a shard are under way at most, which bounds the memory of a worker.
const AT_ONCE: usize = 200;
/// A batch is recorded when it has so many results …
const BATCH_SIZE: usize = 250;
/// … or so many bytes of outputs …
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// … or when its oldest result has waited so long.
const BATCH_WAIT: Duration = Duration::from_millis(200);
/// How long recording is tried again while the database is away; the lease is lost by then, so the work is not.
const RECORD_PAUSE: Duration = Duration::from_millis(500);

/// How the work on a shard ended.
enum Ended {
    /// Every evaluation that is asked is recorded.
    Complete,
    /// Every evaluation is recorded, and the shard is marked as done.
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
    worker: &Arc<Worker>,
    lease: ShardLease,
    leaves: CancellationToken,
) -> anyhow::Result<()> {
    let guard = worker.leases.hold(lease, &worker.stop, leaves);
    let trace = ShardTrace::begin(&lease);
    let ended = trace.around(work(worker, &guard, &trace)).await;
    trace.end(ended.as_ref().ok().map(|(ended, _)| ended.word()));
    let (ended, skipped) = ended?;
    let unaccounted_microusd = match ended {
        Ended::Complete => {
            let mut conn = worker.pool.acquire().await?;
            finish_shard(&mut conn, &lease, skipped).await?;
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
    let mut conn = worker.pool.acquire().await?;
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

/// What a shard found out and has not recorded yet, and the money reserved for it.
#[derive(Default)]
struct Unrecorded {
    batch: Vec<NewEvaluation>,
    /// The length of their outputs.
    bytes: usize,
    purse: Purse,
}

/// Says also how many evaluations are not asked, since their columns are settled.
async fn work(
    worker: &Arc<Worker>,
    guard: &LeaseGuard<'_>,
    trace: &ShardTrace,
) -> anyhow::Result<(Ended, i64)> {
    let run = prepare(worker, &guard.lease).await?;
    trace.of_request(run.work.request_id);
    let (mut left, mut skipped) = find_left(worker, &run, &guard.lease).await?;
    let mut unrecorded = Unrecorded::default();
    // Items may be large: those of a shard are loaded some megabytes at a time, nearly always all at once.
    while !left.is_empty() {
        let taken = left.len();
        let mut open = load(worker, &run, &guard.lease, &mut left).await?;
        skipped += i64::try_from(taken - left.len() - open.len())?;
        while !open.is_empty() {
            let calls = if run.work.budgeted {
                let bounds: Vec<i64> = open.iter().map(|open| open.bound_microusd).collect();
                let mut conn = worker.pool.acquire().await?;
                match reserve(&mut conn, &guard.lease, &bounds).await? {
                    Reserved::Calls(calls) => {
                        unrecorded.purse.put(&bounds[..calls]);
                        calls
                    }
                    Reserved::Nothing => return Ok((Ended::NoMoney, skipped)),
                    Reserved::Fenced => return Ok((Ended::Lost, skipped)),
                }
            } else {
                open.len()
            };
            let last = (calls == open.len() && left.is_empty()).then_some(skipped);
            let calls = open.drain(..calls);
            let ended =
                evaluate_all(worker, guard, trace, &run, calls, last, &mut unrecorded).await?;
            if !matches!(ended, Ended::Complete) {
                return Ok((ended, skipped));
            }
        }
    }
    Ok((Ended::Complete, skipped))
}

/// Evaluates all of these side by side and records what comes; the governor decides how many of them call at a time. When
/// they are the last of the shard, `last` says how many of it are not asked.
async fn evaluate_all(
    worker: &Arc<Worker>,
    guard: &LeaseGuard<'_>,
    trace: &ShardTrace,
    run: &Arc<PreparedRun>,
    mut open: impl Iterator<Item = Open>,
    last: Option<i64>,
    unrecorded: &mut Unrecorded,
) -> anyhow::Result<Ended> {
    let begin = |open: Open| {
        let halt = guard.halt.clone();
        let (worker, run) = (Arc::clone(worker), Arc::clone(run));
        let evaluation = evaluate(worker, run, open.item, open.key, open.known, halt);
        let evaluation = trace.around(evaluation);
        async move { (open.bound_microusd, evaluation.await) }
    };
    let mut running: JoinSet<(i64, Evaluated)> = JoinSet::new();
    let mut due: Option<Instant> = None;
    let mut complete = true;
    loop {
        while running.len() < AT_ONCE
            && let Some(open) = open.next()
        {
            running.spawn(begin(open));
        }
        let record_at = due.unwrap_or_else(|| Instant::now() + Duration::from_hours(1));
        let flush = tokio::select! {
            biased;
            () = guard.lost.cancelled() => {
                drop_results(worker, &guard.lease, &unrecorded.batch).await;
                return Ok(Ended::Lost);
            }
            () = worker.abort.cancelled() => {
                let kept = save(worker, guard, unrecorded, None).await;
                return Ok(if kept { stopped(unrecorded) } else { Ended::Lost });
            }
            ended = running.join_next() => match ended {
                None if unrecorded.batch.is_empty() => {
                    return Ok(if complete { Ended::Complete } else { stopped(unrecorded) });
                }
                None => true,
                Some(Ok((bound_microusd, mut evaluated))) => {
                    if run.work.budgeted {
                        unrecorded.purse.note(bound_microusd, &mut evaluated);
                    }
                    match evaluated.evaluation {
                        None => complete = false,
                        Some(evaluation) => {
                            unrecorded.bytes += evaluation.output.as_ref().map_or(0, String::len);
                            unrecorded.batch.push(evaluation);
                            due.get_or_insert_with(|| Instant::now() + BATCH_WAIT);
                        }
                    }
                    unrecorded.batch.len() >= BATCH_SIZE || unrecorded.bytes >= BATCH_BYTES
                }
                Some(Err(error)) => anyhow::bail!("an evaluation panicked: {error}"),
            },
            () = tokio::time::sleep_until(record_at) => true,
        };
        if flush {
            due = None;
            let finish = last.filter(|_| complete && running.is_empty());
            if !save(worker, guard, unrecorded, finish).await {
                return Ok(Ended::Lost);
            }
            if finish.is_some() {
                return Ok(Ended::Finished);
            }
        }
    }
}

fn stopped(unrecorded: &Unrecorded) -> Ended {
    Ended::Stopped {
        unaccounted_microusd: unrecorded.purse.spendable(),
    }
}

/// The evaluations of a shard that are neither recorded nor left out, in order, and how many are left out. Answers that are
/// scored again need no asking, so none of those is left out before they are looked up.
async fn find_left(
    worker: &Worker,
    run: &PreparedRun,
    lease: &ShardLease,
) -> anyhow::Result<(VecDeque<EvaluationKey>, i64)> {
    let recorded: HashSet<EvaluationKey> = {
        let mut conn = worker.pool.acquire().await?;
        let recorded = recorded_keys(&mut conn, &run.work, lease).await?;
        recorded.into_iter().collect()
    };
    let scored_again = run.work.answers_of.is_some();
    let mut skipped = 0;
    let mut left = VecDeque::new();
    for key in run.work.keys(lease) {
        if recorded.contains(&key) {
            continue;
        }
        if scored_again || !run.work.leaves_out(key) {
            left.push_back(key);
        } else {
            skipped += 1;
        }
    }
    Ok((left, skipped))
}

/// Takes from those that are left as many as their items are read at once, and makes them ready. Fewer come back when some
/// need no asking and have no answer.
async fn load(
    worker: &Worker,
    run: &PreparedRun,
    lease: &ShardLease,
    left: &mut VecDeque<EvaluationKey>,
) -> anyhow::Result<Vec<Open>> {
    let Some(first) = left.front().map(|key| key.item) else {
        return Ok(Vec::new());
    };
    let items = {
        let mut conn = worker.pool.acquire().await?;
        run.work.items(&mut conn, lease, first).await?
    };
    let mut by_position = HashMap::new();
    for item in items {
        by_position.insert(item.position, Arc::new(PreparedItem::new(item)?));
    }
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
    let known = look_up(worker, run, lease, &taken).await?;
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

/// Records a batch and empties it; with `finish` the shard is done then, and so many of it are not asked. Tries again while the database is away. False
/// when the lease was lost.
async fn save(
    worker: &Worker,
    guard: &LeaseGuard<'_>,
    unrecorded: &mut Unrecorded,
    finish: Option<i64>,
) -> bool {
    let Unrecorded {
        batch,
        bytes,
        purse,
    } = unrecorded;
    if batch.is_empty() {
        return true;
    }
    let settlement = purse.settlement();
    loop {
        let timer = METRICS.record_duration.start_timer();
        let recorded = async {
            let mut conn = worker.pool.acquire().await?;
            match finish {
                Some(skipped) => {
                    record_last(&mut conn, &guard.lease, batch, settlement, skipped).await
                }
                None => record(&mut conn, &guard.lease, batch, settlement).await,
            }
        };
        let recorded = recorded.await;
        timer.observe_duration();
        match recorded {
            Ok(Recorded::Kept(_)) => {
                batch.clear();
                *bytes = 0;
                purse.settled();
                return true;
            }
            Ok(Recorded::Fenced) => {
                drop_results(worker, &guard.lease, batch).await;
                return false;
            }
            Err(error) => {
                tracing::warn!(shard.id = %guard.lease.shard_id, error = ?error, "results could not be recorded, trying again");
                tokio::select! {
                    () = guard.lost.cancelled() => return false,
                    () = worker.abort.cancelled() => return false,
                    () = tokio::time::sleep(RECORD_PAUSE) => {}
                }
            }
        }
    }
}

/// The money of results that nobody keeps was spent all the same.
async fn drop_results(worker: &Worker, lease: &ShardLease, batch: &[NewEvaluation]) {
    METRICS.fenced_results.inc_by(batch.len() as u64);
    let spend: i64 = batch
        .iter()
        .filter(|evaluation| !evaluation.cached)
        .filter_map(|evaluation| evaluation.cost_microusd)
        .sum();
    if spend == 0 {
        return;
    }
    let added = async {
        let mut conn = worker.pool.acquire().await?;
        add_spend(&mut conn, lease.run_id, spend).await
    };
    if let Err(error) = added.await {
        tracing::warn!(%error, "the spend of dropped results could not be counted");
    }
}
