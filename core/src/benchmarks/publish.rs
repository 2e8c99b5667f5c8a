//! Publishing: a definition becomes an immutable, numbered version.

use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, PgConnection, types::Json};
use uuid::Uuid;

use super::{BenchmarkVersion, Definition, ITEM_RULES, Item, resolve_benchmark};
use crate::{
    Error, Result,
    auth::{CurrentUser, Visibility},
    library::json_bytes,
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
/// A new benchmark whose definition says nothing about who may see it has the default visibility.
///
/// # Errors
/// [`Error::Conflict`] when others shall see it and its slug is taken among what they see, [`Error::QuotaExceeded`].
pub async fn publish_benchmark(
    conn: &mut PgConnection,
    owner: &CurrentUser,
    checked: &CheckedDefinition,
    default_visibility: Visibility,
) -> Result<BenchmarkVersion> {
    let CheckedDefinition {
        definition,
        content_hash,
        size_bytes,
    } = checked;
    let mut tx = conn.begin().await?;
    let benchmark_id = find_or_create(&mut tx, owner, definition, default_visibility).await?;
    // A version that was withdrawn comes back when its content is published again.
    let known = sqlx::query!(
        r#"-- publish::publish_benchmark
        select number, withdrawn_at is not null as "withdrawn!"
        from benchmark_versions where benchmark_id = $1 and content_hash = $2"#,
        benchmark_id,
        content_hash.as_slice()
    )
    .fetch_optional(&mut *tx)
    .await?;
    let number = if let Some(known) = known {
        if known.withdrawn {
            restore_version(&mut tx, benchmark_id, known.number, *size_bytes).await?;
        }
        known.number
    } else {
        let content = (content_hash.as_slice(), *size_bytes);
        let number = insert_version(&mut tx, benchmark_id, definition, content).await?;
        check_stored(&mut tx, owner.id).await?;
        number
    };
    let reference = format!("{benchmark_id}@{number}");
    let version = resolve_benchmark(&mut tx, Some(owner), &reference).await?;
    tx.commit().await?;
    Ok(version)
}

async fn find_or_create(
    tx: &mut PgConnection,
    owner: &CurrentUser,
    definition: &Definition,
    default_visibility: Visibility,
) -> Result<Uuid> {
    // The update of an existing row says what the definition says, and takes the lock that gives versions their order.
    let found = sqlx::query_scalar!(
        "-- publish::find_or_create
        insert into benchmarks (id, slug, title, description, visibility, owner_id) values ($1, $2, $3, $4, $5, $6)
        on conflict (slug, owner_id) do update
        set title = excluded.title, description = coalesce(nullif(excluded.description, ''), benchmarks.description)
        returning id",
        Uuid::now_v7(),
        definition.slug,
        definition.title,
        definition.description,
        definition.visibility.unwrap_or(default_visibility) as Visibility,
        owner.id
    )
    .fetch_one(&mut *tx)
    .await;
    let id = found.map_err(|error| explain(error.into(), &definition.slug))?;
    if let Some(visibility) = definition.visibility {
        sqlx::query!(
            "-- publish::find_or_create (visibility)
            update benchmarks set visibility = $2 where id = $1 and visibility <> $2",
            id,
            visibility as Visibility
        )
        .execute(tx)
        .await
        .map_err(|error| explain(error.into(), &definition.slug))?;
    }
    Ok(id)
}

/// What is wrong when the database refuses a benchmark of this slug.
pub(super) fn explain(error: Error, slug: &str) -> Error {
    if error.violates("benchmarks_slug_key") {
        return Error::Conflict(format!(
            "a benchmark of somebody else has the slug `{slug}`; take another slug, or keep your benchmark private"
        ));
    }
    error
}

async fn restore_version(
    tx: &mut PgConnection,
    benchmark_id: Uuid,
    number: i32,
    size_bytes: i64,
) -> Result<()> {
    sqlx::query!(
        "-- publish::restore_version
        update benchmark_versions set withdrawn_at = null, size_bytes = $3 where benchmark_id = $1 and number = $2",
        benchmark_id,
        number,
        size_bytes
    )
    .execute(tx)
    .await?;
    Ok(())
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
        insert into benchmark_versions (id, benchmark_id, number, scorers, source, item_count, content_hash, size_bytes, item_rules)
        select $1, $2, coalesce(max(number), 0) + 1, $3, $4, $5, $6, $7, $8 from benchmark_versions where benchmark_id = $2
        returning number",
        version_id,
        benchmark_id,
        Json(&definition.scorers) as _,
        Json(&definition.source) as _,
        item_count,
        content_hash,
        size_bytes,
        ITEM_RULES
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

/// SHA-256 over the scorers and all items in order, each as one line of JSON, and how many bytes the
/// definition takes.
fn content_hash(definition: &Definition) -> Result<(Vec<u8>, i64)> {
    let broken = |error| Error::Internal(format!("a benchmark does not serialise: {error}"));
    let mut hash = Sha256::new();
    let mut size = json_bytes(&definition.source) + definition.description.len();
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
