//! The reasons why runs that are not paused wait: a provider is down, or a daily limit of dollars is reached.
//!
//! Workers repeat a reason every few seconds while it applies. Reasons expire, so there is nothing to clean up when a
//! worker dies.

use sqlx::PgConnection;
use uuid::Uuid;

use super::bells::tell;
use crate::Result;

/// Stores the reasons why runs wait and notifies clients that follow them. May be called by many workers concurrently.
///
/// # Errors
/// The database does not respond.
pub async fn report_waiting(conn: &mut PgConnection, waiting: &[(Uuid, String)]) -> Result<()> {
    let ids: Vec<Uuid> = waiting.iter().map(|(id, _)| *id).collect();
    let reasons: Vec<String> = waiting.iter().map(|(_, reason)| reason.clone()).collect();
    // While one worker's report is recent, the others need not write.
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
