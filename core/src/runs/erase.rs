//! Erases data that only a deleted user could see.

use sqlx::PgConnection;

use super::{bells::tell, counts::end_shards};
use crate::{
    Result,
    queue::{self, Job},
};

/// Runs with up to this many evaluations are erased in the caller's transaction.
const ERASED_AT_ONCE: i64 = 10_000;

/// Ends all runs of a user and erases the private ones.
///
/// # Errors
/// The database does not respond.
pub async fn erase_private_runs(tx: &mut PgConnection, owner_id: i64) -> Result<()> {
    // Locks shards before runs, like workers do.
    let open = sqlx::query_scalar!(
        "-- erase::erase_private_runs
        select id from shards
        where state in ('available', 'running')
          and run_id in (select id from runs where owner_id = $1 and state in ('queued', 'running', 'paused'))
        order by id
        for update",
        owner_id
    )
    .fetch_all(&mut *tx)
    .await?;
    end_shards(tx, &open, true).await?;
    let ended = sqlx::query_scalar!(
        "-- erase::erase_private_runs
        update runs
        set state = 'cancelled', state_reason = 'its owner was deleted', shards_open = 0, finished_at = now(),
            reserved_microusd = 0, unaccounted_microusd = unaccounted_microusd + reserved_microusd,
            awaits_money = false
        where owner_id = $1 and state in ('queued', 'running', 'paused')
        returning id",
        owner_id
    )
    .fetch_all(&mut *tx)
    .await?;
    for run_id in ended {
        tell(tx, run_id).await?;
        queue::enqueue(tx, Job::Finish { run_id }).await?;
    }
    // Small runs are erased at once; larger ones disappear now, and housekeeping erases their data.
    sqlx::query!(
        "-- erase::erase_private_runs
        delete from runs
        where owner_id = $1 and visibility = 'private' and finished_at is not null and recorded <= $2",
        owner_id,
        ERASED_AT_ONCE
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "-- erase::erase_private_runs
        update runs set deleted_at = now(), name = '', state_reason = ''
        where owner_id = $1 and visibility = 'private' and finished_at is not null and deleted_at is null",
        owner_id
    )
    .execute(tx)
    .await?;
    Ok(())
}
