//! Erases benchmarks that only a deleted user could read.

use sqlx::PgConnection;

use crate::Result;

/// Maximum number of items of a benchmark that is erased in the caller's transaction.
const ERASED_AT_ONCE: i64 = 10_000;

/// Erases the private benchmarks of a user, and the user's imports.
///
/// # Errors
/// The database does not respond.
pub async fn erase_private_benchmarks(tx: &mut PgConnection, owner_id: i64) -> Result<()> {
    sqlx::query!(
        "-- erase::erase_private_benchmarks
        delete from benchmarks
        where owner_id = $1 and visibility = 'private'
          and not exists (select 1 from benchmark_versions
                          join runs on runs.benchmark_version_id = benchmark_versions.id
                          where benchmark_versions.benchmark_id = benchmarks.id)
          and (select coalesce(sum(item_count), 0) from benchmark_versions where benchmark_id = benchmarks.id) <= $2",
        owner_id,
        ERASED_AT_ONCE
    )
    .execute(&mut *tx)
    .await?;
    // The others are deleted for everybody and erased by housekeeping: large benchmarks, and those used by runs,
    // together with the last of these runs.
    sqlx::query!(
        "-- erase::erase_private_benchmarks
        update benchmarks set deleted_at = now()
        where owner_id = $1 and visibility = 'private' and deleted_at is null",
        owner_id
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "-- erase::erase_private_benchmarks (imports)
        update benchmark_versions set withdrawn_at = now(), content_hash = null
        from benchmarks
        where benchmarks.id = benchmark_id and owner_id = $1 and number is null and withdrawn_at is null",
        owner_id
    )
    .execute(tx)
    .await?;
    Ok(())
}
