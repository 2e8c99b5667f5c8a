//! Pauses runs whose owner may no longer see the benchmark or a prompt: no further calls are made.
//!
//! Parts are restricted and deleted in several places, so running runs are checked every few seconds, and permission is
//! checked again whenever a run continues.

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::control::{PauseReason, pause};
use crate::{Error, Result};

/// The reason shown to users.
const TOLD: &str = "its owner may no longer see its benchmark, or one of its prompts, which was made private or deleted";

/// Pauses queued and running runs with a part that their owner may no longer see. Returns their number.
///
/// # Errors
/// The database does not respond.
pub(crate) async fn pause_hidden(conn: &mut PgConnection) -> Result<u64> {
    let mut tx = conn.begin().await?;
    let run_ids = sqlx::query_scalar!(
        "-- hidden::pause_hidden
        select runs.id
        from runs join users on users.id = runs.owner_id
        where finished_at is null and state in ('queued', 'running')
          and not can_see_parts(runs.id, runs.owner_id, role = 'admin')
        order by runs.id
        for update of runs skip locked"
    )
    .fetch_all(&mut *tx)
    .await?;
    let paused = run_ids.len() as u64;
    for run_id in run_ids {
        pause(&mut tx, run_id, PauseReason::HiddenParts, TOLD).await?;
        tracing::info!(run.id = %run_id, run.reason = TOLD, "run {run_id} was paused: {TOLD}");
    }
    tx.commit().await?;
    Ok(paused)
}

/// Refuses to continue a run with a part that its owner may no longer see, independent of the caller.
///
/// # Errors
/// [`Error::Conflict`].
pub(super) async fn require_parts(tx: &mut PgConnection, run_id: Uuid) -> Result<()> {
    let are_seen = sqlx::query_scalar!(
        r#"-- hidden::require_parts
        select can_see_parts(runs.id, runs.owner_id, role = 'admin') as "are_seen!"
        from runs join users on users.id = runs.owner_id
        where runs.id = $1"#,
        run_id
    )
    .fetch_one(tx)
    .await?;
    if are_seen {
        return Ok(());
    }
    Err(Error::Conflict(format!(
        "the run cannot continue: {TOLD}; cancel it, or ask the owner of that part to share it again"
    )))
}
