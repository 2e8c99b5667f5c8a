//! Publishing: a definition becomes an immutable, numbered version.

use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, PgConnection, types::Json};
use uuid::Uuid;

use super::{BenchmarkVersion, Definition, Item, resolve_benchmark};
use crate::{
    Error, Result,
    auth::{CurrentUser, Visibility, can_change},
    quotas::check_stored,
};

/// How many items one statement inserts: large enough to be fast, small enough to keep the statement's arrays small.
const ITEMS_PER_INSERT: usize = 5_000;

/// A definition that may be published, with its hash: only [`Definition::checked`] makes one, so nothing is checked or
/// hashed where it is published.
#[derive(Debug, Clone)]
pub struct CheckedDefinition {
    definition: Definition,
    content_hash: Vec<u8>,
    size_bytes: i64,
}

impl Definition {
    /// Checks every rule and reports all that is wrong, up to a bound. It may take seconds: nothing for whoever holds a
    /// connection.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the path of each wrong field.
    pub fn checked(self) -> Result<CheckedDefinition> {
        self.check()?;
        let (content_hash, size_bytes) = content_hash(&self)?;
        Ok(CheckedDefinition {
            content_hash,
            size_bytes,
            definition: self,
        })
    }
}

/// Publishes a definition: as a new benchmark, as the next version of the owner's benchmark of that slug,
/// or, when the newest content is equal, not at all. Returns the version that holds the content.
///
/// # Errors
/// [`Error::Forbidden`] when the slug belongs to somebody else, [`Error::QuotaExceeded`].
pub async fn publish_benchmark(
    conn: &mut PgConnection,
    owner: &CurrentUser,
    checked: &CheckedDefinition,
) -> Result<BenchmarkVersion> {
    let CheckedDefinition {
        definition,
        content_hash,
        size_bytes,
    } = checked;
    let mut tx = conn.begin().await?;
    let benchmark_id = find_or_create(&mut tx, owner, definition).await?;
    let known = sqlx::query_scalar!(
        "-- publish::publish_benchmark
        select number from benchmark_versions where benchmark_id = $1 and content_hash = $2",
        benchmark_id,
        content_hash.as_slice()
    )
    .fetch_optional(&mut *tx)
    .await?;
    let number = match known {
        Some(number) => number,
        None => {
            let content = (content_hash.as_slice(), *size_bytes);
            let number = insert_version(&mut tx, benchmark_id, definition, content).await?;
            check_stored(&mut tx, owner.id).await?;
            number
        }
    };
    let version = resolve_benchmark(
        &mut tx,
        Some(owner),
        &format!("{}@{number}", definition.slug),
    )
    .await?;
    tx.commit().await?;
    Ok(version)
}

async fn find_or_create(
    tx: &mut PgConnection,
    owner: &CurrentUser,
    definition: &Definition,
) -> Result<Uuid> {
    // The update of an existing row changes nothing; it takes the lock that gives versions their order.
    let row = sqlx::query!(
        "-- publish::find_or_create
        insert into benchmarks (id, slug, title, description, visibility, owner_id) values ($1, $2, $3, $4, $5, $6)
        on conflict (slug) do update set slug = excluded.slug
        returning id, owner_id",
        Uuid::now_v7(),
        definition.slug,
        definition.title,
        definition.description,
        definition.visibility as Visibility,
        owner.id
    )
    .fetch_one(tx)
    .await?;
    if can_change(owner, row.owner_id) {
        return Ok(row.id);
    }
    Err(Error::Forbidden(
        "a benchmark with this slug belongs to somebody else",
    ))
}

async fn insert_version(
    tx: &mut PgConnection,
    benchmark_id: Uuid,
    definition: &Definition,
    (content_hash, size_bytes): (&[u8], i64),
) -> Result<i32> {
    let item_count = i32::try_from(definition.items.len())
        .map_err(|_| Error::invalid("items", "are too many"))?;
    let version_id = Uuid::now_v7();
    let number = sqlx::query_scalar!(
        "-- publish::insert_version
        insert into benchmark_versions (id, benchmark_id, number, scorers, source, item_count, content_hash, size_bytes)
        select $1, $2, coalesce(max(number), 0) + 1, $3, $4, $5, $6, $7 from benchmark_versions where benchmark_id = $2
        returning number",
        version_id,
        benchmark_id,
        Json(&definition.scorers) as _,
        Json(&definition.source) as _,
        item_count,
        content_hash,
        size_bytes
    )
    .fetch_one(&mut *tx)
    .await?;
    for (chunk, items) in definition.items.chunks(ITEMS_PER_INSERT).enumerate() {
        insert_items(tx, version_id, chunk * ITEMS_PER_INSERT, items).await?;
    }
    Ok(number)
}

async fn insert_items(
    tx: &mut PgConnection,
    version_id: Uuid,
    first: usize,
    items: &[Item],
) -> Result<()> {
    let positions: Vec<i32> = (first..first + items.len())
        .filter_map(|position| i32::try_from(position).ok())
        .collect();
    let keys: Vec<String> = items.iter().map(|item| item.id.clone()).collect();
    let vars: Vec<Json<_>> = items.iter().map(|item| Json(&item.vars)).collect();
    let expected: Vec<Option<Json<_>>> = items
        .iter()
        .map(|item| item.expected.as_ref().map(Json))
        .collect();
    let metadata: Vec<Json<_>> = items.iter().map(|item| Json(&item.metadata)).collect();
    let scorers: Vec<Option<Json<_>>> = items
        .iter()
        .map(|item| item.scorers.as_ref().map(Json))
        .collect();
    sqlx::query!(
        "-- publish::insert_items
        insert into items (benchmark_version_id, position, key, vars, expected, metadata, scorers)
        select $1, * from unnest($2::int[], $3::text[], $4::jsonb[], $5::jsonb[], $6::jsonb[], $7::jsonb[])",
        version_id,
        &positions,
        &keys,
        vars as _,
        expected as _,
        metadata as _,
        scorers as _
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// SHA-256 over the scorers and all items in order, each as one line of JSON, and how many bytes that is.
fn content_hash(definition: &Definition) -> Result<(Vec<u8>, i64)> {
    let broken = |error| Error::Internal(format!("a benchmark does not serialise: {error}"));
    let mut hash = Sha256::new();
    let mut size = 0;
    let scorers = serde_json::to_vec(&definition.scorers).map_err(broken)?;
    size += scorers.len();
    hash.update(scorers);
    for item in &definition.items {
        let item = serde_json::to_vec(item).map_err(broken)?;
        size += item.len();
        hash.update(b"\n");
        hash.update(item);
    }
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    Ok((hash.finalize().to_vec(), size))
}
