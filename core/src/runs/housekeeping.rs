//! Housekeeping: finds what crashes left behind and mends it. Safe to run anywhere, any number of times, at once.
//!
//! A shard whose lease ran out has crashed its worker or lost it. It is tried again after a pause. The second crash
//! cuts it into single evaluations, so that one poisoned evaluation harms no neighbour. They begin anew, since the shard's
//! crashes say nothing about each; after eight of its own an evaluation is recorded as an error. So many, because whatever a
//! worker held when it was killed shares the blame: of 20,000 evaluations under 128 kills, three had four such crashes.

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{
    EvaluationKey, NewEvaluation, Settlement, ShardLease, ShardRange, budget::settle,
    control::tell, delete::erase_deleted_runs, insert::insert, lease::close_shard, load_work,
    recorded_keys,
};
use crate::{Result, auth, benchmarks, library, mail, queue, schedules, webhooks};

/// After so many crashes a shard is cut into single evaluations.
const CRASHES_BEFORE_SPLIT: i32 = 2;
/// After so many crashes of its own an evaluation is given up.
const CRASHES_BEFORE_DEATH: i32 = 8;
/// How many shards one round mends, so that its transactions stay short.
const ROUND: i64 = 100;

/// What a round of housekeeping mended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mended {
    /// Leases that ran out.
    pub expired_leases: u64,
    /// Shards that were cut into single evaluations.
    pub split_shards: u64,
    /// Evaluations that were given up.
    pub poisoned_evaluations: u64,
    /// Shards and runs whose queue row was missing.
    pub requeued: u64,
    /// Queue rows of finished tasks that were deleted.
    pub deleted_tasks: u64,
    /// Sessions, throttles and audit entries that have had their time.
    pub deleted_account_rows: u64,
    /// Mails that ended long enough ago.
    pub deleted_mails: u64,
    /// Ticks of schedules that were settled long ago.
    pub deleted_firings: u64,
    /// Messages to webhooks that ended long enough ago.
    pub deleted_deliveries: u64,
}

/// Mends what it finds.
///
/// # Errors
/// The database does not answer; what was mended so far stays mended.
pub async fn mend(conn: &mut PgConnection) -> Result<Mended> {
    let mut mended = Mended::default();
    rescue_expired_leases(conn, &mut mended).await?;
    mended.requeued += requeue_lost_shards(conn).await?;
    mended.requeued += requeue_lost_finishes(conn).await?;
    mended.deleted_tasks = queue::delete_finished(conn).await?;
    mended.deleted_account_rows = auth::delete_expired(conn).await?;
    mended.deleted_mails = mail::delete_old(conn).await?;
    mended.deleted_deliveries = webhooks::delete_old(conn).await?;
    mended.deleted_firings = schedules::delete_old_firings(conn).await?;
    if !erase_deleted_runs(conn).await? {
        // Runs rest on versions, so they go first.
        benchmarks::erase_deleted(conn).await?;
        library::erase_withdrawn(conn).await?;
    }
    Ok(mended)
}

struct ExpiredShard {
    id: Uuid,
    run_id: Uuid,
    first_ordinal: i64,
    size: i32,
    fence: i64,
    crashes: i32,
    reserved_microusd: i64,
}

async fn rescue_expired_leases(conn: &mut PgConnection, mended: &mut Mended) -> Result<()> {
    let mut tx = conn.begin().await?;
    let expired = sqlx::query_as!(
        ExpiredShard,
        "-- housekeeping::rescue_expired_leases
        update shards
        set state = 'available', lease_until = null, crashes = crashes + 1, fence = fence + 1
        where id in (select id from shards where state = 'running' and lease_until < now()
                     order by lease_until limit $1 for update skip locked)
        returning id, run_id, first_ordinal, size, fence, crashes, reserved_microusd",
        ROUND
    )
    .fetch_all(&mut *tx)
    .await?;
    for shard in &expired {
        tracing::warn!(shard.id = %shard.id, run.id = %shard.run_id, shard.crashes, "a lease ran out");
        mended.expired_leases += 1;
        // Its calls may have been paid for, and nobody told.
        let settlement = Settlement {
            keep_microusd: 0,
            unaccounted_microusd: shard.reserved_microusd,
        };
        let reserved = shard.reserved_microusd;
        settle(&mut tx, shard.run_id, shard.id, reserved, settlement).await?;
        if shard.size > 1 && shard.crashes >= CRASHES_BEFORE_SPLIT {
            split(&mut tx, shard).await?;
            mended.split_shards += 1;
        } else if shard.crashes >= CRASHES_BEFORE_DEATH {
            mended.poisoned_evaluations += give_up(&mut tx, shard).await?;
        } else {
            // The pause grows with the crashes: a worker that dies of a shard shall not die in a tight loop.
            let pause = u32::try_from(shard.crashes - 1).unwrap_or(0) * 2;
            requeue(&mut tx, shard.run_id, shard.id, pause).await?;
        }
    }
    tx.commit().await?;
    Ok(())
}

/// Replaces a shard by one shard for each of its evaluations that is not recorded.
async fn split(tx: &mut PgConnection, shard: &ExpiredShard) -> Result<()> {
    let ordinals = missing_ordinals(tx, shard).await?;
    let tasks: Vec<(Uuid, String)> = ordinals
        .iter()
        .map(|_| (Uuid::now_v7(), queue::new_task_id()))
        .collect();
    let ids: Vec<Uuid> = tasks.iter().map(|(id, _)| *id).collect();
    let task_ids: Vec<String> = tasks.iter().map(|(_, task_id)| task_id.clone()).collect();
    sqlx::query!(
        "-- housekeeping::split
        insert into shards (id, run_id, task_id, first_ordinal, size)
        select id, $1, task_id, ordinal, 1
        from unnest($2::uuid[], $3::text[], $4::bigint[]) as part (id, task_id, ordinal)",
        shard.run_id,
        &ids,
        &task_ids,
        &ordinals
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "-- housekeeping::split
        update runs set shards_open = shards_open + $2 where id = $1",
        shard.run_id,
        i32::try_from(ordinals.len()).unwrap_or(0)
    )
    .execute(&mut *tx)
    .await?;
    enqueue(tx, shard.run_id, &tasks, 1).await?;
    end(tx, shard, false, 0).await
}

/// Records what a shard still lacks as errors, but for what is not asked any more. Returns how many evaluations that were.
async fn give_up(tx: &mut PgConnection, shard: &ExpiredShard) -> Result<u64> {
    let work = load_work(tx, shard.run_id).await?;
    let missing = missing_ordinals(tx, shard).await?;
    let keys = missing.iter().map(|ordinal| work.shape.key(*ordinal));
    let (left_out, lost): (Vec<_>, Vec<_>) = keys.partition(|key| work.leaves_out(*key));
    let batch: Vec<NewEvaluation> = lost
        .into_iter()
        .map(|key| NewEvaluation {
            key,
            error_kind: Some("poisoned".into()),
            error: Some(format!(
                "the worker crashed {} times on this evaluation",
                shard.crashes
            )),
            attempts: i16::try_from(shard.crashes).unwrap_or(i16::MAX),
            ..NewEvaluation::default()
        })
        .collect();
    insert(tx, shard.run_id, &batch).await?;
    let skipped = i64::try_from(left_out.len()).unwrap_or(i64::MAX);
    end(tx, shard, true, skipped).await?;
    Ok(batch.len() as u64)
}

async fn end(tx: &mut PgConnection, shard: &ExpiredShard, dead: bool, skipped: i64) -> Result<()> {
    sqlx::query!(
        "-- housekeeping::end
        update shards set state = case when $2 then 'dead' else 'done' end::shard_state where id = $1",
        shard.id,
        dead
    )
    .execute(&mut *tx)
    .await?;
    // A look that is due comes with the next shard that a worker closes.
    close_shard(tx, shard.run_id, skipped).await?;
    Ok(())
}

async fn missing_ordinals(tx: &mut PgConnection, shard: &ExpiredShard) -> Result<Vec<i64>> {
    let work = load_work(tx, shard.run_id).await?;
    let lease = ShardLease {
        shard_id: shard.id,
        run_id: shard.run_id,
        fence: shard.fence,
        range: ShardRange {
            first_ordinal: shard.first_ordinal,
            size: shard.size,
        },
        planned: work.shape.evaluations(),
        settled: 0,
    };
    let recorded: std::collections::HashSet<EvaluationKey> = recorded_keys(tx, &work, &lease)
        .await?
        .into_iter()
        .collect();
    let ordinals = shard.first_ordinal..shard.first_ordinal + i64::from(shard.size);
    Ok(ordinals
        .filter(|ordinal| !recorded.contains(&work.shape.key(*ordinal)))
        .collect())
}

async fn requeue(
    tx: &mut PgConnection,
    run_id: Uuid,
    shard_id: Uuid,
    delay_seconds: u32,
) -> Result<()> {
    let task_id = queue::new_task_id();
    sqlx::query!(
        "-- housekeeping::requeue
        update shards
        set task_id = $2, enqueued_at = now(), available_at = now() + make_interval(secs => $3)
        where id = $1",
        shard_id,
        task_id,
        // Half a second earlier than the queue, whose clock knows whole seconds only.
        f64::from(delay_seconds) - 0.5
    )
    .execute(&mut *tx)
    .await?;
    enqueue(tx, run_id, &[(shard_id, task_id)], delay_seconds).await
}

/// Enqueues shards, unless their run is paused: resuming it enqueues all that wait.
async fn enqueue(
    tx: &mut PgConnection,
    run_id: Uuid,
    tasks: &[(Uuid, String)],
    delay_seconds: u32,
) -> Result<()> {
    let paused = sqlx::query_scalar!(
        r#"-- housekeeping::enqueue
        select state = 'paused' as "paused!" from runs where id = $1"#,
        run_id
    )
    .fetch_one(&mut *tx)
    .await?;
    if paused {
        return Ok(());
    }
    queue::enqueue_shards(tx, tasks, delay_seconds.into()).await
}

/// Shards that wait while no queue row is on its way to a worker. Those of a paused run wait for its owner.
///
/// A queue row is the right to look for work, not for one shard, so as many are missing as there are more shards than
/// rows; those that lack their own come first.
async fn requeue_lost_shards(conn: &mut PgConnection) -> Result<u64> {
    let mut tx = conn.begin().await?;
    let lost = sqlx::query!(
        "-- housekeeping::requeue_lost_shards
        select shards.id, shards.run_id
        from shards join runs on runs.id = shards.run_id
        where shards.state = 'available' and enqueued_at < now() - interval '10 seconds'
          and runs.state in ('queued', 'running')
          and not exists (select 1 from apalis.jobs
                          where jobs.id = shards.task_id and jobs.status in ('Pending', 'Queued'))
        order by enqueued_at
        limit (select least($1, greatest(0,
                   (select count(*) from shards join runs on runs.id = shards.run_id
                    where shards.state = 'available' and runs.state in ('queued', 'running'))
                   - (select count(*) from apalis.jobs
                      where job_type = $2 and status in ('Pending', 'Queued')))))
        for update of shards skip locked",
        ROUND,
        queue::SHARDS
    )
    .fetch_all(&mut *tx)
    .await?;
    for shard in &lost {
        requeue(&mut tx, shard.run_id, shard.id, 0).await?;
    }
    tx.commit().await?;
    Ok(lost.len() as u64)
}

/// Runs that wait to be finished while no queue row is on its way, or whose last shard was closed by nobody.
async fn requeue_lost_finishes(conn: &mut PgConnection) -> Result<u64> {
    let mut tx = conn.begin().await?;
    let lost = sqlx::query_scalar!(
        "-- housekeeping::requeue_lost_finishes
        update runs set state = 'finishing'
        where id in (
            select id from runs
            where finished_at is null
              and (state = 'finishing' or (state in ('queued', 'running', 'paused') and shards_open = 0))
              and not exists (select 1 from apalis.jobs
                              where job_type = $1 and status in ('Pending', 'Queued', 'Running')
                                and convert_from(job, 'UTF8')::jsonb ->> 'run_id' = runs.id::text)
            for update skip locked)
        returning id",
        queue::FINISHED_RUNS
    )
    .fetch_all(&mut *tx)
    .await?;
    for run_id in &lost {
        queue::enqueue_finish(&mut tx, *run_id).await?;
        tell(&mut tx, *run_id).await?;
    }
    tx.commit().await?;
    Ok(lost.len() as u64)
}
