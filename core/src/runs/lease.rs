//! Leases: the right of one worker to work on a shard until a time, with a fencing number.
//!
//! The database's clock decides, never the worker's. Whoever lost the lease may go on working for nothing,
//! but every write asks for the fencing number and is refused.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{Settlement, ShardRange, budget::settle, early};
use crate::{Result, queue};

/// A claimed shard. Whoever holds it may record results with its fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardLease {
    /// The shard.
    pub shard_id: Uuid,
    /// The shard's run.
    pub run_id: Uuid,
    /// The number of this claim.
    pub fence: i64,
    /// Which evaluations.
    pub range: ShardRange,
    /// How many evaluations the run has: the numbers of a run that was extended mean other evaluations than before.
    pub planned: i64,
    /// How many columns of the run are settled: nothing more is asked of those.
    pub settled: i32,
}

/// A lease that was prolonged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldLease {
    /// The shard.
    pub shard_id: Uuid,
    /// True when the shard's run is paused: no new call may begin, and the shard is to be handed back.
    pub paused: bool,
}

/// Claims one shard, if it is available and its run is not paused; workers claim what is owed
/// ([`claim_owed_shard`](super::claim_owed_shard)). Nothing to claim is no error: somebody else has it,
/// it is done, or it is enqueued again when its run is resumed.
///
/// # Errors
/// The database does not answer.
pub async fn claim_shard(
    conn: &mut PgConnection,
    shard_id: Uuid,
    worker: &str,
    lease: Duration,
) -> Result<Option<ShardLease>> {
    let claimed = sqlx::query!(
        r#"-- lease::claim_shard
        update shards
        set state = 'running', fence = fence + 1, lease_until = now() + make_interval(secs => $3), worker = $2
        where id = $1 and state = 'available' and available_at <= now()
          and exists (select 1 from runs where runs.id = shards.run_id and runs.state in ('queued', 'running'))
        returning run_id, fence, first_ordinal, size,
                  (select planned from runs where runs.id = shards.run_id) as "planned!",
                  (select settled from runs where runs.id = shards.run_id) as "settled!""#,
        shard_id,
        worker,
        lease.as_secs_f64()
    )
    .fetch_optional(conn)
    .await?;
    Ok(claimed.map(|row| ShardLease {
        shard_id,
        run_id: row.run_id,
        fence: row.fence,
        range: ShardRange {
            first_ordinal: row.first_ordinal,
            size: row.size,
        },
        planned: row.planned,
        settled: row.settled,
    }))
}

/// Prolongs leases. Returns those that are still held, and says whose runs are paused; the others are lost and their
/// work must stop.
///
/// # Errors
/// The database does not answer.
pub async fn renew_lease(
    conn: &mut PgConnection,
    leases: &[ShardLease],
    lease: Duration,
) -> Result<Vec<HeldLease>> {
    let ids: Vec<Uuid> = leases.iter().map(|lease| lease.shard_id).collect();
    let fences: Vec<i64> = leases.iter().map(|lease| lease.fence).collect();
    let held = sqlx::query_as!(
        HeldLease,
        r#"-- lease::renew_lease
        with locked as materialized (
            select id from shards where id = any($1) order by id for update
        )
        update shards
        set lease_until = now() + make_interval(secs => $3)
        from locked join unnest($1::uuid[], $2::bigint[]) as held (id, fence) on held.id = locked.id
        where shards.id = held.id and shards.fence = held.fence and state = 'running'
        returning shards.id as shard_id,
                  (select runs.state = 'paused' from runs where runs.id = shards.run_id) as "paused!""#,
        &ids,
        &fences,
        lease.as_secs_f64()
    )
    .fetch_all(conn)
    .await?;
    Ok(held)
}

/// Marks a shard as done, of which `skipped` evaluations are not recorded since their columns are settled. The last
/// shard of a run enqueues the finishing of the run in the same transaction. Returns false when the lease was lost.
///
/// # Errors
/// The database does not answer.
pub async fn finish_shard(
    conn: &mut PgConnection,
    lease: &ShardLease,
    skipped: i64,
) -> Result<bool> {
    let mut tx = conn.begin().await?;
    let look_is_due = finish(&mut tx, lease, skipped).await?;
    tx.commit().await?;
    if look_is_due == Some(true) {
        early::look(conn, lease.run_id).await?;
    }
    Ok(look_is_due.is_some())
}

/// [`finish_shard`] within a transaction. Says whether a look at the run is due when it is committed; nothing when the
/// lease was lost.
pub(super) async fn finish(
    tx: &mut PgConnection,
    lease: &ShardLease,
    skipped: i64,
) -> Result<Option<bool>> {
    let reserved = sqlx::query_scalar!(
        "-- lease::finish_shard
        update shards set state = 'done', lease_until = null
        where id = $1 and fence = $2 and state = 'running'
        returning reserved_microusd",
        lease.shard_id,
        lease.fence
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(reserved) = reserved else {
        return Ok(None);
    };
    settle(
        tx,
        lease.run_id,
        lease.shard_id,
        reserved,
        Settlement::default(),
    )
    .await?;
    Ok(Some(close_shard(tx, lease.run_id, skipped).await?))
}

/// Hands a shard back unfinished, because the worker stops, the run is paused or no money is left for it now.
/// It counts as no crash, and can be claimed again after `delay_seconds`. Of what it had reserved,
/// `unaccounted_microusd` may have been paid for. A shard of a paused run is not enqueued: resuming the run does that.
///
/// # Errors
/// The database does not answer.
pub async fn release_shard(
    conn: &mut PgConnection,
    lease: &ShardLease,
    delay_seconds: u32,
    unaccounted_microusd: i64,
) -> Result<()> {
    let mut tx = conn.begin().await?;
    let task_id = queue::new_task_id();
    let released = sqlx::query!(
        r#"-- lease::release_shard
        update shards
        set state = 'available', lease_until = null, task_id = $3, enqueued_at = now(),
            available_at = now() + make_interval(secs => $4)
        where id = $1 and fence = $2 and state = 'running'
        returning reserved_microusd, (select runs.state = 'paused' from runs where runs.id = shards.run_id) as "paused!""#,
        lease.shard_id,
        lease.fence,
        task_id,
        // Half a second earlier than the queue, whose clock knows whole seconds only.
        f64::from(delay_seconds) - 0.5
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(released) = released else {
        return Ok(());
    };
    let settlement = Settlement {
        keep_microusd: 0,
        unaccounted_microusd,
    };
    settle(
        &mut tx,
        lease.run_id,
        lease.shard_id,
        released.reserved_microusd,
        settlement,
    )
    .await?;
    if !released.paused {
        let task = (lease.shard_id, task_id);
        queue::enqueue_shards(&mut tx, &[task], delay_seconds.into()).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Counts a shard of a run as over, also while the run is paused; whoever counts the last one enqueues the finishing.
/// Returns true when the columns of a run that stops early are to be compared.
pub(super) async fn close_shard(tx: &mut PgConnection, run_id: Uuid, skipped: i64) -> Result<bool> {
    let closed = sqlx::query!(
        r#"-- lease::close_shard
        update runs
        set shards_open = shards_open - 1, skipped = skipped + $2,
            state = case when shards_open = 1 then 'finishing' else state end,
            state_reason = case when shards_open = 1 then '' else state_reason end
        where id = $1 and state in ('queued', 'running', 'paused')
        returning shards_open, stop_early and recorded >= next_look as "look_is_due!""#,
        run_id,
        skipped
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(closed) = closed else {
        return Ok(false);
    };
    if closed.shards_open == 0 {
        queue::enqueue_finish(tx, run_id).await?;
    }
    Ok(closed.look_is_due && closed.shards_open > 0)
}
