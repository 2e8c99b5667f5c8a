//! Leases: the right of one worker to work on a shard until a time, with a fencing number.
//!
//! The database's clock decides, never the worker's. A worker that lost its lease may continue in vain, but every write
//! checks the fencing number and is rejected.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{
    Settlement, ShardRange,
    bells::{tell, wake_workers},
    budget::settle,
    counts::end_shards,
    early,
};
use crate::{
    Result,
    queue::{self, Job},
};

/// A claimed shard. The holder may record results with its fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardLease {
    /// The shard.
    pub shard_id: Uuid,
    /// The shard's run.
    pub run_id: Uuid,
    /// The fencing number of this claim.
    pub fence: i64,
    /// The ordinals of its evaluations.
    pub range: ShardRange,
    /// The planned evaluations of the run: after an extension, ordinals refer to other evaluations.
    pub planned: i64,
    /// Number of settled columns of the run; their remaining evaluations are skipped.
    pub settled: i32,
}

/// A renewed lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldLease {
    /// The shard.
    pub shard_id: Uuid,
    /// Whether the shard's run is paused: start no new calls and return the shard.
    pub paused: bool,
}

/// Renews leases. Returns those still held, and whether their runs are paused; all others are lost, and their work must
/// stop.
///
/// # Errors
/// The database does not respond.
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

/// Marks a shard as done. The last shard of a run enqueues the job that finishes the run, in the same transaction.
/// Returns false if the lease was lost.
///
/// # Errors
/// The database does not respond.
pub async fn finish_shard(conn: &mut PgConnection, lease: &ShardLease) -> Result<bool> {
    let mut tx = conn.begin().await?;
    let look_is_due = finish(&mut tx, lease).await?;
    if look_is_due.is_some() {
        tell(&mut tx, lease.run_id).await?;
    }
    tx.commit().await?;
    if look_is_due == Some(true) {
        early::look(conn, lease.run_id).await?;
    }
    Ok(look_is_due.is_some())
}

/// Like [`finish_shard`], within a transaction. Returns whether a comparison for early stopping is due after the
/// commit; `None` if the lease was lost.
pub(super) async fn finish(tx: &mut PgConnection, lease: &ShardLease) -> Result<Option<bool>> {
    let reserved = sqlx::query_scalar!(
        "-- lease::finish
        select reserved_microusd from shards where id = $1 and fence = $2 and state = 'running' for update",
        lease.shard_id,
        lease.fence
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(reserved) = reserved else {
        return Ok(None);
    };
    settle(tx, lease, reserved, Settlement::default(), 0).await?;
    Ok(Some(close_shard(tx, lease.shard_id, false).await?))
}

/// Returns a shard unfinished, because the worker stops, the run is paused or the budget does not allow more now. It
/// does not count as a crash, and the shard can be claimed again at once. `unaccounted_microusd` of its reservation may
/// have been paid for.
///
/// # Errors
/// The database does not respond.
pub async fn release_shard(
    conn: &mut PgConnection,
    lease: &ShardLease,
    unaccounted_microusd: i64,
) -> Result<()> {
    let mut tx = conn.begin().await?;
    let reserved = sqlx::query_scalar!(
        "-- lease::release_shard
        update shards set state = 'available', lease_until = null, available_at = now()
        where id = $1 and fence = $2 and state = 'running'
        returning reserved_microusd",
        lease.shard_id,
        lease.fence
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(reserved) = reserved else {
        return Ok(());
    };
    let settlement = Settlement {
        keep_microusd: 0,
        unaccounted_microusd,
    };
    settle(&mut tx, lease, reserved, settlement, 0).await?;
    wake_workers(&mut tx).await?;
    tx.commit().await?;
    Ok(())
}

/// Ends a shard that the caller has locked, even if its run is paused; the last one enqueues the job that finishes the
/// run. Returns whether the columns of a run that stops early are to be compared.
pub(super) async fn close_shard(tx: &mut PgConnection, shard_id: Uuid, dead: bool) -> Result<bool> {
    let Some(run) = end_shards(tx, &[shard_id], dead).await?.pop() else {
        return Ok(false);
    };
    if run.shards_open == 0 {
        sqlx::query!(
            "-- lease::close_shard
            update runs set state = 'finishing', state_reason = '' where id = $1",
            run.run_id
        )
        .execute(&mut *tx)
        .await?;
        queue::enqueue(tx, Job::Finish { run_id: run.run_id }).await?;
    }
    Ok(run.look_is_due && run.shards_open > 0)
}
