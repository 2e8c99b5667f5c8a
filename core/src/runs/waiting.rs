//! Why a run waits that nobody has paused: its provider is down, say, or a limit of dollars is reached.
//!
//! Workers say it again every few seconds while it is so. What nobody says any more means nothing, so there is nothing
//! to take back when a worker dies.

use sqlx::PgConnection;
use uuid::Uuid;

use super::bells::tell;
use crate::Result;

/// Says what runs wait for, and tells whoever follows them. Safe to say by many workers at once.
///
/// # Errors
/// The database does not answer.
pub async fn report_waiting(conn: &mut PgConnection, waiting: &[(Uuid, String)]) -> Result<()> {
    let ids: Vec<Uuid> = waiting.iter().map(|(id, _)| *id).collect();
    let reasons: Vec<String> = waiting.iter().map(|(_, reason)| reason.clone()).collect();
    // While one worker's word is fresh, the others need not write.
    let said = sqlx::query_scalar!(
        "-- waiting::report_waiting
        update runs
        set waiting_reason = waiting.reason, waiting_until = now() + interval '10 seconds'
        from unnest($1::uuid[], $2::text[]) as waiting (run_id, reason)
        where runs.id = waiting.run_id and state in ('queued', 'running')
          and (waiting_until is null or waiting_until < now() + interval '7 seconds')
        returning runs.id",
        &ids,
        &reasons
    )
    .fetch_all(&mut *conn)
    .await?;
    for run_id in said {
        tell(conn, run_id).await?;
    }
    Ok(())
}
