//! Locks that no row stands for; they end with the caller's transaction.

use sqlx::PgConnection;

use crate::Result;

/// Makes transactions of one user that count the same things wait for each other: of two at once, each would otherwise find
/// room for itself.
///
/// # Errors
/// The database does not answer.
pub(crate) async fn lock_count(tx: &mut PgConnection, things: &str, user_id: i64) -> Result<()> {
    sqlx::query_scalar!(
        r#"-- locks::lock_count
        select pg_advisory_xact_lock(hashtextextended($1, $2)) is null as "locked""#,
        things,
        user_id
    )
    .fetch_one(tx)
    .await?;
    Ok(())
}
