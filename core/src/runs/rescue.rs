//! Makes shards of crashed workers claimable again. Idempotent; safe to run anywhere and concurrently.
//!
//! A shard whose lease expired has crashed its worker or lost it. It is retried after a delay. After the second crash
//! it is split into single evaluations, so that one poisoned evaluation does not affect others. Their crash counts
//! start at zero, since the shard's crashes do not identify the culprit; after eight crashes of its own, an evaluation
//! is recorded as an error. The limit is that high because all evaluations held by a killed worker count the crash: of
//! 20,000 evaluations under 128 kills, three had four such crashes.

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{
    EvaluationError, EvaluationKey, NewEvaluation, Settlement, ShardLease, ShardRange,
    bells::{tell, wake_workers},
    budget::settle,
    counts::{Counts, count},
    insert::insert,
    lease::close_shard,
    load_work, recorded_keys,
};
use crate::Result;

/// Crashes after which a shard is split into single evaluations.
const CRASHES_BEFORE_SPLIT: i32 = 2;
/// Crashes after which a single evaluation is given up.
const CRASHES_BEFORE_DEATH: i32 = 8;
/// Shards handled per round, so that its transactions stay short.
const ROUND: i64 = 100;

/// The numbers of what was rescued.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rescued {
    /// Expired leases.
    pub(crate) expired_leases: u64,
    /// Shards split into single evaluations.
    pub(crate) split_shards: u64,
    /// Evaluations given up.
    pub(crate) poisoned_evaluations: u64,
}

/// Makes shards with expired leases claimable again and settles their reservations.
///
/// # Errors
/// The database does not respond; nothing of this round is changed then.
pub(crate) async fn rescue_expired_leases(conn: &mut PgConnection) -> Result<Rescued> {
    let mut rescued = Rescued::default();
    let mut tx = conn.begin().await?;
    let expired = sqlx::query_as!(
        ExpiredShard,
        "-- rescue::rescue_expired_leases
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
        tracing::warn!(
            shard.id = %shard.id,
            run.id = %shard.run_id,
            shard.crashes,
            "the lease of shard {} of run {} expired",
            shard.id,
            shard.run_id
        );
        rescued.expired_leases += 1;
        // Its calls may have been paid for, but their cost is unknown.
        let settlement = Settlement {
            keep_microusd: 0,
            unaccounted_microusd: shard.reserved_microusd,
        };
        let reserved = shard.reserved_microusd;
        settle(&mut tx, &shard.lease(), reserved, settlement, 0).await?;
        if shard.size > 1 && shard.crashes >= CRASHES_BEFORE_SPLIT {
            split(&mut tx, shard).await?;
            rescued.split_shards += 1;
        } else if shard.crashes >= CRASHES_BEFORE_DEATH {
            rescued.poisoned_evaluations += give_up(&mut tx, shard).await?;
        } else {
            // The delay grows with the crashes, so that a shard that kills workers does not do so in a tight loop.
            let pause_seconds = f64::from(shard.crashes - 1) * 2.0;
            sqlx::query!(
                "-- rescue::rescue_expired_leases (pause)
                update shards set available_at = now() + make_interval(secs => $2) where id = $1",
                shard.id,
                pause_seconds
            )
            .execute(&mut *tx)
            .await?;
        }
    }
    if !expired.is_empty() {
        wake_workers(&mut tx).await?;
    }
    tx.commit().await?;
    Ok(rescued)
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

impl ExpiredShard {
    /// Like a lease of a new claim.
    fn lease(&self) -> ShardLease {
        ShardLease {
            shard_id: self.id,
            run_id: self.run_id,
            fence: self.fence,
            range: ShardRange {
                first_ordinal: self.first_ordinal,
                size: self.size,
            },
            planned: 0,
            settled: 0,
        }
    }
}

/// Replaces a shard by one shard for each of its unrecorded evaluations.
async fn split(tx: &mut PgConnection, shard: &ExpiredShard) -> Result<()> {
    let ordinals = missing_ordinals(tx, shard).await?;
    let ids: Vec<Uuid> = ordinals.iter().map(|_| Uuid::now_v7()).collect();
    sqlx::query!(
        "-- rescue::split
        insert into shards (id, run_id, first_ordinal, size)
        select id, $1, ordinal, 1 from unnest($2::uuid[], $3::bigint[]) as part (id, ordinal)",
        shard.run_id,
        &ids,
        &ordinals
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "-- rescue::split
        update runs set shards_open = shards_open + $2 where id = $1",
        shard.run_id,
        i32::try_from(ordinals.len()).unwrap_or(0)
    )
    .execute(&mut *tx)
    .await?;
    // A comparison that is due happens when a worker closes the next shard.
    close_shard(tx, shard.id, false).await?;
    Ok(())
}

/// Records the unrecorded evaluations of a shard as errors, except those that are skipped. Returns the number of
/// errors.
async fn give_up(tx: &mut PgConnection, shard: &ExpiredShard) -> Result<u64> {
    let work = load_work(tx, shard.run_id).await?;
    let missing = missing_ordinals(tx, shard).await?;
    let keys = missing.iter().map(|ordinal| work.shape.key(*ordinal));
    let (left_out, lost): (Vec<_>, Vec<_>) = keys.partition(|key| work.leaves_out(*key));
    let batch: Vec<NewEvaluation> = lost
        .into_iter()
        .map(|key| {
            let message = format!(
                "the worker crashed {} times on this evaluation",
                shard.crashes
            );
            let attempts = i16::try_from(shard.crashes).unwrap_or(i16::MAX);
            NewEvaluation::failed(key, EvaluationError::new("poisoned", message), attempts)
        })
        .collect();
    insert(tx, shard.run_id, &batch).await?;
    // Nothing was spent, so it does not matter whether the run has a budget.
    count(tx, shard.id, &Counts::of(&batch), false).await?;
    sqlx::query!(
        "-- rescue::give_up
        update shards set skipped = $2 where id = $1",
        shard.id,
        i32::try_from(left_out.len()).unwrap_or(i32::MAX)
    )
    .execute(&mut *tx)
    .await?;
    close_shard(tx, shard.id, true).await?;
    tell(tx, shard.run_id).await?;
    Ok(batch.len() as u64)
}

async fn missing_ordinals(tx: &mut PgConnection, shard: &ExpiredShard) -> Result<Vec<i64>> {
    let work = load_work(tx, shard.run_id).await?;
    let recorded: std::collections::HashSet<EvaluationKey> =
        recorded_keys(tx, &work, &shard.lease())
            .await?
            .into_iter()
            .collect();
    let ordinals = shard.first_ordinal..shard.first_ordinal + i64::from(shard.size);
    Ok(ordinals
        .filter(|ordinal| !recorded.contains(&work.shape.key(*ordinal)))
        .collect())
}
