//! Deletion of benchmarks and their versions.
//!
//! A version that no run uses is erased. A version that runs use is withdrawn: it is not listed and takes no more runs,
//! but readers of those runs can still read it, so that their results stay explainable. Housekeeping erases it when the
//! last of those runs is gone, in limited batches.

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::find_benchmark;
use crate::{
    Error, Result,
    auth::{AuditEvent, CurrentUser, can_change, note_deed},
    deletion::Deletion,
};

/// Number of items that one statement erases, so that its transaction stays short.
const ITEMS: i64 = 10_000;
/// Number of such statements per round.
const BATCHES: usize = 20;
/// Number of benchmarks without versions that one round erases.
const EMPTY: i64 = 1_000;

/// Deletes a benchmark with all of its versions. Its slug becomes free.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for another user's benchmark.
pub async fn delete_benchmark(
    conn: &mut PgConnection,
    user: &CurrentUser,
    benchmark: &str,
) -> Result<Deletion> {
    let mut tx = conn.begin().await?;
    let id = own(&mut tx, user, benchmark).await?;
    // The new name contains the old one, so that results stay recognisable.
    let deleted = sqlx::query!(
        r#"-- delete::delete_benchmark
        update benchmarks
        set deleted_at = now(), description = '',
            slug = rtrim(left(slug, 60), '-') || '-deleted-' || left(md5(id::text), 8)
        where id = $1
        returning exists (select from benchmark_versions
                          join runs on runs.benchmark_version_id = benchmark_versions.id
                          where benchmark_id = $1 and runs.deleted_at is null) as "withdrawn!""#,
        id
    )
    .fetch_one(&mut *tx)
    .await?;
    let event = AuditEvent::BenchmarkDeleted;
    note_deed(&mut tx, event, user, &id.to_string()).await?;
    tx.commit().await?;
    tracing::info!(benchmark.id = %id, "benchmark {id} was deleted");
    Ok(Deletion {
        withdrawn: deleted.withdrawn,
    })
}

/// Deletes one version of a benchmark.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for another user's benchmark, [`Error::Conflict`] for the only version.
pub async fn delete_benchmark_version(
    conn: &mut PgConnection,
    user: &CurrentUser,
    benchmark: &str,
    number: i32,
) -> Result<Deletion> {
    let mut tx = conn.begin().await?;
    let id = own(&mut tx, user, benchmark).await?;
    let version = sqlx::query!(
        r#"-- delete::delete_benchmark_version
        select id, (select count(*) from benchmark_versions
                    where benchmark_id = $1 and number is not null and withdrawn_at is null) as "versions!",
               exists (select from runs where benchmark_version_id = benchmark_versions.id and deleted_at is null)
                   as "withdrawn!"
        from benchmark_versions
        where benchmark_id = $1 and number = $2 and withdrawn_at is null"#,
        id,
        number
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or_else(|| Error::NotFound(format!("version {number} of the benchmark `{benchmark}`")))?;
    if version.versions <= 1 {
        return Err(Error::Conflict(
            "this is the only version; delete the benchmark instead".into(),
        ));
    }
    sqlx::query!(
        "-- delete::delete_benchmark_version
        update benchmark_versions set withdrawn_at = now() where id = $1",
        version.id
    )
    .execute(&mut *tx)
    .await?;
    let event = AuditEvent::BenchmarkVersionDeleted;
    note_deed(&mut tx, event, user, &version.id.to_string()).await?;
    tx.commit().await?;
    tracing::info!(benchmark.id = %id, number, "version {number} of benchmark {id} was deleted");
    Ok(Deletion {
        withdrawn: version.withdrawn,
    })
}

/// Locks a benchmark that the user may change; returns its id.
async fn own(tx: &mut PgConnection, user: &CurrentUser, benchmark: &str) -> Result<Uuid> {
    let found = find_benchmark(tx, Some(user), benchmark).await?;
    let row = sqlx::query!(
        "-- delete::own
        select owner_id, deleted_at from benchmarks where id = $1 for update",
        found.id
    )
    .fetch_one(tx)
    .await?;
    if row.deleted_at.is_some() {
        return Err(Error::NotFound(format!("the benchmark `{benchmark}`")));
    }
    if !can_change(user, row.owner_id) {
        return Err(Error::Forbidden(
            "only the owner of a benchmark can delete it",
        ));
    }
    Ok(found.id)
}

/// Erases withdrawn versions that no run uses, abandoned imports, and benchmarks without versions, in limited batches.
/// Safe to interrupt and to run concurrently.
///
/// # Errors
/// The database does not respond; what was erased before stays erased.
pub(crate) async fn erase_deleted(conn: &mut PgConnection) -> Result<()> {
    for _ in 0..BATCHES {
        let Some(version_id) = begin_erasing(conn).await? else {
            break;
        };
        let erased = sqlx::query!(
            "-- delete::erase_deleted
            delete from items
            where ctid = any(array(select ctid from items where benchmark_version_id = $1 limit $2))",
            version_id,
            ITEMS
        )
        .execute(&mut *conn)
        .await?;
        if i64::try_from(erased.rows_affected()).unwrap_or(i64::MAX) < ITEMS {
            sqlx::query!(
                "-- delete::erase_deleted
                delete from benchmark_versions
                where id = $1 and not exists (select from runs where benchmark_version_id = $1)",
                version_id
            )
            .execute(&mut *conn)
            .await?;
        }
    }
    erase_empty(conn).await
}

/// Chooses a version to erase and removes its hash, so that publishing its content again cannot restore a half-erased
/// version.
async fn begin_erasing(conn: &mut PgConnection) -> Result<Option<Uuid>> {
    let mut tx = conn.begin().await?;
    let version_id = sqlx::query_scalar!(
        "-- delete::begin_erasing
        select benchmark_versions.id
        from benchmark_versions
        join benchmarks on benchmarks.id = benchmark_id
        where (benchmarks.deleted_at is not null or withdrawn_at is not null)
          and not exists (select from runs where benchmark_version_id = benchmark_versions.id)
        limit 1
        for update of benchmark_versions skip locked"
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(version_id) = version_id else {
        return Ok(None);
    };
    // It may have been restored before it was locked.
    let erasing = sqlx::query_scalar!(
        "-- delete::begin_erasing
        update benchmark_versions
        set content_hash = null, withdrawn_at = coalesce(withdrawn_at, now())
        from benchmarks
        where benchmark_versions.id = $1 and benchmarks.id = benchmark_id
          and (benchmarks.deleted_at is not null or withdrawn_at is not null)
          and not exists (select from runs where benchmark_version_id = $1)
        returning benchmark_versions.id",
        version_id
    )
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(erasing)
}

/// Erases benchmarks whose last version was erased, or whose only import was abandoned.
async fn erase_empty(conn: &mut PgConnection) -> Result<()> {
    let mut tx = conn.begin().await?;
    // Locked first, so that the next statement sees versions that were added in the meantime.
    let empty = sqlx::query_scalar!(
        "-- delete::erase_empty
        select id from benchmarks
        where not exists (select from benchmark_versions where benchmark_id = benchmarks.id)
        limit $1
        for update skip locked",
        EMPTY
    )
    .fetch_all(&mut *tx)
    .await?;
    if empty.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "-- delete::erase_empty
        delete from benchmarks
        where id = any($1) and not exists (select from benchmark_versions where benchmark_id = benchmarks.id)",
        &empty
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}
