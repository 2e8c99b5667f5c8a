//! Queries for benchmarks, their versions and their items.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{PgConnection, types::Json};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    Error, Result,
    auth::{CurrentUser, Visibility},
    nearest::benchmark_hint,
    paging::Page,
    scorers::ScorerSpec,
};

/// Maximum number of items per query.
const MOST_ITEMS: i64 = 1_000;
/// Maximum number of bytes of the items before the last one of a query.
const MOST_BYTES: i64 = 8 << 20;

/// A benchmark.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Benchmark {
    /// The benchmark's id.
    pub id: Uuid,
    /// The benchmark's name in URLs and on the command line.
    pub slug: String,
    /// The benchmark's title.
    pub title: String,
    /// What it measures.
    pub description: String,
    /// Who may read it.
    pub visibility: Visibility,
    /// The name of its owner.
    pub owner: String,
    /// The number of the newest version.
    pub latest_version: i32,
    /// Number of items of the newest version.
    pub item_count: i32,
    /// When it was created.
    pub created_at: DateTime<Utc>,
}

/// An immutable version of a benchmark.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BenchmarkVersion {
    /// The version's id.
    pub id: Uuid,
    /// The slug of the benchmark.
    pub benchmark: String,
    /// The number, from 1.
    pub number: i32,
    /// The scorers of every item without scorers of its own.
    #[schema(value_type = Vec<ScorerSpec>)]
    pub scorers: Json<Vec<ScorerSpec>>,
    /// Where the items come from.
    #[schema(value_type = Object)]
    pub source: Value,
    /// Number of items.
    pub item_count: i32,
    /// SHA-256 over the hash of the scorers and the hashes of all items in order, each hash over one line of JSON, in
    /// hexadecimal.
    pub content_hash: String,
    /// When it was published.
    pub created_at: DateTime<Utc>,
}

/// A stored item.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StoredItem {
    /// The position, from 0.
    pub position: i32,
    /// The item's own id.
    pub id: String,
    /// The values of the prompt's variables.
    #[schema(value_type = Object)]
    pub vars: Value,
    /// The correct answer.
    pub expected: Option<Value>,
    /// Replaces the benchmark's scorers.
    #[schema(value_type = Option<Vec<ScorerSpec>>)]
    pub scorers: Option<Json<Vec<ScorerSpec>>>,
}

/// The benchmark with a slug or id. Of two with the same slug, the viewer's own takes precedence over the one visible
/// to others.
///
/// # Errors
/// [`Error::NotFound`], also for a benchmark that the viewer may not read.
pub async fn find_benchmark(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    reference: &str,
) -> Result<Benchmark> {
    let found = sqlx::query_as!(
        Benchmark,
        r#"-- read::find_benchmark
        select benchmarks.id, slug, title, description, visibility as "visibility: Visibility", users.username as owner,
               newest.number as "latest_version!", newest.item_count, benchmarks.created_at
        from benchmarks
        join users on users.id = owner_id
        join lateral (select number, item_count from benchmark_versions
                      where benchmark_id = benchmarks.id and number is not null
                        and (withdrawn_at is null or benchmarks.deleted_at is not null)
                      order by number desc limit 1) newest on true
        where (slug = $1 or benchmarks.id = $4)
          and can_see(visibility, owner_id, $2, $3)
          and (benchmarks.deleted_at is null or $3
               or exists (select from benchmark_versions
                          join runs on runs.benchmark_version_id = benchmark_versions.id
                          where benchmark_id = benchmarks.id and runs.owner_id = $2 and runs.deleted_at is null))
        -- An id is never a slug of something else; the viewer's own goes before what others share.
        order by benchmarks.id = $4 desc nulls last, owner_id = $2 desc nulls last, visibility desc, benchmarks.id
        limit 1"#,
        reference,
        viewer.map(|user| user.id),
        viewer.is_some_and(CurrentUser::is_admin),
        Uuid::try_parse(reference).ok()
    )
    .fetch_optional(&mut *conn)
    .await?;
    match found {
        Some(found) => Ok(found),
        None => Err(not_found(conn, viewer, reference).await?),
    }
}

/// A page of the benchmarks that the viewer may find, newest first.
///
/// # Errors
/// The database does not respond.
pub async fn list_benchmarks(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Page<Benchmark>> {
    let benchmarks = sqlx::query_as!(
        Benchmark,
        r#"-- read::list_benchmarks
        select benchmarks.id, slug, title, description, visibility as "visibility: Visibility", users.username as owner,
               newest.number as "latest_version!", newest.item_count, benchmarks.created_at
        from benchmarks
        join users on users.id = owner_id
        join lateral (select number, item_count from benchmark_versions
                      where benchmark_id = benchmarks.id and number is not null and withdrawn_at is null
                      order by number desc limit 1) newest on true
        where is_listed(visibility, owner_id, $1) and benchmarks.deleted_at is null
          and ($2::uuid is null or benchmarks.id < $2)
        order by benchmarks.id desc
        limit $3"#,
        viewer.map(|user| user.id),
        before,
        limit + 1
    )
    .fetch_all(conn)
    .await?;
    Ok(Page::cut(benchmarks, limit, |benchmark| {
        benchmark.id.to_string()
    }))
}

/// The version that `slug` or `slug@2` names; without a number, the newest. A withdrawn version is only found by its
/// number, by administrators and by owners of runs that use it.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn resolve_benchmark(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    reference: &str,
) -> Result<BenchmarkVersion> {
    let (slug, wanted) = reference.split_once('@').unwrap_or((reference, "latest"));
    let found = sqlx::query_as!(
        BenchmarkVersion,
        r#"-- read::resolve_benchmark
        select versions.id, slug as benchmark, number as "number!", scorers as "scorers: Json<Vec<ScorerSpec>>", source, item_count,
               coalesce(encode(content_hash, 'hex'), '') as "content_hash!", versions.created_at
        from benchmark_versions versions
        join benchmarks on benchmarks.id = benchmark_id
        where number is not null and ($2 = 'latest' or number::text = $2)
          and benchmarks.id = (
              select named.id from benchmarks named
              where (named.slug = $1 or named.id = $5) and can_see(named.visibility, named.owner_id, $3, $4)
              order by named.id = $5 desc nulls last, named.owner_id = $3 desc nulls last, named.visibility desc, named.id
              limit 1)
          and ((benchmarks.deleted_at is null and withdrawn_at is null)
               or (($2 <> 'latest' or benchmarks.deleted_at is not null)
                   and ($4 or exists (select from runs where benchmark_version_id = versions.id
                                        and runs.owner_id = $3 and runs.deleted_at is null))))
        order by number desc
        limit 1"#,
        slug,
        wanted,
        viewer.map(|user| user.id),
        viewer.is_some_and(CurrentUser::is_admin),
        Uuid::try_parse(slug).ok()
    )
    .fetch_optional(&mut *conn)
    .await?;
    match found {
        Some(found) => Ok(found),
        None => Err(not_found(conn, viewer, reference).await?),
    }
}

/// The items of a version from position `first`: at most `limit` and 8 MiB, but at least one. To read all items, call
/// it again with the position after the last one.
///
/// # Errors
/// The database does not respond.
pub async fn list_items(
    conn: &mut PgConnection,
    benchmark_version_id: Uuid,
    first: i32,
    limit: i64,
) -> Result<Vec<StoredItem>> {
    let items = sqlx::query_as!(
        StoredItem,
        r#"-- read::list_items
        select position as "position!", key as "id!", vars as "vars!", expected,
               scorers as "scorers: Json<Vec<ScorerSpec>>"
        from (select *, sum(size_bytes) over (order by position) - size_bytes as bytes_before
              from items
              where benchmark_version_id = $1 and position >= $2
              order by position
              limit $3) as page
        where bytes_before < $4
        order by position"#,
        benchmark_version_id,
        first,
        limit.min(MOST_ITEMS),
        MOST_BYTES
    )
    .fetch_all(conn)
    .await?;
    Ok(items)
}

async fn not_found(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    reference: &str,
) -> Result<Error> {
    let slug = reference
        .split_once('@')
        .map_or(reference, |(slug, _)| slug);
    let hint = benchmark_hint(conn, viewer, slug).await?;
    Ok(Error::NotFound(format!(
        "the benchmark `{reference}`{hint}"
    )))
}
