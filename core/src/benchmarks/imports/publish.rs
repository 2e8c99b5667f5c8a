//! Publishes an import: it gets a number, and its items stay in place.

use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{OpenImport, begin::parse_hash, lock_import};
use crate::{
    Error, Result,
    auth::{CurrentUser, Visibility},
    benchmarks::{
        BenchmarkVersion,
        content::hash_scorers,
        publish::{find_published, next_number, release_hash, set_header},
        resolve_benchmark,
    },
};

/// What the sender knows about the complete benchmark.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishImport {
    /// Number of items sent. If a different number was received, nothing is published.
    pub item_count: i32,
    /// The content hash of everything sent, in hexadecimal, if known. If the received content differs, nothing is
    /// published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_hash: Option<String>,
}

/// Publishes an import as the next version of its benchmark, or abandons it if a version with its content exists.
/// Returns the version with the content.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Invalid`] for text that is not a hash, [`Error::Conflict`] if the received items
/// differ from those sent, or if the benchmark becomes visible to others and its slug is taken among the benchmarks
/// visible to others.
pub async fn publish_import(
    conn: &mut PgConnection,
    user: &CurrentUser,
    import_id: Uuid,
    request: &PublishImport,
) -> Result<BenchmarkVersion> {
    let announced = request
        .content_hash
        .as_deref()
        .map(parse_hash)
        .transpose()?;
    let mut tx = conn.begin().await?;
    let benchmark_id = lock_benchmark(&mut tx, import_id).await?;
    let open = lock_import(&mut tx, user, import_id).await?;
    let import = &open.import;
    if import.item_count != request.item_count || import.item_count == 0 {
        return Err(Error::Conflict(format!(
            "{} items were received and {} were sent; send the missing ones, at least one item",
            import.item_count, request.item_count
        )));
    }
    let content_hash = hash_of_parts(&mut tx, &open, announced.as_deref()).await?;
    let header = sqlx::query!(
        r#"-- publish::publish_import (header)
        select title, description, visibility as "visibility: Visibility", item_rules
        from imports join benchmark_versions on benchmark_versions.id = benchmark_version_id
        where benchmark_version_id = $1"#,
        import_id
    )
    .fetch_one(&mut *tx)
    .await?;
    let texts = (header.title.as_str(), header.description.as_str());
    let slug = &import.benchmark;
    set_header(&mut tx, benchmark_id, slug, texts, header.visibility).await?;
    let known = find_published(&mut tx, benchmark_id, &content_hash, header.item_rules).await?;
    release_hash(&mut tx, benchmark_id, &content_hash).await?;
    let number = match known {
        Some(number) => {
            sqlx::query!(
                "-- publish::publish_import (give up)
                update benchmark_versions set withdrawn_at = now(), content_hash = null where id = $1",
                import_id
            )
            .execute(&mut *tx)
            .await?;
            number
        }
        None => number_version(&mut tx, benchmark_id, import_id, &content_hash).await?,
    };
    let reference = format!("{benchmark_id}@{number}");
    let version = resolve_benchmark(&mut tx, Some(user), &reference).await?;
    tx.commit().await?;
    Ok(version)
}

/// Locks the benchmark of an import, which serialises the numbering of versions.
async fn lock_benchmark(tx: &mut PgConnection, import_id: Uuid) -> Result<Uuid> {
    let benchmark_id = sqlx::query_scalar!(
        "-- publish::lock_benchmark
        select id from benchmarks
        where id = (select benchmark_id from benchmark_versions where id = $1)
        for no key update",
        import_id
    )
    .fetch_optional(tx)
    .await?;
    benchmark_id.ok_or_else(|| super::not_found(import_id))
}

/// The hash of the received content, if it matches the hashes announced now and at the start. Postgres hashes the
/// items' hashes, which are a few megabytes at most.
async fn hash_of_parts(
    tx: &mut PgConnection,
    open: &OpenImport,
    announced: Option<&[u8]>,
) -> Result<Vec<u8>> {
    let (scorers, _) = hash_scorers(&open.scorers)?;
    let row = sqlx::query!(
        r#"-- publish::hash_of_parts
        select sha256($2::bytea || string_agg(item_hashes, ''::bytea order by number)) as "came!",
               (select content_hash from benchmark_versions where id = $1) as begun
        from import_parts where benchmark_version_id = $1"#,
        open.import.id,
        scorers.as_slice()
    )
    .fetch_one(tx)
    .await?;
    let announced = announced.into_iter().chain(row.begun.as_deref());
    if announced.into_iter().any(|hash| hash != row.came) {
        return Err(Error::Conflict(
            "the received content has a different hash than was announced; abandon the import and begin again".into(),
        ));
    }
    Ok(row.came)
}

async fn number_version(
    tx: &mut PgConnection,
    benchmark_id: Uuid,
    import_id: Uuid,
    content_hash: &[u8],
) -> Result<i32> {
    let number = next_number(tx, benchmark_id).await?;
    sqlx::query!(
        "-- publish::number_version
        update benchmark_versions set number = $2, content_hash = $3, created_at = now() where id = $1",
        import_id,
        number,
        content_hash
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "-- publish::number_version
        delete from imports where benchmark_version_id = $1",
        import_id
    )
    .execute(tx)
    .await?;
    Ok(number)
}
