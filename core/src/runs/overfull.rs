//! Pauses runs of users who exceed their storage quota, since there is no room for results.

use sqlx::{Connection as _, PgConnection};

use super::control::{PauseReason, pause};
use crate::{Result, quotas::find_overfull};

/// Pauses the queued and running runs whose owner has used up the storage quota. Returns their number.
///
/// # Errors
/// The database does not respond.
pub(crate) async fn pause_overfull(conn: &mut PgConnection) -> Result<u64> {
    let owners = sqlx::query_scalar!(
        "-- overfull::pause_overfull (owners)
        select distinct owner_id from runs where finished_at is null and state in ('queued', 'running')"
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut paused = 0;
    for owner_id in owners {
        let Some(reason) = find_overfull(conn, owner_id).await? else {
            continue;
        };
        let mut tx = conn.begin().await?;
        let run_ids = sqlx::query_scalar!(
            "-- overfull::pause_overfull (runs)
            select id from runs
            where owner_id = $1 and finished_at is null and state in ('queued', 'running')
            order by id
            for update",
            owner_id
        )
        .fetch_all(&mut *tx)
        .await?;
        for run_id in run_ids {
            pause(&mut tx, run_id, PauseReason::Storage, &reason).await?;
            tracing::info!(
                run.id = %run_id,
                run.reason = reason,
                "run {run_id} was paused: {reason}"
            );
            paused += 1;
        }
        tx.commit().await?;
    }
    Ok(paused)
}
