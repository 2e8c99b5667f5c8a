//! Divides the missing evaluations of a run into shards: for a small run in the request that submits it, for a large
//! one in a job, so that the duration of the request does not depend on the run's size.

use futures::TryStreamExt as _;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{
    RunShape, RunState, ShardRange,
    bells::{tell, wake_workers},
    extend::load_shape,
    plan::{CUT_AT_ONCE, Cover},
};
use crate::{
    Result,
    queue::{self, Job},
};

/// Divides a run into shards, now or in a job. The caller has just inserted or reopened it: it has no open shards, and
/// `shards_open` is null.
pub(super) async fn cut(tx: &mut PgConnection, run_id: Uuid, shape: RunShape) -> Result<()> {
    if shape.evaluations() > CUT_AT_ONCE {
        return queue::enqueue(tx, Job::Plan { run_id }).await;
    }
    insert_shards(tx, run_id, shape).await
}

/// Divides a run into shards. Idempotent: a run that has shards, or has ended, is not changed.
///
/// # Errors
/// The database does not respond; no shards are inserted then, and housekeeping enqueues the job again.
pub async fn plan_run(conn: &mut PgConnection, run_id: Uuid) -> Result<()> {
    let mut tx = conn.begin().await?;
    let state = sqlx::query_scalar!(
        r#"-- cut::plan_run
        select state as "state: RunState" from runs where id = $1 and shards_open is null for update"#,
        run_id
    )
    .fetch_optional(&mut *tx)
    .await?;
    if state.is_none_or(RunState::has_ended) {
        return Ok(());
    }
    let shape = load_shape(&mut tx, run_id).await?;
    insert_shards(&mut tx, run_id, shape).await?;
    tell(&mut tx, run_id).await?;
    tx.commit().await?;
    tracing::info!(run.id = %run_id, "run {run_id} was divided into shards");
    Ok(())
}

async fn insert_shards(tx: &mut PgConnection, run_id: Uuid, shape: RunShape) -> Result<()> {
    let ranges = missing(tx, run_id, shape).await?;
    let ids: Vec<Uuid> = ranges.iter().map(|_| Uuid::now_v7()).collect();
    let firsts: Vec<i64> = ranges.iter().map(|range| range.first_ordinal).collect();
    let sizes: Vec<i32> = ranges.iter().map(|range| range.size).collect();
    sqlx::query!(
        "-- cut::insert_shards
        insert into shards (id, run_id, first_ordinal, size)
        select id, $1, first_ordinal, size
        from unnest($2::uuid[], $3::bigint[], $4::int[]) as shard (id, first_ordinal, size)",
        run_id,
        &ids,
        &firsts,
        &sizes
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "-- cut::insert_shards
        update runs set shards_open = $2 where id = $1",
        run_id,
        i32::try_from(ranges.len()).unwrap_or(i32::MAX)
    )
    .execute(&mut *tx)
    .await?;
    wake_workers(tx).await
}

/// Plans shards for the evaluations that are not recorded.
async fn missing(tx: &mut PgConnection, run_id: Uuid, shape: RunShape) -> Result<Vec<ShardRange>> {
    let recorded = sqlx::query_scalar!(
        "-- cut::recorded
        select recorded from runs where id = $1",
        run_id
    )
    .fetch_one(&mut *tx)
    .await?;
    let mut cover = Cover::of_about(shape.evaluations() - recorded);
    // Gaps of unrecorded ordinals, from `first` to before `next`. Not collected, since there may be millions.
    let mut gaps = sqlx::query!(
        r#"-- cut::missing
        with taken as (
            select ((item_position::bigint * $2 + repeat) * $3 + prompt_position) * $4 + model_position as ordinal
            from evaluations
            where run_id = $1
            union all
            select $5
        ), neighbours as (
            select coalesce(lag(ordinal) over (order by ordinal), -1) + 1 as first, ordinal as next from taken
        )
        select first as "first!", next as "next!" from neighbours where first < next order by first"#,
        run_id,
        i64::from(shape.repeats),
        i64::from(shape.prompts),
        i64::from(shape.models),
        shape.evaluations()
    )
    .fetch(tx);
    while let Some(gap) = gaps.try_next().await? {
        (gap.first..gap.next).for_each(|ordinal| cover.add(ordinal));
    }
    Ok(cover.into_ranges())
}
