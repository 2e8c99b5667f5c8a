//! The unrecorded evaluations of a shard, prepared some megabytes at a time.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use opb_core::{
    benchmarks::StoredItem,
    runs::{EvaluationKey, ShardLease, recorded_keys},
};
use sqlx::PgPool;

use crate::{
    answers::look_up,
    pending::{PendingEvaluation, PreparedItem, Rendered},
    prepared::{PreparedRun, PreparedRuns},
    reservation::bound_microusd,
};

/// Maximum size of the messages held for a shard, in bytes, in addition to those of one evaluation.
const MAX_RENDERED_BYTES: usize = 8 * 1024 * 1024;

/// The evaluations of a shard that are not prepared yet.
pub(crate) struct Unseen {
    keys: VecDeque<EvaluationKey>,
    /// Number of skipped evaluations of the shard.
    pub(crate) skipped: usize,
}

impl Unseen {
    /// Collects the evaluations that are neither recorded nor skipped, in order. In a rescored run, none is skipped
    /// before its existing response was looked up.
    ///
    /// # Errors
    /// The database does not respond.
    pub(crate) async fn of(
        pool: &PgPool,
        run: &PreparedRun,
        lease: &ShardLease,
    ) -> anyhow::Result<Self> {
        let recorded: HashSet<EvaluationKey> = {
            let mut conn = pool.acquire().await?;
            let recorded = recorded_keys(&mut conn, &run.work, lease).await?;
            recorded.into_iter().collect()
        };
        let is_rescored = run.work.answers_of.is_some();
        let missing = run.work.keys(lease).filter(|key| !recorded.contains(key));
        let (keys, left_out): (VecDeque<_>, VecDeque<_>) =
            missing.partition(|key| is_rescored || !run.work.leaves_out(*key));
        Ok(Self {
            keys,
            skipped: left_out.len(),
        })
    }

    /// Whether all evaluations were prepared.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Prepares the next evaluations: as many as allowed by the size of their items and messages. May return none if
    /// all of them are skipped.
    ///
    /// # Errors
    /// The database does not respond, or an item is missing.
    pub(crate) async fn next(
        &mut self,
        runs: &PreparedRuns,
        run: &Arc<PreparedRun>,
        lease: &ShardLease,
    ) -> anyhow::Result<Vec<PendingEvaluation>> {
        let Some(first) = self.keys.front().map(|key| key.item) else {
            return Ok(Vec::new());
        };
        let items = {
            let mut conn = runs.pool.acquire().await?;
            run.work.items(&mut conn, lease, first).await?
        };
        let keys = std::mem::take(&mut self.keys);
        let made = {
            let run = Arc::clone(run);
            run.clone().compute(move || make(&run, keys, items)).await?
        };
        let (mut pending, keys) = made?;
        self.keys = keys;
        if pending.is_empty() {
            anyhow::bail!("the item at position {first} is missing");
        }
        look_up(&runs.pool, run, lease, &mut pending).await?;
        let taken = pending.len();
        pending.retain(|pending| pending.answer.is_some() || !run.work.leaves_out(pending.key));
        self.skipped += taken - pending.len();
        for pending in &mut pending {
            if pending.answer.is_some() {
                pending.messages = None;
            } else if run.work.budgeted
                && let Some((_, model)) = run.column(pending.key)
                && let Some(Ok(messages)) = pending.messages.as_deref()
            {
                pending.bound_microusd = bound_microusd(model, messages);
            }
        }
        Ok(pending)
    }
}

/// Prepares the first of these evaluations, and returns the remaining keys.
///
/// # Errors
/// The scorers of an item do not compile, which should have been refused at publication.
fn make(
    run: &PreparedRun,
    mut keys: VecDeque<EvaluationKey>,
    items: Vec<StoredItem>,
) -> anyhow::Result<(Vec<PendingEvaluation>, VecDeque<EvaluationKey>)> {
    let items: HashMap<i32, Arc<PreparedItem>> = items
        .into_iter()
        .map(|item| Ok((item.position, Arc::new(PreparedItem::new(item)?))))
        .collect::<anyhow::Result<_>>()?;
    let mut pending = Vec::new();
    let mut renderings = Renderings::default();
    while let Some(key) = keys.front().copied()
        && let Some(item) = items.get(&key.item)
        && renderings.bytes <= MAX_RENDERED_BYTES
    {
        keys.pop_front();
        pending.push(PendingEvaluation {
            key,
            item: Arc::clone(item),
            messages: renderings.of(run, key, item),
            answer: None,
            answer_key: None,
            bound_microusd: 0,
        });
    }
    Ok((pending, keys))
}

/// The messages of evaluations, each rendered once.
#[derive(Default)]
struct Renderings {
    /// By item and prompt.
    rendered: HashMap<(i32, i16), Rendered>,
    /// Their size in bytes.
    bytes: usize,
}

impl Renderings {
    /// Returns `None` in a run that only rescores, and for a column that the run does not have.
    fn of(
        &mut self,
        run: &PreparedRun,
        key: EvaluationKey,
        item: &PreparedItem,
    ) -> Option<Rendered> {
        let (prompt, _) = run.column(key)?;
        if run.work.answers_of.is_some() {
            return None;
        }
        let rendered = self
            .rendered
            .entry((key.item, key.prompt))
            .or_insert_with(|| {
                let rendered = prompt.render(&item.vars);
                let messages = rendered.as_deref().unwrap_or_default();
                self.bytes += messages
                    .iter()
                    .map(|message| message.content.bytes())
                    .sum::<usize>();
                Arc::new(rendered)
            });
        Some(Arc::clone(rendered))
    }
}
