//! Erasing what nobody but a deleted user could see.

use sqlx::PgConnection;

use crate::Result;

/// Erases the private benchmarks of a user that no run has used.
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
                          where benchmark_versions.benchmark_id = benchmarks.id)",
        owner_id
    )
    .execute(&mut *tx)
    .await?;
    // The rest goes with the last run that rests on it.
    sqlx::query!(
        "-- erase::erase_private_benchmarks
        update benchmarks set deleted_at = now()
        where owner_id = $1 and visibility = 'private' and deleted_at is null",
        owner_id
    )
    .execute(tx)
    .await?;
    Ok(())
}
