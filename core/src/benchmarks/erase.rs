//! Erasing what nobody but a deleted user could see.

use sqlx::PgConnection;

use crate::Result;

/// Benchmarks of up to so many items are erased in the caller's transaction.
const ERASED_AT_ONCE: i64 = 10_000;

/// Erases the private benchmarks of a user, and what has come of imports.
///
/// # Errors
/// The database does not answer.
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
    // Others are gone for everybody, and housekeeping erases them: the large ones, and those on which a run rests with the
    // last of these.
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
