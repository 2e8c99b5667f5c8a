//! Publishing: a definition becomes an immutable, numbered version.

use sqlx::{Connection as _, PgConnection, types::Json};
use uuid::Uuid;

use super::{
    BenchmarkVersion, Content, Definition, ITEM_RULES, Item, Measure, check::check_definition,
    resolve_benchmark,
};
use crate::{
    Error, Result,
    auth::{CurrentUser, Visibility},
    paging::json_bytes,
    quotas::check_stored,
};

/// Number of items per insert statement: large enough to be fast, small enough to keep the statement's arrays small.
const ITEMS_PER_INSERT: usize = 5_000;
/// Maximum number of bytes of items per insert statement, unless one item is larger: Postgres holds each statement in
/// memory several times.
const BYTES_PER_INSERT: usize = 1 << 20;

/// A valid and measured definition. Only [`Definition::checked`] creates one, so that publishing validates and hashes
/// nothing.
#[derive(Debug, Clone)]
pub struct CheckedDefinition {
    definition: Definition,
    content: Content,
}

impl Definition {
    /// Validates the definition and reports all errors, up to a limit. It may take seconds: do not call it while
    /// holding a connection.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the path of each invalid field.
    pub fn checked(self) -> Result<CheckedDefinition> {
        check_definition(&self, false)?;
        let mut measure = Measure::of(&self)?;
        for item in &self.items {
            measure.add(item)?;
        }
        Ok(CheckedDefinition {
            content: measure.finish(),
            definition: self,
        })
    }
}

/// Publishes a definition as a new benchmark or as the next version of the owner's benchmark with that slug. If a
/// version with the same content exists, nothing is published. Returns the version with the content.
/// A new benchmark without a visibility gets the default one.
///
/// # Errors
/// [`Error::Conflict`] if the benchmark becomes visible to others and its slug is taken among the benchmarks visible to
/// others, [`Error::QuotaExceeded`].
pub async fn publish_benchmark(
    conn: &mut PgConnection,
    owner: &CurrentUser,
    checked: &CheckedDefinition,
    default_visibility: Visibility,
) -> Result<BenchmarkVersion> {
    let CheckedDefinition {
        definition,
        content,
    } = checked;
    let mut tx = conn.begin().await?;
    let benchmark_id = find_or_create(&mut tx, owner, definition, default_visibility).await?;
    let texts = (definition.title.as_str(), definition.description.as_str());
    set_header(
        &mut tx,
        benchmark_id,
        &definition.slug,
        texts,
        definition.visibility,
    )
    .await?;
    let known = find_published(&mut tx, benchmark_id, &content.hash, ITEM_RULES).await?;
    let number = if let Some(number) = known {
        number
    } else {
        let number = insert_version(&mut tx, benchmark_id, definition, content).await?;
        check_stored(&mut tx, owner.id).await?;
        number
    };
    let reference = format!("{benchmark_id}@{number}");
    let version = resolve_benchmark(&mut tx, Some(owner), &reference).await?;
    tx.commit().await?;
    Ok(version)
}

/// The owner's benchmark with this slug, created if necessary; its metadata can change until its first version is
/// published. The update takes the lock that serialises the numbering of versions.
pub(super) async fn find_or_create(
    tx: &mut PgConnection,
    owner: &CurrentUser,
    definition: &Definition,
    default_visibility: Visibility,
) -> Result<Uuid> {
    let found = sqlx::query_scalar!(
        "-- publish::find_or_create
        insert into benchmarks as known (id, slug, title, description, visibility, owner_id)
        values ($1, $2, $3, $4, $5, $6)
        on conflict (slug, owner_id) do update
        set (title, description, visibility) = (
            select case when is_known then known.title else excluded.title end,
                   case when is_known then known.description else excluded.description end,
                   case when is_known then known.visibility else excluded.visibility end
            from (select exists (select from benchmark_versions
                                 where benchmark_id = known.id and number is not null) as is_known) as it)
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
    found.map_err(|error| explain(error.into(), &definition.slug))
}

/// Sets a benchmark's metadata, and its visibility if it is given.
pub(super) async fn set_header(
    tx: &mut PgConnection,
    benchmark_id: Uuid,
    slug: &str,
    (title, description): (&str, &str),
    visibility: Option<Visibility>,
) -> Result<()> {
    sqlx::query!(
        "-- publish::set_header
        update benchmarks set title = $2, description = coalesce(nullif($3, ''), description) where id = $1",
        benchmark_id,
        title,
        description
    )
    .execute(&mut *tx)
    .await?;
    if let Some(visibility) = visibility {
        sqlx::query!(
            "-- publish::set_header (visibility)
            update benchmarks set visibility = $2 where id = $1 and visibility <> $2",
            benchmark_id,
            visibility as Visibility
        )
        .execute(tx)
        .await
        .map_err(|error| explain(error.into(), slug))?;
    }
    Ok(())
}

/// The number of the version with this content, if there is one. A withdrawn version is restored, and a version
/// published under older rules takes runs again once its content has passed the current ones.
pub(super) async fn find_published(
    tx: &mut PgConnection,
    benchmark_id: Uuid,
    content_hash: &[u8],
    checked_by: i16,
) -> Result<Option<i32>> {
    // Locked, so that it is not erased while it is restored; once erasing has begun, it has no hash to be found by.
    let known = sqlx::query!(
        r#"-- publish::find_published
        select id, number as "number!", withdrawn_at is not null or item_rules < $3 as "changes!"
        from benchmark_versions
        where benchmark_id = $1 and content_hash = $2 and number is not null
        for no key update"#,
        benchmark_id,
        content_hash,
        checked_by
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(known) = known else {
        return Ok(None);
    };
    if known.changes {
        sqlx::query!(
            "-- publish::find_published (write)
            update benchmark_versions set withdrawn_at = null, item_rules = greatest(item_rules, $2) where id = $1",
            known.id,
            checked_by
        )
        .execute(tx)
        .await?;
    }
    Ok(Some(known.number))
}

/// Maps the database's refusal of a benchmark with this slug to a domain error.
pub(super) fn explain(error: Error, slug: &str) -> Error {
    if error.violates("benchmarks_slug_key") {
        return Error::Conflict(format!(
            "another user's benchmark has the slug `{slug}`; take another slug, or keep your benchmark private"
        ));
    }
    error
}

async fn insert_version(
    tx: &mut PgConnection,
    benchmark_id: Uuid,
    definition: &Definition,
    content: &Content,
) -> Result<i32> {
    release_hash(tx, benchmark_id, &content.hash).await?;
    let (item_count, size_bytes) = columns_of(content)?;
    let version_id = Uuid::now_v7();
    let number = next_number(tx, benchmark_id).await?;
    sqlx::query!(
        "-- publish::insert_version
        insert into benchmark_versions (id, benchmark_id, number, scorers, source, item_count, content_hash, size_bytes,
                                        item_rules, variables)
        values ($1, $2, $10, $3, $4, $5, $6, $7, $8, $9)",
        version_id,
        benchmark_id,
        Json(&definition.scorers) as _,
        Json(&definition.source) as _,
        item_count,
        content.hash.as_slice(),
        size_bytes,
        ITEM_RULES,
        &content.variables,
        number
    )
    .execute(&mut *tx)
    .await?;
    insert_items(tx, version_id, 0, &definition.items).await?;
    Ok(number)
}

/// Takes the next version number of a benchmark that the caller has locked.
pub(super) async fn next_number(tx: &mut PgConnection, benchmark_id: Uuid) -> Result<i32> {
    let number = sqlx::query_scalar!(
        "-- publish::next_number
        update benchmarks set last_number = last_number + 1 where id = $1 returning last_number",
        benchmark_id
    )
    .fetch_one(tx)
    .await?;
    Ok(number)
}

/// Removes the announced hash of an import, in favour of a version with that content.
pub(super) async fn release_hash(
    tx: &mut PgConnection,
    benchmark_id: Uuid,
    content_hash: &[u8],
) -> Result<()> {
    sqlx::query!(
        "-- publish::release_hash
        update benchmark_versions set content_hash = null
        where benchmark_id = $1 and content_hash = $2 and number is null",
        benchmark_id,
        content_hash
    )
    .execute(tx)
    .await?;
    Ok(())
}

fn columns_of(content: &Content) -> Result<(i32, i64)> {
    let item_count =
        i32::try_from(content.item_count).map_err(|_| Error::invalid("items", "are too many"))?;
    let size_bytes =
        i64::try_from(content.size_bytes).map_err(|_| Error::invalid("items", "are too large"))?;
    Ok((item_count, size_bytes))
}

/// Inserts items, starting at a position.
pub(super) async fn insert_items(
    tx: &mut PgConnection,
    version_id: Uuid,
    first: i32,
    items: &[Item],
) -> Result<()> {
    let mut first = first;
    let mut rest = items;
    while !rest.is_empty() {
        let (slice, after) = rest.split_at(slice_length(rest));
        insert_slice(tx, version_id, first, slice).await?;
        first += i32::try_from(slice.len()).map_err(|_| Error::invalid("items", "are too many"))?;
        rest = after;
    }
    Ok(())
}

/// Number of leading items that one statement inserts; at least one.
fn slice_length(items: &[Item]) -> usize {
    let mut left = BYTES_PER_INSERT;
    let fit = items.iter().take(ITEMS_PER_INSERT).take_while(|item| {
        left = left.saturating_sub(json_bytes(item));
        left > 0
    });
    fit.count().max(1)
}

async fn insert_slice(
    tx: &mut PgConnection,
    version_id: Uuid,
    first: i32,
    items: &[Item],
) -> Result<()> {
    let positions: Vec<i32> = (first..).take(items.len()).collect();
    let keys: Vec<&str> = items.iter().map(|item| item.id.as_str()).collect();
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
        "-- publish::insert_slice
        insert into items (benchmark_version_id, position, key, vars, expected, metadata, scorers)
        select $1, * from unnest($2::int[], $3::text[], $4::jsonb[], $5::jsonb[], $6::jsonb[], $7::jsonb[])",
        version_id,
        &positions,
        &keys as _,
        vars as _,
        expected as _,
        metadata as _,
        scorers as _
    )
    .execute(tx)
    .await?;
    Ok(())
}
