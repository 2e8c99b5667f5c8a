//! Providers that have answered at their current address. An address that never answered is probably mistyped.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::Result;

/// Records that these providers have answered; already recorded providers are not written again.
///
/// # Errors
/// The database does not respond.
pub async fn mark_answered(conn: &mut PgConnection, provider_ids: &[Uuid]) -> Result<()> {
    sqlx::query!(
        "-- answered::mark_answered
        update providers set answered_at = now()
        where id = any($1) and answered_at is null",
        provider_ids
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The subset of these providers that have answered any worker.
///
/// # Errors
/// The database does not respond.
pub async fn answered_among(conn: &mut PgConnection, provider_ids: &[Uuid]) -> Result<Vec<Uuid>> {
    let answered = sqlx::query_scalar!(
        "-- answered::answered_among
        select id from providers
        where id = any($1) and answered_at is not null",
        provider_ids
    )
    .fetch_all(conn)
    .await?;
    Ok(answered)
}
