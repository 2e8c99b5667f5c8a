//! Refresh of standings: computes those of a run when it ends, and provisional ones while it goes on.

use std::collections::HashMap;

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{
    DOORBELL,
    audience::Audience,
    blocks::{Blocks, ColumnKey},
    ranking::rank_provisional,
    renew::{Board, lock_boards, renew_board},
    write,
};
use crate::{
    Result, doorbell,
    runs::{RunShape, RunState},
};

/// Provisional standings are recomputed when a run has grown by a quarter, so that all recomputations together cost
/// only a few times as much as the last one.
const GROWTH: f64 = 1.25;
/// They are also recomputed after this many seconds, if the run has grown at all.
const OLDEST_SECONDS: f64 = 60.0;

/// The data of a run that its standings need.
pub(super) struct MeasuredRun {
    pub(super) id: Uuid,
    pub(super) benchmark_version_id: Uuid,
    pub(super) shape: RunShape,
    /// By position.
    prompt_version_ids: Vec<Uuid>,
    /// By position, with true for simulated models.
    models: Vec<(Uuid, bool)>,
    state: RunState,
    owner_id: i64,
    /// Whether everybody may read the run.
    public: bool,
}

impl MeasuredRun {
    /// The prompt version, the model, and whether it is simulated.
    pub(super) fn column(&self, (prompt, model): ColumnKey) -> Option<(Uuid, Uuid, bool)> {
        let prompt = self.prompt_version_ids.get(usize::try_from(prompt).ok()?)?;
        let (model, simulated) = self.models.get(usize::try_from(model).ok()?)?;
        Some((*prompt, *model, *simulated))
    }

    /// The boards that the run counts on.
    pub(super) fn boards(&self, simulated: bool) -> Vec<Board> {
        let audiences = [Audience::Own(self.owner_id), Audience::Public];
        let count = if self.public { 2 } else { 1 };
        let board = |audience| Board {
            benchmark_version_id: self.benchmark_version_id,
            simulated,
            audience,
        };
        audiences.into_iter().take(count).map(board).collect()
    }
}

/// Stores the results of a run, and rebuilds the boards that it counts on: its owner's own, and the public one if
/// everybody may read the run. Part of the transaction that ends the run.
pub(crate) async fn update_standings(tx: &mut PgConnection, run_id: Uuid) -> Result<()> {
    let run = load_run(tx, run_id).await?;
    let columns = Blocks::of(run_id, run.shape).load(tx, true).await?;
    // Two runs on one benchmark version that end at the same time rank it one after the other.
    lock_boards(tx, run.benchmark_version_id).await?;
    let mut measured = [false; 2];
    for (key, summary) in &columns {
        let figures = summary.figures(run.shape.repeats);
        if let (Some(column), Some(figures)) = (run.column(*key), figures) {
            write::point(tx, &run, column, summary, &figures).await?;
            measured[usize::from(column.2)] = true;
        }
    }
    for simulated in [false, true] {
        if measured[usize::from(simulated)] {
            for board in run.boards(simulated) {
                renew_board(tx, board, Some(run_id)).await?;
            }
        }
    }
    tell(tx, run.benchmark_version_id).await
}

/// Deletes the summaries of a run's progress. Part of the transaction that ends the run.
pub(crate) async fn forget_progress(tx: &mut PgConnection, run_id: Uuid) -> Result<()> {
    sqlx::query!(
        "-- refresh::forget_progress
        delete from run_summaries where run_id = $1",
        run_id
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "-- refresh::forget_progress
        delete from provisional_standings where run_id = $1",
        run_id
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Waits until no other process summarises a run, and locks it until the transaction ends.
pub(crate) async fn lock_progress(tx: &mut PgConnection, run_id: Uuid) -> Result<()> {
    sqlx::query_scalar!(
        r#"-- refresh::lock_progress
        select pg_advisory_xact_lock(hashtextextended($1, 1)) is null as "locked""#,
        run_id.to_string()
    )
    .fetch_one(tx)
    .await?;
    Ok(())
}

/// The runs whose provisional standings a process has refreshed, with the number of shards open at that time.
#[derive(Debug, Default)]
pub struct Shown(HashMap<Uuid, i32>);

/// Summarises the progress of every open run, and shows it as provisional standings.
/// Safe to call at any time, also concurrently by several processes.
///
/// # Errors
/// The database does not respond; completed work is kept.
pub async fn refresh_open_runs(conn: &mut PgConnection, shown: &mut Shown) -> Result<()> {
    // Runs that ended without being finished, such as cancelled ones.
    sqlx::query!(
        "-- refresh::refresh_open_runs
        with ended as (
            select id from runs
            where finished_at is not null
              and (id in (select run_id from provisional_standings) or id in (select run_id from run_summaries))
        ), provisional as (
            delete from provisional_standings where run_id in (select id from ended)
        )
        delete from run_summaries where run_id in (select id from ended)"
    )
    .execute(&mut *conn)
    .await?;
    let open = sqlx::query!(
        r#"-- refresh::refresh_open_runs
        select id, shards_open as "shards_open!" from runs
        where finished_at is null and state in ('running', 'paused') and shards_open is not null
        order by id"#
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut now = HashMap::new();
    for run in open {
        // A block only becomes complete when a shard ends, so runs without progress cost nothing.
        let waits = shown.0.get(&run.id) == Some(&run.shards_open);
        if waits || refresh_run(conn, run.id).await? {
            now.insert(run.id, run.shards_open);
        }
    }
    shown.0 = now;
    Ok(())
}

/// Returns true if everything complete is shown.
async fn refresh_run(conn: &mut PgConnection, run_id: Uuid) -> Result<bool> {
    let mut tx = conn.begin().await?;
    let free = sqlx::query_scalar!(
        r#"-- refresh::refresh_run
        select pg_try_advisory_xact_lock(hashtextextended($1, 1)) as "free!""#,
        run_id.to_string()
    )
    .fetch_one(&mut *tx)
    .await?;
    if !free {
        tx.rollback().await?;
        return Ok(false);
    }
    // Read under the lock: a run that is ending waits for it, and a run that has ended is skipped.
    let run = load_run(&mut tx, run_id).await?;
    if !matches!(run.state, RunState::Running | RunState::Paused) {
        // Explicit, because dropping the transaction would keep the lock until the connection is used again.
        tx.rollback().await?;
        return Ok(false);
    }
    let blocks = Blocks::of(run_id, run.shape);
    blocks.keep_complete(&mut tx).await?;
    let lag = lag(&mut tx, run_id).await?;
    if lag == Lag::Due {
        let columns = blocks.load(&mut tx, false).await?;
        for (key, summary) in &columns {
            let figures = summary.figures(run.shape.repeats);
            if let (Some(column), Some(figures)) = (run.column(*key), figures) {
                write::provisional(&mut tx, &run, column, summary, &figures).await?;
            }
        }
        for simulated in [false, true] {
            if run.models.iter().any(|(_, is)| *is == simulated) {
                rank_provisional(&mut tx, &run, simulated).await?;
            }
        }
        tell(&mut tx, run.benchmark_version_id).await?;
    }
    tx.commit().await?;
    Ok(lag != Lag::Later)
}

/// Whether the provisional standings of a run are older than its summaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lag {
    /// They are up to date.
    None,
    /// They are out of date and will be recomputed later.
    Later,
    /// They have to be recomputed now.
    Due,
}

async fn lag(tx: &mut PgConnection, run_id: Uuid) -> Result<Lag> {
    let lag = sqlx::query!(
        r#"-- refresh::lag
        select coalesce((select sum((sums -> 'evaluations')::bigint) from run_summaries where run_id = $1), 0)::float8 as "reached!",
               coalesce(sum(evaluations), 0)::float8 as "shown!",
               coalesce(extract(epoch from now() - max(updated_at)), 0)::float8 as "age_seconds!"
        from provisional_standings
        where run_id = $1"#,
        run_id
    )
    .fetch_one(tx)
    .await?;
    Ok(if lag.reached <= lag.shown {
        Lag::None
    } else if lag.reached >= lag.shown * GROWTH || lag.age_seconds >= OLDEST_SECONDS {
        Lag::Due
    } else {
        Lag::Later
    })
}

/// Notifies caches that a board has changed.
pub(super) async fn tell(tx: &mut PgConnection, benchmark_version_id: Uuid) -> Result<()> {
    doorbell::ring(tx, DOORBELL, &benchmark_version_id.to_string()).await
}

async fn load_run(tx: &mut PgConnection, run_id: Uuid) -> Result<MeasuredRun> {
    let run = sqlx::query!(
        r#"-- refresh::load_run
        select benchmark_version_id, item_count, repeats, state as "state: RunState", owner_id,
               is_public_run(id) as "public!",
               array(select prompt_version_id from run_prompts where run_id = runs.id order by position)
                   as "prompt_version_ids!"
        from runs where id = $1"#,
        run_id
    )
    .fetch_one(&mut *tx)
    .await?;
    let models = sqlx::query!(
        r#"-- refresh::load_run
        select model_id, providers.kind in ('simulated', 'echo') as "simulated!"
        from run_models
        join models on models.id = model_id
        join providers on providers.id = provider_id
        where run_id = $1
        order by position"#,
        run_id
    )
    .fetch_all(tx)
    .await?;
    let measure = |count: usize| i16::try_from(count).unwrap_or(i16::MAX);
    Ok(MeasuredRun {
        id: run_id,
        benchmark_version_id: run.benchmark_version_id,
        shape: RunShape {
            items: run.item_count,
            repeats: run.repeats,
            prompts: measure(run.prompt_version_ids.len()),
            models: measure(models.len()),
        },
        prompt_version_ids: run.prompt_version_ids,
        models: models
            .into_iter()
            .map(|model| (model.model_id, model.simulated))
            .collect(),
        state: run.state,
        owner_id: run.owner_id,
        public: run.public,
    })
}
